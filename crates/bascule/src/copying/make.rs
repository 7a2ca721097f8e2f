//! Makes a landscape here: what lacks is added; what stands is neither changed nor removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::certificates::{self, Certificate};
use super::cloud::{Cloud, Pairs, numbered, pair};
use super::landscape::{Endpoint, Landscape, Options, Route, Rule, Way};
use super::near::{Near, marked};
use super::{groups, read};

/// How long associations may take before routes are tried, and how often they are looked at.
const ASSOCIATED_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// All of it. `given`: our certificates by theirs, as the operator says.
pub(super) fn landscape(
    near: &mut Near,
    cloud: &Cloud,
    far: &Landscape,
    given: &BTreeMap<String, String>,
) -> Result<()> {
    let fresh = vpcs(near, far)?;
    subnets(near, cloud, far)?;
    groups::make(near, far, &fresh)?;
    logs(near, far)?;
    providers(near, far)?;
    let ours = certificates::all(&near.cloud)?;
    for (id, theirs) in &far.endpoints {
        if !theirs.beyond.is_empty() {
            near.leave(format!("{id} has {}, which is not copied", theirs.beyond.join(" and ")));
        }
        let Some(options) = options(near, cloud, id, &theirs.options, given, &ours)? else { continue };
        endpoint(near, id, theirs, &options)?;
    }
    Ok(())
}

/// Theirs that were made just now.
fn vpcs(near: &mut Near, far: &Landscape) -> Result<BTreeSet<String>> {
    let mut fresh = BTreeSet::new();
    for (id, vpc) in &far.vpcs {
        if let Some(ours) = near.id(id).cloned() {
            near.kept("vpc", id, &ours);
            continue;
        }
        let mut pairs = vec![pair("CidrBlock", &vpc.cidr), pair("InstanceTenancy", &vpc.tenancy)];
        pairs.extend(marked("vpc", id, &vpc.tags));
        let ours = near.make("vpc", id, "CreateVpc", &pairs, "vpc/vpcId")?;
        for (_, cidr) in &vpc.more_cidrs {
            let pairs = [pair("VpcId", &ours), pair("CidrBlock", cidr)];
            near.add(&format!("block {cidr} of {ours}"), "AssociateVpcCidrBlock", &pairs)?;
        }
        for block in &vpc.ipv6_blocks {
            // The very block, whoever chose it there: it is the network that stands here.
            let mut pairs = vec![pair("VpcId", &ours), pair("Ipv6CidrBlock", &block.cidr)];
            pairs.extend(block.pool.iter().map(|pool| pair("Ipv6Pool", pool)));
            near.add(&format!("block {} of {ours}", block.cidr), "AssociateVpcCidrBlock", &pairs)?;
        }
        for (name, value) in
            [("EnableDnsSupport", vpc.dns_support), ("EnableDnsHostnames", vpc.dns_hostnames)]
        {
            let pairs = [pair("VpcId", &ours), pair(format!("{name}.Value"), value.to_string())];
            near.cloud.ec2("ModifyVpcAttribute", &pairs).context("ModifyVpcAttribute")?;
        }
        fresh.insert(id.clone());
    }
    Ok(fresh)
}

fn subnets(near: &mut Near, cloud: &Cloud, far: &Landscape) -> Result<()> {
    for (id, subnet) in &far.subnets {
        if let Some(ours) = near.id(id).cloned() {
            near.kept("subnet", id, &ours);
            continue;
        }
        // The same letter of our region.
        let letter = subnet.zone.strip_prefix(&cloud.region).unwrap_or("a");
        let mut pairs = vec![
            pair("VpcId", near.known(&subnet.vpc)?),
            pair("CidrBlock", &subnet.cidr),
            pair("AvailabilityZone", format!("{}{letter}", near.cloud.region)),
        ];
        pairs.extend(subnet.ipv6_cidr.iter().map(|cidr| pair("Ipv6CidrBlock", cidr)));
        pairs.extend(marked("subnet", id, &subnet.tags));
        let ours = near.make("subnet", id, "CreateSubnet", &pairs, "subnet/subnetId")?;
        for (name, is_set) in [
            ("MapPublicIpOnLaunch", subnet.public_addresses),
            ("AssignIpv6AddressOnCreation", subnet.ipv6_addresses),
        ] {
            if is_set {
                let pairs = [pair("SubnetId", &ours), pair(format!("{name}.Value"), "true")];
                near.cloud.ec2("ModifySubnetAttribute", &pairs).context("ModifySubnetAttribute")?;
            }
        }
    }
    Ok(())
}

