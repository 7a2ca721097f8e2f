//! The whole desired state of a gateway, from the records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use controllers::{EndpointWorld, Versioned, World};
use gateway::desired::{self, Desired, ServerIdentity, Target};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{
    AssociationCode, AssociationId, Authentication, Certificate, ClientNets, Endpoint, EndpointCode,
    EndpointId, EndpointSpec, Failure, Key, PolicyCode, RouteCode, RouteTarget, RuleCode, Scope,
    SecurityRule, TargetNetwork, UplinkSource, Uplinks,
};
use sha2::{Digest, Sha256};
use store::MasterKey;
use zeroize::Zeroizing;

use crate::controller::now;
use crate::expiry::{Ends, Role};
use crate::former::FormerHolders;
use crate::reader::Touched;
use crate::revocation::Lists;

/// An hour of a session timeout, unless a setting says otherwise.
const SESSION_HOUR: Duration = Duration::from_hours(1);

/// Builds snapshots; keeps opened certificates between them.
pub(crate) struct Compiler {
    master_key: Arc<MasterKey>,
    opened: BTreeMap<String, (u64, ServerIdentity)>,
    lists: Lists,
    ends: Ends,
    /// Endpoints as they were compiled last.
    compiled: BTreeMap<Owner, Result<Arc<desired::Endpoint>, String>>,
    /// How long an hour of a session timeout lasts.
    pub(crate) session_hour: Duration,
    /// Which networks of the host subnets are.
    pub(crate) uplinks: Arc<Uplinks>,
    /// Who had which addresses before; `None`: nobody has looked yet.
    pub(crate) former: Option<FormerHolders>,
}

/// Whose endpoint.
type Owner = (Scope, EndpointId);

/// What may be otherwise than in the snapshot before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Anything: nothing was compiled yet, or what many endpoints refer to has changed.
    All,
    /// These endpoints.
    Some(BTreeSet<Owner>),
}

impl Changed {
    /// Nothing yet.
    pub(crate) fn nothing() -> Self {
        Self::Some(BTreeSet::new())
    }

    /// Takes in what else has changed.
    pub(crate) fn add(&mut self, touched: &Touched) {
        match self {
            Self::All => {}
            Self::Some(_) if touched.shared => *self = Self::All,
            Self::Some(owners) => owners.extend(touched.endpoints.iter().cloned()),
        }
    }
}

/// A snapshot, and the associations that cannot be part of it.
pub(crate) struct Compiled {
    pub desired: Desired,
    pub failures: BTreeMap<AssociationId, Failure>,
}

impl Compiler {
    pub(crate) fn new(master_key: Arc<MasterKey>) -> Self {
        Self {
            master_key,
            opened: BTreeMap::new(),
            lists: Lists::default(),
            ends: Ends::default(),
            compiled: BTreeMap::new(),
            session_hour: SESSION_HOUR,
            uplinks: Arc::default(),
            former: None,
        }
    }

    /// The whole desired state. Only endpoints that `changed` names are looked at; the others are the same values as
    /// before.
    pub(crate) fn compile(&mut self, world: &World, changed: &Changed) -> Compiled {
        let now_unix = now().0;
        match changed {
            Changed::All => {
                self.lists.retain(world);
                self.ends.retain(world);
                self.opened.retain(|arn, _| world.certificates.contains_key(arn));
                self.compiled.retain(|owner, _| world.endpoints.contains_key(owner));
                for owner in world.endpoints.keys() {
                    self.compile_one(world, owner, now_unix);
                }
            }
            Changed::Some(owners) => {
                for owner in owners {
                    self.compile_one(world, owner, now_unix);
                }
            }
        }
        let mut failures = BTreeMap::new();
        for (owner, reason) in
            self.compiled.iter().filter_map(|(owner, of)| Some((owner, of.as_ref().err()?)))
        {
            let associations = world.endpoints.get(owner).into_iter().flat_map(|of| of.associations.values());
            let wanted = associations.filter(|a| a.value.status.code.holds_endpoint());
            failures.extend(
                wanted.map(|a| (a.value.id.clone(), Failure { reason: reason.clone(), permanent: true })),
            );
        }
        let serving = self.compiled.values().filter_map(|of| of.as_ref().ok());
        let endpoints = serving.map(|endpoint| (endpoint.id.clone(), Arc::clone(endpoint))).collect();
        Compiled { desired: Desired { revision: world.revision, endpoints }, failures }
    }

    /// Brings one endpoint up to what the records say now.
    fn compile_one(&mut self, world: &World, owner: &Owner, now_unix: i64) {
        let former = self.compiled.remove(owner);
        let Some(of) = world.endpoints.get(owner) else { return };
        let Some((_, record)) = &of.endpoint else { return };
        if matches!(record.value.status.code, EndpointCode::Deleting | EndpointCode::Deleted) {
            return;
        }
        let outcome = match (former, self.endpoint(world, of, &record.value, now_unix)) {
            // A status that moved on changes nothing for a gateway.
            (Some(Ok(same)), Ok(anew)) if *same == anew => Ok(same),
            (_, anew) => anew.map(Arc::new),
        };
        self.compiled.insert(owner.clone(), outcome);
    }

