//! Says in the log that clients are turned away for want of room. They try again each second, so it is not said each time.

use std::collections::BTreeMap;
use std::time::Duration;

use controllers::World;
use gateway::Attempt;
use model::{EndpointId, Scope};
use tokio::time::Instant;

/// Between two lines of one endpoint.
const QUIET: Duration = Duration::from_secs(60);

/// What was said of each endpoint: when, and how many were turned away since.
#[derive(Debug, Default)]
pub(crate) struct Shortages {
    said: BTreeMap<(Scope, EndpointId), (Instant, u64)>,
}

impl Shortages {
    /// Takes note of somebody who is not let in; how many to speak of, if it is time to.
    fn note(&mut self, attempt: &Attempt, now: Instant) -> Option<u64> {
        let endpoint = (attempt.scope.clone(), attempt.endpoint.clone());
        let mut first = false;
        let (at, count) = self.said.entry(endpoint).or_insert_with(|| {
            first = true;
            (now, 0)
        });
        *count += 1;
        if !first && now.duration_since(*at) < QUIET {
            return None;
        }
        *at = now;
        Some(std::mem::take(count))
    }

    /// The same, said.
    pub(crate) fn tell(&mut self, attempt: &Attempt) {
        let what = match attempt.reason {
            Attempt::POOL_EXHAUSTED => {
                "every address of the client CIDR is given, or rests for a minute after its last holder: end \
                 connections, or make an endpoint with a larger client CIDR"
            }
            Attempt::QUOTA_EXCEEDED => "this gateway carries as many connections as it can",
            _ => return,
        };
        if let Some(refused) = self.note(attempt, Instant::now()) {
            let (endpoint, reason) = (&attempt.endpoint, attempt.reason);
            tracing::warn!(%endpoint, reason, refused, "clients are turned away: {what}");
        }
    }

    /// Forgets endpoints that are gone.
    pub(crate) fn retain(&mut self, world: &World) {
        self.said.retain(|owner, _| world.endpoints.contains_key(owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute_and_counted_meanwhile() {
        let attempt = |n: u128| Attempt {
            id: model::ConnectionId::from_entropy(1),
            endpoint: EndpointId::from_entropy(n),
            scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
            common_name: "alice".to_owned(),
            username: None,
            platform: None,
            peer: "192.0.2.7:1".parse().unwrap(),
            at: gateway::UnixTime(0),
            reason: Attempt::POOL_EXHAUSTED,
            posture: Vec::new(),
            evaluation: None,
        };
        let mut shortages = Shortages::default();
        let now = Instant::now();
        assert_eq!(shortages.note(&attempt(1), now), Some(1));
        assert_eq!(shortages.note(&attempt(1), now + QUIET / 2), None);
        assert_eq!(shortages.note(&attempt(2), now + QUIET / 2), Some(1), "each endpoint for itself");
        assert_eq!(shortages.note(&attempt(1), now + QUIET), Some(2));
        shortages.retain(&World::default());
        assert!(shortages.said.is_empty());
    }
}
