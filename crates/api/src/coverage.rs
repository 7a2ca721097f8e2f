//! `GET /coverage`: the services and actions that are there, for programs. It says what the documentation says, so anybody
//! may ask.

use serde_json::{Value, json};

use crate::service::Service;

/// Every service with its actions, by name.
pub fn coverage_json() -> Value {
    let services: Vec<Value> = Service::OURS
        .iter()
        .map(|service| {
            let mut actions: Vec<&str> = service.actions().iter().map(|action| action.name).collect();
            actions.sort_unstable();
            json!({ "service": service.name(), "version": service.version(), "actions": actions })
        })
        .collect();
    json!({ "services": services })
}
