//! The actions of the Security Token Service, one file each.

pub(crate) mod assume_role;
mod get_caller_identity;
mod get_session_token;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<assume_role::AssumeRole>(),
    action::<get_caller_identity::GetCallerIdentity>(),
    action::<get_session_token::GetSessionToken>(),
];
