//! `ModifyClientVpnEndpoint` and `ApplySecurityGroupsToClientVpnTargetNetwork`.

use model::{Applying, Kind, ListenerClaim};

use super::{How, Pairs, Reply, World};
use crate::{Addresses, Config};

const HANDLER: &str = "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-x";

async fn modify(world: &World, endpoint: &str, changes: Pairs<'_>) -> Reply {
    let mut pairs = vec![("ClientVpnEndpointId", endpoint)];
    pairs.extend(changes);
    world.call("ModifyClientVpnEndpoint", &pairs).await
}

async fn shown(world: &World, endpoint: &str) -> Reply {
    world.call("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", endpoint)]).await.ok()
}

async fn group(world: &World, vpc: &str) -> String {
    let filter = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)];
    world.call("DescribeSecurityGroups", &filter).await.ok().text("groupId")
}

#[tokio::test]
async fn each_field_alone_changes_itself_and_nothing_else() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let default_group = group(&world, &vpc).await;
    let other = world.certificate("other.example.com").await;
    let id = world.endpoint(&[]).await;
    // What is sent, the element that shows it, and what it then holds (empty: it is gone).
    let (certificate, network) = ([("ServerCertificateArn", other.as_str())], [("VpcId", vpc.as_str())]);
    let rows: Vec<(Pairs<'_>, &str, &str)> = vec![
        (&[("Description", "new")], "description", "new"),
        (&[("Description", "")], "description", ""),
        (&certificate, "serverCertificateArn", &other),
        (&[("DnsServers.CustomDnsServers.1", "10.0.0.2")], "dnsServer", "10.0.0.2"),
        (&[("DnsServers.Enabled", "true")], "dnsServer", "10.0.0.2"),
        (
            &[
                ("DnsServers.Enabled", "true"),
                ("DnsServers.CustomDnsServers.1", "10.0.0.3"),
                ("DnsServers.CustomDnsServers.2", "10.0.0.4"),
            ],
            "dnsServer",
            "10.0.0.3 10.0.0.4",
        ),
        (&[("DnsServers.Enabled", "false")], "dnsServer", ""),
        (&[("VpnPort", "1194")], "vpnPort", "1194"),
        (&[("VpnPort", "443")], "vpnPort", "443"),
        (&[("SplitTunnel", "true")], "splitTunnel", "true"),
        (&[("SplitTunnel", "false")], "splitTunnel", "false"),
        (&network, "securityGroupIdSet", &default_group),
        (&[("SelfServicePortal", "disabled")], "selfServicePortalUrl", ""),
        (&[("SessionTimeoutHours", "8")], "sessionTimeoutHours", "8"),
        (&[("DisconnectOnSessionTimeout", "false")], "disconnectOnSessionTimeout", "false"),
        (&[("ClientRouteEnforcementOptions.Enforced", "true")], "enforced", "true"),
        (
            &[("ConnectionLogOptions.Enabled", "true"), ("ConnectionLogOptions.CloudwatchLogGroup", "g")],
            "CloudwatchLogGroup",
            "g",
        ),
        (&[("ConnectionLogOptions.CloudwatchLogStream", "s")], "CloudwatchLogStream", "s"),
        (
            &[("ConnectionLogOptions.IncludeAuthorizationPolicyContext", "true")],
            "IncludeAuthorizationPolicyContext",
            "true",
        ),
        (&[("ConnectionLogOptions.Enabled", "true")], "IncludeAuthorizationPolicyContext", "true"),
        (&[("ConnectionLogOptions.Enabled", "false")], "CloudwatchLogGroup", ""),
        (
            &[
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t1"),
                ("DevicePostureOptions.TrustProvider.2.TrustProviderType", "crowdstrike"),
                ("DevicePostureOptions.TrustProvider.2.TenantId", "t2"),
                ("DevicePostureOptions.TrustProvider.2.PublicSigningKeyUrl", "https://example.com/key"),
            ],
            "devicePostureOptions",
            "jamf t1 crowdstrike t2 https://example.com/key",
        ),
        (
            &[
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jumpcloud"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t3"),
            ],
            "devicePostureOptions",
            "jumpcloud t3",
        ),
        (&[("DevicePostureOptions.Enabled", "false")], "devicePostureOptions", ""),
        (
            &[("ClientLoginBannerOptions.Enabled", "true"), ("ClientLoginBannerOptions.BannerText", "hello")],
            "bannerText",
            "hello",
        ),
        (&[("ClientLoginBannerOptions.BannerText", "hi")], "bannerText", "hi"),
        (&[("ClientLoginBannerOptions.Enabled", "false")], "bannerText", ""),
        (
            &[("ClientConnectOptions.Enabled", "true"), ("ClientConnectOptions.LambdaFunctionArn", HANDLER)],
            "lambdaFunctionArn",
            HANDLER,
        ),
        (&[("ClientConnectOptions.Enabled", "false")], "lambdaFunctionArn", ""),
    ];
    let mut before = world.stored(&id).await.spec;
    for (changes, element, expected) in rows {
        assert_eq!(modify(&world, &id, changes).await.ok().text("return"), "true");
        let document = shown(&world, &id).await.body;
        let document = roxmltree::Document::parse(&document).unwrap();
        let node = document.descendants().find(|node| node.tag_name().name() == element);
        let texts = node.iter().flat_map(|node| node.descendants()).filter(|node| node.is_text());
        let found: Vec<&str> = texts.filter_map(|node| node.text()).collect();
        assert_eq!(found.join(" "), expected, "{changes:?}");
        // Nothing but what was named differs: put it back and the record is as it was.
        let mut after = world.stored(&id).await.spec;
        macro_rules! same {
            ($($prefix:literal: $($field:ident),+;)+) => {$(
                if changes.iter().any(|(name, _)| name.starts_with($prefix)) {
                    $(after.$field = before.$field.clone();)+
                }
            )+};
        }
        let now = after.clone();
        same! {
            "Description": description;
            "ServerCertificateArn": server_certificate_arn;
            "DnsServers": dns_servers;
            "VpnPort": vpn_port, listen;
            "SplitTunnel": split_tunnel;
            "VpcId": vpc_id, security_group_ids;
            "SelfServicePortal": self_service_portal;
            "SessionTimeoutHours": session_timeout_hours;
            "Disconnect": disconnect_on_session_timeout;
            "ClientRoute": route_enforcement;
            "ConnectionLog": connection_log;
            "ClientLogin": banner;
            "ClientConnect": client_connect;
            "DevicePosture": device_posture;
        }
        assert_eq!(after, before, "{changes:?}");
        before = now;
    }
}

