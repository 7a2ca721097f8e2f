//! `GetCallerIdentity`: needs no permission.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct GetCallerIdentity {}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    arn: String,
    user_id: String,
    account: String,
}

#[async_trait]
impl Action for GetCallerIdentity {
    const NAME: &'static str = "GetCallerIdentity";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Vec::new()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let caller = cx.caller;
        let answer =
            Answer { arn: caller.arn(), user_id: caller.user_id(), account: caller.account.to_string() };
        Ok(Decision::read(answer))
    }
}
