//! Endpoints: create, describe, delete, export (spec: aws-client-vpn §2.2.1, §2.2.2, §2.2.4, §3.2).

use super::{World, endpoint_pairs};
use crate::{Addresses, Advertise, Config};

/// Creates with some of the plain parameters replaced (an empty value: left out), and says the code.
async fn create(world: &World, changes: &[(&str, &str)]) -> super::Reply {
    let arn = world.certificate("server.example.com").await;
    let plain = endpoint_pairs(&arn);
    let mut pairs: Vec<(&str, &str)> = plain.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (name, value) in changes {
        pairs.retain(|(other, _)| other != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    world.call("CreateClientVpnEndpoint", &pairs).await
}

#[tokio::test]
async fn a_plain_endpoint_and_its_defaults() {
    let world = World::new();
    let reply = create(&world, &[]).await.ok();
    let id = reply.text("clientVpnEndpointId");
    assert_eq!(reply.text("code"), "pending-associate");
    assert_eq!(reply.text("dnsName"), format!("{id}.prod.clientvpn.us-east-1.amazonaws.com"));
    let shown = world.call("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", &id)]).await.ok();
    let rows = [
        ("clientVpnEndpointId", id.as_str()),
        ("code", "pending-associate"),
        ("creationTime", "2027-01-15T08:00:00"),
        ("clientCidrBlock", "10.100.0.0/16"),
        ("splitTunnel", "false"),
        ("vpnProtocol", "openvpn"),
        ("transportProtocol", "udp"),
        ("vpnPort", "443"),
        ("Enabled", "false"),
        ("sessionTimeoutHours", "24"),
        ("disconnectOnSessionTimeout", "true"),
        ("endpointIpAddressType", "ipv4"),
        ("trafficIpAddressType", "ipv4"),
        ("enforced", "false"),
    ];
    for (name, value) in rows {
        assert_eq!(shown.text(name), value, "{name}");
    }
    assert_eq!(shown.text("dnsName"), format!("*.{id}.prod.clientvpn.us-east-1.amazonaws.com"));
    assert_eq!(
        shown.text("selfServicePortalUrl"),
        format!("https://self-service.clientvpn.amazonaws.com/endpoints/{id}")
    );
    for absent in
        ["vpcId", "description", "deletionTime", "CloudwatchLogGroup", "bannerText", "lambdaFunctionArn"]
            .into_iter()
            .chain(["devicePostureOptions", "IncludeAuthorizationPolicyContext"])
    {
        assert!(shown.all(absent).is_empty(), "{absent}");
    }
}

