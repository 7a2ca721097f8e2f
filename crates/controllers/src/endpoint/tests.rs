//! Rows: records and what is in force → what is written.

use std::net::IpAddr;

use model::*;

use super::*;
use crate::{Row, World};

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

fn endpoint(code: EndpointCode) -> Endpoint {
    Endpoint {
        id: EndpointId::from_entropy(1),
        scope: scope(),
        spec: EndpointSpec {
            description: None,
            client_cidr: Some("10.8.0.0/22".parse().unwrap()),
            client_ipv6_cidr: None,
            server_certificate_arn: "arn".into(),
            authentication: vec![],
            connection_log: ConnectionLog::default(),
            dns_servers: vec![],
            transport: Transport::Udp,
            vpn_port: 443,
            split_tunnel: false,
            vpc_id: None,
            security_group_ids: vec![],
            self_service_portal: true,
            client_connect: ClientConnect::default(),
            session_timeout_hours: 24,
            banner: Banner::default(),
            route_enforcement: false,
            disconnect_on_session_timeout: true,
            endpoint_ip_type: IpType::Ipv4,
            traffic_ip_type: IpType::Ipv4,
            device_posture: vec![],
            tags: Default::default(),
            listen: Listen { address: Some(IpAddr::from([192, 0, 2, 1])), port: 443, second: None },
        },
        status: Status::of(code),
        created_at: Timestamp(0),
        association_epoch: 0,
        applying: Applying::Nothing,
        attachment: None,
    }
}

fn association(n: u128, code: AssociationCode) -> Association {
    Association {
        id: AssociationId::from_entropy(n),
        endpoint: EndpointId::from_entropy(1),
        scope: scope(),
        spec: AssociationSpec {
            network: TargetNetwork::Subnet {
                subnet_id: SubnetId::from_entropy(n),
                vpc_id: VpcId::from_entropy(1),
            },
            zone: format!("us-east-1{}", char::from(b'a' + n as u8)).parse().unwrap(),
        },
        status: Status::of(code),
        created_at: Timestamp(0),
    }
}

fn route(n: Option<u128>, cidr: &str, code: RouteCode) -> Route {
    Route {
        endpoint: EndpointId::from_entropy(1),
        scope: scope(),
        destination: cidr.parse().unwrap(),
        target: n.map_or(RouteTarget::Local, |n| RouteTarget::Subnet(SubnetId::from_entropy(n))),
        origin: RouteOrigin::Associate,
        description: None,
        status: Status::of(code),
        created_at: Timestamp(0),
    }
}

#[derive(Default)]
struct Scene {
    world: World,
}

impl Scene {
    fn endpoint(mut self, code: EndpointCode) -> Self {
        let e = endpoint(code);
        self.world.put(Key::endpoint(&e.scope, &e.id).as_str(), Row::Endpoint(Box::new(e)), 10);
        self
    }
    fn applying(mut self, what: Applying) -> Self {
        let e = Endpoint { applying: what, ..endpoint(Available) };
        self.world.put(Key::endpoint(&e.scope, &e.id).as_str(), Row::Endpoint(Box::new(e)), 10);
        self
    }
    fn association(mut self, n: u128, code: AssociationCode) -> Self {
        let a = association(n, code);
        self.world.put(Key::association(&a.scope, &a.endpoint, &a.id).as_str(), Row::Association(a), 10);
        self
    }
    fn route(mut self, n: Option<u128>, cidr: &str, code: RouteCode) -> Self {
        let r = route(n, cidr, code);
        let key = Key::route(&r.scope, &r.endpoint, &r.destination, &r.target);
        self.world.put(key.as_str(), Row::Route(r), 10);
        self
    }
    fn at(&self, applied_revision: u64, failure: Option<(u128, bool)>) -> Changes {
        let mut world = self.world.endpoints.values().next().unwrap().clone();
        if let Some((n, permanent)) = failure {
            let (failure, association) =
                (Failure { reason: "why".into(), permanent }, AssociationId::from_entropy(n));
            let value = GatewayFailure { node: "node".into(), association, failure };
            world.failures.insert("failure".into(), Versioned { value, modified: 10 });
        }
        decide(&world, &Observed { applied_revision })
    }
}

