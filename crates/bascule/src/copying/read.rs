//! Reads a landscape by Describe calls.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::json;

use super::cloud::{Cloud, numbered, pair};
use super::landscape::{
    Association, AuthorizationPolicy, Endpoint, Group, GroupRule, Ipv6Block, Landscape, LogGroup, Options,
    Peer, Provider, Route, Rule, Says, Subnet, Tags, Vpc, Way,
};
use crate::aws_client::{Answer, AwsError};

/// The endpoints of these ids, or all of them, and what they refer to.
pub(super) fn landscape(cloud: &Cloud, ids: &[String]) -> Result<Landscape> {
    let mut found = Landscape::default();
    let rows = cloud.list(
        "DescribeClientVpnEndpoints",
        &numbered("ClientVpnEndpointId", ids),
        "clientVpnEndpoint",
    )?;
    for row in rows {
        let id = row.text("clientVpnEndpointId")?;
        found.endpoints.insert(id.clone(), endpoint(cloud, &id, &row)?);
    }
    subnets(cloud, &mut found)?;
    vpcs(cloud, &mut found)?;
    groups(cloud, &mut found)?;
    log_groups(cloud, &mut found)?;
    providers(cloud, &mut found)?;
    Ok(found)
}

fn endpoint(cloud: &Cloud, id: &str, row: &Answer) -> Result<Endpoint> {
    let by_id = [pair("ClientVpnEndpointId", id)];
    let mut associations = BTreeMap::new();
    for row in cloud.list("DescribeClientVpnTargetNetworks", &by_id, "clientVpnTargetNetworks")? {
        let status = row.text("status/code")?;
        if let (Some(subnet), false) =
            (row.optional("targetNetworkId"), matches!(status.as_str(), "disassociating" | "disassociated"))
        {
            associations.insert(row.text("associationId")?, Association { subnet, status });
        }
    }
    let mut routes = Vec::new();
    for row in cloud.list("DescribeClientVpnRoutes", &by_id, "routes")? {
        let stays = row.text("origin")? == "add-route" && row.text("status/code")? != "deleting";
        if let (true, Some(target)) = (stays, row.optional("targetSubnet")) {
            let destination = row.text("destinationCidr")?;
            routes.push(Route { destination, target, description: row.optional("description") });
        }
    }
    let mut rules = Vec::new();
    for row in cloud.list("DescribeClientVpnAuthorizationRules", &by_id, "authorizationRule")? {
        if row.text("status/code")? != "revoking" {
            let all = row.optional("accessAll").as_deref() == Some("true");
            let group = row.optional("groupId").filter(|_| !all);
            let destination = row.text("destinationCidr")?;
            rules.push(Rule { destination, group, description: row.optional("description") });
        }
    }
    routes.sort_by(|a, b| (&a.destination, &a.target).cmp(&(&b.destination, &b.target)));
    rules.sort_by(|a, b| (&a.destination, &a.group).cmp(&(&b.destination, &b.group)));
    let list = cloud.ec2("ExportClientVpnClientCertificateRevocationList", &by_id);
    let beyond = [
        ("a transit gateway attachment", "transitGatewayConfiguration"),
        ("device posture options", "devicePostureOptions"),
    ];
    Ok(Endpoint {
        options: options(row)?,
        dns_name: row.optional("dnsName").unwrap_or_default(),
        tags: tags(row),
        associations,
        routes,
        rules,
        revocation_list: list.ok().and_then(|answer| answer.optional("certificateRevocationList")),
        policy: policy(cloud, &by_id)?,
        beyond: beyond
            .into_iter()
            .filter(|(_, path)| !row.names_of(path).is_empty())
            .map(|(name, _)| name)
            .collect(),
    })
}