#[tokio::test]
async fn everything_given_is_shown() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let reply = create(
        &world,
        &[
            ("VpcId", &vpc),
            ("TransportProtocol", "tcp"),
            ("VpnPort", "1194"),
            ("SplitTunnel", "true"),
            ("Description", "a <b> & c"),
            ("DnsServers.1", "10.0.0.2"),
            ("DnsServers.2", "10.0.0.1"),
            ("SelfServicePortal", "disabled"),
            ("SessionTimeoutHours", "8"),
            ("ConnectionLogOptions.Enabled", "true"),
            ("ConnectionLogOptions.CloudwatchLogGroup", "vpn"),
            ("ClientConnectOptions.Enabled", "true"),
            (
                "ClientConnectOptions.LambdaFunctionArn",
                "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-x",
            ),
            ("ClientLoginBannerOptions.Enabled", "true"),
            ("ClientLoginBannerOptions.BannerText", "hello"),
            ("ClientRouteEnforcementOptions.Enforced", "true"),
            ("DisconnectOnSessionTimeout", "false"),
            ("ConnectionLogOptions.IncludeAuthorizationPolicyContext", "true"),
            ("DevicePostureOptions.Enabled", "true"),
            ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "crowdstrike"),
            ("DevicePostureOptions.TrustProvider.1.TenantId", "tenant"),
            ("DevicePostureOptions.TrustProvider.1.PublicSigningKeyUrl", "https://example.com/keys"),
            ("TagSpecification.1.ResourceType", "client-vpn-endpoint"),
            ("TagSpecification.1.Tag.1.Key", "env"),
            ("TagSpecification.1.Tag.1.Value", "test"),
        ],
    )
    .await
    .ok();
    let id = reply.text("clientVpnEndpointId");
    let shown = world
        .call("DescribeClientVpnEndpoints", &[("Filter.1.Name", "tag:env"), ("Filter.1.Value.1", "te*")])
        .await
        .ok();
    assert_eq!(shown.all("clientVpnEndpointId"), [id.as_str()]);
    let rows = [
        ("vpcId", vpc.as_str()),
        ("transportProtocol", "tcp"),
        ("vpnPort", "1194"),
        ("splitTunnel", "true"),
        ("description", "a <b> & c"),
        ("sessionTimeoutHours", "8"),
        ("Enabled", "true"),
        ("CloudwatchLogGroup", "vpn"),
        ("lambdaFunctionArn", "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-x"),
        ("bannerText", "hello"),
        ("enforced", "true"),
        ("disconnectOnSessionTimeout", "false"),
    ];
    for (name, value) in rows {
        assert_eq!(shown.text(name), value, "{name}");
    }
    assert_eq!(shown.text("IncludeAuthorizationPolicyContext"), "true");
    let posture = "<devicePostureOptions><trustProviderSet><item><trustProviderType>crowdstrike</trustProviderType>\
                   <tenantId>tenant</tenantId><publicSigningKeyUrl>https://example.com/keys</publicSigningKeyUrl>\
                   </item></trustProviderSet></devicePostureOptions>";
    assert!(shown.body.contains(posture), "{}", shown.body);
    assert!(shown.text("CloudwatchLogStream").starts_with(&format!("{id}-us-east-1-2027/01/15-")));
    assert!(shown.all("selfServicePortalUrl").is_empty());
    assert!(shown.body.contains("<dnsServer><item>10.0.0.2</item><item>10.0.0.1</item></dnsServer>"));
    assert!(shown.body.contains("<tagSet><item><key>env</key><value>test</value></item></tagSet>"));
    assert_eq!(world.stored(&id).await.spec.security_group_ids.len(), 1);
}