    fn endpoint(
        &mut self,
        world: &World,
        of: &EndpointWorld,
        record: &Endpoint,
        now_unix: i64,
    ) -> Result<desired::Endpoint, String> {
        if let Some(key) = of.unreadable.iter().next() {
            // Fail closed: it might forbid what the others allow.
            return Err(format!("the stored record {key} cannot be read by this version"));
        }
        let spec = &record.spec;
        let client_cidr = spec.client_nets();
        if client_cidr == ClientNets::default() {
            return Err("this endpoint has no addresses for clients: it was made by a version that gave none for IPv6; \
                        make it anew"
                .to_owned());
        }
        let server = self.server_identity(world, &spec.server_certificate_arn, now_unix)?;
        let mut client_roots = Vec::new();
        let mut certificate_only = true;
        for authentication in &spec.authentication {
            match authentication {
                Authentication::Certificate { client_root_arn } => {
                    let record = certificate(world, client_root_arn)?;
                    self.ends.look(record, Role::Clients, now_unix);
                    client_roots = client_anchors(&record.value)?;
                }
                // Fail closed: nobody can pass these logins yet (ARCHITECTURE D-7).
                Authentication::Directory { .. } | Authentication::Federated { .. } => {
                    certificate_only = false
                }
            }
        }
        Ok(desired::Endpoint {
            id: record.id.clone(),
            scope: record.scope.clone(),
            listen: spec.listen.address.map(|address| SocketAddr::new(address, spec.listen.port)),
            listen_second: spec.listen.second,
            transport: spec.transport,
            client_cidr,
            dns_servers: spec.dns_servers.clone(),
            split_tunnel: spec.split_tunnel,
            session_timeout: self.session_hour.saturating_mul(spec.session_timeout_hours.into()),
            disconnect_on_session_timeout: spec.disconnect_on_session_timeout,
            connect_handler: handler(spec),
            route_enforcement: spec.route_enforcement,
            banner: spec.banner.text.clone().filter(|_| spec.banner.enabled),
            server,
            admits: certificate_only && !client_roots.is_empty(),
            client_roots: Arc::new(client_roots),
            crl: self.lists.of(of, now_unix),
            policy: authorization_policy(of),
            associations: associations(world, of, record, &self.uplinks)?,
            rules: of
                .rules
                .values()
                .filter(|rule| matches!(rule.value.status.code, RuleCode::Authorizing | RuleCode::Active))
                .map(|rule| desired::Rule {
                    destination: rule.value.destination,
                    group: rule.value.group.clone(),
                })
                .collect(),
            terminate: of.terminations.values().map(|t| t.value.connection.clone()).collect::<BTreeSet<_>>(),
            former: self.former_of(record),
        })
    }

    fn former_of(&self, record: &Endpoint) -> Arc<Vec<desired::Former>> {
        let owner = (record.scope.clone(), record.id.clone());
        self.former.as_ref().and_then(|former| former.get(&owner)).map(Arc::clone).unwrap_or_default()
    }

    fn server_identity(&mut self, world: &World, arn: &str, now_unix: i64) -> Result<ServerIdentity, String> {
        let record = certificate(world, arn)?;
        self.ends.look(record, Role::Server, now_unix);
        if let Some((modified, identity)) = self.opened.get(arn)
            && *modified == record.modified
        {
            return Ok(identity.clone());
        }
        let identity = self.open(&record.value)?;
        self.opened.insert(arn.to_owned(), (record.modified, identity.clone()));
        Ok(identity)
    }

    fn open(&self, certificate: &Certificate) -> Result<ServerIdentity, String> {
        let unusable =
            |what: &str| format!("the server certificate {} cannot be used: {what}", certificate.arn);
        let pem = self
            .master_key
            .open(&certificate.arn, &certificate.private_key.0)
            .map_err(|_| unusable("its private key cannot be unsealed with this master key"))?;
        let pem = std::str::from_utf8(&pem).map_err(|_| unusable("its private key is no text"))?;
        let key = pki::key_from_pem(pem).map_err(|_| unusable("its private key cannot be read"))?;
        let mut chain = pki::certificates_from_pem(&certificate.certificate_pem)
            .map_err(|_| unusable("it cannot be read"))?;
        if let Some(pem) = &certificate.chain_pem {
            chain.extend(pki::certificates_from_pem(pem).map_err(|_| unusable("its chain cannot be read"))?);
        }
        let mut hash = Sha256::new();
        for part in chain.iter().map(Vec::as_slice).chain([key.as_slice()]) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Ok(ServerIdentity {
            fingerprint: hash.finalize().into(),
            chain: Arc::new(chain),
            key: Arc::new(Zeroizing::new(key.to_vec())),
        })
    }
}