#[tokio::test]
async fn rules_about_values() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let other = world.call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok().text("vpcId");
    let (foreign, own) = (group(&world, &other).await, group(&world, &vpc).await);
    let id = world.endpoint(&[]).await;
    let (long, banner) = ("x".repeat(256), "x".repeat(1_401));
    let six: Vec<(String, &str)> = (1..=6).map(|n| (format!("SecurityGroupId.{n}"), own.as_str())).collect();
    let mut six: Vec<(&str, &str)> = six.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    six.push(("VpcId", &vpc));
    let none = "arn:aws:acm:us-east-1:000000000000:certificate/none";
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![("ServerCertificateArn", none)], "InvalidParameterValue"),
        (vec![("DnsServers.CustomDnsServers.1", "dns.example.com")], "InvalidParameterValue"),
        (
            vec![
                ("DnsServers.CustomDnsServers.1", "10.0.0.1"),
                ("DnsServers.CustomDnsServers.2", "10.0.0.2"),
                ("DnsServers.CustomDnsServers.3", "10.0.0.3"),
            ],
            "InvalidParameterValue",
        ),
        (vec![("VpnPort", "80")], "InvalidParameterValue"),
        (vec![("Description", &long)], "InvalidParameterValue"),
        (vec![("SplitTunnel", "yes")], "InvalidParameterValue"),
        (vec![("SecurityGroupId.1", &own)], "InvalidParameterValue"),
        (six, "InvalidParameterValue"),
        (vec![("VpcId", "vpc-00000000")], "InvalidVpcID.NotFound"),
        (vec![("VpcId", &vpc), ("SecurityGroupId.1", "sg-00000000")], "InvalidGroup.NotFound"),
        (vec![("VpcId", &vpc), ("SecurityGroupId.1", &foreign)], "InvalidGroup.NotFound"),
        (vec![("SelfServicePortal", "on")], "InvalidParameterValue"),
        (vec![("SessionTimeoutHours", "9")], "InvalidParameterValue"),
        (vec![("ClientConnectOptions.Enabled", "true")], "MissingParameter"),
        (vec![("ClientConnectOptions.LambdaFunctionArn", HANDLER)], "MissingParameter"),
        (vec![("ClientConnectOptions.LambdaFunctionArn", "arn:x")], "InvalidParameterValue"),
        (vec![("ClientLoginBannerOptions.Enabled", "true")], "MissingParameter"),
        (vec![("ClientLoginBannerOptions.BannerText", "x")], "MissingParameter"),
        (vec![("ClientLoginBannerOptions.BannerText", &banner)], "InvalidParameterValue"),
        (vec![("ConnectionLogOptions.Enabled", "true")], "MissingParameter"),
        (vec![("ConnectionLogOptions.CloudwatchLogGroup", "g")], "MissingParameter"),
        (vec![("TransitGatewayConfiguration.TransitGatewayId", "tgw-1")], "UnsupportedOperation"),
        // Not modifiable.
        (vec![("ClientCidrBlock", "10.101.0.0/16")], "UnknownParameter"),
        (vec![("TransportProtocol", "tcp")], "UnknownParameter"),
    ];
    let before = world.stored(&id).await;
    for (changes, code) in rows {
        assert_eq!(modify(&world, &id, &changes).await.code(), code, "{changes:?}");
    }
    let reply = modify(&world, &id, &[("SecurityGroupId.1", &own)]).await;
    assert_eq!(reply.text("Message"), "Security Groups cannot be modified without specifying Vpc Id");
    assert_eq!(world.stored(&id).await, before);
    // Nothing asked for, nothing changed: nothing written.
    modify(&world, &id, &[]).await.ok();
    modify(&world, &id, &[("SplitTunnel", "false")]).await.ok();
    assert_eq!(world.stored(&id).await, before);
}

