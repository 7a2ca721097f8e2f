//! Networks of an upstream: what is copied and when, what a failing upstream changes (nothing), and what ends with a
//! definite not-found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_auth::{Credentials, Secret};
use bytes::Bytes;
use model::{Association, Certificate, Kind, Route, SecurityGroup, Subnet, Vpc};
use serde_json::json;
use store::Store;

use super::{How, ROOT, World, allow, import, signed};
use crate::{Addresses, Config, Destination, Transport, Upstream, UpstreamFault, UpstreamUrl};

const VPC: &str = "vpc-0aaaaaaaaaaaaaaa1";
const SUBNET: &str = "subnet-0aaaaaaaaaaaaaaa1";
const OTHER_SUBNET: &str = "subnet-0aaaaaaaaaaaaaaa2";
const DEFAULT_GROUP: &str = "sg-0aaaaaaaaaaaaaaa1";
const GROUP: &str = "sg-0aaaaaaaaaaaaaaa2";
const ARN: &str = "arn:aws:acm:us-east-1:000000000000:certificate/theirs";

/// How the cloud of a test behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Every list is empty, whatever is asked for.
    Empty,
    /// Lists have their first row only; a question about one id is answered with an empty list.
    Partial,
    Away,
    Slow,
    Garbled,
    /// A page of somebody else's.
    Html,
    /// It refuses everything.
    Refuses,
    /// It says of everything that something else does not exist.
    Mistaken,
    /// Its refusals come with a status of 500.
    Broken,
}

/// An EC2 and ACM of a few rows.
struct Cloud {
    mood: Mutex<Mood>,
    /// Ids to rows.
    vpcs: Mutex<BTreeMap<String, String>>,
    subnets: Mutex<BTreeMap<String, String>>,
    groups: Mutex<BTreeMap<String, String>>,
    certificates: Mutex<BTreeMap<String, serde_json::Value>>,
    /// The actions that were asked for.
    asked: Mutex<Vec<String>>,
}

fn vpc_row(id: &str, cidr: &str) -> String {
    format!(
        "<item><vpcId>{id}</vpcId><cidrBlock>{cidr}</cidrBlock><instanceTenancy>default</instanceTenancy></item>"
    )
}

fn subnet_row(id: &str, cidr: &str, zone: &str, team: &str) -> String {
    format!(
        "<item><subnetId>{id}</subnetId><vpcId>{VPC}</vpcId><cidrBlock>{cidr}</cidrBlock>\
         <availabilityZone>{zone}</availabilityZone>\
         <tagSet><item><key>team</key><value>{team}</value></item></tagSet></item>"
    )
}

fn group_row(id: &str, name: &str, port: u16) -> String {
    format!(
        "<item><groupId>{id}</groupId><vpcId>{VPC}</vpcId><groupName>{name}</groupName><ipPermissions/>\
         <ipPermissionsEgress><item><ipProtocol>tcp</ipProtocol><fromPort>{port}</fromPort><toPort>{port}</toPort>\
         <ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges>\
         <prefixListIds><item><prefixListId>pl-1</prefixListId></item></prefixListIds></item></ipPermissionsEgress></item>"
    )
}

