//! Parameters that are accepted, stored and answered while their effect is not built yet. Nothing is ignored in
//! silence: the log says so when one is set, and the documentation lists this table.

use model::{Authentication, EndpointId, EndpointSpec};

/// A parameter whose effect is not built yet.
pub struct NotYetInForce {
    /// Its wire name.
    pub parameter: &'static str,
    /// What happens meanwhile.
    pub why: &'static str,
    is_set: fn(&EndpointSpec) -> bool,
}

/// All of them.
pub const NOT_YET_IN_FORCE: &[NotYetInForce] = &[
    NotYetInForce {
        parameter: "Authentication.N.ActiveDirectory",
        why: "directory authentication is not built yet: the endpoint admits nobody",
        is_set: |spec| spec.authentication.iter().any(|way| matches!(way, Authentication::Directory { .. })),
    },
    NotYetInForce {
        parameter: "Authentication.N.FederatedAuthentication",
        why: "SAML authentication is not built yet: the endpoint admits nobody",
        is_set: |spec| spec.authentication.iter().any(|way| matches!(way, Authentication::Federated { .. })),
    },
    NotYetInForce {
        parameter: "DevicePostureOptions",
        why: "kept and answered only: no stock OpenVPN client brings a device posture token and none is taken, so a \
              policy's statement that asks for a device signal never matches, and logs have no `device-token-status`",
        is_set: |spec| !spec.device_posture.is_empty(),
    },
    NotYetInForce {
        parameter: "SelfServicePortal",
        why: "the self-service portal is not served yet",
        is_set: |spec| spec.self_service_portal,
    },
    NotYetInForce {
        parameter: "ClientRouteEnforcementOptions",
        why: "told to clients that say they look after it (docs/clients.md); how AWS tells its own clients is not known",
        is_set: |spec| spec.route_enforcement,
    },
];

/// Says which parameters of an endpoint have no effect yet.
pub(crate) fn log(endpoint: &EndpointId, spec: &EndpointSpec) {
    for row in NOT_YET_IN_FORCE.iter().filter(|row| (row.is_set)(spec)) {
        tracing::info!(endpoint = %endpoint, parameter = row.parameter, "not yet in force: {}", row.why);
    }
}