#[tokio::test]
async fn a_change_is_applying_until_it_is_in_force() {
    let world = World::new();
    let (id, _, _) = world.available().await;
    let state = async || {
        let reply = shown(&world, &id).await;
        (world.stored(&id).await.applying, reply.all("code")[1].clone())
    };
    assert_eq!(state().await, (Applying::Nothing, "applied".to_owned()));
    modify(&world, &id, &[("Description", "x")]).await.ok();
    assert_eq!(state().await, (Applying::Change, "applied".to_owned()));
    let on = [("ClientConnectOptions.Enabled", "true"), ("ClientConnectOptions.LambdaFunctionArn", HANDLER)];
    modify(&world, &id, &on).await.ok();
    assert_eq!(state().await, (Applying::ClientConnect, "applying".to_owned()));
    modify(&world, &id, &[("Description", "y")]).await.ok();
    assert_eq!(state().await, (Applying::ClientConnect, "applying".to_owned()));
    world.settle().await;
    assert_eq!(state().await, (Applying::Nothing, "applied".to_owned()));
}

#[tokio::test]
async fn the_claim_of_a_port_moves_with_it() {
    let pool = ["192.0.2.1", "192.0.2.2"];
    let world = World::with(Config { addresses: Addresses::parse(pool).unwrap(), ..Config::default() });
    let claims = async || -> Vec<String> {
        let listing =
            store::Store::list(world.store.as_ref(), &model::prefix::unscoped(Kind::Listener)).await;
        let mut rows = Vec::new();
        for entry in listing.unwrap().entries {
            let claim: ListenerClaim = store::typed::decode(&entry.value).unwrap();
            let place = entry.key.rsplit('/').take(3).collect::<Vec<_>>().join(" ");
            rows.push(format!("{} {place}", claim.endpoint));
        }
        rows.sort();
        rows
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(world.endpoint(&[]).await);
    }
    ids.sort();
    let listen = async |id: &str| {
        let listen = world.stored(id).await.spec.listen;
        (listen.address.unwrap().to_string(), listen.port)
    };
    let (first, second) = (listen(&ids[0]).await, listen(&ids[1]).await);
    assert_ne!(first, second);
    modify(&world, &ids[0], &[("VpnPort", "1194")]).await.ok();
    assert_eq!(listen(&ids[0]).await, (first.0.clone(), 1194), "the address stays");
    assert_eq!(
        claims().await,
        [format!("{} 1194 udp {}", ids[0], first.0), format!("{} 443 udp {}", ids[1], second.0)]
    );
    // The old place is free for another endpoint, and then this one goes back elsewhere or nowhere.
    let third = world.endpoint(&[]).await;
    assert_eq!(listen(&third).await, first);
    let reply = modify(&world, &ids[0], &[("VpnPort", "443")]).await;
    assert_eq!(reply.code(), "OperationNotPermitted");
    assert_eq!(listen(&ids[0]).await, (first.0.clone(), 1194), "nothing happened");
    modify(&world, &ids[1], &[("VpnPort", "1194")]).await.ok();
    modify(&world, &ids[0], &[("VpnPort", "443")]).await.ok();
    assert_eq!(listen(&ids[0]).await, (second.0, 443), "the next address");
    assert_eq!(claims().await.len(), 3);
    let profile =
        world.call("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &ids[1])]).await.ok();
    assert!(profile.text("clientConfiguration").contains(" 1194\n"));
}

#[tokio::test]
async fn endpoints_share_an_address_by_ports() {
    let addresses = Addresses::parse(["192.0.2.1"]).unwrap().with_ports(1194..=1195);
    let world = World::with(Config { addresses: addresses.clone(), ..Config::default() });
    let mut ids = Vec::new();
    for more in [&[][..], &[("VpnPort", "1194")], &[("TransportProtocol", "tcp")], &[]] {
        ids.push(world.endpoint(more).await);
    }
    let mut places = Vec::new();
    for id in &ids {
        let spec = world.stored(id).await.spec;
        places.push((spec.listen.address.map(|at| at.to_string()), spec.listen.port, spec.vpn_port));
    }
    let here = || Some("192.0.2.1".to_owned());
    let expected = [(here(), 1194, 443), (here(), 1195, 1194), (here(), 1194, 443), (None, 443, 443)];
    assert_eq!(places, expected, "each transport has its own ports, and the last has none");
    let described =
        world.call("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", &ids[0])]).await.ok();
    assert_eq!(described.text("vpnPort"), "443", "as it was made");
    let profile = async |id: &str| {
        let reply =
            world.call("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", id)]).await.ok();
        reply.text("clientConfiguration")
    };
    assert!(profile(&ids[0]).await.contains("remote 192.0.2.1 1194\n"));
    assert!(profile(&ids[1]).await.contains("remote 192.0.2.1 1195\n"));
    // The VPN port is a number to show; the place stays.
    modify(&world, &ids[0], &[("VpnPort", "1194")]).await.ok();
    let spec = world.stored(&ids[0]).await.spec;
    assert_eq!((spec.vpn_port, spec.listen.port), (1194, 1194));
    modify(&world, &ids[1], &[("VpnPort", "443")]).await.ok();
    assert_eq!(world.stored(&ids[1]).await.spec.listen.port, 1195);
}

