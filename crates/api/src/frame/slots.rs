//! How many operations may be in flight on one endpoint (spec: aws-client-vpn §2.0.5, §6).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::Scope;

use crate::error::ApiError;

type Counts = BTreeMap<(Scope, String), usize>;

/// Operations in flight.
#[derive(Default)]
pub(crate) struct Slots {
    counts: Arc<Mutex<Counts>>,
}

/// One operation in flight; over when dropped.
pub(crate) struct Slot {
    counts: Arc<Mutex<Counts>>,
    key: (Scope, String),
}

impl Slots {
    /// A slot on the endpoint, if the action needs one and there is a limit.
    pub(crate) fn take(
        &self,
        most: Option<usize>,
        scope: &Scope,
        endpoint: Option<&str>,
    ) -> Result<Option<Slot>, ApiError> {
        let (Some(most), Some(endpoint)) = (most, endpoint) else { return Ok(None) };
        let key = (scope.clone(), endpoint.to_owned());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            let message =
                "Cannot initiate another change for this endpoint at this time. Please try again later.";
            return Err(ApiError::new("ConcurrentMutationLimitExceeded", message));
        }
        *count += 1;
        Ok(Some(Slot { counts: Arc::clone(&self.counts), key }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_has_to_wait() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let slots = Slots::default();
        let take = |endpoint| slots.take(Some(10), &scope, endpoint);
        let mut held: Vec<Slot> = (0..10).filter_map(|_| take(Some("a")).unwrap()).collect();
        assert_eq!(take(Some("a")).err().unwrap().code, "ConcurrentMutationLimitExceeded");
        assert!(take(Some("b")).is_ok());
        assert!(take(None).unwrap().is_none());
        assert!(slots.take(None, &scope, Some("a")).unwrap().is_none(), "without a limit");
        held.pop();
        assert!(take(Some("a")).is_ok());
        held.clear();
        assert!(slots.counts.lock().unwrap().is_empty());
    }
}
