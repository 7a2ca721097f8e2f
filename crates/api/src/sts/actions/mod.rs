//! The actions of the Security Token Service, one file each.

mod get_caller_identity;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[action::<get_caller_identity::GetCallerIdentity>()];