impl Cloud {
    fn new() -> Arc<Self> {
        let rows = |rows: &[(&str, String)]| {
            Mutex::new(rows.iter().map(|(id, row)| ((*id).to_owned(), row.clone())).collect())
        };
        Arc::new(Self {
            mood: Mutex::new(Mood::Well),
            vpcs: rows(&[(VPC, vpc_row(VPC, "10.0.0.0/16"))]),
            subnets: rows(&[
                (SUBNET, subnet_row(SUBNET, "10.0.1.0/24", "us-east-1a", "blue")),
                (OTHER_SUBNET, subnet_row(OTHER_SUBNET, "10.0.2.0/24", "us-east-1b", "red")),
            ]),
            groups: rows(&[
                (DEFAULT_GROUP, group_row(DEFAULT_GROUP, "default", 80)),
                (GROUP, group_row(GROUP, "web", 443)),
            ]),
            certificates: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The rows a question asks for, or which id is not there.
    fn rows(
        &self,
        of: &BTreeMap<String, String>,
        form: &aws_query::Form,
        id: &str,
        filter: &str,
    ) -> Result<Vec<String>, String> {
        let named = |name: &str| {
            form.iter()
                .filter(|(key, _)| key.starts_with(&format!("{name}.")))
                .map(|(_, value)| value.to_owned())
                .collect::<Vec<_>>()
        };
        let single = named(id);
        if let Some(gone) = single.iter().find(|id| !of.contains_key(*id)) {
            return Err(gone.clone());
        }
        let mood = *self.mood.lock().unwrap();
        let mut found: Vec<String> = of
            .iter()
            .filter(|(id, _)| single.is_empty() || single.contains(id))
            .filter(|(id, row)| match form.value("Filter.1.Name") {
                Some("vpc-id") if filter == "group-id" => row.contains("<groupName>default<"),
                Some(_) => named("Filter.1.Value").contains(id),
                None => true,
            })
            .map(|(_, row)| row.clone())
            .collect();
        match mood {
            Mood::Empty => found.clear(),
            Mood::Partial if single.is_empty() => found.truncate(1),
            Mood::Partial => found.clear(),
            _ => {}
        }
        Ok(found)
    }

    fn ec2(&self, body: &[u8]) -> (u16, String) {
        let mut form = aws_query::Form::parse(body, &aws_query::Limits::default()).unwrap();
        let action = form.strip_common().action.unwrap();
        self.asked.lock().unwrap().push(action.clone());
        let error = |status: u16, code: &str, message: &str| {
            let text = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
            );
            (status, text)
        };
        match *self.mood.lock().unwrap() {
            Mood::Refuses => return error(403, "UnauthorizedOperation", "You are not authorized"),
            Mood::Mistaken => {
                return error(400, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist");
            }
            Mood::Broken => {
                let message = format!("The subnet ID '{SUBNET}' does not exist");
                return error(500, "InvalidSubnetID.NotFound", &message);
            }
            Mood::Garbled => return (200, "<DescribeSubnetsResponse><subnetSet>".to_owned()),
            Mood::Html => return (200, "<html><body>Sign in</body></html>".to_owned()),
            _ => {}
        }
        let (rows, set, code, noun) = match action.as_str() {
            "DescribeVpcs" => (
                self.rows(&self.vpcs.lock().unwrap(), &form, "VpcId", "vpc-id"),
                "vpcSet",
                "InvalidVpcID.NotFound",
                "vpc ID",
            ),
            "DescribeSubnets" => (
                self.rows(&self.subnets.lock().unwrap(), &form, "SubnetId", "subnet-id"),
                "subnetSet",
                "InvalidSubnetID.NotFound",
                "subnet ID",
            ),
            "DescribeSecurityGroups" => (
                self.rows(&self.groups.lock().unwrap(), &form, "GroupId", "group-id"),
                "securityGroupInfo",
                "InvalidGroup.NotFound",
                "security group",
            ),
            _ => (Ok(Vec::new()), "theirs", "", ""),
        };
        match rows {
            Ok(rows) => {
                (200, format!("<{action}Response><{set}>{}</{set}></{action}Response>", rows.concat()))
            }
            Err(id) => error(400, code, &format!("The {noun} '{id}' does not exist")),
        }
    }

    fn acm(&self, target: &str, body: &[u8]) -> (u16, String) {
        let action = target.rsplit('.').next().unwrap();
        self.asked.lock().unwrap().push(action.to_owned());
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let arn = body["CertificateArn"].as_str().unwrap_or_default();
        let certificates = self.certificates.lock().unwrap();
        let fails =
            |code: &str, message: String| (400, json!({"__type": code, "message": message}).to_string());
        match (action, certificates.get(arn)) {
            ("ListCertificates", _) => {
                let next = if body["NextToken"] == "more" { json!(null) } else { json!("more") };
                (
                    200,
                    json!({"CertificateSummaryList": [{"CertificateArn": ARN}], "NextToken": next})
                        .to_string(),
                )
            }
            ("GetCertificate", Some(found)) => (200, found.to_string()),
            ("ExportCertificate", Some(_)) => {
                fails("ValidationException", "is not a private certificate".to_owned())
            }
            (_, Some(_)) => (200, r#"{"theirs":true}"#.to_owned()),
            (_, None) => fails("ResourceNotFoundException", format!("Could not find certificate {arn}.")),
        }
    }
}

#[async_trait::async_trait]
impl Transport for Cloud {
    async fn send(
        &self,
        _to: &Destination,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, UpstreamFault> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Away => return Err(UpstreamFault::Unreachable),
            Mood::Slow => return std::future::pending().await,
            _ => {}
        }
        assert_eq!(request.headers()["x-bascule-forwarded"], "1");
        let (status, text) = match request.headers().get("x-amz-target") {
            Some(target) => self.acm(target.to_str().unwrap(), request.body()),
            None => self.ec2(request.body()),
        };
        let kind = request.headers().get("x-amz-target").map_or("text/xml", |_| "application/x-amz-json-1.1");
        let answer = http::Response::builder().status(status).header("content-type", kind);
        Ok(answer.body(Bytes::from(text)).unwrap())
    }
}

fn world() -> (World, Arc<Cloud>) {
    let cloud = Cloud::new();
    let world =
        World::with(Config { addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(), ..Config::default() });
    let upstream = Upstream::new(
        UpstreamUrl::parse("http://cloud.example.com:5000").unwrap(),
        Credentials {
            access_key_id: "AKIAUPSTREAM00000000".to_owned(),
            secret: Secret::new("an upstream's secret of forty characters"),
            session_token: None,
        },
        ["ec2".to_owned(), "acm".to_owned()],
        Duration::from_secs(30),
        cloud.clone(),
    );
    let api = world.api.with_upstream(upstream).with_networks_of_upstream(Duration::from_secs(30));
    (World { api, ..world }, cloud)
}

impl World {
    async fn refresh(&self) {
        self.api.networks().unwrap().refresh().await;
    }

    /// An endpoint with one association in the upstream's subnet, settled.
    async fn joined(&self) -> (String, String) {
        let endpoint = self.endpoint(&[]).await;
        let association = self.associate(&endpoint, SUBNET).await.ok().text("associationId");
        self.settle().await;
        (endpoint, association)
    }

    /// A call with its content type, as clients send it.
    async fn plain(&self, action: &str, pairs: super::Pairs<'_>) -> super::Reply {
        let form = aws_query::encode([("Action", action)].into_iter().chain(pairs.iter().copied()));
        let kind = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        self.send(signed(&How::default(), "/", "", form.into_bytes(), &kind)).await
    }

    async fn status(&self) -> Vec<(String, Option<String>)> {
        let records = self.records::<Association>(Kind::Association).await;
        let status = |record: store::typed::Record<Association>| {
            (record.value.status.code.as_str().to_owned(), record.value.status.message)
        };
        records.into_iter().map(status).collect()
    }
}

#[tokio::test]
async fn what_a_call_names_is_copied_with_what_belongs_to_it() {
    let (world, _) = world();
    let (endpoint, _) = world.joined().await;
    let vpcs = world.records::<Vpc>(Kind::Vpc).await;
    let subnets = world.records::<Subnet>(Kind::Subnet).await;
    let groups = world.records::<SecurityGroup>(Kind::SecurityGroup).await;
    assert_eq!((vpcs.len(), subnets.len(), groups.len()), (1, 1, 1), "what is used and no more");
    assert_eq!(vpcs[0].value.id.as_str(), VPC);
    assert_eq!(vpcs[0].value.default_security_group.as_str(), DEFAULT_GROUP);
    assert_eq!((subnets[0].value.id.as_str(), subnets[0].value.zone.as_str()), (SUBNET, "us-east-1a"));
    assert!(vpcs[0].value.mirrored && subnets[0].value.mirrored && groups[0].value.mirrored);
    // The prefix list's rule is left out.
    let egress = &groups[0].value.egress;
    assert_eq!((egress.len(), egress[0].says.from_port), (1, Some(80)));
    let stored = world.stored(&endpoint).await;
    assert_eq!(stored.spec.security_group_ids[0].as_str(), DEFAULT_GROUP);
    let routes = world.records::<Route>(Kind::Route).await;
    assert_eq!(routes[0].value.destination.to_string(), "10.0.0.0/16");

    let pairs = [("ClientVpnEndpointId", endpoint.as_str()), ("VpcId", VPC), ("SecurityGroupId.1", GROUP)];
    world.call("ApplySecurityGroupsToClientVpnTargetNetwork", &pairs).await.ok();
    let wrong =
        [("ClientVpnEndpointId", endpoint.as_str()), ("VpcId", VPC), ("SecurityGroupId.1", "sg-0000000a")];
    let reply = world.call("ApplySecurityGroupsToClientVpnTargetNetwork", &wrong).await;
    assert_eq!(reply.code(), "InvalidGroup.NotFound");
    assert_eq!(
        world.associate(&endpoint, "subnet-0000000a").await.code(),
        "InvalidClientVpnSubnetId.NotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_not_called_unknown_while_nobody_can_be_asked() {
    for mood in
        [Mood::Away, Mood::Slow, Mood::Garbled, Mood::Html, Mood::Refuses, Mood::Empty, Mood::Mistaken]
    {
        let (world, cloud) = world();
        let endpoint = world.endpoint(&[]).await;
        cloud.is(mood);
        let reply = world.associate(&endpoint, SUBNET).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "Unavailable"), "{mood:?}: {}", reply.body);
        assert!(reply.body.contains("upstream"), "{}", reply.body);
        // What is in the store serves meanwhile, and a hanging upstream is waited for once.
        cloud.is(Mood::Well);
        tokio::time::advance(Duration::from_secs(3)).await;
        world.associate(&endpoint, SUBNET).await.ok();
        world.settle().await;
        cloud.is(mood);
        tokio::time::advance(Duration::from_secs(3)).await;
        let before = tokio::time::Instant::now();
        let pairs = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("VpcId", VPC),
            ("SecurityGroupId.1", DEFAULT_GROUP),
        ];
        world.call("ModifyClientVpnEndpoint", &pairs).await.ok();
        assert!(before.elapsed() <= Duration::from_secs(6), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_ends_but_by_a_definite_not_found() {
    let (world, cloud) = world();
    let (endpoint, _) = world.joined().await;
    world.associate(&endpoint, OTHER_SUBNET).await.ok();
    world.settle().await;
    let before = world.store.list("/v1/").await.unwrap().entries;
    for mood in [
        Mood::Away,
        Mood::Slow,
        Mood::Empty,
        Mood::Partial,
        Mood::Garbled,
        Mood::Html,
        Mood::Refuses,
        Mood::Mistaken,
        Mood::Broken,
        Mood::Well,
    ] {
        cloud.is(mood);
        for _ in 0..3 {
            world.refresh().await;
            tokio::time::advance(Duration::from_secs(90)).await;
        }
        assert_eq!(world.store.list("/v1/").await.unwrap().entries, before, "{mood:?}");
    }
    // One that is gone, while the other one's list is short.
    cloud.subnets.lock().unwrap().remove(SUBNET);
    for mood in [Mood::Away, Mood::Mistaken, Mood::Broken, Mood::Garbled] {
        cloud.is(mood);
        world.refresh().await;
        assert_eq!(world.store.list("/v1/").await.unwrap().entries, before, "{mood:?}");
    }
    cloud.is(Mood::Well);
    world.refresh().await;
    let status = world.status().await;
    let ended = |row: &&(String, Option<String>)| row.0 == "disassociating";
    let why = format!("The subnet {SUBNET} does not exist any more");
    assert_eq!(status.iter().filter(ended).collect::<Vec<_>>(), [&("disassociating".to_owned(), Some(why))]);
    assert_eq!(status.len(), 2);
    let shown =
        world.call("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    assert!(shown.body.contains("does not exist any more"), "{}", shown.body);
    world.settle().await;
    assert_eq!(world.status().await, [("associated".to_owned(), None)]);
    let targets: Vec<String> = world
        .records::<Route>(Kind::Route)
        .await
        .iter()
        .map(|r| r.value.target.as_str().to_owned())
        .collect();
    assert_eq!(targets, [OTHER_SUBNET]);
    // The copy goes with its last association, however lately it was asked for.
    world.refresh().await;
    let left = world.records::<Subnet>(Kind::Subnet).await;
    assert_eq!(left.iter().map(|record| record.value.id.as_str()).collect::<Vec<_>>(), [OTHER_SUBNET]);
    assert_eq!(world.associate(&endpoint, SUBNET).await.code(), "InvalidClientVpnSubnetId.NotFound");
    cloud.is(Mood::Away);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(world.associate(&endpoint, SUBNET).await.code(), "Unavailable", "nobody knows by now");
}

#[tokio::test]
async fn a_changed_rule_is_copied_and_an_unchanged_one_writes_nothing() {
    let (world, cloud) = world();
    world.joined().await;
    world.refresh().await;
    let before = world.store.revision().await.unwrap();
    world.refresh().await;
    assert_eq!(world.store.revision().await.unwrap(), before);
    let row = group_row(DEFAULT_GROUP, "default", 8080);
    cloud.groups.lock().unwrap().insert(DEFAULT_GROUP.to_owned(), row);
    world.refresh().await;
    let groups = world.records::<SecurityGroup>(Kind::SecurityGroup).await;
    assert_eq!(groups[0].value.egress[0].says.from_port, Some(8080));
    assert_eq!(world.store.revision().await.unwrap(), before + 1);
    // A group that is gone lets nothing out; that it is not listed says nothing.
    cloud.is(Mood::Empty);
    world.refresh().await;
    assert_eq!(world.store.revision().await.unwrap(), before + 1);
    cloud.is(Mood::Well);
    cloud.groups.lock().unwrap().remove(DEFAULT_GROUP);
    world.refresh().await;
    assert!(world.records::<SecurityGroup>(Kind::SecurityGroup).await.is_empty());
    assert_eq!(world.status().await, [("associated".to_owned(), None)]);
}

#[tokio::test]
async fn calls_about_networks_are_the_upstreams_and_endpoints_stay_ours() {
    let (world, cloud) = world();
    let (endpoint, _) = world.joined().await;
    for (action, pairs) in [
        ("DescribeVpcAttribute", vec![("VpcId", VPC), ("Attribute", "enableDnsSupport")]),
        ("CreateVpc", vec![("CidrBlock", "10.1.0.0/16")]),
        ("AuthorizeSecurityGroupEgress", vec![("GroupId", GROUP)]),
        ("CreateTags", vec![("ResourceId.1", "igw-1"), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")]),
        ("DescribeTags", vec![("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", VPC)]),
    ] {
        let reply = world.plain(action, &pairs).await.ok();
        assert!(reply.body.contains("<theirs>"), "{action}: {}", reply.body);
        assert_eq!(cloud.asked.lock().unwrap().last().unwrap(), action);
    }
    let before = cloud.questions();
    let pairs = [("ResourceId.1", endpoint.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
    world.call("CreateTags", &pairs).await.ok();
    let mixed = [("ResourceId.1", endpoint.as_str()), ("ResourceId.2", VPC), ("Tag.1.Key", "a")];
    assert_eq!(world.call("CreateTags", &mixed).await.code(), "InvalidParameterCombination");
    world.call("DescribeClientVpnEndpoints", &[]).await.ok();
    assert_eq!(cloud.questions(), before);
    cloud.is(Mood::Away);
    assert_eq!(world.plain("DescribeSubnets", &[]).await.code(), "Unavailable");
    // A body that says of itself that it is none could be read otherwise there.
    assert_eq!(world.call("DescribeSubnets", &[]).await.code(), "InvalidParameterCombination");
    assert_eq!(world.status().await.len(), 1);
}

#[tokio::test]
async fn what_was_made_here_and_other_accounts_networks_stay() {
    let plain = World::new();
    let (_, subnets) = plain.network().await;
    let (world, cloud) = world();
    // As if the setting had changed.
    for entry in plain.store.list("/v1/").await.unwrap().entries {
        let transaction = store::Transaction::new().put(entry.key, entry.value);
        world.store.transact(transaction).await.unwrap();
    }
    let endpoint = world.endpoint(&[]).await;
    world.associate(&endpoint, &subnets[0]).await.ok();
    world.settle().await;
    let before = cloud.questions();
    world.refresh().await;
    assert_eq!(cloud.questions(), before, "nobody is asked about what was made here");
    assert_eq!(world.status().await, [("associated".to_owned(), None)]);

    world.users.elsewhere("111111111111", "OTHER", &allow("ec2:*"));
    let how = How { key: "OTHER", ..How::default() };
    let vpc = world.call_as(how, "CreateVpc", &[("CidrBlock", "10.5.0.0/16")]).await.ok().text("vpcId");
    let shown = world.call_as(how, "DescribeVpcs", &[("VpcId.1", &vpc)]).await.ok();
    assert_eq!(shown.all("vpcId"), [vpc]);
    assert_eq!(world.call_as(how, "DescribeVpcs", &[("VpcId.1", VPC)]).await.code(), "InvalidVpcID.NotFound");
}

#[tokio::test]
async fn a_policy_sees_the_tags_of_what_was_never_copied() {
    let (world, cloud) = world();
    let endpoint = world.endpoint(&[]).await;
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
        {"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}]}"#;
    world.users.policy("BUT", document);
    let how = How { key: "BUT", ..How::default() };
    let associate = |subnet| [("ClientVpnEndpointId", endpoint.clone()), ("SubnetId", subnet)];
    for (subnet, code) in [(SUBNET, "UnauthorizedOperation"), (OTHER_SUBNET, "")] {
        let pairs = associate(subnet.to_owned());
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = world.call_as(how, "AssociateClientVpnTargetNetwork", &pairs).await;
        assert_eq!(reply.code(), code, "{subnet}");
    }
    cloud.is(Mood::Away);
    let pairs = associate("subnet-0aaaaaaaaaaaaaaa3".to_owned());
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = world.call_as(how, "AssociateClientVpnTargetNetwork", &pairs).await;
    assert_eq!(reply.code(), "Unavailable", "whose tags nobody knows is not allowed");
}

#[tokio::test]
async fn a_certificate_without_its_key_is_an_anchor_only_until_it_is_imported() {
    let (world, cloud) = world();
    let material = import("vpn.example.com");
    let text = |name: &str| {
        use base64::Engine;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(material[name].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let theirs = json!({"Certificate": text("Certificate"), "CertificateChain": text("CertificateChain")});
    cloud.certificates.lock().unwrap().insert(ARN.to_owned(), theirs);
    let own = world.certificate("server.example.com").await;
    let create = |server: &str, root: &str| {
        let mut pairs = super::endpoint_pairs(server);
        for pair in &mut pairs {
            if pair.0.ends_with("ChainArn") {
                pair.1 = root.to_owned();
            }
        }
        pairs
    };
    let call = async |server: &str, root: &str| {
        let pairs = create(server, root);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.call("CreateClientVpnEndpoint", &pairs).await
    };
    call(&own, ARN).await.ok();
    let copies = world.records::<Certificate>(Kind::Certificate).await;
    let copy = copies.iter().find(|record| record.value.mirrored).unwrap();
    assert!(copy.value.arn == ARN && !copy.value.private_key.is_some());
    let refused = call(ARN, &own).await;
    assert_eq!(refused.code(), "InvalidParameterValue");
    assert!(refused.body.contains("import-certificate"), "{}", refused.body);
    // What is asked about it is the upstream's to answer.
    let (_, answer) = world.acm(ROOT, "DescribeCertificate", &json!({"CertificateArn": ARN})).await;
    assert_eq!(answer, json!({"theirs": true}));
    let (_, answer) = world.acm(ROOT, "DescribeCertificate", &json!({"CertificateArn": own})).await;
    assert_eq!(answer["Certificate"]["CertificateArn"], own.as_str());
    // All of both are listed, page by page.
    let mut listed = Vec::new();
    let mut asked = json!({});
    for _ in 0..5 {
        let (status, answer) = world.acm(ROOT, "ListCertificates", &asked).await;
        assert_eq!(status, 200, "{answer}");
        let rows = answer["CertificateSummaryList"].as_array().unwrap();
        listed.extend(rows.iter().map(|row| row["CertificateArn"].as_str().unwrap().to_owned()));
        let Some(token) = answer["NextToken"].as_str() else { break };
        asked = json!({"NextToken": token});
    }
    assert_eq!(listed, [own.as_str(), ARN, ARN]);

    let mut with_arn = material.clone();
    with_arn["CertificateArn"] = json!(ARN);
    let (status, answer) = world.acm(ROOT, "ImportCertificate", &with_arn).await;
    assert_eq!((status, answer["CertificateArn"].as_str()), (200, Some(ARN)), "{answer}");
    call(ARN, &own).await.ok();
    cloud.certificates.lock().unwrap().clear();
    world.refresh().await;
    let kept = world.records::<Certificate>(Kind::Certificate).await;
    assert!(kept.iter().any(|record| record.value.arn == ARN && record.value.private_key.is_some()));
}
