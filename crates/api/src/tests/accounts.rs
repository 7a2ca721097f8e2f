//! Several accounts on one server see nothing of each other (users name theirs in `users.toml`).

use super::{How, World, allow, endpoint_pairs, import};

const OTHER: How<'static> =
    How { key: "OTHER", region: "us-east-1", service: "ec2", method: "POST", signed_at: super::NOW };

fn world() -> World {
    let world = World::new();
    world.users.elsewhere("111111111111", "OTHER", &allow("*"));
    world
}

#[tokio::test]
async fn nothing_of_one_account_is_seen_in_another() {
    let world = world();
    let (endpoint, association, subnets) = world.available().await;
    let vpc = world.call("DescribeVpcs", &[]).await.ok().text("vpcId");
    let group = world.call("DescribeSecurityGroups", &[]).await.ok().text("groupId");
    world
        .iam("CreateSAMLProvider", &[("Name", "idp"), ("SAMLMetadataDocument", &super::iam::metadata("one"))])
        .await
        .ok();
    for (action, element) in [
        ("DescribeVpcs", "vpcId"),
        ("DescribeSubnets", "subnetId"),
        ("DescribeSecurityGroups", "groupId"),
        ("DescribeClientVpnEndpoints", "clientVpnEndpointId"),
        ("DescribeNetworkInterfaces", "networkInterfaceId"),
        ("DescribeTags", "resourceId"),
    ] {
        let reply = world.call_as(OTHER, action, &[]).await.ok();
        assert!(reply.all(element).is_empty(), "{action}: {}", reply.body);
    }
    let (_, certificates) = world.acm("OTHER", "ListCertificates", &serde_json::json!({})).await;
    assert_eq!(certificates["CertificateSummaryList"], serde_json::json!([]));
    let iam = How { service: "iam", ..OTHER };
    assert!(world.call_as(iam, "ListSAMLProviders", &[]).await.ok().all("Arn").is_empty());
    let by_endpoint = [("ClientVpnEndpointId", endpoint.as_str())];
    for action in [
        "DescribeClientVpnTargetNetworks",
        "DescribeClientVpnRoutes",
        "DescribeClientVpnAuthorizationRules",
        "DescribeClientVpnConnections",
        "ExportClientVpnClientConfiguration",
        "DeleteClientVpnEndpoint",
        "ModifyClientVpnEndpoint",
    ] {
        let reply = world.call_as(OTHER, action, &by_endpoint).await;
        assert_eq!(reply.code(), "InvalidClientVpnEndpointId.NotFound", "{action}");
    }
    for (action, pairs, code) in [
        (
            "DisassociateClientVpnTargetNetwork",
            vec![("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", &association)],
            "InvalidClientVpnEndpointId.NotFound",
        ),
        ("DeleteVpc", vec![("VpcId", &vpc)], "InvalidVpcID.NotFound"),
        ("DeleteSubnet", vec![("SubnetId", &subnets[0])], "InvalidSubnetID.NotFound"),
        ("DeleteSecurityGroup", vec![("GroupId", &group)], "InvalidGroup.NotFound"),
        ("CreateSubnet", vec![("VpcId", &vpc), ("CidrBlock", "10.0.9.0/24")], "InvalidVpcID.NotFound"),
        (
            "CreateTags",
            vec![("ResourceId.1", &endpoint), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")],
            "InvalidClientVpnEndpointId.NotFound",
        ),
    ] {
        assert_eq!(world.call_as(OTHER, action, &pairs).await.code(), code, "{action}");
    }
    // And all of it still stands.
    assert_eq!(world.call("DescribeVpcs", &[]).await.ok().text("vpcId"), vpc);
    assert_eq!(world.stored(&endpoint).await.status.code, model::EndpointCode::Available);
}

#[tokio::test]
async fn a_certificate_or_provider_of_another_account_is_none() {
    let world = world();
    let arn = world.certificate("server.example.com").await;
    let pairs = endpoint_pairs(&arn);
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = world.call_as(OTHER, "CreateClientVpnEndpoint", &pairs).await;
    assert_eq!(reply.code(), "InvalidParameterValue", "{}", reply.body);
    let (status, body) =
        world.acm("OTHER", "DescribeCertificate", &serde_json::json!({"CertificateArn": arn})).await;
    assert_eq!((status, &body["__type"]), (400, &"ResourceNotFoundException".into()));
}

#[tokio::test]
async fn arns_and_owners_carry_the_callers_account_and_addresses_are_shared() {
    let world = world();
    world.available().await;
    let (_, body) = world.acm("OTHER", "ImportCertificate", &import("server.example.com")).await;
    let arn = body["CertificateArn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with("arn:aws:acm:us-east-1:111111111111:certificate/"), "{arn}");
    let pairs = endpoint_pairs(&arn);
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.call_as(OTHER, "CreateClientVpnEndpoint", &pairs).await.ok();
    let vpc = world.call_as(OTHER, "CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok();
    assert_eq!(vpc.text("ownerId"), "111111111111");
    let sts = How { service: "sts", ..OTHER };
    let who = world.call_as(sts, "GetCallerIdentity", &[]).await.ok();
    assert_eq!(who.text("Account"), "111111111111");
    assert_eq!(who.text("Arn"), "arn:aws:iam::111111111111:user/other");
    let iam = How { service: "iam", ..OTHER };
    let metadata = super::iam::metadata("one");
    let made = [("Name", "idp"), ("SAMLMetadataDocument", metadata.as_str())];
    let made = world.call_as(iam, "CreateSAMLProvider", &made).await.ok();
    assert_eq!(made.text("SAMLProviderArn"), "arn:aws:iam::111111111111:saml-provider/idp");
    // One pool of addresses, and names that nobody else has.
    let names = |reply: super::Reply| reply.all("dnsName");
    let mut all = names(world.call("DescribeClientVpnEndpoints", &[]).await.ok());
    all.extend(names(world.call_as(OTHER, "DescribeClientVpnEndpoints", &[]).await.ok()));
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), different.len()), (2, 2), "{all:?}");
    let listeners = model::prefix::unscoped(model::Kind::Listener);
    let listing = store::Store::list(world.store.as_ref(), &listeners).await.unwrap();
    let claims: Vec<String> = listing.entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(claims.len(), 2, "{claims:?}");
    assert!(world.audit.last().1["recipientAccountId"] == "111111111111");
}

/// The same client token of two accounts is two tokens.
#[tokio::test]
async fn client_tokens_are_an_accounts_own() {
    let world = world();
    let mut ids = Vec::new();
    for key in [super::ROOT, "OTHER"] {
        let (_, body) = world.acm(key, "ImportCertificate", &import("server.example.com")).await;
        let pairs = endpoint_pairs(body["CertificateArn"].as_str().unwrap());
        let mut pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.push(("ClientToken", "the same"));
        let how = How { key, ..How::default() };
        ids.push(
            world.call_as(how, "CreateClientVpnEndpoint", &pairs).await.ok().text("clientVpnEndpointId"),
        );
    }
    assert_ne!(ids[0], ids[1]);
}
