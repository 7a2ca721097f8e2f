//! `GetUser`: who calls. The provider takes the account from it.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Timestamp;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct GetUser {
    user_name: Option<String>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    user: User,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
struct User {
    path: &'static str,
    user_name: Option<String>,
    user_id: String,
    arn: String,
    create_date: String,
}

#[async_trait]
impl Action for GetUser {
    const NAME: &'static str = "GetUser";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::User(self.user_name.clone()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let caller = cx.caller;
        if self.user_name.is_none() && caller.role().is_some() {
            let message = "Must specify userName when calling with non-User credentials";
            return Err(ApiError::new("ValidationError", message));
        }
        let is_user = !caller.is_root() && caller.role().is_none();
        // Others are in a file that only says whose a key is.
        if let Some(name) = self.user_name.as_ref().filter(|name| **name != caller.name || !is_user) {
            let message = format!("The user with name {} cannot be found.", crate::error::short(name));
            return Err(ApiError::new("NoSuchEntity", message).status(404));
        }
        let user = User {
            path: "/",
            // The root has none.
            user_name: (!caller.is_root()).then(|| caller.name.clone()),
            user_id: caller.user_id(),
            arn: caller.arn(),
            create_date: crate::clock::iso(Timestamp(0)),
        };
        Ok(Decision::read(Answer { user }))
    }
}
