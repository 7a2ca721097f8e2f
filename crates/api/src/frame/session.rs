//! Whose key a call is signed with: a lasting one, or a temporary one with its session token.

use aws_auth::{AuthFault, Presented, Secret, SignedRequest};
use model::AccountId;

use super::audit::Audit;
use super::{Api, Call};
use crate::error::ApiError;
use crate::identities::Caller;
use crate::service::{Refusal, Service};

/// The lasting access key that a call goes back to, over however many sessions, and whose it is.
pub(crate) struct Origin {
    /// Its id.
    pub key: String,
    /// The account of its user.
    pub account: AccountId,
    /// The name of its user.
    pub user: String,
}

impl Origin {
    /// A call signed with the lasting key itself.
    pub(super) fn of(key: &str, caller: &Caller) -> Self {
        Self { key: key.to_owned(), account: caller.account.clone(), user: caller.name.clone() }
    }
}

/// The owner of the key that a call names, before its signature is looked at.
struct Owner {
    secret: Secret,
    caller: Caller,
    origin: Origin,
    /// Seconds since the Unix epoch; a lasting key has no end.
    expires_s: Option<i64>,
}

impl Api {
    /// The caller, if the signature holds.
    pub(super) fn verify(
        &self,
        call: &Call,
        signed: &SignedRequest<'_>,
        presented: &Presented,
        audit: &mut Audit,
    ) -> Result<(Caller, Origin), Refusal> {
        let now = (self.clock)().0;
        let Some(owner) = self.owner(presented) else {
            // As much work as for a known key.
            let _ = aws_auth::verify(signed, presented, &Secret::decoy(), now);
            return Err(Refusal::Auth(AuthFault::UnknownKey));
        };
        audit.claims(&presented.access_key_id);
        aws_auth::verify(signed, presented, &owner.secret, now).map_err(Refusal::Auth)?;
        // A body nobody signed is believed over TLS or from this host only.
        if presented.unsigned_payload && !call.secure && !call.peer.is_loopback() {
            return Err(Refusal::Auth(AuthFault::Mismatch));
        }
        if owner.expires_s.is_some_and(|end| now >= end) {
            return Err(Refusal::Auth(AuthFault::TokenExpired));
        }
        Ok((owner.caller, owner.origin))
    }

    /// A token that is not the key's own, and one too many, make the key unknown.
    fn owner(&self, presented: &Presented) -> Option<Owner> {
        let key = &presented.access_key_id;
        let Some(token) = &presented.session_token else {
            let identity = self.identities.find(key)?;
            let origin = Origin::of(key, &identity.caller);
            let (secret, caller) = (identity.secret.clone(), identity.caller.clone());
            return Some(Owner { secret, caller, origin, expires_s: None });
        };
        let (secret, grant) = self.sessions.open(key, token)?;
        let caller = grant.caller(self.identities.as_ref())?;
        let origin = Origin { key: grant.origin, account: grant.account, user: grant.user };
        Some(Owner { secret, caller, origin, expires_s: Some(grant.expires_s) })
    }
}

/// The same of what is not built here: credentials of a user's session do nothing with IAM, nor with STS.
pub(super) fn may_elsewhere(service: &str, caller: &Caller) -> Result<(), Refusal> {
    let of_user = caller.session.as_ref().is_some_and(|session| session.role.is_none());
    if of_user && matches!(service, "iam" | "sts") {
        return Err(Refusal::Auth(AuthFault::UnknownKey));
    }
    Ok(())
}

/// What AWS keeps from temporary credentials: no session makes another of the same rights, and one that is not a role's
/// does nothing with IAM.
pub(super) fn may(service: Service, action: &str, caller: &Caller) -> Result<(), Refusal> {
    let Some(session) = &caller.session else { return Ok(()) };
    match (service, action) {
        (Service::Iam, _) if session.role.is_none() => Err(Refusal::Auth(AuthFault::UnknownKey)),
        (Service::Sts, "GetSessionToken") => {
            let message = "Cannot call GetSessionToken with session credentials";
            Err(ApiError::new("AccessDenied", message).status(403).into())
        }
        _ => Ok(()),
    }
}