#[tokio::test]
async fn rules_about_values() {
    let world = World::new();
    let long = "x".repeat(256);
    let banner = "x".repeat(1_401);
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![("DevicePostureOptions.Enabled", "true")], "MissingParameter"),
        (
            vec![
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t"),
            ],
            "MissingParameter",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
            ],
            "MissingParameter",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t"),
            ],
            "MissingParameter",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "intune"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t"),
                ("DevicePostureOptions.TrustProvider.2.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.2.TenantId", "u"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", "t"),
                ("DevicePostureOptions.TrustProvider.1.PublicSigningKeyUrl", "http://example.com/"),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("DevicePostureOptions.Enabled", "true"),
                ("DevicePostureOptions.TrustProvider.1.TrustProviderType", "jamf"),
                ("DevicePostureOptions.TrustProvider.1.TenantId", &long),
            ],
            "InvalidParameterValue",
        ),
        (vec![("ClientCidrBlock", "10.100.0.0/23")], "InvalidParameterValue"),
        (vec![("ClientCidrBlock", "10.100.0.0/11")], "InvalidParameterValue"),
        (vec![("ClientCidrBlock", "10.100.0.1/16")], "InvalidParameterValue"),
        (vec![("ClientCidrBlock", "2001:db8::/16")], "InvalidParameterValue"),
        (vec![("ClientCidrBlock", "")], "MissingParameter"),
        (vec![("TrafficIpAddressType", "ipv6")], "InvalidParameterCombination"),
        (vec![("TrafficIpAddressType", "ipv5")], "InvalidParameterValue"),
        (
            vec![("ServerCertificateArn", "arn:aws:acm:us-east-1:000000000000:certificate/x")],
            "InvalidParameterValue",
        ),
        (vec![("Authentication.1.Type", "password")], "InvalidParameterValue"),
        (
            vec![("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", "")],
            "MissingParameter",
        ),
        (
            vec![
                ("Authentication.2.Type", "certificate-authentication"),
                ("Authentication.2.MutualAuthentication.ClientRootCertificateChainArn", "arn:x"),
            ],
            "InvalidParameterCombination",
        ),
        (
            vec![
                ("Authentication.1.Type", "directory-service-authentication"),
                ("Authentication.1.ActiveDirectory.DirectoryId", "d-1"),
                ("Authentication.2.Type", "federated-authentication"),
                ("Authentication.2.FederatedAuthentication.SAMLProviderArn", "arn:x"),
            ],
            "InvalidParameterCombination",
        ),
        (vec![("Authentication.3.Type", "x"), ("Authentication.2.Type", "x")], "InvalidParameterValue"),
        (vec![("ConnectionLogOptions.Enabled", "")], "MissingParameter"),
        (vec![("ConnectionLogOptions.Enabled", "true")], "MissingParameter"),
        (vec![("DnsServers.1", "dns.example.com")], "InvalidParameterValue"),
        (
            vec![("DnsServers.1", "1.1.1.1"), ("DnsServers.2", "1.1.1.2"), ("DnsServers.3", "1.1.1.3")],
            "InvalidParameterValue",
        ),
        (vec![("TransportProtocol", "UDP")], "InvalidParameterValue"),
        (vec![("VpnPort", "80")], "InvalidParameterValue"),
        (vec![("SplitTunnel", "yes")], "InvalidParameterValue"),
        (vec![("SecurityGroupId.1", "sg-00000000")], "InvalidParameterValue"),
        (vec![("VpcId", "vpc-00000000")], "InvalidVpcID.NotFound"),
        (vec![("SelfServicePortal", "on")], "InvalidParameterValue"),
        (vec![("SessionTimeoutHours", "9")], "InvalidParameterValue"),
        (vec![("ClientConnectOptions.Enabled", "true")], "MissingParameter"),
        (
            vec![
                ("ClientConnectOptions.Enabled", "true"),
                (
                    "ClientConnectOptions.LambdaFunctionArn",
                    "arn:aws:lambda:us-east-1:000000000000:function:other",
                ),
            ],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("ClientLoginBannerOptions.Enabled", "true"),
                ("ClientLoginBannerOptions.BannerText", &banner),
            ],
            "InvalidParameterValue",
        ),
        (vec![("Description", &long)], "InvalidParameterValue"),
        (
            vec![("TagSpecification.1.ResourceType", "vpc"), ("TagSpecification.1.Tag.1.Key", "a")],
            "InvalidParameterValue",
        ),
        (vec![("TransitGatewayConfiguration.TransitGatewayId", "tgw-1")], "InvalidTransitGatewayID.NotFound"),
        (
            vec![("TransitGatewayConfiguration.TransitGatewayId", "tgw-1"), ("VpcId", "vpc-00000000")],
            "InvalidParameterCombination",
        ),
    ];
    for (changes, code) in rows {
        assert_eq!(create(&world, &changes).await.code(), code, "{changes:?}");
    }
    let reply = create(&world, &[("SecurityGroupId.1", "sg-00000000")]).await;
    assert_eq!(reply.text("Message"), "Security Groups cannot be specified without a VPC ID");
    assert!(world.records::<model::Endpoint>(model::Kind::Endpoint).await.is_empty());
}

#[tokio::test]
async fn certificates_need_a_domain_and_groups_their_vpc() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let other = world.call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok().text("vpcId");
    let group = world
        .call("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", &other)])
        .await
        .ok()
        .text("groupId");
    let reply = create(&world, &[("VpcId", &vpc), ("SecurityGroupId.1", &group)]).await;
    assert_eq!(reply.code(), "InvalidGroup.NotFound");
    assert_eq!(create(&world, &[("VpcId", &other), ("SecurityGroupId.1", &group)]).await.code(), "");
    // A leaf that names no domain at all: the authority's own.
    let ca = pki::issue::ca("plain", super::NOW - 10, super::NOW + 10).unwrap();
    let body = serde_json::json!({
        "Certificate": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &ca.certificate_pem),
        "PrivateKey": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca.key_pem.as_bytes()),
    });
    let (_, answer) = world.acm(super::ROOT, "ImportCertificate", &body).await;
    let arn = answer["CertificateArn"].as_str().unwrap();
    let reply = create(&world, &[("ServerCertificateArn", arn)]).await;
    assert_eq!(reply.text("Message"), format!("Certificate {arn} does not have a domain"));
}

#[tokio::test]
async fn quotas_and_addresses() {
    let world =
        World::with(Config { addresses: Addresses::parse(["192.0.2.1"]).unwrap(), ..Config::default() });
    let mut ids = Vec::new();
    for (port, transport) in [("443", "udp"), ("443", "udp"), ("1194", "udp"), ("443", "tcp"), ("443", "udp")]
    {
        ids.push(
            create(&world, &[("VpnPort", port), ("TransportProtocol", transport)])
                .await
                .ok()
                .text("clientVpnEndpointId"),
        );
    }
    let mut addresses = Vec::new();
    for id in &ids {
        addresses.push(world.stored(id).await.spec.listen.address.is_some());
    }
    assert_eq!(addresses, [true, false, true, true, false]);
    assert_eq!(create(&world, &[]).await.code(), "ClientVpnEndpointLimitExceeded");
}

