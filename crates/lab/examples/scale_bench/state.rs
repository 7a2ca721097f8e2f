//! A large state, written straight into the store of a data directory as the API and its controllers would have left it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use model::*;
use store::{MasterKey, Op, Outcome, RedbStore, Store, Transaction, typed};

/// Associations, rules and routes of each endpoint.
pub(crate) const ASSOCIATIONS: usize = 5;
pub(crate) const RULES: usize = 200;
pub(crate) const ROUTES: usize = 100;

/// Endpoints whose records go in one transaction: below its bound of steps.
const BATCH: usize = 12;
/// Addresses for endpoints: what the server takes without the kernel fabric.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);
/// Since when, and until when, certificates are good, in Unix seconds.
pub(crate) const FROM: i64 = 0;
pub(crate) const TO: i64 = 4_000_000_000;
const ARN: &str = "arn:aws:acm:us-east-1:000000000000:certificate/scale";

/// Ids that are asked for, and how much was written.
pub(crate) struct State {
    pub endpoints: Vec<EndpointId>,
    pub records: usize,
    /// Certificate and key of the clients' authority, PEM.
    pub authority: (String, String),
}

/// Where the endpoint of that number listens.
pub(crate) fn address(number: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::from(u32::from(FIRST_ADDRESS) + u32::try_from(number)?))
}

fn scope() -> Result<Scope> {
    Ok(Scope { account: "000000000000".parse()?, region: "us-east-1".parse()? })
}

/// Writes it into a data directory that has no store yet.
pub(crate) fn write(data: &Path, endpoints: usize) -> Result<State> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let key = MasterKey::load_or_create(data.join("master.key"))?;
    runtime.block_on(async {
        let store = RedbStore::open(data.join("store.redb")).await?;
        let ca = pki::issue::ca("scale", FROM, TO)?;
        let authority = (ca.certificate_pem, ca.key_pem.to_string());
        let mut records = commit(&store, shared(&key, &authority)?).await?;
        let ids: Vec<EndpointId> = (1..=endpoints)
            .map(|n| Ok(EndpointId::from_entropy(u128::try_from(n)?)))
            .collect::<Result<_>>()?;
        for (number, batch) in ids.chunks(BATCH).enumerate() {
            let mut ops = Vec::new();
            for (n, id) in batch.iter().enumerate() {
                one(&mut ops, id, number * BATCH + n)?;
            }
            records += commit(&store, ops).await?;
        }
        Ok(State { endpoints: ids, records, authority })
    })
}

async fn commit(store: &RedbStore, ops: Vec<Op>) -> Result<usize> {
    let count = ops.len();
    let outcome = store.transact(Transaction { checks: Vec::new(), ops, soft: false }).await?;
    ensure!(matches!(outcome, Outcome::Committed(_)), "the store took nothing");
    Ok(count)
}

fn put<T: serde::Serialize>(ops: &mut Vec<Op>, key: Key, record: &T) {
    ops.push(Op::Put(key.into(), typed::encode(record)));
}

fn subnet_id(n: usize) -> Result<SubnetId> {
    Ok(SubnetId::from_entropy(u128::try_from(n)? + 1))
}

fn zone(n: usize) -> Result<ZoneName> {
    let letter = ["a", "b", "c", "d", "e"].get(n).context("five zones")?;
    Ok(format!("us-east-1{letter}").parse()?)
}

/// What all endpoints refer to: a VPC with a subnet in each of five zones, its default group, a certificate.
fn shared(key: &MasterKey, (ca, ca_key): &(String, String)) -> Result<Vec<Op>> {
    let (scope, mut ops) = (scope()?, Vec::new());
    let (vpc_id, group_id) = (VpcId::from_entropy(1), SecurityGroupId::from_entropy(1));
    let vpc = Vpc {
        id: vpc_id.clone(),
        scope: scope.clone(),
        cidrs: vec!["10.0.0.0/16".parse()?],
        ipv6_cidrs: Vec::new(),
        ipv6_pools: Default::default(),
        instance_tenancy: "default".to_owned(),
        default_security_group: group_id.clone(),
        tags: Default::default(),
        subnet_epoch: 0,
        created_at: Timestamp(0),
        attributes: Default::default(),
        mirrored: false,
    };
    put(&mut ops, Key::vpc(&scope, &vpc.id), &vpc);
    let anywhere = SecurityRule {
        protocol: "-1".to_owned(),
        from_port: None,
        to_port: None,
        cidr: Some("0.0.0.0/0".parse()?),
    };
    let group = SecurityGroup {
        id: group_id,
        scope: scope.clone(),
        vpc_id: vpc_id.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        ingress: Vec::new(),
        egress: vec![GroupRule {
            id: SecurityRuleId::from_entropy(1),
            says: anywhere,
            group: None,
            description: None,
        }],
        tags: Default::default(),
        prefix_lists: Default::default(),
        mirrored: false,
    };
    put(&mut ops, Key::security_group(&scope, &group.id), &group);
    for n in 0..ASSOCIATIONS {
        let subnet = Subnet {
            id: subnet_id(n)?,
            scope: scope.clone(),
            vpc_id: vpc_id.clone(),
            cidr: format!("10.0.{}.0/20", n * 16).parse()?,
            ipv6_cidr: None,
            zone: zone(n)?,
            tags: Default::default(),
            created_at: Timestamp(0),
            attributes: Default::default(),
            mirrored: false,
        };
        put(&mut ops, Key::subnet(&scope, &subnet.id), &subnet);
    }
    let kind = pki::issue::KeyKind::P256;
    let server = pki::issue::server(ca, ca_key, "vpn.example.com", FROM, TO, kind)?;
    let certificate = Certificate {
        id: "scale".to_owned(),
        arn: ARN.to_owned(),
        scope: scope.clone(),
        certificate_pem: server.certificate_pem,
        chain_pem: Some(ca.clone()),
        private_key: Sealed(key.seal(ARN, server.key_pem.as_bytes())?),
        tags: Default::default(),
        created_at: Timestamp(0),
        imported_at: Timestamp(0),
        mirrored: false,
    };
    put(&mut ops, Key::certificate(&scope, "scale"), &certificate);
    Ok(ops)
}

