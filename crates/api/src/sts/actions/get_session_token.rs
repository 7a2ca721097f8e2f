//! `GetSessionToken`: temporary credentials with the caller's own rights, for everything but IAM and more sessions. MFA is
//! refused.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::sts::credentials::{Credentials, grant, issue, no_second_factor};
use crate::touch::Touch;

/// How long it is unless asked for otherwise, seconds (AWS's own).
const DEFAULT_SECONDS: i64 = 43_200;
/// Longest session of the root, seconds: longer ones are cut to it, as AWS documents.
const ROOT_MAX_SECONDS: i64 = 3_600;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct GetSessionToken {
    #[query(range = "900..=129600")]
    duration_seconds: Option<i32>,
    serial_number: Option<String>,
    token_code: Option<String>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    credentials: Credentials,
}

#[async_trait]
impl Action for GetSessionToken {
    const NAME: &'static str = "GetSessionToken";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        no_second_factor(self.serial_number.as_deref(), self.token_code.as_deref(), faults);
    }

    /// No permission is asked for, as AWS documents.
    fn touches(&self) -> Vec<Touch> {
        Vec::new()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let asked_s = self.duration_seconds.map_or(DEFAULT_SECONDS, i64::from);
        let life_s = if cx.caller.is_root() { asked_s.min(ROOT_MAX_SECONDS) } else { asked_s };
        let grant = grant(cx, life_s, None);
        Ok(Decision::read(Answer { credentials: issue(cx, &grant)? }))
    }
}