#[tokio::test]
async fn an_endpoint_listens_on_its_own_ip_version() {
    let addresses = Addresses::parse(["192.0.2.1", "2001:db8::1"]).unwrap();
    let world = World::with(Config { addresses, ..Config::default() });
    // Both, as long as both are free.
    let both =
        create(&world, &[("EndpointIpAddressType", "dual-stack")]).await.ok().text("clientVpnEndpointId");
    let listen = world.stored(&both).await.spec.listen;
    let places: Vec<String> = listen.places().map(|at| at.to_string()).collect();
    assert_eq!(places, ["192.0.2.1:443", "[2001:db8::1]:443"]);
    let profile =
        world.call("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &both)]).await.ok();
    let text = profile.text("clientConfiguration");
    assert!(text.contains("remote 192.0.2.1 443\nremote 2001:db8::1 443\nresolv-retry"), "{text}");
    let moves = [("ClientVpnEndpointId", both.as_str()), ("VpnPort", "1194")];
    world.call("ModifyClientVpnEndpoint", &moves).await.ok();
    let listen = world.stored(&both).await.spec.listen;
    let places: Vec<String> = listen.places().map(|at| at.to_string()).collect();
    assert_eq!(places, ["192.0.2.1:1194", "[2001:db8::1]:1194"], "they move together");
    // Where none of its own is free it takes another.
    for (kind, expected) in [("ipv6", "2001:db8::1"), ("ipv6", "192.0.2.1"), ("ipv4", "")] {
        let reply = create(&world, &[("EndpointIpAddressType", kind)]).await.ok();
        let listen = world.stored(&reply.text("clientVpnEndpointId")).await.spec.listen;
        assert_eq!(listen.address.map(|address| address.to_string()).unwrap_or_default(), expected, "{kind}");
    }
}

#[tokio::test]
async fn deletion() {
    let world = World::new();
    let id = world.endpoint(&[]).await;
    let pairs = [("ClientVpnEndpointId", id.as_str())];
    assert_eq!(world.call("DeleteClientVpnEndpoint", &pairs).await.ok().text("code"), "deleting");
    assert_eq!(world.call("DescribeClientVpnEndpoints", &[]).await.ok().text("code"), "deleting");
    assert_eq!(
        world.call("DeleteClientVpnEndpoint", &pairs).await.code(),
        "InvalidClientVpnEndpointId.NotFound"
    );
    world.settle().await;
    assert!(world.call("DescribeClientVpnEndpoints", &[]).await.ok().all("item").is_empty());
    let gone = world.call("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", &id)]).await;
    assert_eq!(gone.code(), "InvalidClientVpnEndpointId.NotFound");
}

