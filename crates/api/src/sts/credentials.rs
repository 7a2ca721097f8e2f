//! Temporary credentials as the actions answer them.

use aws_query::ToXml;
use model::Timestamp;

use crate::clock;
use crate::cx::Cx;
use crate::error::{ApiError, short};
use crate::sessions::{Grant, Issued, RoleGrant};

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(super) struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// What the caller is given from now on, for so many seconds.
pub(super) fn grant(cx: &Cx<'_>, life_s: i64, role: Option<RoleGrant>) -> Grant {
    Grant {
        origin: cx.origin.key.clone(),
        account: cx.origin.account.clone(),
        user: cx.origin.user.clone(),
        issued_s: cx.now.0,
        expires_s: cx.now.0.saturating_add(life_s),
        role,
    }
}

/// Credentials of that grant.
pub(super) fn issue(cx: &Cx<'_>, grant: &Grant) -> Result<Credentials, ApiError> {
    let Issued { access_key_id, secret, token } =
        cx.sessions.issue(grant, [cx.entropy(), cx.entropy(), cx.entropy()])?;
    Ok(Credentials {
        access_key_id,
        secret_access_key: secret.expose().to_owned(),
        session_token: token.expose().to_owned(),
        expiration: clock::iso(Timestamp(grant.expires_s)),
    })
}

/// The service's word for a value it does not take.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// The same in the service's usual words about one member.
pub(super) fn constraint(member: &str, value: &str, rule: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value '{}' at '{member}' failed to satisfy constraint: Member must {rule}",
        short(value)
    ))
}

/// No second factor is kept here: who sends one believes it is asked for.
pub(super) fn no_second_factor(
    serial_number: Option<&str>,
    token_code: Option<&str>,
    faults: &mut Vec<ApiError>,
) {
    for (given, name) in [(serial_number, "SerialNumber"), (token_code, "TokenCode")] {
        if given.is_some() {
            faults.push(invalid(format!("{name} is not supported: there are no MFA devices here")));
        }
    }
}
