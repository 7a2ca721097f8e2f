//! Who asks, and may they: Signature Version 4 (verify, sign, presign), IAM policy evaluation, and the Cedar policies
//! that decide who connects.
//!
//! No IO and no clock: `now` is an argument, keys are looked up by the caller. The road of a request:
//! [`parse`], look up the secret of [`Presented::access_key_id`], [`verify`], [`policy::evaluate`].
//! An unknown key should cost the same as a wrong signature: verify against [`Secret::decoy`], then answer
//! [`AuthFault::UnknownKey`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod cedar;
pub mod policy;
mod sigv4;

pub use sigv4::{
    AuthFault, Credentials, MAX_AUTHORIZATION_BYTES, MAX_PRESIGNED_S, MAX_QUERY_PARAMETERS,
    MAX_SIGNED_HEADERS, MAX_SKEW_S, Presented, Scope, Secret, SignedRequest, parse, presign, sign, verify,
};