/// The policy that shall decide; one that is being deleted decides no more.
fn authorization_policy(of: &EndpointWorld) -> Option<desired::AuthorizationPolicy> {
    let mut policies = of.policies.values().map(|record| &record.value);
    let policy = policies.find(|policy| policy.status.code != PolicyCode::Deleting)?;
    Some(desired::AuthorizationPolicy { document: policy.document.as_str().into(), shadow: policy.shadow })
}

fn certificate<'w>(world: &'w World, arn: &str) -> Result<&'w Versioned<Certificate>, String> {
    world.certificates.get(arn).ok_or_else(|| format!("the certificate {arn} does not exist"))
}

/// The trust anchor is the chain of the certificate named, or itself if it has none
/// (spec: aws-client-vpn §4.1).
fn client_anchors(record: &Certificate) -> Result<Vec<Vec<u8>>, String> {
    let pem = record.chain_pem.as_ref().unwrap_or(&record.certificate_pem);
    pki::certificates_from_pem(pem)
        .map_err(|_| format!("the chain of the certificate {} cannot be read", record.arn))
}

fn associations(
    world: &World,
    of: &EndpointWorld,
    endpoint: &Endpoint,
    uplinks: &Uplinks,
) -> Result<BTreeMap<AssociationId, desired::Association>, String> {
    let egress = egress(world, endpoint);
    let mut associations = BTreeMap::new();
    for record in of.associations.values() {
        let association = &record.value;
        if !matches!(association.status.code, AssociationCode::Associating | AssociationCode::Associated) {
            continue;
        }
        let routes = of.routes.values().map(|record| &record.value).filter_map(|route| {
            let in_force = matches!(route.status.code, RouteCode::Creating | RouteCode::Active);
            let target = match &route.target {
                RouteTarget::Local => Target::Local,
                target if association.spec.carries(target) => Target::Association,
                RouteTarget::Subnet(_) | RouteTarget::TransitGateway(_) => return None,
            };
            in_force.then_some(desired::Route { destination: route.destination, target })
        });
        let routes: Vec<desired::Route> = routes.collect();
        let through = routes.iter().filter(|route| route.target == Target::Association);
        let mut toward: Vec<IpNet> = through.map(|route| route.destination).collect();
        let mut uplink = None;
        if let Some(id) = association.spec.subnet_id() {
            let subnet = world.subnets.get(Key::subnet(&association.scope, id).as_str());
            let subnet = &subnet.ok_or_else(|| format!("the subnet {id} does not exist"))?.value;
            toward.extend(subnet.blocks());
            uplink = uplinks.of(subnet).cloned();
        }
        let as_client = uplink.as_ref().is_some_and(|uplink| uplink.source == UplinkSource::Client);
        let nets = endpoint.spec.client_nets();
        toward.retain(|net| match net {
            IpNet::V4(_) => nets.v4.is_some(),
            IpNet::V6(_) => nets.v6.is_some(),
        });
        let joins_gateway = association.spec.network == TargetNetwork::TransitGateway;
        associations.insert(
            association.id.clone(),
            desired::Association {
                id: association.id.clone(),
                // What another one covers, and neighbours that make one block, count once.
                toward: IpNet::aggregate(&toward),
                // spec: aws-client-vpn §3.4
                source_nat: !joins_gateway && !as_client,
                uplink,
                routes,
                security: if joins_gateway { anything() } else { egress.clone() },
            },
        );
    }
    Ok(associations)
}

/// The function to be asked. One that is on and names none cannot be stored; it would ask for something that is not there.
fn handler(spec: &EndpointSpec) -> Option<Arc<str>> {
    spec.client_connect
        .enabled
        .then(|| spec.client_connect.function_arn.as_deref().unwrap_or_default().into())
}

/// Endpoints with a transit gateway have no security groups: authorization rules alone decide (spec: aws-client-vpn §2.2.20).
fn anything() -> Vec<SecurityRule> {
    let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    everywhere
        .map(|net| SecurityRule {
            protocol: "-1".to_owned(),
            from_port: None,
            to_port: None,
            cidr: Some(net),
        })
        .to_vec()
}

/// What the endpoint's security groups together let out; a group that is gone lets nothing out.
fn egress(world: &World, endpoint: &Endpoint) -> Vec<SecurityRule> {
    let groups = endpoint.spec.security_group_ids.iter();
    let known = groups.filter_map(|id| world.security_groups.get(&(endpoint.scope.clone(), id.clone())));
    known.flat_map(|group| group.value.egress.iter().map(|rule| rule.says.clone())).collect()
}
