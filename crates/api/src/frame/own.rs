//! Calls of Bascule's own, which no service of AWS has: `POST /_bascule/…`. Signature, permission and audit are those of all
//! calls; any service name may stand in the credential scope, and errors are plain JSON.

use aws_auth::AuthFault;
use model::Scope;

use super::audit::Audit;
use super::authorize::Ruling;
use super::{Answer, Api, Authentic, Call, Origin, origin};
use crate::account::{Account, Deed, SERVICE};
use crate::error::ApiError;
use crate::identities::Caller;
use crate::service::{Refusal, Service};
use crate::touch::{Resource, Touch};

impl Api {
    /// The answer to such a call.
    pub(super) async fn own(&self, call: &Call, request_id: String, mut audit: Audit) -> Answer {
        audit.service = Service::OtherJson;
        audit.elsewhere(SERVICE);
        let (status, body) = match Box::pin(self.own_road(call, &mut audit)).await {
            Ok(body) => (200, body),
            Err(refusal) => {
                let error = plain(refusal);
                audit.code = error.code.to_string();
                let body = serde_json::json!({ "error": error.code, "message": error.message });
                (error.status, body.to_string())
            }
        };
        audit.finish(status).await;
        let (content_type, headers) = ("application/json".into(), Vec::new());
        Answer { status, content_type, request_id, headers, body: body.into() }
    }

    async fn own_road(&self, call: &Call, audit: &mut Audit) -> Result<String, Refusal> {
        let deed = Deed::of(&call.path).ok_or(Refusal::Http("path"))?;
        audit.action(deed.name());
        if call.method != "POST" {
            return Err(Refusal::Http("method"));
        }
        let authentic = self.own_caller(call, audit)?;
        let action = format!("{SERVICE}:{}", deed.name());
        let base = self.global_context(call, Service::OtherJson, &authentic);
        let decision = self.decide(&Touch::of(Resource::Any), &action, "*", &base, &authentic).await?;
        let allowed = decision.is_allowed();
        audit.ruled(Ruling { action: action.clone(), resource: "*".to_owned(), decision });
        if !allowed {
            let message = format!("{} may not {action}", authentic.caller.arn());
            return Err(ApiError::new("AccessDenied", message).status(403).into());
        }
        let account = &authentic.caller.account;
        let _turn = self.busy.take(account)?;
        let whole = Account { store: self.store.as_ref(), master_key: &self.master_key, account };
        Ok(whole.run(deed, &call.body).await?)
    }

    /// Who calls. An open development server takes a call without a signature too.
    fn own_caller(&self, call: &Call, audit: &mut Audit) -> Result<Authentic, Refusal> {
        let signed = call.signed();
        let presented = aws_auth::parse(&signed);
        let (caller, origin, key) = if self.config.dev_open {
            origin::check(call)?;
            let key = match presented {
                Ok(presented) => presented.access_key_id,
                Err(AuthFault::Missing) => String::new(),
                Err(fault) => return Err(Refusal::Auth(fault)),
            };
            let caller = Caller::root(self.config.account.clone());
            let origin = Origin::of(&key, &caller);
            (caller, origin, key)
        } else {
            let presented = presented.map_err(Refusal::Auth)?;
            let (caller, origin) = self.verify(call, &signed, &presented, audit)?;
            (caller, origin, presented.access_key_id)
        };
        let scope = Scope::global(&caller.account);
        audit.caller(&caller, &scope, &key);
        Ok(Authentic { caller, origin, scope })
    }
}

fn plain(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Error(error) => error,
        // Whatever is wrong with it: the caller is nobody.
        Refusal::Auth(fault) => ApiError::new("AccessDenied", fault.to_string()).status(403),
        Refusal::Http("path") => ApiError::new("NotFound", "There is nothing at this path").status(404),
        Refusal::Http(_) => ApiError::new("MethodNotAllowed", "Only POST is allowed").status(405),
        Refusal::Region
        | Refusal::NoAction
        | Refusal::Version(_)
        | Refusal::UnknownAction(_)
        | Refusal::NotBuilt(_)
        | Refusal::Denied
        | Refusal::Throttled
        | Refusal::NotForwarded(_)
        | Refusal::Unavailable(_)
        | Refusal::DryRun => ApiError::internal(),
    }
}
