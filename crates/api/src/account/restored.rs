//! Records of a snapshot as they are written: what was in force is on its way there again, since nothing is said to be in
//! force before a gateway has it (I-2).

use model::{
    Association, AssociationCode, AuthorizationPolicy, AuthorizationRule, Endpoint, EndpointCode, Key, Kind,
    PolicyCode, RevocationCode, RevocationList, Route, RouteCode, RuleCode, Status,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::typed;

use crate::error::ApiError;

/// The value to write for a record of a snapshot.
///
/// # Errors
/// A record that this version cannot read.
pub(super) fn on_its_way(key: &str, value: &[u8]) -> Result<Vec<u8>, ApiError> {
    match Key::kind_of(key) {
        Some(Kind::Endpoint) => with(value, |endpoint: &mut Endpoint| {
            if endpoint.status.code == EndpointCode::Available {
                endpoint.status = Status::of(EndpointCode::PendingAssociate);
            }
        }),
        Some(Kind::Association) => with(value, |association: &mut Association| {
            if association.status.code == AssociationCode::Associated {
                association.status = Status::of(AssociationCode::Associating);
            }
        }),
        Some(Kind::Route) => with(value, |route: &mut Route| {
            if route.status.code == RouteCode::Active {
                route.status = Status::of(RouteCode::Creating);
            }
        }),
        Some(Kind::Rule) => with(value, |rule: &mut AuthorizationRule| {
            if rule.status.code == RuleCode::Active {
                rule.status = Status::of(RuleCode::Authorizing);
            }
        }),
        Some(Kind::RevocationList) => with(value, |list: &mut RevocationList| {
            list.status = Status::of(RevocationCode::Pending);
        }),
        Some(Kind::AuthorizationPolicy) => with(value, |policy: &mut AuthorizationPolicy| {
            if policy.status.code == PolicyCode::Active {
                policy.status = Status::of(PolicyCode::Creating);
            }
        }),
        _ => Ok(value.to_vec()),
    }
}

fn with<T: DeserializeOwned + Serialize>(
    value: &[u8],
    change: impl FnOnce(&mut T),
) -> Result<Vec<u8>, ApiError> {
    let mut record = typed::decode::<T>(value)?;
    change(&mut record);
    Ok(typed::encode(&record))
}