#[tokio::test]
async fn another_vpc_needs_an_endpoint_without_associations() {
    let world = World::new();
    let (id, association, _) = world.available().await;
    let other = world.call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok().text("vpcId");
    let other_group = group(&world, &other).await;
    let vpc = world.stored(&id).await.spec.vpc_id.unwrap();
    let own = group(&world, vpc.as_str()).await;
    assert_eq!(modify(&world, &id, &[("VpcId", &other)]).await.code(), "ClientVpnEndpointAssociationExists");
    modify(&world, &id, &[("VpcId", vpc.as_str()), ("SecurityGroupId.1", &own)]).await.ok();
    let apply = async |vpc: &str, group: &str| {
        let pairs = [("ClientVpnEndpointId", id.as_str()), ("VpcId", vpc), ("SecurityGroupId.1", group)];
        world.call("ApplySecurityGroupsToClientVpnTargetNetwork", &pairs).await
    };
    let none = "InvalidClientVpnActiveAssociationNotFound";
    assert_eq!(apply(&other, &other_group).await.code(), none, "no association in that VPC");
    let pairs = [("ClientVpnEndpointId", id.as_str()), ("AssociationId", &association)];
    world.call("DisassociateClientVpnTargetNetwork", &pairs).await.ok();
    world.settle().await;
    assert_eq!(apply(vpc.as_str(), &own).await.code(), none, "no association at all");
    modify(&world, &id, &[("VpcId", &other)]).await.ok();
    let spec = world.stored(&id).await.spec;
    assert_eq!(spec.vpc_id.unwrap().as_str(), other);
    assert_eq!(spec.security_group_ids[0].as_str(), other_group);
}

