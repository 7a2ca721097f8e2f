//! How a disassociation begins (spec: aws-client-vpn §1.3): the association and the routes that go with it are marked in
//! one transaction; controllers end it once no gateway carries or admits what it forbids.

use model::{Association, AssociationCode, Endpoint, Route, RouteCode, RouteTarget, Status};
use store::typed::Record;

use crate::draft::Draft;

/// The endpoint that an association leaves, with all its associations and routes.
pub(crate) struct Leaving<'r> {
    pub endpoint: &'r Record<Endpoint>,
    pub associations: &'r [Record<Association>],
    pub routes: &'r [Record<Route>],
}

impl Leaving<'_> {
    /// What is written. `why`: what the status says, where nobody asked for it.
    pub(crate) fn draft(&self, association: &Record<Association>, why: Option<&str>) -> Draft {
        let mut draft = Draft::of(&self.endpoint.value.id);
        let mut counted = self.endpoint.value.clone();
        counted.association_epoch = counted.association_epoch.saturating_add(1);
        draft.replace(self.endpoint, &counted);
        let mut leaving = association.value.clone();
        leaving.status = Status { code: AssociationCode::Disassociating, message: why.map(str::to_owned) };
        draft.replace(association, &leaving);
        let is_last = !self
            .associations
            .iter()
            .any(|other| other.value.id != leaving.id && other.value.status.code.holds_endpoint());
        for route in self.routes.iter().filter(|route| ends_with(&route.value, &leaving, is_last)) {
            let mut deleting = route.value.clone();
            deleting.status = Status::of(RouteCode::Deleting);
            draft.replace(route, &deleting);
        }
        draft
    }
}

/// Marks all of these that are not on their way out already.
pub(crate) fn all_leave(draft: &mut Draft, associations: &[Record<Association>]) {
    for record in associations {
        if !matches!(
            record.value.status.code,
            AssociationCode::Disassociating | AssociationCode::Disassociated
        ) {
            let mut leaving = record.value.clone();
            leaving.status = Status::of(AssociationCode::Disassociating);
            draft.replace(record, &leaving);
        }
    }
}

/// Whether a route goes with the association: every one to its subnet; with the last, those that need no certain one.
fn ends_with(route: &Route, leaving: &Association, is_last: bool) -> bool {
    let goes = match &route.target {
        target @ RouteTarget::Subnet(_) => leaving.spec.carries(target),
        RouteTarget::TransitGateway(_) | RouteTarget::Local => is_last,
    };
    goes && route.status.code != RouteCode::Deleting
}
