//! Connect handlers (spec: aws-client-vpn §4.5): the functions that endpoints name, mapped by configuration to an HTTP
//! address, to a Lambda-compatible server or to a program. What a client says never steers where a question goes.

mod command;
mod form;
mod http;
mod message;
mod settings;
mod spawner;

use std::sync::Arc;
use std::time::Duration;

use engine::DataPlane;
use gateway::{HANDLER_TIME, HandlerAnswer, HandlerFailure, HandlerVerdict, Question};
use tokio::sync::Semaphore;

use crate::outbound::Outbound;
pub(crate) use command::Commands;
use settings::Place;
pub(crate) use settings::{Handler, Settings};
pub(crate) use spawner::{SPAWNER_ARGUMENT, Spawner, run_spawner};

/// Longest answer of a handler, in bytes: ten statuses and a message, several times.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Most questions under way at once; one that finds no room for this long is not asked.
const MOST_AT_ONCE: usize = 256;
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// All handlers, and the ways to ask them.
pub(crate) struct Handlers {
    /// In the order of the configuration.
    pub all: Vec<Handler>,
    /// To those with an address.
    pub outbound: Outbound,
    /// To those that are programs, if any is.
    pub commands: Option<Commands>,
}

/// Asks what the data plane wants to know, until it has stopped.
pub(crate) async fn run(plane: Arc<dyn DataPlane>, handlers: Handlers) {
    let handlers = Arc::new(handlers);
    let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
    while let Some(question) = plane.next_question().await {
        let (plane, handlers, room) = (Arc::clone(&plane), Arc::clone(&handlers), Arc::clone(&room));
        tokio::spawn(async move {
            let said = match tokio::time::timeout(ROOM_WITHIN, room.acquire()).await {
                Ok(Ok(_place)) => handlers.ask(&question).await,
                Ok(Err(_)) | Err(_) => Err(HandlerFailure::Throttled),
            };
            tell(&question, &said);
            plane.answer(HandlerAnswer { connection: question.connection, said });
        });
    }
}

impl Handlers {
    async fn ask(&self, question: &Question) -> Result<HandlerVerdict, HandlerFailure> {
        let Some(handler) = self.all.iter().find(|handler| handler.is_named_by(&question.function)) else {
            tracing::warn!(
                endpoint = %question.endpoint,
                function = &*question.function,
                "no [[connect-handler]] of the configuration has this function: nobody is let in"
            );
            return Err(HandlerFailure::ServiceError);
        };
        let request = form::request(question);
        let asked = async {
            match &handler.place {
                Place::Command(command) => match &self.commands {
                    Some(commands) => commands.ask(command, request).await,
                    None => Err(HandlerFailure::ServiceError),
                },
                Place::Url(url) => http::ask(&self.outbound, &http::Way::Plain(url), request).await,
                Place::Lambda(base) => {
                    let way = http::Way::Lambda(base, &question.function);
                    http::ask(&self.outbound, &way, request).await
                }
            }
        };
        match tokio::time::timeout(HANDLER_TIME, asked).await {
            Ok(said) => form::verdict(&said?),
            Err(_) => Err(HandlerFailure::TimedOut),
        }
    }
}

fn tell(question: &Question, said: &Result<HandlerVerdict, HandlerFailure>) {
    let (endpoint, connection, common_name) =
        (&question.endpoint, &question.connection, &question.common_name);
    match said {
        Ok(HandlerVerdict { allow, .. }) => {
            tracing::debug!(%endpoint, %connection, common_name, allow, "connect handler");
        }
        Err(failure) => {
            let reason = failure.as_str();
            tracing::warn!(%endpoint, %connection, common_name, reason, "connect handler");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A handler that takes the question and says nothing.
    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_given_up_after_thirty_seconds() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            format!("function = \"AWSClientVPN-hang\"\nurl = \"http://{}/\"", listener.local_addr().unwrap());
        let handlers = Settings::handlers(vec![toml::from_str(&url).unwrap()]).unwrap();
        let question = Question {
            connection: "cvpn-connection-0123456789abcdef0".parse().unwrap(),
            endpoint: "cvpn-endpoint-0123456789abcdef0".parse().unwrap(),
            function: "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-hang".into(),
            common_name: "alice".into(),
            username: None,
            platform: None,
            platform_version: None,
            open_vpn_version: None,
            public_ip: "192.0.2.7".parse().unwrap(),
        };
        let (began, virtually) = (Instant::now(), tokio::time::Instant::now());
        let outbound = Outbound::to(handlers.iter().filter_map(Handler::uri)).unwrap();
        let said = Handlers { all: handlers, outbound, commands: None }.ask(&question).await;
        assert_eq!(said, Err(HandlerFailure::TimedOut));
        assert_eq!(virtually.elapsed(), HANDLER_TIME);
        assert!(began.elapsed() < HANDLER_TIME);
    }
}