/// A server that does not know the action has no such policies.
fn policy(cloud: &Cloud, by_id: &[(String, String)]) -> Result<Option<AuthorizationPolicy>> {
    match cloud.ec2("GetClientVpnEndpointAuthorizationPolicy", by_id) {
        Ok(answer) => Ok(answer.optional("policyDocument").map(|document| AuthorizationPolicy {
            document,
            shadow: answer.optional("shadowMode").as_deref() == Some("enabled"),
        })),
        Err(AwsError::Refused { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a service says of the origin of the IPv6 blocks that it chooses.
const AMAZON: &str = "Amazon";
/// What an endpoint carries that says nothing of it.
const IPV4: &str = "ipv4";

fn options(row: &Answer) -> Result<Options> {
    let yes = |path: &str| row.optional(path).as_deref() == Some("true");
    let mut ways = Vec::new();
    for way in row.rows("authenticationOptions") {
        ways.push(match way.text("type")?.as_str() {
            "certificate-authentication" => {
                Way::Certificate { root: way.text("mutualAuthentication/clientRootCertificateChain")? }
            }
            "directory-service-authentication" => {
                Way::Directory { id: way.text("activeDirectory/directoryId")? }
            }
            "federated-authentication" => Way::Federated {
                provider: way.text("federatedAuthentication/samlProviderArn")?,
                portal_provider: way.optional("federatedAuthentication/selfServiceSamlProviderArn"),
            },
            other => anyhow::bail!("a way to authenticate that is not known: {other}"),
        });
    }
    let mut groups = row.texts("securityGroupIdSet");
    groups.sort();
    Ok(Options {
        description: row.optional("description"),
        client_cidr: row.optional("clientCidrBlock"),
        traffic: row.optional("trafficIpAddressType").unwrap_or_else(|| IPV4.to_owned()),
        addresses: row.optional("endpointIpAddressType").unwrap_or_else(|| IPV4.to_owned()),
        server_certificate: row.text("serverCertificateArn")?,
        ways,
        log: row
            .optional("connectionLogOptions/CloudwatchLogGroup")
            .filter(|_| yes("connectionLogOptions/Enabled"))
            .map(|group| (group, row.optional("connectionLogOptions/CloudwatchLogStream"))),
        dns_servers: row.texts("dnsServer"),
        transport: row.text("transportProtocol")?,
        port: row.text("vpnPort")?,
        split_tunnel: yes("splitTunnel"),
        vpc: row.optional("vpcId"),
        groups,
        portal: row.optional("selfServicePortalUrl").is_some(),
        connect_handler: row
            .optional("clientConnectOptions/lambdaFunctionArn")
            .filter(|_| yes("clientConnectOptions/enabled")),
        session_hours: row.optional("sessionTimeoutHours").unwrap_or_else(|| "24".to_owned()),
        disconnect: yes("disconnectOnSessionTimeout"),
        banner: row
            .optional("clientLoginBannerOptions/bannerText")
            .filter(|_| yes("clientLoginBannerOptions/enabled")),
        enforce_routes: yes("clientRouteEnforcementOptions/enforced"),
    })
}

fn subnets(cloud: &Cloud, found: &mut Landscape) -> Result<()> {
    let mut ids = BTreeSet::new();
    for endpoint in found.endpoints.values() {
        ids.extend(endpoint.associations.values().map(|association| association.subnet.clone()));
        let targets = endpoint.routes.iter().map(|route| &route.target);
        ids.extend(targets.filter(|target| target.starts_with("subnet-")).cloned());
    }
    if ids.is_empty() {
        return Ok(());
    }
    for row in cloud.list("DescribeSubnets", &numbered("SubnetId", &ids), "subnetSet")? {
        let subnet = Subnet {
            vpc: row.text("vpcId")?,
            cidr: row.text("cidrBlock")?,
            ipv6_cidr: ipv6_blocks(&row)?.into_iter().next().map(|block| block.cidr),
            zone: row.text("availabilityZone")?,
            public_addresses: row.optional("mapPublicIpOnLaunch").as_deref() == Some("true"),
            ipv6_addresses: row.optional("assignIpv6AddressOnCreation").as_deref() == Some("true"),
            tags: tags(&row),
        };
        found.subnets.insert(row.text("subnetId")?, subnet);
    }
    Ok(())
}

fn vpcs(cloud: &Cloud, found: &mut Landscape) -> Result<()> {
    let mut ids: BTreeSet<String> = found.subnets.values().map(|subnet| subnet.vpc.clone()).collect();
    ids.extend(found.endpoints.values().filter_map(|endpoint| endpoint.options.vpc.clone()));
    if ids.is_empty() {
        return Ok(());
    }
    for row in cloud.list("DescribeVpcs", &numbered("VpcId", &ids), "vpcSet")? {
        let id = row.text("vpcId")?;
        let cidr = row.text("cidrBlock")?;
        let mut more_cidrs = Vec::new();
        for block in row.rows("cidrBlockAssociationSet") {
            let other = block.text("cidrBlock")?;
            let state = block.optional("cidrBlockState/state").unwrap_or_default();
            if other != cidr && state != "disassociated" {
                more_cidrs.push((block.text("associationId")?, other));
            }
        }
        let attribute = |name: &str, element: &str| -> Result<bool> {
            let pairs = [pair("VpcId", id.clone()), pair("Attribute", name)];
            let answer = cloud.ec2("DescribeVpcAttribute", &pairs).context("DescribeVpcAttribute")?;
            Ok(answer.optional(&format!("{element}/value")).as_deref() == Some("true"))
        };
        let vpc = Vpc {
            cidr,
            more_cidrs,
            ipv6_blocks: ipv6_blocks(&row)?,
            tenancy: row.optional("instanceTenancy").unwrap_or_else(|| "default".to_owned()),
            dns_support: attribute("enableDnsSupport", "enableDnsSupport")?,
            dns_hostnames: attribute("enableDnsHostnames", "enableDnsHostnames")?,
            tags: tags(&row),
        };
        found.vpcs.insert(id, vpc);
    }
    Ok(())
}

/// The IPv6 blocks of a VPC or subnet that are in use.
fn ipv6_blocks(row: &Answer) -> Result<Vec<Ipv6Block>> {
    let mut found = Vec::new();
    for block in row.rows("ipv6CidrBlockAssociationSet") {
        let state = block.optional("ipv6CidrBlockState/state").unwrap_or_default();
        if !matches!(state.as_str(), "disassociating" | "disassociated") {
            found.push(Ipv6Block {
                association: block.text("associationId")?,
                cidr: block.text("ipv6CidrBlock")?,
                pool: block.optional("ipv6Pool").filter(|pool| pool != AMAZON),
            });
        }
    }
    Ok(found)
}

/// The endpoints' groups, and those that their rules speak of.
fn groups(cloud: &Cloud, found: &mut Landscape) -> Result<()> {
    let all = found.endpoints.values().flat_map(|endpoint| &endpoint.options.groups);
    let mut wanted: BTreeSet<String> = all.cloned().collect();
    while !wanted.is_empty() {
        let mut rules = rules_of(cloud, &wanted)?;
        let mut spoken_of = BTreeSet::new();
        for row in cloud.list("DescribeSecurityGroups", &numbered("GroupId", &wanted), "securityGroupInfo")? {
            let id = row.text("groupId")?;
            let mut own = rules.remove(&id).unwrap_or_default();
            own.sort_by(|a, b| a.says.cmp(&b.says));
            for rule in &own {
                if let Peer::Group(peer) = &rule.says.peer {
                    spoken_of.insert(peer.clone());
                }
            }
            let group = Group {
                vpc: row.text("vpcId")?,
                name: row.text("groupName")?,
                description: row.text("groupDescription")?,
                tags: tags(&row),
                rules: own,
            };
            found.groups.insert(id, group);
        }
        wanted = spoken_of.into_iter().filter(|id| !found.groups.contains_key(id)).collect();
    }
    Ok(())
}

pub(super) fn rules_of(cloud: &Cloud, groups: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<GroupRule>>> {
    let mut pairs = vec![pair("Filter.1.Name", "group-id")];
    pairs.extend(numbered("Filter.1.Value", groups));
    let mut found: BTreeMap<String, Vec<GroupRule>> = BTreeMap::new();
    for row in cloud.list("DescribeSecurityGroupRules", &pairs, "securityGroupRuleSet")? {
        let peer = [
            row.optional("cidrIpv4").map(Peer::V4),
            row.optional("cidrIpv6").map(Peer::V6),
            row.optional("referencedGroupInfo/groupId").map(Peer::Group),
            row.optional("prefixListId").map(Peer::PrefixList),
        ];
        let says = Says {
            egress: row.text("isEgress")? == "true",
            protocol: row.text("ipProtocol")?,
            from: row.optional("fromPort").unwrap_or_else(|| "-1".to_owned()),
            to: row.optional("toPort").unwrap_or_else(|| "-1".to_owned()),
            peer: peer.into_iter().flatten().next().context("a rule of a group that is about nobody")?,
            description: row.optional("description"),
        };
        let rule = GroupRule { id: row.text("securityGroupRuleId")?, says, tags: tags(&row) };
        found.entry(row.text("groupId")?).or_default().push(rule);
    }
    Ok(found)
}

fn log_groups(cloud: &Cloud, found: &mut Landscape) -> Result<()> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, stream) in found.endpoints.values().filter_map(|endpoint| endpoint.options.log.as_ref()) {
        wanted.entry(group.clone()).or_default().extend(stream.clone());
    }
    for (name, streams) in wanted {
        if let Some(group) = log_group(cloud, &name, streams.into_iter().collect())? {
            found.log_groups.insert(name, group);
        }
    }
    Ok(())
}

/// A log group by its name.
pub(super) fn log_group(cloud: &Cloud, name: &str, streams: Vec<String>) -> Result<Option<LogGroup>> {
    let answer = cloud.logs("DescribeLogGroups", &json!({ "logGroupNamePrefix": name }))?;
    let rows = answer["logGroups"].as_array().cloned().unwrap_or_default();
    let Some(row) = rows.iter().find(|row| row["logGroupName"] == name) else { return Ok(None) };
    let arn = row["arn"].as_str().unwrap_or_default().trim_end_matches(":*");
    let tags = cloud.logs("ListTagsForResource", &json!({ "resourceArn": arn }))?;
    let tags = tags["tags"].as_object().cloned().unwrap_or_default();
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Some(LogGroup {
        retention_days: row["retentionInDays"].as_i64(),
        streams,
        tags: own(tags.into_iter().map(|(key, value)| (key, text(value)))),
    }))
}

fn providers(cloud: &Cloud, found: &mut Landscape) -> Result<()> {
    let mut arns = BTreeSet::new();
    for way in found.endpoints.values().flat_map(|endpoint| &endpoint.options.ways) {
        if let Way::Federated { provider, portal_provider } = way {
            arns.insert(provider.clone());
            arns.extend(portal_provider.clone());
        }
    }
    for arn in arns {
        let answer = cloud.iam("GetSAMLProvider", &[("SAMLProviderArn", &arn)]).context("GetSAMLProvider")?;
        let rows = answer.rows("GetSAMLProviderResult/Tags");
        let tags = rows.into_iter().filter_map(|row| Some((row.optional("Key")?, text(row, "Value"))));
        let provider = Provider {
            name: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            metadata: answer.text("GetSAMLProviderResult/SAMLMetadataDocument")?,
            tags: own(tags),
        };
        found.providers.insert(arn, provider);
    }
    Ok(())
}

/// The tags of a row of EC2.
pub(super) fn tags(row: &Answer) -> Tags {
    let rows = row.rows("tagSet");
    own(rows.into_iter().filter_map(|row| Some((row.optional("key")?, text(row, "value")))))
}

/// Those that people set: AWS's own can be neither given nor taken.
fn own(tags: impl Iterator<Item = (String, String)>) -> Tags {
    tags.filter(|(key, _)| !key.starts_with("aws:")).collect()
}

fn text(row: &Answer, path: &str) -> String {
    row.optional(path).unwrap_or_default()
}