fn endpoint_code(changes: &Changes) -> Option<EndpointCode> {
    changes.put.iter().find_map(|(_, write)| match write {
        Write::Endpoint(e) => Some(e.status.code),
        _ => None,
    })
}

fn association_status(changes: &Changes) -> Option<(AssociationCode, Option<String>)> {
    changes.put.iter().find_map(|(_, write)| match write {
        Write::Association(a) => Some((a.status.code, a.status.message.clone())),
        _ => None,
    })
}

use AssociationCode::{Associated, Associating, AssociationFailed, Disassociating};
use EndpointCode::{Available, Deleting, PendingAssociate};

#[test]
fn nothing_final_before_it_is_in_force() {
    let scene = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .association(2, Associating)
        .route(Some(1), "10.0.0.0/16", RouteCode::Deleting);
    assert!(scene.at(9, None).is_empty());
}

#[test]
fn the_first_association_makes_the_endpoint_available() {
    let scene = Scene::default().endpoint(PendingAssociate).association(1, Associating).route(
        Some(1),
        "10.0.0.0/16",
        RouteCode::Creating,
    );
    let changes = scene.at(10, None);
    assert_eq!(endpoint_code(&changes), Some(Available));
    assert_eq!(association_status(&changes), Some((Associated, None)));
    assert!(
        changes.put.iter().any(|(_, w)| matches!(w, Write::Route(r) if r.status.code == RouteCode::Active))
    );
}

#[test]
fn the_last_disassociation_takes_routes_and_endpoint_along() {
    let scene = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .association(3, AssociationFailed)
        .route(Some(1), "10.0.0.0/16", RouteCode::Deleting)
        .route(Some(1), "10.9.0.0/16", RouteCode::Active)
        .route(None, "10.8.0.0/22", RouteCode::Active);
    let changes = scene.at(10, None);
    assert_eq!(endpoint_code(&changes), Some(PendingAssociate));
    // The association, two claims, two routes of the subnet and the local one.
    assert_eq!(changes.delete.len(), 6, "{:?}", changes.delete);
    assert!(changes.expect.iter().any(|(key, _)| key.contains("/endpoint/")), "decided on the endpoint");
}

#[test]
fn a_non_last_disassociation_leaves_the_rest() {
    let scene = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .association(2, Associated)
        .route(Some(1), "10.0.0.0/16", RouteCode::Deleting)
        .route(Some(2), "10.0.0.0/16", RouteCode::Active)
        .route(None, "10.8.0.0/22", RouteCode::Active);
    let changes = scene.at(10, None);
    assert_eq!(endpoint_code(&changes), Some(Available));
    assert_eq!(changes.delete.len(), 4, "{:?}", changes.delete);
}

#[test]
fn two_leaving_at_once_flip_the_endpoint_once() {
    let both = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .association(2, Disassociating)
        .at(10, None);
    assert_eq!(endpoint_code(&both), Some(PendingAssociate));
    let stuck = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .association(2, Disassociating)
        .at(10, Some((2, false)));
    assert_eq!(endpoint_code(&stuck), Some(Available), "the other one may still carry");
}

#[test]
fn a_failing_fabric_keeps_the_status_and_says_why() {
    let scene = Scene::default().endpoint(Available).association(1, Disassociating);
    let changes = scene.at(10, Some((1, false)));
    assert_eq!(association_status(&changes), Some((Disassociating, Some("why".into()))));
    assert_eq!(endpoint_code(&changes), None);
    assert!(changes.delete.is_empty());
}

#[test]
fn a_permanent_failure_fails_the_association() {
    let scene = Scene::default().endpoint(PendingAssociate).association(1, Associating);
    let changes = scene.at(10, Some((1, true)));
    assert_eq!(association_status(&changes), Some((AssociationFailed, Some("why".into()))));
    assert_eq!(endpoint_code(&changes), Some(PendingAssociate));
}

