//! One endpoint's associations, routes and rules, moved on by what the gateways have in force.

use model::{
    Applying, Association, AssociationCode, AssociationSpec, AttachmentCode, EndpointCode, GatewayStatus,
    Key, PolicyCode, RevocationCode, RouteCode, RouteTarget, RuleCode, Status,
};

use crate::{Changes, EndpointWorld, Versioned, Write};

/// Most children removed in one transaction.
const CHILDREN_MAX_KEYS: usize = 512;

/// What all gateways together have in force.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// The oldest of their applied revisions: everything up to it is in force everywhere, but for what is said to fail.
    pub applied_revision: u64,
}

impl Observed {
    /// Sums up what gateways report; with none of them, nothing is in force.
    pub fn of<'a>(gateways: impl IntoIterator<Item = &'a GatewayStatus>) -> Self {
        let applied = gateways.into_iter().map(|gateway| gateway.applied_revision).min();
        Self { applied_revision: applied.unwrap_or_default() }
    }
}

/// What is to be written for an endpoint, given what is in force. Empty when nothing is to be done.
///
/// I-2: a final status is decided only on a revision that every gateway has in force.
pub fn decide(world: &EndpointWorld, observed: &Observed) -> Changes {
    if !world.unreadable.is_empty() {
        // A newer version's record, or a broken one: what it says might forbid any of this.
        return Changes::default();
    }
    let Some((endpoint_key, endpoint)) = &world.endpoint else {
        return orphans(world);
    };
    if endpoint.value.status.code == EndpointCode::Deleting {
        return delete(world, endpoint_key, endpoint, observed);
    }
    let mut decision = Decision {
        world,
        observed,
        changes: Changes::default(),
        ended: Vec::new(),
        failed: Vec::new(),
        up: Vec::new(),
    };
    let moved = decision.associations();
    let applied = decision.applied(endpoint);
    let attachment = decision.attachment(endpoint);
    if moved || applied || attachment.is_some() {
        decision.endpoint(endpoint_key, endpoint, moved, applied, attachment);
    }
    decision.routes();
    decision.rules();
    decision.revocations();
    decision.policies();
    decision.changes
}

struct Decision<'a> {
    world: &'a EndpointWorld,
    observed: &'a Observed,
    changes: Changes,
    /// Keys of associations that end now.
    ended: Vec<&'a str>,
    /// Keys of associations that fail now.
    failed: Vec<&'a str>,
    /// Target networks that are up, now or already.
    up: Vec<&'a AssociationSpec>,
}

impl<'a> Decision<'a> {
    fn in_force<T>(&self, record: &Versioned<T>) -> bool {
        record.modified <= self.observed.applied_revision
    }

    /// Moves associations on; says whether the endpoint must be rewritten with them.
    fn associations(&mut self) -> bool {
        let mut moved = false;
        for (key, record) in &self.world.associations {
            let association = &record.value;
            let failure = self.world.failure(&association.id);
            if association.status.code == AssociationCode::Associated {
                self.up.push(&association.spec);
            }
            if !self.in_force(record) {
                continue;
            }
            match (association.status.code, failure) {
                (AssociationCode::Associating, None) => {
                    self.up.push(&association.spec);
                    self.write(key, record, Status::of(AssociationCode::Associated));
                    moved = true;
                }
                (AssociationCode::Associating, Some(failure)) if failure.permanent => {
                    self.write(
                        key,
                        record,
                        Status::with(AssociationCode::AssociationFailed, &failure.reason),
                    );
                    self.failed.push(key);
                    moved = true;
                }
                (
                    AssociationCode::Associating
                    | AssociationCode::Associated
                    | AssociationCode::Disassociating,
                    Some(failure),
                ) => {
                    // What stood before a restart may fail after it: it stays what it is, says so, and heals.
                    if association.status.message.as_ref() != Some(&failure.reason) {
                        let status = Status::with(association.status.code, &failure.reason);
                        self.write(key, record, status);
                    }
                }
                (AssociationCode::Associated, None) if association.status.message.is_some() => {
                    self.write(key, record, Status::of(AssociationCode::Associated));
                }
                (AssociationCode::Disassociating, None) => {
                    self.end(key, record);
                    moved = true;
                }
                (
                    AssociationCode::Associated
                    | AssociationCode::AssociationFailed
                    | AssociationCode::Disassociated,
                    _,
                ) => {}
            }
        }
        moved
    }

    fn write(&mut self, key: &str, record: &Versioned<Association>, status: Status<AssociationCode>) {
        let association = Association { status, ..record.value.clone() };
        self.changes.expect.push((key.to_owned(), record.modified));
        self.changes.put.push((key.to_owned(), Write::Association(association)));
    }