/// By their names.
fn logs(near: &mut Near, far: &Landscape) -> Result<()> {
    for (name, group) in &far.log_groups {
        let there = read::log_group(&near.cloud, name, Vec::new())?.is_some();
        if there {
            near.kept("log group", name, name);
        } else {
            near.cloud.logs("CreateLogGroup", &json!({ "logGroupName": name, "tags": group.tags }))?;
            if let Some(days) = group.retention_days {
                let body = json!({ "logGroupName": name, "retentionInDays": days });
                near.cloud.logs("PutRetentionPolicy", &body)?;
            }
            near.made(&format!("log group {name}"));
        }
        for stream in &group.streams {
            let body = json!({ "logGroupName": name, "logStreamName": stream });
            match near.cloud.logs("CreateLogStream", &body) {
                Ok(_) => near.made(&format!("log stream {name} {stream}")),
                Err(error) if error.code() == Some("ResourceAlreadyExistsException") => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// By their names.
fn providers(near: &mut Near, far: &Landscape) -> Result<()> {
    if far.providers.is_empty() {
        return Ok(());
    }
    let listed = near.cloud.iam("ListSAMLProviders", &[])?;
    let rows = listed.rows("ListSAMLProvidersResult/SAMLProviderList");
    let there: Vec<String> = rows.into_iter().filter_map(|row| row.optional("Arn")).collect();
    for (arn, provider) in &far.providers {
        let end = format!("/{}", provider.name);
        if let Some(ours) = there.iter().find(|ours| ours.ends_with(&end)) {
            near.note(arn, ours);
            near.kept("SAML provider", arn, ours);
            continue;
        }
        let mut pairs =
            vec![("Name", provider.name.as_str()), ("SAMLMetadataDocument", provider.metadata.as_str())];
        let names: Vec<(String, String)> = (1..=provider.tags.len())
            .map(|n| (format!("Tags.member.{n}.Key"), format!("Tags.member.{n}.Value")))
            .collect();
        for ((key_name, value_name), (key, value)) in names.iter().zip(&provider.tags) {
            pairs.push((key_name, key));
            pairs.push((value_name, value));
        }
        let answer = near.cloud.iam("CreateSAMLProvider", &pairs).context("CreateSAMLProvider")?;
        let ours = answer.text("CreateSAMLProviderResult/SAMLProviderArn")?;
        near.made(&format!("SAML provider {ours} (from {arn})"));
        near.note(arn, &ours);
    }
    Ok(())
}

/// Theirs in our ids; nothing if a certificate is missing here, which is said.
fn options(
    near: &mut Near,
    cloud: &Cloud,
    id: &str,
    theirs: &Options,
    given: &BTreeMap<String, String>,
    ours: &BTreeMap<String, Certificate>,
) -> Result<Option<Options>> {
    let mut missing = Vec::new();
    let server = given.get(&theirs.server_certificate).cloned().or_else(|| {
        let read = certificates::read(cloud, &theirs.server_certificate);
        let found = certificates::server(&read, ours).cloned();
        if found.is_none() {
            missing.push(format!(
                "the server certificate {0} for {1}: its private key cannot be copied. Import one for {1} here \
                 (bascule pki issue-server, aws acm import-certificate), or name one of yours with --certificate {0}=ARN",
                theirs.server_certificate, read.domain
            ));
        }
        found
    });
    let mut ways = Vec::new();
    for way in &theirs.ways {
        ways.push(match way {
            Way::Certificate { root } => {
                let found = given.get(root).cloned().or_else(|| {
                    let read = certificates::read(cloud, root);
                    certificates::root(&read, ours).cloned()
                });
                if found.is_none() {
                    missing.push(format!(
                        "a certificate whose chain is that of {root}, so that its clients are let in: import a \
                         certificate of that authority with its chain here, or name one with --certificate {root}=ARN"
                    ));
                }
                Way::Certificate { root: found.unwrap_or_default() }
            }
            Way::Directory { id } => Way::Directory { id: id.clone() },
            Way::Federated { provider, portal_provider } => Way::Federated {
                provider: near.known(provider)?,
                portal_provider: portal_provider.as_ref().map(|arn| near.known(arn)).transpose()?,
            },
        });
    }
    let Some(server_certificate) = server.filter(|_| missing.is_empty()) else {
        for what in missing {
            near.fail(format!("endpoint {id} is not made: it needs {what}"));
        }
        return Ok(None);
    };
    let mut groups = theirs.groups.iter().map(|group| near.known(group)).collect::<Result<Vec<_>>>()?;
    groups.sort();
    let vpc = theirs.vpc.as_ref().map(|vpc| near.known(vpc)).transpose()?;
    Ok(Some(Options { server_certificate, ways, groups, vpc, ..theirs.clone() }))
}

fn endpoint(near: &mut Near, id: &str, theirs: &Endpoint, options: &Options) -> Result<()> {
    let (ours, is_new) = match near.id(id).cloned() {
        Some(ours) => {
            near.kept("endpoint", id, &ours);
            (ours, false)
        }
        None => {
            let mut pairs = parameters(options);
            pairs.extend(marked("client-vpn-endpoint", id, &theirs.tags));
            let action = "CreateClientVpnEndpoint";
            (near.make("endpoint", id, action, &pairs, "clientVpnEndpointId")?, true)
        }
    };
    let there = described(near, &ours)?;
    let differences = differences(&there.options, options);
    if !is_new && !differences.is_empty() {
        near.leave(format!("{ours} differs from {id} and is left as it is: {}", differences.join(", ")));
    }
    associations(near, &ours, theirs, &there)?;
    rules(near, &ours, theirs, &there)?;
    routes(near, &ours, theirs, &there)?;
    if let Some(list) = theirs.revocation_list.as_ref().filter(|_| there.revocation_list.is_none()) {
        let pairs = [pair("ClientVpnEndpointId", &ours), pair("CertificateRevocationList", list)];
        near.add(
            &format!("revocation list of {ours}"),
            "ImportClientVpnClientCertificateRevocationList",
            &pairs,
        )?;
    }
    if let Some(policy) = theirs.policy.as_ref().filter(|_| there.policy.is_none()) {
        let pairs = [
            pair("ClientVpnEndpointId", &ours),
            pair("PolicyDocument", &policy.document),
            pair("ShadowMode", if policy.shadow { "enabled" } else { "disabled" }),
        ];
        near.add(
            &format!("authorization policy of {ours}"),
            "ModifyClientVpnEndpointAuthorizationPolicy",
            &pairs,
        )?;
    }
    if is_new {
        near.leave(format!(
            "profiles that name {} lead there: hand out new ones (bascule profile --endpoint {ours} …)",
            theirs.dns_name
        ));
        if let Some(handler) = &options.connect_handler {
            near.leave(format!("the connect handler {handler} is noted and not asked"));
        }
    }
    Ok(())
}

fn described(near: &Near, ours: &str) -> Result<Endpoint> {
    let mut found = read::landscape(&near.cloud, &[ours.to_owned()])?;
    found.endpoints.remove(ours).with_context(|| format!("{ours} is not there any more"))
}

fn associations(near: &mut Near, ours: &str, theirs: &Endpoint, there: &Endpoint) -> Result<()> {
    for association in theirs.associations.values() {
        let subnet = near.known(&association.subnet)?;
        if there.associations.values().all(|own| own.subnet != subnet) {
            let pairs = [pair("ClientVpnEndpointId", ours), pair("SubnetId", &subnet)];
            near.add(
                &format!("association of {ours} with {subnet}"),
                "AssociateClientVpnTargetNetwork",
                &pairs,
            )?;
        }
    }
    if theirs.routes.is_empty() {
        return Ok(());
    }
    // Routes want an association that stands.
    let until = Instant::now() + ASSOCIATED_WITHIN;
    while Instant::now() < until {
        let now = described(near, ours)?;
        if now.associations.values().all(|own| own.status != "associating") {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn rules(near: &mut Near, ours: &str, theirs: &Endpoint, there: &Endpoint) -> Result<()> {
    for Rule { destination, group, description } in &theirs.rules {
        if there.rules.iter().any(|own| own.destination == *destination && own.group == *group) {
            continue;
        }
        let mut pairs = vec![pair("ClientVpnEndpointId", ours), pair("TargetNetworkCidr", destination)];
        pairs.push(match group {
            Some(group) => pair("AccessGroupId", group),
            None => pair("AuthorizeAllGroups", "true"),
        });
        pairs.extend(description.iter().map(|text| pair("Description", text)));
        let whom = group.as_deref().unwrap_or("all");
        near.add(&format!("rule of {ours} for {destination} {whom}"), "AuthorizeClientVpnIngress", &pairs)?;
    }
    Ok(())
}

fn routes(near: &mut Near, ours: &str, theirs: &Endpoint, there: &Endpoint) -> Result<()> {
    for route in &theirs.routes {
        let Route { destination, target, description } = route;
        if route.is_of_own_ipv6_block() {
            if !there.routes.iter().any(Route::is_of_own_ipv6_block) {
                near.leave(format!(
                    "the route to {destination} from client to client: clients of {ours} have another block, so add it \
                     for that one (the log names it as the endpoint is made), and a rule"
                ));
            }
            continue;
        }
        let target = if target.starts_with("subnet-") { near.known(target)? } else { target.clone() };
        if there.routes.iter().any(|own| own.destination == *destination && own.target == target) {
            continue;
        }
        let mut pairs = vec![
            pair("ClientVpnEndpointId", ours),
            pair("DestinationCidrBlock", destination),
            pair("TargetVpcSubnetId", &target),
        ];
        pairs.extend(description.iter().map(|text| pair("Description", text)));
        near.add(&format!("route of {ours} to {destination}"), "CreateClientVpnRoute", &pairs)?;
    }
    Ok(())
}

/// The parameters of `CreateClientVpnEndpoint`.
fn parameters(options: &Options) -> Pairs {
    let mut pairs = vec![
        pair("ServerCertificateArn", &options.server_certificate),
        pair("TransportProtocol", &options.transport),
        pair("VpnPort", &options.port),
        pair("SplitTunnel", options.split_tunnel.to_string()),
        pair("SelfServicePortal", if options.portal { "enabled" } else { "disabled" }),
        pair("SessionTimeoutHours", &options.session_hours),
        pair("DisconnectOnSessionTimeout", options.disconnect.to_string()),
        pair("ConnectionLogOptions.Enabled", options.log.is_some().to_string()),
        pair("ClientConnectOptions.Enabled", options.connect_handler.is_some().to_string()),
        pair("ClientLoginBannerOptions.Enabled", options.banner.is_some().to_string()),
        pair("ClientRouteEnforcementOptions.Enforced", options.enforce_routes.to_string()),
    ];
    for (name, version) in
        [("TrafficIpAddressType", &options.traffic), ("EndpointIpAddressType", &options.addresses)]
    {
        if version != "ipv4" {
            pairs.push(pair(name, version));
        }
    }
    for (name, value) in [
        ("ClientCidrBlock", &options.client_cidr),
        ("Description", &options.description),
        ("VpcId", &options.vpc),
        ("ClientConnectOptions.LambdaFunctionArn", &options.connect_handler),
        ("ClientLoginBannerOptions.BannerText", &options.banner),
    ] {
        pairs.extend(value.iter().map(|value| pair(name, value)));
    }
    if let Some((group, stream)) = &options.log {
        pairs.push(pair("ConnectionLogOptions.CloudwatchLogGroup", group));
        pairs.extend(stream.iter().map(|stream| pair("ConnectionLogOptions.CloudwatchLogStream", stream)));
    }
    pairs.extend(numbered("DnsServers", &options.dns_servers));
    pairs.extend(numbered("SecurityGroupId", &options.groups));
    for (n, way) in options.ways.iter().enumerate() {
        let name = |rest: &str| format!("Authentication.{}.{rest}", n + 1);
        match way {
            Way::Certificate { root } => {
                pairs.push(pair(name("Type"), "certificate-authentication"));
                pairs.push(pair(name("MutualAuthentication.ClientRootCertificateChainArn"), root));
            }
            Way::Directory { id } => {
                pairs.push(pair(name("Type"), "directory-service-authentication"));
                pairs.push(pair(name("ActiveDirectory.DirectoryId"), id));
            }
            Way::Federated { provider, portal_provider } => {
                pairs.push(pair(name("Type"), "federated-authentication"));
                pairs.push(pair(name("FederatedAuthentication.SAMLProviderArn"), provider));
                let portal = portal_provider.iter();
                pairs.extend(
                    portal.map(|arn| pair(name("FederatedAuthentication.SelfServiceSAMLProviderArn"), arn)),
                );
            }
        }
    }
    pairs
}

/// In what two endpoints differ, by name.
fn differences(ours: &Options, wanted: &Options) -> Vec<&'static str> {
    let rows = [
        ("description", ours.description == wanted.description),
        ("client CIDR block", ours.client_cidr == wanted.client_cidr),
        ("IP version of traffic", ours.traffic == wanted.traffic),
        ("IP version of the endpoint", ours.addresses == wanted.addresses),
        ("server certificate", ours.server_certificate == wanted.server_certificate),
        ("authentication", ours.ways == wanted.ways),
        ("connection log", ours.log == wanted.log),
        ("DNS servers", ours.dns_servers == wanted.dns_servers),
        ("transport protocol", ours.transport == wanted.transport),
        ("port", ours.port == wanted.port),
        ("split tunnel", ours.split_tunnel == wanted.split_tunnel),
        ("VPC", wanted.vpc.is_none() || ours.vpc == wanted.vpc),
        ("security groups", wanted.groups.is_empty() || ours.groups == wanted.groups),
        ("self-service portal", ours.portal == wanted.portal),
        ("connect handler", ours.connect_handler == wanted.connect_handler),
        ("session timeout", ours.session_hours == wanted.session_hours),
        ("disconnect on session timeout", ours.disconnect == wanted.disconnect),
        ("login banner", ours.banner == wanted.banner),
        ("route enforcement", ours.enforce_routes == wanted.enforce_routes),
    ];
    rows.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}