#[test]
fn the_routes_of_a_failed_association_fail_with_it() {
    let scene = Scene::default().endpoint(PendingAssociate).association(1, Associating).route(
        Some(1),
        "10.0.0.0/16",
        RouteCode::Creating,
    );
    let changes = scene.at(10, Some((1, true)));
    assert!(
        changes.put.iter().any(|(_, w)| matches!(w, Write::Route(r) if r.status.code == RouteCode::Failed))
    );
}

#[test]
fn a_deleted_endpoint_takes_all_that_is_its_own() {
    let scene = Scene::default().endpoint(Deleting).route(None, "10.8.0.0/22", RouteCode::Active);
    assert!(scene.at(9, None).is_empty());
    let changes = scene.at(10, None);
    assert_eq!(changes.delete.len(), 3, "{:?}", changes.delete);
    assert!(changes.delete.iter().any(|key| key.contains("/listener/")));
}

#[test]
fn a_change_is_applied_once_it_is_in_force_everywhere() {
    let scene =
        |what| Scene::default().applying(what).association(1, Associated).association(2, AssociationFailed);
    let written = |changes: &Changes| {
        changes.put.iter().find_map(|(_, write)| match write {
            Write::Endpoint(e) => Some((e.applying, e.association_epoch)),
            _ => None,
        })
    };
    for what in [Applying::Change, Applying::ClientConnect] {
        assert!(scene(what).at(9, None).is_empty());
        // What is not as it shall be, is not in force; what is given up long ago does not count.
        assert_eq!(written(&scene(what).at(10, Some((1, false)))), None);
        assert_eq!(written(&scene(what).at(10, Some((2, true)))), Some((Applying::Nothing, 0)));
        assert_eq!(written(&scene(what).at(10, None)), Some((Applying::Nothing, 0)));
    }
    assert!(scene(Applying::Nothing).at(10, None).is_empty());
    let both = Scene::default().applying(Applying::Change).association(1, Disassociating).at(10, None);
    assert_eq!(
        (written(&both), endpoint_code(&both)),
        (Some((Applying::Nothing, 1)), Some(PendingAssociate))
    );
}

#[test]
fn a_revocation_list_is_active_once_it_is_in_force_and_goes_with_its_endpoint() {
    let with = |mut scene: Scene| {
        let list = RevocationList {
            endpoint: EndpointId::from_entropy(1),
            scope: scope(),
            pem: String::new(),
            status: Status::of(RevocationCode::Pending),
            imported_at: Timestamp(0),
        };
        let key = Key::revocation_list(&list.scope, &list.endpoint);
        scene.world.put(key.as_str(), Row::RevocationList(Box::new(list)), 10);
        scene
    };
    let scene = with(Scene::default().endpoint(Available));
    assert!(scene.at(9, None).is_empty());
    let active =
        |write: &Write| matches!(write, Write::RevocationList(r) if r.status.code == RevocationCode::Active);
    assert!(scene.at(10, None).put.iter().all(|(_, write)| active(write)));
    assert_eq!(scene.at(10, None).put.len(), 1);
    let gone = with(Scene::default().endpoint(Deleting)).at(10, None);
    assert!(gone.delete.iter().any(|key| key.contains("/revocation-list/")), "{:?}", gone.delete);
}

#[test]
fn a_policy_is_final_once_it_is_in_force_and_goes_with_its_endpoint() {
    let with = |mut scene: Scene, code| {
        let policy = AuthorizationPolicy {
            endpoint: EndpointId::from_entropy(1),
            scope: scope(),
            document: "permit(principal, action, resource);".into(),
            description: None,
            shadow: false,
            status: Status::of(code),
            created_at: Timestamp(0),
        };
        let key = Key::authorization_policy(&policy.scope, &policy.endpoint);
        scene.world.put(key.as_str(), Row::AuthorizationPolicy(Box::new(policy)), 10);
        scene
    };
    let policy = |changes: &Changes| match changes.put.as_slice() {
        [(_, Write::AuthorizationPolicy(policy))] => Some(policy.status.code),
        _ => None,
    };
    for code in [PolicyCode::Creating, PolicyCode::Updating] {
        let scene = with(Scene::default().endpoint(Available), code);
        assert!(scene.at(9, None).is_empty());
        let changes = scene.at(10, None);
        assert_eq!((policy(&changes), changes.expect.len()), (Some(PolicyCode::Active), 1));
    }
    for code in [PolicyCode::Active, PolicyCode::Failed] {
        assert!(with(Scene::default().endpoint(Available), code).at(10, None).is_empty());
    }
    let leaving = with(Scene::default().endpoint(Available), PolicyCode::Deleting);
    assert!(leaving.at(9, None).is_empty());
    let gone = leaving.at(10, None);
    assert!(gone.put.is_empty() && gone.delete.len() == 1 && gone.expect.len() == 1);
    let all = with(Scene::default().endpoint(Deleting), PolicyCode::Active).at(10, None);
    assert!(all.delete.iter().any(|key| key.contains("/authorization-policy/")), "{:?}", all.delete);
}