    /// The association, its claims, and every route of its subnet go in one transaction
    /// (spec: aws-client-vpn §1.3). Routes to the transit gateway go with the last of its associations.
    fn end(&mut self, key: &'a str, record: &Versioned<Association>) {
        let Association { scope, endpoint, spec, .. } = &record.value;
        self.ended.push(key);
        self.changes.expect.push((key.to_owned(), record.modified));
        self.changes.delete.push(key.to_owned());
        if let Some(subnet) = spec.subnet_id() {
            self.changes.delete.push(Key::subnet_claim(scope, endpoint, subnet).into());
        }
        self.changes.delete.push(Key::zone_claim(scope, endpoint, &spec.zone).into());
        for (route_key, route) in &self.world.routes {
            if spec.subnet_id().is_some() && spec.carries(&route.value.target) {
                self.changes.delete.push(route_key.clone());
            }
        }
    }

    /// Whether some association still keeps the endpoint open once the ended ones are gone.
    fn held(&self) -> bool {
        self.world
            .associations
            .iter()
            .filter(|(key, _)| !self.ended.contains(&key.as_str()) && !self.failed.contains(&key.as_str()))
            .any(|(_, record)| record.value.status.code != AssociationCode::AssociationFailed)
    }

    /// Whether a change of the endpoint has come into force, and everything it serves with it.
    fn applied(&self, record: &Versioned<model::Endpoint>) -> bool {
        let failing = |association: &Versioned<Association>| {
            association.value.status.code.holds_endpoint()
                && self.world.failure(&association.value.id).is_some()
        };
        record.value.applying != Applying::Nothing
            && self.in_force(record)
            && !self.world.associations.values().any(failing)
    }

    /// What the attachment to a transit gateway becomes (spec: aws-client-vpn §1.10); `None`: it stays.
    fn attachment(&self, record: &Versioned<model::Endpoint>) -> Option<AttachmentCode> {
        let attachment = record.value.attachment.as_ref()?;
        match attachment.status {
            AttachmentCode::Pending if self.in_force(record) => Some(AttachmentCode::Available),
            AttachmentCode::Deleting
                if self.in_force(record) && self.ended.len() == self.world.associations.len() =>
            {
                Some(AttachmentCode::Deleted)
            }
            AttachmentCode::PendingAcceptance
            | AttachmentCode::Pending
            | AttachmentCode::Rejected
            | AttachmentCode::Available
            | AttachmentCode::Deleting
            | AttachmentCode::Deleted => None,
        }
    }

    fn endpoint(
        &mut self,
        key: &str,
        record: &Versioned<model::Endpoint>,
        moved: bool,
        applied: bool,
        becomes: Option<AttachmentCode>,
    ) {
        let mut endpoint = record.value.clone();
        if moved {
            self.settle(&mut endpoint);
        }
        if let (Some(attachment), Some(code)) = (&mut endpoint.attachment, becomes) {
            attachment.status = code;
            if code == AttachmentCode::Deleted {
                let entry = Key::attachment_entry(&attachment.gateway_scope, &attachment.id);
                self.changes.delete.push(entry.into());
                endpoint.status = Status::of(EndpointCode::Pending);
            }
        }
        if applied {
            endpoint.applying = Applying::Nothing;
        }
        self.changes.expect.push((key.to_owned(), record.modified));
        self.changes.put.push((key.to_owned(), Write::Endpoint(Box::new(endpoint))));
    }

    /// `pending-associate` ↔ `available` (spec: aws-client-vpn §1.2; D-4).
    fn settle(&mut self, endpoint: &mut model::Endpoint) {
        endpoint.association_epoch += 1;
        let code = endpoint.status.code;
        if code == EndpointCode::PendingAssociate && !self.up.is_empty() {
            endpoint.status = Status::of(EndpointCode::Available);
        } else if code == EndpointCode::Available && !self.held() {
            endpoint.status = Status::of(EndpointCode::PendingAssociate);
            for (route_key, route) in &self.world.routes {
                if matches!(route.value.target, RouteTarget::Local | RouteTarget::TransitGateway(_)) {
                    self.changes.delete.push(route_key.clone());
                }
            }
        }
    }