/// An endpoint with everything of it.
fn one(ops: &mut Vec<Op>, id: &EndpointId, number: usize) -> Result<()> {
    let scope = scope()?;
    let address = IpAddr::V4(address(number)?);
    put(ops, Key::endpoint(&scope, id), &endpoint(id, &scope, address)?);
    let claim = ListenerClaim { endpoint: id.clone(), scope: scope.clone() };
    put(ops, Key::listener(address, Transport::Udp, 443), &claim);
    for n in 0..ASSOCIATIONS {
        let association = Association {
            // A device's name is made of the first digits: they must differ.
            id: AssociationId::from_entropy((u128::try_from(number * ASSOCIATIONS + n)? + 1) << 40),
            endpoint: id.clone(),
            scope: scope.clone(),
            spec: AssociationSpec {
                network: TargetNetwork::Subnet { subnet_id: subnet_id(n)?, vpc_id: VpcId::from_entropy(1) },
                zone: zone(n)?,
            },
            status: Status::of(AssociationCode::Associated),
            created_at: Timestamp(0),
        };
        put(ops, Key::association(&scope, id, &association.id), &association);
        put(ops, Key::subnet_claim(&scope, id, &subnet_id(n)?), &association.id);
        put(ops, Key::zone_claim(&scope, id, &association.spec.zone), &association.id);
    }
    for n in 0..RULES {
        let rule = AuthorizationRule {
            endpoint: id.clone(),
            scope: scope.clone(),
            destination: format!("172.16.{n}.0/24").parse()?,
            group: RuleGroup::All,
            description: Some(format!("network {n}")),
            status: Status::of(RuleCode::Active),
            created_at: Timestamp(0),
        };
        put(ops, Key::rule(&scope, id, &rule.destination, &rule.group), &rule);
    }
    for n in 0..ROUTES {
        // The first of each target network came with its association.
        let own = n < ASSOCIATIONS;
        let destination = if own { "10.0.0.0/16".to_owned() } else { format!("172.17.{n}.0/24") };
        let route = Route {
            endpoint: id.clone(),
            scope: scope.clone(),
            destination: destination.parse()?,
            target: RouteTarget::Subnet(subnet_id(n % ASSOCIATIONS)?),
            origin: if own { RouteOrigin::Associate } else { RouteOrigin::AddRoute },
            description: None,
            status: Status::of(RouteCode::Active),
            created_at: Timestamp(0),
        };
        put(ops, Key::route(&scope, id, &route.destination, &route.target), &route);
    }
    Ok(())
}

fn endpoint(id: &EndpointId, scope: &Scope, address: IpAddr) -> Result<Endpoint> {
    Ok(Endpoint {
        id: id.clone(),
        scope: scope.clone(),
        spec: EndpointSpec {
            description: Some("one of many".to_owned()),
            client_cidr: Some("10.8.0.0/22".parse()?),
            client_ipv6_cidr: None,
            server_certificate_arn: ARN.to_owned(),
            authentication: vec![Authentication::Certificate { client_root_arn: ARN.to_owned() }],
            connection_log: ConnectionLog::default(),
            dns_servers: Vec::new(),
            transport: Transport::Udp,
            vpn_port: 443,
            split_tunnel: true,
            vpc_id: Some(VpcId::from_entropy(1)),
            security_group_ids: vec![SecurityGroupId::from_entropy(1)],
            self_service_portal: false,
            client_connect: ClientConnect::default(),
            session_timeout_hours: 24,
            banner: Banner::default(),
            route_enforcement: false,
            disconnect_on_session_timeout: true,
            endpoint_ip_type: IpType::Ipv4,
            traffic_ip_type: IpType::Ipv4,
            device_posture: Vec::new(),
            tags: [("Name".to_owned(), id.digits().to_owned())].into(),
            listen: Listen { address: Some(address), port: 443, second: None },
        },
        status: Status::of(EndpointCode::Available),
        created_at: Timestamp(0),
        association_epoch: 0,
        applying: Applying::Nothing,
        attachment: None,
    })
}