#[test]
fn the_slowest_gateway_decides() {
    let fast = GatewayStatus { applied_revision: 9 };
    let slow = GatewayStatus { applied_revision: 3 };
    assert_eq!(Observed::of([&fast, &slow]).applied_revision, 3);
    assert_eq!(Observed::of([]).applied_revision, 0);
}

#[test]
fn no_key_stands_twice_in_a_transaction() {
    let scene = Scene::default()
        .endpoint(Available)
        .association(1, Disassociating)
        .route(Some(1), "10.0.0.0/16", RouteCode::Deleting)
        .route(None, "10.8.0.0/22", RouteCode::Deleting);
    let changes = scene.at(10, None);
    let mut keys: Vec<&String> =
        changes.delete.iter().chain(changes.put.iter().map(|(key, _)| key)).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

#[test]
fn when_the_last_one_that_holds_fails_the_endpoint_is_pending_again() {
    let both =
        Scene::default().endpoint(Available).association(1, Disassociating).association(2, Associating);
    assert_eq!(endpoint_code(&both.at(10, Some((2, true)))), Some(PendingAssociate));
    let alone = Scene::default().endpoint(Available).association(2, Associating);
    assert_eq!(endpoint_code(&alone.at(10, Some((2, true)))), Some(PendingAssociate));
}

#[test]
fn what_stood_and_fails_says_so_and_heals() {
    let scene = Scene::default().endpoint(Available).association(1, Associated);
    assert_eq!(association_status(&scene.at(10, Some((1, true)))), Some((Associated, Some("why".into()))));
    assert!(scene.at(10, None).is_empty());
}

#[test]
fn nothing_is_decided_on_half_a_picture() {
    let scene = || {
        Scene::default().route(None, "10.8.0.0/22", RouteCode::Active).route(
            Some(1),
            "10.0.0.0/16",
            RouteCode::Active,
        )
    };
    assert_eq!(scene().at(10, None).delete.len(), 2, "children of an endpoint that is gone go too");
    let mut unread = scene();
    unread.world.put_unreadable(Key::endpoint(&self::scope(), &EndpointId::from_entropy(1)).as_str(), 10);
    assert!(unread.at(10, None).is_empty());
}

/// An endpoint with a transit gateway, its associations in zones, and a route to the gateway.
fn attached(
    code: EndpointCode,
    attachment: AttachmentCode,
    zones: &[AssociationCode],
    route: RouteCode,
) -> Scene {
    let id = AttachmentId::from_entropy(9);
    let mut scene = Scene::default();
    let e = Endpoint {
        attachment: Some(Attachment {
            id: id.clone(),
            gateway: TransitGatewayId::from_entropy(8),
            gateway_scope: Scope { account: "111111111111".parse().unwrap(), ..scope() },
            status: attachment,
            created_at: Timestamp(0),
            zones: vec![],
        }),
        ..endpoint(code)
    };
    scene.world.put(Key::endpoint(&e.scope, &e.id).as_str(), Row::Endpoint(Box::new(e)), 10);
    for (n, code) in (1..).zip(zones) {
        let mut a = association(n, *code);
        a.spec.network = TargetNetwork::TransitGateway;
        scene.world.put(Key::association(&a.scope, &a.endpoint, &a.id).as_str(), Row::Association(a), 10);
    }
    let target = RouteTarget::TransitGateway(id);
    let r =
        Route { target, origin: RouteOrigin::AddRoute, ..super::tests::route(None, "10.9.0.0/16", route) };
    let key = Key::route(&r.scope, &r.endpoint, &r.destination, &r.target);
    scene.world.put(key.as_str(), Row::Route(r), 10);
    scene
}

fn attachment_code(changes: &Changes) -> Option<AttachmentCode> {
    changes.put.iter().find_map(|(_, write)| match write {
        Write::Endpoint(e) => e.attachment.as_ref().map(|attachment| attachment.status),
        _ => None,
    })
}

#[test]
fn an_attachment_moves_with_what_is_in_force() {
    use AssociationCode::*;
    use AttachmentCode as At;
    use EndpointCode as End;
    type Row = (End, At, &'static [AssociationCode], Option<(End, At)>, bool);
    let rows: [Row; 8] = [
        // Waiting for its owner: nothing moves by itself.
        (End::Pending, At::PendingAcceptance, &[], None, false),
        (End::Pending, At::Rejected, &[], None, false),
        (
            End::PendingAssociate,
            At::Pending,
            &[Associating, Associating],
            Some((End::Available, At::Available)),
            false,
        ),
        (End::PendingAssociate, At::Pending, &[], Some((End::PendingAssociate, At::Available)), false),
        (
            End::Available,
            At::Available,
            &[Associated, Disassociating],
            Some((End::Available, At::Available)),
            false,
        ),
        // The last zone takes the routes to the gateway with it, and leaves the attachment.
        (
            End::Available,
            At::Available,
            &[Disassociating],
            Some((End::PendingAssociate, At::Available)),
            true,
        ),
        (
            End::Available,
            At::Deleting,
            &[Disassociating, Disassociating],
            Some((End::Pending, At::Deleted)),
            true,
        ),
        (End::PendingAssociate, At::Deleting, &[], Some((End::Pending, At::Deleted)), false),
    ];
    for (code, status, zones, becomes, route_goes) in rows {
        let scene = attached(code, status, zones, RouteCode::Active);
        assert!(scene.at(9, None).is_empty(), "{status:?}: nothing before it is in force");
        let changes = scene.at(10, None);
        let got = endpoint_code(&changes).zip(attachment_code(&changes));
        assert_eq!(got, becomes, "{code:?} {status:?} {zones:?}");
        let gone = |what: &str| changes.delete.iter().any(|key| key.contains(what));
        assert_eq!(gone("/route/"), route_goes, "{code:?} {status:?} {zones:?}");
        let deleted = becomes.is_some_and(|(_, status)| status == At::Deleted);
        assert_eq!(gone("/v1/111111111111/us-east-1/transit-gateway-attachment/"), deleted);
        assert_eq!(gone("zone-"), zones.contains(&Disassociating));
    }
}

#[test]
fn a_route_to_the_gateway_needs_one_of_its_associations() {
    use AssociationCode::*;
    let active = |changes: &Changes| {
        changes
            .put
            .iter()
            .any(|(_, write)| matches!(write, Write::Route(r) if r.status.code == RouteCode::Active))
    };
    let made = |zones: &[AssociationCode]| {
        attached(EndpointCode::Available, AttachmentCode::Available, zones, RouteCode::Creating).at(10, None)
    };
    assert!(active(&made(&[Associated, Disassociating])));
    assert!(!active(&made(&[AssociationFailed])));
    let removed =
        attached(EndpointCode::Available, AttachmentCode::Available, &[Associated], RouteCode::Deleting);
    assert!(removed.at(10, None).delete.iter().any(|key| key.contains("/route/")));
}

#[test]
fn an_endpoint_that_goes_takes_its_attachment_with_it() {
    let scene = attached(EndpointCode::Deleting, AttachmentCode::Available, &[], RouteCode::Active);
    let changes = scene.at(10, None);
    assert!(changes.delete.iter().any(|key| key.contains("/transit-gateway-attachment/")));
}