    fn routes(&mut self) {
        let leaving: Vec<&AssociationSpec> = self
            .world
            .associations
            .values()
            .filter(|record| record.value.status.code == AssociationCode::Disassociating)
            .map(|record| &record.value.spec)
            .collect();
        for (key, record) in &self.world.routes {
            if self.changes.delete.contains(key) || !self.in_force(record) {
                continue;
            }
            let target = &record.value.target;
            let carried = |specs: &[&AssociationSpec]| specs.iter().any(|spec| spec.carries(target));
            let (up, goes_with_association) = match target {
                RouteTarget::Subnet(_) => (carried(&self.up), carried(&leaving)),
                RouteTarget::TransitGateway(_) => (carried(&self.up), false),
                RouteTarget::Local => (!self.up.is_empty(), false),
            };
            match record.value.status.code {
                RouteCode::Creating if up => {
                    let route =
                        model::Route { status: Status::of(RouteCode::Active), ..record.value.clone() };
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.put.push((key.clone(), Write::Route(route)));
                }
                RouteCode::Creating if self.never_up(&record.value.target) => {
                    let why = "its target network association failed";
                    let route =
                        model::Route { status: Status::with(RouteCode::Failed, why), ..record.value.clone() };
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.put.push((key.clone(), Write::Route(route)));
                }
                RouteCode::Deleting if !goes_with_association => {
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.delete.push(key.clone());
                }
                RouteCode::Creating | RouteCode::Deleting | RouteCode::Active | RouteCode::Failed => {}
            }
        }
    }

    /// Whether a route's association has failed, now or before.
    fn never_up(&self, target: &RouteTarget) -> bool {
        self.world.associations.iter().any(|(key, record)| {
            record.value.spec.subnet_id().is_some()
                && record.value.spec.carries(target)
                && (record.value.status.code == AssociationCode::AssociationFailed
                    || self.failed.contains(&key.as_str()))
        })
    }

    fn rules(&mut self) {
        for (key, record) in &self.world.rules {
            if !self.in_force(record) {
                continue;
            }
            match record.value.status.code {
                RuleCode::Authorizing => {
                    let rule = model::AuthorizationRule {
                        status: Status::of(RuleCode::Active),
                        ..record.value.clone()
                    };
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.put.push((key.clone(), Write::Rule(rule)));
                }
                RuleCode::Revoking => {
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.delete.push(key.clone());
                }
                RuleCode::Active | RuleCode::Failed => {}
            }
        }
    }
}

impl Decision<'_> {
    /// `pending` → `active` (spec: aws-client-vpn §1.8).
    fn revocations(&mut self) {
        for (key, record) in &self.world.revocations {
            if record.value.status.code == RevocationCode::Pending && self.in_force(record) {
                let status = Status::of(RevocationCode::Active);
                let list = model::RevocationList { status, ..record.value.clone() };
                self.changes.expect.push((key.clone(), record.modified));
                self.changes.put.push((key.clone(), Write::RevocationList(Box::new(list))));
            }
        }
    }

    /// `creating` and `updating` → `active`, `deleting` → gone (spec: aws-client-vpn, Appendix B).
    fn policies(&mut self) {
        for (key, record) in &self.world.policies {
            if !self.in_force(record) {
                continue;
            }
            match record.value.status.code {
                PolicyCode::Creating | PolicyCode::Updating => {
                    let status = Status::of(PolicyCode::Active);
                    let policy = model::AuthorizationPolicy { status, ..record.value.clone() };
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.put.push((key.clone(), Write::AuthorizationPolicy(Box::new(policy))));
                }
                PolicyCode::Deleting => {
                    self.changes.expect.push((key.clone(), record.modified));
                    self.changes.delete.push(key.clone());
                }
                PolicyCode::Active | PolicyCode::Failed => {}
            }
        }
    }
}

/// Once no gateway serves it, an endpoint goes with all that belongs to it.
fn delete(
    world: &EndpointWorld,
    key: &str,
    endpoint: &Versioned<model::Endpoint>,
    observed: &Observed,
) -> Changes {
    if endpoint.modified > observed.applied_revision || !world.associations.is_empty() {
        return Changes::default();
    }
    let mut changes = orphans(world);
    if changes.delete.len() == CHILDREN_MAX_KEYS {
        // More than one transaction's worth: the endpoint goes with the last of them.
        return changes;
    }
    for at in endpoint.value.spec.listen.places() {
        changes.delete.push(Key::listener(at.ip(), endpoint.value.spec.transport, at.port()).into());
    }
    if let Some(block) = &endpoint.value.spec.client_ipv6_cidr {
        changes.delete.push(Key::client_block(block).into());
    }
    if let Some(attachment) = &endpoint.value.attachment {
        changes.delete.push(Key::attachment_entry(&attachment.gateway_scope, &attachment.id).into());
    }
    changes.expect.push((key.to_owned(), endpoint.modified));
    changes.delete.push(key.to_owned());
    changes
}

/// Removes children: of an endpoint that goes, or that are left of one that is gone.
fn orphans(world: &EndpointWorld) -> Changes {
    let mut changes = Changes::default();
    let keys = world
        .routes
        .keys()
        .chain(world.rules.keys())
        .chain(world.connections.keys())
        .chain(world.terminations.keys())
        .chain(world.revocations.keys())
        .chain(world.policies.keys())
        .chain(world.failures.keys());
    changes.delete.extend(keys.take(CHILDREN_MAX_KEYS).cloned());
    changes
}

#[cfg(test)]
mod tests;