#[tokio::test]
async fn applying_security_groups_replaces_the_set() {
    let world = World::new();
    let (id, _, _) = world.available().await;
    let stored = world.stored(&id).await;
    let (vpc, default) = (stored.spec.vpc_id.unwrap(), stored.spec.security_group_ids[0].clone());
    // A second group of the VPC.
    let mut more: model::SecurityGroup = world.records(Kind::SecurityGroup).await.remove(0).value;
    more.id = "sg-0123456789abcdef0".parse().unwrap();
    more.name = "more".to_owned();
    let op = store::typed::put(model::Key::security_group(&world.scope, &more.id), &more);
    let transaction = store::Transaction { checks: Vec::new(), ops: vec![op], soft: false };
    store::Store::transact(world.store.as_ref(), transaction).await.unwrap();
    let rows: [(&str, &[&str], &str); 7] = [
        (vpc.as_str(), &["sg-0123456789abcdef0"], ""),
        (vpc.as_str(), &["sg-0123456789abcdef0", default.as_str()], ""),
        (vpc.as_str(), &[default.as_str(), default.as_str()], ""),
        (vpc.as_str(), &["sg-00000000"], "InvalidGroup.NotFound"),
        ("vpc-00000000", &[default.as_str()], "InvalidVpcID.NotFound"),
        (vpc.as_str(), &[default.as_str(); 6], "InvalidParameterValue"),
        (vpc.as_str(), &[], "MissingParameter"),
    ];
    for (vpc, groups, code) in rows {
        let names: Vec<String> = (1..=groups.len()).map(|n| format!("SecurityGroupId.{n}")).collect();
        let mut pairs = vec![("ClientVpnEndpointId", id.as_str()), ("VpcId", vpc)];
        pairs.extend(names.iter().map(String::as_str).zip(groups.iter().copied()));
        let reply = world.call("ApplySecurityGroupsToClientVpnTargetNetwork", &pairs).await;
        assert_eq!(reply.code(), code, "{groups:?}");
        if code.is_empty() {
            let mut expected = groups.to_vec();
            expected.dedup();
            assert_eq!(reply.all("item"), expected);
            let set = world.stored(&id).await.spec.security_group_ids;
            assert_eq!(set.iter().map(|id| id.as_str()).collect::<Vec<_>>(), expected);
            let rows = [("ClientVpnEndpointId", id.as_str())];
            let shown = world.call("DescribeClientVpnTargetNetworks", &rows).await.ok();
            assert!(shown.body.contains(expected[0]), "{}", shown.body);
        }
    }
}

/// Permission is asked for each resource named (spec: aws-client-vpn §4.7).
#[tokio::test]
async fn permission_is_asked_for_groups_and_vpc_too() {
    let world = World::new();
    let (id, _, _) = world.available().await;
    let stored = world.stored(&id).await;
    let (vpc, group) =
        (stored.spec.vpc_id.unwrap().to_string(), stored.spec.security_group_ids[0].to_string());
    let arn = |kind: &str| format!("arn:aws:ec2:*:*:{kind}/*");
    let all = ["client-vpn-endpoint", "vpc", "security-group"];
    for action in ["ModifyClientVpnEndpoint", "ApplySecurityGroupsToClientVpnTargetNetwork"] {
        for missing in [None, Some(0), Some(1), Some(2)] {
            let resources: Vec<String> =
                (0..3).filter(|n| Some(*n) != missing).map(|n| format!("\"{}\"", arn(all[n]))).collect();
            let document = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"ec2:{action}","Resource":[{}]}}]}}"#,
                resources.join(",")
            );
            world.users.policy("SOME", &document);
            let how = How { key: "SOME", ..How::default() };
            let pairs =
                [("ClientVpnEndpointId", id.as_str()), ("VpcId", &vpc), ("SecurityGroupId.1", &group)];
            let code = world.call_as(how, action, &pairs).await.code();
            let expected = if missing.is_none() { "" } else { "UnauthorizedOperation" };
            assert_eq!(code, expected, "{action} {missing:?}");
        }
    }
}
