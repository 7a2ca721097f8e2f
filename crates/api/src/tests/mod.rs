//! Drives the frame in memory with a client that signs: no sockets, a clock of its own, and a controller in one function.

mod accounts;
mod associations;
mod audit;
mod authorization_policies;
mod certificates;
mod client_ipv6;
mod connections;
mod convergence;
mod endpoints;
mod every_action;
mod iam;
mod identities;
mod logs;
mod mirror;
mod modify;
mod network_ends;
mod networks;
mod protocol;
mod revocation;
mod rights;
mod routes;
mod rules;
mod scale;
mod security_groups;
mod sessions;
mod sockets;
mod tags;
mod throttling;
mod tokens;
mod transit_gateways;
mod upstream;
mod whole_account;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use aws_auth::policy::{Policy, TrustPolicy};
use aws_auth::{Credentials, Secret, SignedRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{
    AccountId, Association, AssociationCode, AttachmentCode, AuthorizationRule, Connection, Endpoint,
    EndpointCode, EndpointId, Key, Kind, Route, RouteCode, RuleCode, Scope, Timestamp, prefix,
};
use store::counted::Counted;
use store::typed::{self, Record};
use store::{MasterKey, MemoryStore, Op, Store, Transaction};

use crate::{
    Addresses, Answer, Api, AuditSink, Call, Caller, Config, Convergence, Identities, Identity,
    LiveConnections, NoConvergence, Policies, Proof, Rights, Role,
};

pub(super) const ROOT: &str = "AKIAROOT000000000000";
pub(super) const NOW: i64 = 1_800_000_000;
const SECRET: &str = "a secret access key of forty characters.";

/// Everything an API needs, and the API.
pub(super) struct World {
    pub api: Api,
    pub store: Arc<Counted<MemoryStore>>,
    pub clock: Arc<AtomicI64>,
    pub users: Arc<Users>,
    pub live: Arc<Live>,
    pub audit: Arc<Lines>,
    pub scope: Scope,
}

/// The audit trail of a test.
#[derive(Default)]
pub(super) struct Lines(Mutex<Vec<(Proof, serde_json::Value)>>);

impl Lines {
    /// The newest line.
    pub(super) fn last(&self) -> (Proof, serde_json::Value) {
        self.0.lock().unwrap().last().expect("a line").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait::async_trait]
impl AuditSink for Lines {
    async fn record(&self, proof: Proof, line: String) {
        self.record_now(proof, line);
    }

    fn record_now(&self, proof: Proof, line: String) {
        self.0.lock().unwrap().push((proof, serde_json::from_str(&line).unwrap()));
    }
}

/// Identities of a test: the root, and users by access key id.
#[derive(Default)]
pub(super) struct Users {
    keys: Mutex<BTreeMap<String, Arc<Identity>>>,
    roles: Mutex<Vec<Arc<Role>>>,
    policies: Mutex<BTreeMap<String, Policy>>,
}

impl Users {
    fn add(&self, key: &str, rights: Rights) {
        self.add_in("000000000000", key, rights, &[]);
    }

    fn add_in(&self, account: &str, key: &str, rights: Rights, tags: &[(&str, &str)]) {
        let account = account.parse().unwrap();
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let caller = Caller { name: key.to_lowercase(), account, rights, tags, session: None };
        let identity = Identity { secret: Secret::new(SECRET), caller };
        self.keys.lock().unwrap().insert(key.to_owned(), Arc::new(identity));
    }

    /// Takes a key away.
    pub(super) fn remove(&self, key: &str) {
        self.keys.lock().unwrap().remove(key);
    }

    /// A role of an account with one policy.
    pub(super) fn role(&self, account: &str, name: &str, document: &str, trust: &str, tags: &[(&str, &str)]) {
        let Rights::Policies(policies) = policies(document) else { panic!("a policy") };
        let role = Role {
            name: name.to_owned(),
            account: account.parse().unwrap(),
            policies,
            trust: TrustPolicy::parse(trust).unwrap(),
            max_session_seconds: 7_200,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let mut roles = self.roles.lock().unwrap();
        roles.retain(|other| other.name != name);
        roles.push(Arc::new(role));
    }

    /// Takes a role away.
    pub(super) fn remove_role(&self, name: &str) {
        self.roles.lock().unwrap().retain(|role| role.name != name);
    }

    /// A policy by itself.
    pub(super) fn managed(&self, name: &str, document: &str) {
        self.policies.lock().unwrap().insert(name.to_owned(), Policy::parse(document).unwrap());
    }

    /// A user with one policy.
    pub(super) fn policy(&self, key: &str, document: &str) {
        self.add(key, policies(document));
    }

    /// The same with tags of the user's own.
    pub(super) fn tagged(&self, key: &str, document: &str, tags: &[(&str, &str)]) {
        self.add_in("000000000000", key, policies(document), tags);
    }

    /// The same in another account.
    pub(super) fn elsewhere(&self, account: &str, key: &str, document: &str) {
        self.add_in(account, key, policies(document), &[]);
    }
}

fn policies(document: &str) -> Rights {
    let policy = Policy::parse(document).unwrap();
    Rights::Policies(Arc::new(Policies::new([("test".to_owned(), policy)])))
}

impl Identities for Users {
    fn find(&self, access_key_id: &str) -> Option<Arc<Identity>> {
        self.keys.lock().unwrap().get(access_key_id).cloned()
    }

    fn role(&self, account: &AccountId, name: &str) -> Option<Arc<Role>> {
        let roles = self.roles.lock().unwrap();
        roles.iter().find(|role| role.account == *account && role.name == name).cloned()
    }

    fn policy(&self, name: &str) -> Option<Policy> {
        self.policies.lock().unwrap().get(name).cloned()
    }
}

/// Live connections of a test.
#[derive(Default)]
pub(super) struct Live(pub Mutex<Vec<Connection>>);

impl LiveConnections for Live {
    fn live(&self, endpoint: &EndpointId) -> Vec<Connection> {
        self.0.lock().unwrap().iter().filter(|row| row.endpoint == *endpoint).cloned().collect()
    }
}

/// An answer, read.
pub(super) struct Reply {
    pub status: u16,
    pub body: String,
    pub request_id: String,
    pub content_type: String,
}

impl Reply {
    /// Texts of all elements of that name, in order.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.body).unwrap();
        let found = document.descendants().filter(|node| node.tag_name().name() == name);
        found.map(|node| node.text().unwrap_or_default().to_owned()).collect()
    }

    /// Text of the first element of that name.
    pub(super) fn text(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_else(|| panic!("no <{name}> in {}", self.body))
    }

    /// The error code; empty for success.
    pub(super) fn code(&self) -> String {
        if self.status == 200 { String::new() } else { self.text("Code") }
    }

    /// Demands success.
    pub(super) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }
}

pub(super) type Pairs<'p> = &'p [(&'p str, &'p str)];

/// How a call is sent.
#[derive(Clone, Copy)]
pub(super) struct How<'h> {
    pub key: &'h str,
    pub region: &'h str,
    pub service: &'h str,
    pub method: &'h str,
    pub signed_at: i64,
}

