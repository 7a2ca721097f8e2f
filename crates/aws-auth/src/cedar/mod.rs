//! Cedar authorization policies of Client VPN endpoints: reading a document, and deciding a connection by it.
//!
//! A document is a set of `permit` and `forbid` statements over `context`. One permit that matches and no forbid lets a
//! connection in; a forbid wins; a statement that asks for an attribute that is not there is passed over
//! (spec: aws-client-vpn, Appendix B). Cedar itself is AWS's own library.

mod depth;
mod policy_set;
mod value;

pub use policy_set::{Decision, MAX_DOCUMENT_BYTES, Malformed, PolicySet, Verdict};
pub use value::{Record, Value};