#[tokio::test]
async fn the_exported_profile() {
    let base = || Config { addresses: Addresses::parse(["192.0.2.7"]).unwrap(), ..Config::default() };
    let advertise = |port| Some(Advertise { host: "vpn.example.com".into(), port });
    let rows = [
        (base(), "remote 192.0.2.7 443\nresolv-retry"),
        (Config { moved_ports: vec![(443, 10_443)], ..base() }, "remote 192.0.2.7 10443\nresolv-retry"),
        (Config { advertise: advertise(None), ..base() }, "remote vpn.example.com 443\nresolv-retry"),
        (Config { advertise: advertise(Some(8443)), ..base() }, "remote vpn.example.com 8443\nresolv-retry"),
        (
            Config { domain: Some("vpn.test".into()), ..base() },
            "remote ID.prod.clientvpn.us-east-1.vpn.test 443\nremote-random-hostname\nresolv-retry",
        ),
    ];
    for (config, remote) in rows {
        let world = World::with(config);
        let id = world.endpoint(&[]).await;
        let reply =
            world.call("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &id)]).await.ok();
        let text = reply.text("clientConfiguration");
        let start = format!("client\ndev tun\nproto udp\n{}", remote.replace("ID", &id));
        assert!(text.starts_with(&start), "{text}");
        let rest = " infinite\nnobind\nremote-cert-tls server\ncipher AES-256-GCM\n\
                    verify-x509-name server.example.com name\nverb 3\n<ca>\n-----BEGIN CERTIFICATE-----\n";
        assert!(text.contains(rest), "{text}");
        assert!(text.ends_with("-----END CERTIFICATE-----\n</ca>\n\n\nreneg-sec 0\n"), "{text}");
        assert!(!text.contains("PRIVATE"));
    }
}

#[tokio::test]
async fn a_profile_for_users_asks_for_them() {
    let world = World::new();
    let id = create(
        &world,
        &[
            ("Authentication.1.Type", "federated-authentication"),
            (
                "Authentication.1.FederatedAuthentication.SAMLProviderArn",
                "arn:aws:iam::000000000000:saml-provider/x",
            ),
        ],
    )
    .await
    .ok()
    .text("clientVpnEndpointId");
    let reply = world.call("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &id)]).await.ok();
    let end = "</ca>\n\nauth-user-pass\nauth-federate\nauth-retry interact\n\nreneg-sec 0\n";
    assert!(reply.text("clientConfiguration").ends_with(end), "{}", reply.body);
}

#[tokio::test]
async fn pages_of_endpoints() {
    let mut config = Config::default();
    config.quotas.endpoints_per_region = 12;
    let world = World::with(config);
    let mut made = Vec::new();
    for _ in 0..12 {
        made.push(create(&world, &[]).await.ok().text("clientVpnEndpointId"));
    }
    made.sort();
    let first = world.call("DescribeClientVpnEndpoints", &[("MaxResults", "7")]).await.ok();
    let token = first.text("nextToken");
    let second =
        world.call("DescribeClientVpnEndpoints", &[("MaxResults", "7"), ("NextToken", &token)]).await.ok();
    assert!(second.all("nextToken").is_empty());
    let shown: Vec<String> =
        first.all("clientVpnEndpointId").into_iter().chain(second.all("clientVpnEndpointId")).collect();
    assert_eq!(shown, made);
    assert_eq!(
        world.call("DescribeClientVpnEndpoints", &[("NextToken", "x")]).await.code(),
        "InvalidPaginationToken"
    );
}

#[tokio::test]
async fn endpoints_by_name() {
    let world = World::new();
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(create(&world, &[]).await.ok().text("clientVpnEndpointId"));
    }
    made.sort();
    let [a, b, c] = [0, 1, 2].map(|n: usize| made[n].as_str());
    let by = |values: &[&str]| {
        let values = values.iter().enumerate();
        let mut pairs = vec![("Filter.1.Name".to_owned(), "endpoint-id".to_owned())];
        pairs.extend(values.map(|(n, value)| (format!("Filter.1.Value.{}", n + 1), (*value).to_owned())));
        pairs
    };
    let id = |value: &str| vec![("ClientVpnEndpointId.1".to_owned(), value.to_owned())];
    let udp = |value: &str| {
        vec![
            ("Filter.2.Name".to_owned(), "transport-protocol".to_owned()),
            ("Filter.2.Value.1".to_owned(), value.to_owned()),
        ]
    };
    // A filter's value that names nothing is no mistake; an id is, whatever the filters.
    let unknown = "cvpn-endpoint-00000000000000001";
    let rows: Vec<(Vec<(String, String)>, Result<Vec<&str>, &str>)> = vec![
        (by(&[b]), Ok(vec![b])),
        (by(&[c, a, unknown, "x", a]), Ok(vec![a, c])),
        (by(&["*"]), Ok(vec![a, b, c])),
        (by(&[unknown]), Ok(vec![])),
        ([by(&[a, b]), udp("udp")].concat(), Ok(vec![a, b])),
        ([by(&[a, b]), udp("tcp")].concat(), Ok(vec![])),
        ([id(a), by(&[a, b])].concat(), Ok(vec![a])),
        ([id(a), by(&[b])].concat(), Ok(vec![])),
        ([id(unknown), by(&[b])].concat(), Err("InvalidClientVpnEndpointId.NotFound")),
    ];
    for (pairs, expected) in rows {
        let borrowed: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = world.call("DescribeClientVpnEndpoints", &borrowed).await;
        match expected {
            Ok(ids) => assert_eq!(reply.ok().all("clientVpnEndpointId"), ids, "{pairs:?}"),
            Err(code) => assert_eq!(reply.code(), code, "{pairs:?}"),
        }
    }
}