impl Default for How<'_> {
    fn default() -> Self {
        Self { key: ROOT, region: "us-east-1", service: "ec2", method: "POST", signed_at: NOW }
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Config { addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(), ..Config::default() })
    }

    pub(super) fn with(config: Config) -> Self {
        Self::built(config, Arc::new(NoConvergence))
    }

    /// With another way to wait for effects.
    pub(super) fn built(config: Config, convergence: Arc<dyn Convergence>) -> Self {
        let store = Arc::new(Counted::new(MemoryStore::new()));
        let clock = Arc::new(AtomicI64::new(NOW));
        let (users, live) = (Arc::new(Users::default()), Arc::new(Live::default()));
        users.add(ROOT, Rights::Root);
        let master_key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let time = Arc::clone(&clock);
        let audit = Arc::new(Lines::default());
        let api = Api::new(config, store.clone(), master_key, users.clone(), live.clone(), convergence)
            .with_clock(move || Timestamp(time.load(Ordering::Relaxed)))
            .with_audit(audit.clone());
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        Self { api, store, clock, users, live, audit, scope }
    }

    /// An EC2 call by the root.
    pub(super) async fn call(&self, action: &str, pairs: Pairs<'_>) -> Reply {
        self.call_as(How::default(), action, pairs).await
    }

    /// A Query call, signed.
    pub(super) async fn call_as(&self, how: How<'_>, action: &str, pairs: Pairs<'_>) -> Reply {
        let form = aws_query::encode([("Action", action)].into_iter().chain(pairs.iter().copied()));
        let (query, body) = if how.method == "GET" { (form, String::new()) } else { (String::new(), form) };
        self.send(signed(&how, "/", &query, body.into_bytes(), &[])).await
    }

    /// An ACM call by that key.
    pub(super) async fn acm(
        &self,
        key: &str,
        action: &str,
        body: &serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let how = How { key, service: "acm", ..How::default() };
        let target = format!("CertificateManager.{action}");
        let call = signed(&how, "/", "", body.to_string().into_bytes(), &[("x-amz-target", &target)]);
        let reply = self.send(call).await;
        assert_eq!(reply.content_type, "application/x-amz-json-1.1");
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    /// A CloudWatch Logs call by the root.
    pub(super) async fn logs(&self, action: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let how = How { service: "logs", ..How::default() };
        let target = format!("Logs_20140328.{action}");
        let call = signed(&how, "/", "", body.to_string().into_bytes(), &[("x-amz-target", &target)]);
        let reply = self.send(call).await;
        assert_eq!(reply.content_type, "application/x-amz-json-1.1");
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    /// An IAM call by the root.
    pub(super) async fn iam(&self, action: &str, pairs: Pairs<'_>) -> Reply {
        self.call_as(How { service: "iam", ..How::default() }, action, pairs).await
    }

    pub(super) async fn send(&self, call: Call) -> Reply {
        let Answer { status, content_type, request_id, body, .. } = self.api.handle(&call).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        Reply { status, body, request_id, content_type: content_type.into_owned() }
    }

    /// Imports a certificate and says its ARN.
    pub(super) async fn certificate(&self, common_name: &str) -> String {
        let (_, answer) = self.acm(ROOT, "ImportCertificate", &import(common_name)).await;
        answer["CertificateArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// A VPC 10.0.0.0/16 and a /24 of it in each of the zones a, b, c.
    pub(super) async fn network(&self) -> (String, Vec<String>) {
        let vpc = self.call("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().text("vpcId");
        let mut subnets = Vec::new();
        for (number, zone) in ["us-east-1a", "us-east-1b", "us-east-1c"].into_iter().enumerate() {
            let cidr = format!("10.0.{number}.0/24");
            let pairs = [("VpcId", vpc.as_str()), ("CidrBlock", &cidr), ("AvailabilityZone", zone)];
            subnets.push(self.call("CreateSubnet", &pairs).await.ok().text("subnetId"));
        }
        (vpc, subnets)
    }

    /// A plain endpoint with client CIDR 10.100.0.0/16.
    pub(super) async fn endpoint(&self, more: Pairs<'_>) -> String {
        let arn = self.certificate("server.example.com").await;
        let pairs = endpoint_pairs(&arn);
        let mut pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.retain(|(name, _)| !more.iter().any(|(other, value)| other == name && value.is_empty()));
        pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        self.call("CreateClientVpnEndpoint", &pairs).await.ok().text("clientVpnEndpointId")
    }

    pub(super) async fn associate(&self, endpoint: &str, subnet: &str) -> Reply {
        let pairs = [("ClientVpnEndpointId", endpoint), ("SubnetId", subnet)];
        self.call("AssociateClientVpnTargetNetwork", &pairs).await
    }

    /// An endpoint with one association in the first subnet, settled: endpoint, association, subnets.
    pub(super) async fn available(&self) -> (String, String, Vec<String>) {
        let (_, subnets) = self.network().await;
        let endpoint = self.endpoint(&[]).await;
        let association = self.associate(&endpoint, &subnets[0]).await.ok().text("associationId");
        self.settle().await;
        (endpoint, association, subnets)
    }

    pub(super) async fn records<T: serde::de::DeserializeOwned>(&self, kind: Kind) -> Vec<Record<T>> {
        typed::list(self.store.as_ref(), &prefix::of(&self.scope, kind)).await.unwrap().0
    }

    pub(super) async fn stored(&self, endpoint: &str) -> Endpoint {
        let key = Key::endpoint(&self.scope, &endpoint.parse().unwrap());
        typed::get(self.store.as_ref(), key.as_str()).await.unwrap().unwrap().value
    }

    /// What the controllers do: every record leaves its transitional state.
    pub(super) async fn settle(&self) {
        let mut ops = Vec::new();
        for mut record in self.records::<Route>(Kind::Route).await {
            match record.value.status.code {
                RouteCode::Deleting => ops.push(Op::Delete(record.key)),
                _ => {
                    record.value.status = model::Status::of(RouteCode::Active);
                    ops.push(typed::put(record.key, &record.value));
                }
            }
        }
        for mut record in self.records::<AuthorizationRule>(Kind::Rule).await {
            match record.value.status.code {
                RuleCode::Revoking => ops.push(Op::Delete(record.key)),
                _ => {
                    record.value.status = model::Status::of(RuleCode::Active);
                    ops.push(typed::put(record.key, &record.value));
                }
            }
        }
        for mut record in self.records::<model::RevocationList>(Kind::RevocationList).await {
            record.value.status = model::Status::of(model::RevocationCode::Active);
            ops.push(typed::put(record.key, &record.value));
        }
        for mut record in self.records::<model::AuthorizationPolicy>(Kind::AuthorizationPolicy).await {
            match record.value.status.code {
                model::PolicyCode::Deleting => ops.push(Op::Delete(record.key)),
                _ => {
                    record.value.status = model::Status::of(model::PolicyCode::Active);
                    ops.push(typed::put(record.key, &record.value));
                }
            }
        }
        let mut holding = BTreeMap::new();
        for mut record in self.records::<Association>(Kind::Association).await {
            let Association { endpoint, spec, .. } = record.value.clone();
            if record.value.status.code == AssociationCode::Disassociating {
                ops.push(Op::Delete(record.key));
                ops.extend(
                    spec.subnet_id()
                        .map(|id| Op::Delete(Key::subnet_claim(&self.scope, &endpoint, id).into())),
                );
                ops.push(Op::Delete(Key::zone_claim(&self.scope, &endpoint, &spec.zone).into()));
            } else {
                record.value.status = model::Status::of(AssociationCode::Associated);
                ops.push(typed::put(record.key, &record.value));
                holding.insert(endpoint, ());
            }
        }
        for mut record in self.records::<Endpoint>(Kind::Endpoint).await {
            let mut code = match holding.contains_key(&record.value.id) {
                true => EndpointCode::Available,
                false => EndpointCode::PendingAssociate,
            };
            if let Some(attachment) = &mut record.value.attachment {
                let entry = Key::attachment_entry(&attachment.gateway_scope, &attachment.id);
                attachment.status = match attachment.status {
                    AttachmentCode::Pending => AttachmentCode::Available,
                    AttachmentCode::Deleting => AttachmentCode::Deleted,
                    other => other,
                };
                if attachment.status == AttachmentCode::Deleted
                    || record.value.status.code == EndpointCode::Deleting
                {
                    ops.push(Op::Delete(entry.into()));
                }
                if attachment.status != AttachmentCode::Available {
                    code = EndpointCode::Pending;
                }
            }
            let applying = std::mem::take(&mut record.value.applying) != model::Applying::Nothing;
            if record.value.status.code == EndpointCode::Deleting {
                ops.push(Op::Delete(record.key));
            } else if record.value.status.code != code || applying || record.value.attachment.is_some() {
                record.value.status = model::Status::of(code);
                ops.push(typed::put(record.key, &record.value));
            }
        }
        self.store.transact(Transaction { checks: Vec::new(), ops, soft: false }).await.unwrap();
    }
}

/// The parameters of a plain endpoint.
pub(super) fn endpoint_pairs(certificate: &str) -> Vec<(&'static str, String)> {
    vec![
        ("ClientCidrBlock", "10.100.0.0/16".to_owned()),
        ("ServerCertificateArn", certificate.to_owned()),
        ("Authentication.1.Type", "certificate-authentication".to_owned()),
        ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", certificate.to_owned()),
        ("ConnectionLogOptions.Enabled", "false".to_owned()),
    ]
}

/// The body of an import: a server certificate under a CA of its own.
pub(super) fn import(common_name: &str) -> serde_json::Value {
    let (from, to) = (NOW - 1_000, NOW + 1_000_000);
    let kind = pki::issue::KeyKind::P256;
    let ca = pki::issue::ca("Test CA", from, to).unwrap();
    let leaf = pki::issue::server(&ca.certificate_pem, &ca.key_pem, common_name, from, to, kind).unwrap();
    serde_json::json!({
        "Certificate": STANDARD.encode(&leaf.certificate_pem),
        "PrivateKey": STANDARD.encode(leaf.key_pem.as_bytes()),
        "CertificateChain": STANDARD.encode(&ca.certificate_pem),
    })
}

/// A signed call.
pub(super) fn signed(how: &How<'_>, path: &str, query: &str, body: Vec<u8>, more: Pairs<'_>) -> Call {
    signed_with(&credentials(how.key), how, path, query, body, more)
}

/// A call signed with these credentials, whatever key is named.
pub(super) fn signed_with(
    credentials: &Credentials,
    how: &How<'_>,
    path: &str,
    query: &str,
    body: Vec<u8>,
    more: Pairs<'_>,
) -> Call {
    let mut headers = vec![("host".to_owned(), "127.0.0.1:8585".to_owned())];
    headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let request = SignedRequest { method: how.method, path, query, headers: &headers, body: &body };
    let added = aws_auth::sign(&request, credentials, how.region, how.service, how.signed_at).unwrap();
    headers.extend(added);
    Call {
        method: how.method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::from(body),
        peer: IpAddr::from([127, 0, 0, 1]),
        secure: false,
    }
}

/// A document that allows one action on everything.
pub(super) fn allow(action: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
    )
}

/// What a key signs with: all have the same secret.
pub(super) fn credentials(key: &str) -> Credentials {
    Credentials { access_key_id: key.to_owned(), secret: Secret::new(SECRET), session_token: None }
}
