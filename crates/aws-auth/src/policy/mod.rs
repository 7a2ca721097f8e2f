//! IAM identity and trust policies: reading them strictly, and deciding requests by them.
//!
//! Whatever is not understood is refused when the policy is read, so that nothing in force is passed over. An
//! explicit deny beats any allow; without an allow the answer is no.

mod condition;
mod document;
mod elsewhere;
mod evaluate;
mod json;
mod pattern;
mod trust;

pub use document::{Effect, MAX_DOCUMENT_BYTES, MAX_VALUES, Policy, PolicyError};
pub use elsewhere::{Elsewhere, evaluate_elsewhere};
pub use evaluate::{Decision, Request, StatementRef, evaluate};
pub use trust::{Trust, TrustPolicy, TrustRequest};
