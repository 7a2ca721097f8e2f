//! What was asked a moment ago: one call reads the same thing several times, and an upstream that hangs is waited for once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{RegionName, Scope};
use tokio::time::Instant;

use super::Neighbour;
use super::ask::Fault;

/// How long an answer, or that there was none, is good for callers.
const FRESH: Duration = Duration::from_secs(2);
/// How long something asked for and used by no endpoint yet keeps its copy.
const IN_USE: Duration = Duration::from_secs(60);
/// Most things remembered; with more the oldest are forgotten.
const MAX_REMEMBERED: usize = 4_096;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there, and the store has it.
    Known,
    /// The upstream said for certain that it is not there.
    Gone,
    /// The upstream did not say; why.
    Unsaid(Fault),
}

type Place = (RegionName, Neighbour);

/// Outcomes by what was asked for.
#[derive(Default)]
pub(super) struct Remembered(Mutex<State>);

#[derive(Default)]
struct State {
    asked: BTreeMap<Place, (Instant, Outcome)>,
    /// When the upstream last gave no answer at all, and why.
    away: Option<(Instant, String)>,
}

impl Remembered {
    /// A fresh outcome. While the upstream is away everything has the same.
    pub(super) fn outcome(&self, scope: &Scope, of: &Neighbour) -> Option<Outcome> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Instant| at.elapsed() < FRESH;
        let own = state.asked.get(&(scope.region.clone(), of.clone())).filter(|(at, _)| fresh(at));
        own.map(|(_, outcome)| outcome.clone()).or_else(|| {
            let (_, why) = state.away.as_ref().filter(|(at, _)| fresh(at))?;
            Some(Outcome::Unsaid(Fault::Away(why.clone())))
        })
    }

    /// Keeps an outcome.
    pub(super) fn keep(&self, scope: &Scope, of: &Neighbour, outcome: &Outcome) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.away = match outcome {
            Outcome::Unsaid(Fault::Away(why)) => Some((now, why.clone())),
            Outcome::Unsaid(Fault::Unclear(_) | Fault::Refused { .. }) | Outcome::Known | Outcome::Gone => {
                None
            }
        };
        state.asked.insert((scope.region.clone(), of.clone()), (now, outcome.clone()));
        if state.asked.len() > MAX_REMEMBERED {
            state.asked.retain(|_, (at, _)| at.elapsed() < IN_USE);
        }
        if state.asked.len() > MAX_REMEMBERED {
            let oldest = state.asked.iter().min_by_key(|(_, (at, _))| *at).map(|(place, _)| place.clone());
            oldest.map(|place| state.asked.remove(&place));
        }
    }

    /// Whether somebody has asked for it lately and it was not gone: an endpoint may be about to refer to it.
    pub(super) fn in_use(&self, scope: &Scope, of: &Neighbour) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (scope.region.clone(), of.clone());
        state
            .asked
            .get(&place)
            .is_some_and(|(at, outcome)| at.elapsed() < IN_USE && *outcome != Outcome::Gone)
    }

    /// Whatever was answered is asked again; what is in use stays so.
    pub(super) fn forget(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.away = None;
        for (at, _) in state.asked.values_mut() {
            *at = at.checked_sub(FRESH).unwrap_or(*at);
        }
    }
}
