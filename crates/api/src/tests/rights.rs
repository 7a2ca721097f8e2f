//! Permissions: every resource an action touches, and every condition key (spec: aws-client-vpn §4.7).

use std::sync::atomic::Ordering;

use super::{How, NOW, World, endpoint_pairs, signed};

const RED: (&str, &str) = ("team", "red");

/// A statement that allows everything under one condition.
fn when(condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*",
            "Condition":{{{condition}}}}}]}}"#
    )
}

/// Whether the call would be permitted.
async fn may(world: &World, key: &str, action: &str, pairs: &[(&str, &str)]) -> bool {
    let pairs: Vec<_> = pairs.iter().copied().chain([("DryRun", "true")]).collect();
    let reply = world.call_as(How { key, ..How::default() }, action, &pairs).await;
    match reply.code().as_str() {
        "DryRunOperation" => true,
        "UnauthorizedOperation" => false,
        other => panic!("{action}: {other} {}", reply.body),
    }
}

/// What each Client VPN action touches, as the service authorization reference has it: parameters, and the resource types
/// that permission is needed for beside the endpoint.
#[tokio::test]
async fn every_resource_that_an_action_touches_needs_permission() {
    const ENDPOINT: (&str, &str) = ("ClientVpnEndpointId", "cvpn-endpoint-0123456789abcdef0");
    const VPC: (&str, &str) = ("VpcId", "vpc-0123456789abcdef0");
    const GROUP: (&str, &str) = ("SecurityGroupId.1", "sg-0123456789abcdef0");
    const SUBNET: (&str, &str) = ("SubnetId", "subnet-0123456789abcdef0");
    const CIDR: (&str, &str) = ("TargetNetworkCidr", "10.0.0.0/16");
    const ROUTE: [(&str, &str); 2] =
        [("DestinationCidrBlock", "10.5.0.0/16"), ("TargetVpcSubnetId", "subnet-0123456789abcdef0")];
    let world = World::new();
    let create = endpoint_pairs("arn:aws:acm:us-east-1:000000000000:certificate/none");
    let create: Vec<(&str, &str)> = create.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        create.iter().copied().chain(more.iter().copied()).collect()
    };
    let rows: Vec<(&str, Vec<(&str, &str)>, &[&str])> = vec![
        ("CreateClientVpnEndpoint", with(&[]), &[]),
        ("CreateClientVpnEndpoint", with(&[VPC]), &["vpc"]),
        ("CreateClientVpnEndpoint", with(&[VPC, GROUP]), &["vpc", "security-group"]),
        ("ModifyClientVpnEndpoint", vec![ENDPOINT], &[]),
        ("ModifyClientVpnEndpoint", vec![ENDPOINT, VPC, GROUP], &["vpc", "security-group"]),
        ("DeleteClientVpnEndpoint", vec![ENDPOINT], &[]),
        ("AssociateClientVpnTargetNetwork", vec![ENDPOINT, SUBNET], &["subnet"]),
        (
            "DisassociateClientVpnTargetNetwork",
            vec![ENDPOINT, ("AssociationId", "cvpn-assoc-0123456789abcdef0")],
            &[],
        ),
        (
            "ApplySecurityGroupsToClientVpnTargetNetwork",
            vec![ENDPOINT, VPC, GROUP],
            &["vpc", "security-group"],
        ),
        ("CreateClientVpnRoute", vec![ENDPOINT, ROUTE[0], ROUTE[1]], &["subnet"]),
        ("DeleteClientVpnRoute", vec![ENDPOINT, ROUTE[0], ROUTE[1]], &["subnet"]),
        ("AuthorizeClientVpnIngress", vec![ENDPOINT, CIDR, ("AuthorizeAllGroups", "true")], &[]),
        ("RevokeClientVpnIngress", vec![ENDPOINT, CIDR, ("RevokeAllGroups", "true")], &[]),
        ("TerminateClientVpnConnections", vec![ENDPOINT, ("Username", "x")], &[]),
        (
            "ImportClientVpnClientCertificateRevocationList",
            vec![ENDPOINT, ("CertificateRevocationList", "-----BEGIN X509 CRL-----")],
            &[],
        ),
        ("ExportClientVpnClientCertificateRevocationList", vec![ENDPOINT], &[]),
        ("ExportClientVpnClientConfiguration", vec![ENDPOINT], &[]),
    ];
    let arn = |kind: &str| format!("\"arn:aws:ec2:us-east-1:000000000000:{kind}/*\"");
    let document = |action: &str, kinds: &[String]| {
        let resources: Vec<String> = kinds.iter().map(|kind| arn(kind)).collect();
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"ec2:{action}","Resource":[{}]}}]}}"#,
            resources.join(",")
        )
    };
    for (action, pairs, kinds) in &rows {
        let all: Vec<String> =
            ["client-vpn-endpoint"].iter().chain(*kinds).map(|kind| (*kind).to_owned()).collect();
        world.users.policy("USER", &document(action, &all));
        assert!(may(&world, "USER", action, pairs).await, "{action} with {all:?}");
        for without in &all {
            let mut less: Vec<String> = all.iter().filter(|kind| *kind != without).cloned().collect();
            less.push("instance".to_owned());
            world.users.policy("USER", &document(action, &less));
            assert!(!may(&world, "USER", action, pairs).await, "{action} without {without}");
        }
    }
    for action in [
        "DescribeClientVpnEndpoints",
        "DescribeClientVpnTargetNetworks",
        "DescribeClientVpnRoutes",
        "DescribeClientVpnAuthorizationRules",
        "DescribeClientVpnConnections",
    ] {
        let pairs: &[_] = if action == "DescribeClientVpnEndpoints" { &[] } else { &[ENDPOINT] };
        world.users.policy("USER", &document(action, &["*".to_owned()]));
        assert!(!may(&world, "USER", action, pairs).await, "{action} knows no resource");
        world.users.policy("USER", &super::allow(&format!("ec2:{action}")));
        assert!(may(&world, "USER", action, pairs).await, "{action}");
    }
}

/// Keys of an endpoint, of one that stands and of one that is asked for.
#[tokio::test]
async fn conditions_on_what_an_endpoint_has() {
    let world = World::new();
    let certificate = world.certificate("server.example.com").await;
    let other = world.certificate("other.example.com").await;
    world.logs("CreateLogGroup", &serde_json::json!({"logGroupName": "/vpn/a"})).await;
    world.logs("CreateLogStream", &serde_json::json!({"logGroupName": "/vpn/a", "logStreamName": "s"})).await;
    let group = "arn:aws:logs:us-east-1:000000000000:log-group:/vpn/a";
    let stream = format!("{group}:log-stream:s");
    let mut create: Vec<(&str, &str)> = vec![
        ("ClientCidrBlock", "10.100.0.0/16"),
        ("ServerCertificateArn", &certificate),
        ("Authentication.1.Type", "certificate-authentication"),
        ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", &other),
        ("ConnectionLogOptions.Enabled", "true"),
        ("ConnectionLogOptions.CloudwatchLogGroup", "/vpn/a"),
        ("ConnectionLogOptions.CloudwatchLogStream", "s"),
        ("TagSpecification.1.ResourceType", "client-vpn-endpoint"),
        ("TagSpecification.1.Tag.1.Key", RED.0),
        ("TagSpecification.1.Tag.1.Value", RED.1),
    ];
    let endpoint = world.call("CreateClientVpnEndpoint", &create).await.ok().text("clientVpnEndpointId");
    let id = [("ClientVpnEndpointId", endpoint.as_str())];
    for (key, value) in [
        ("ec2:ServerCertificateArn", certificate.as_str()),
        ("ec2:ClientRootCertificateChainArn", &other),
        ("ec2:CloudwatchLogGroupArn", group),
        ("ec2:CloudwatchLogStreamArn", &stream),
        ("ec2:ResourceTag/team", "red"),
        ("aws:ResourceTag/team", "red"),
    ] {
        for (value, expected) in [(value, true), ("arn:aws:x:::other", false)] {
            world.users.policy("USER", &when(&format!(r#""StringEquals":{{"{key}":"{value}"}}"#)));
            let found = may(&world, "USER", "DeleteClientVpnEndpoint", &id).await;
            assert_eq!(found, expected, "{key} of an endpoint that stands");
            if !key.contains("Tag/") {
                let found = may(&world, "USER", "CreateClientVpnEndpoint", &create).await;
                assert_eq!(found, expected, "{key} of an endpoint that is asked for");
            }
        }
    }
    // A change is judged by what it brings.
    let arn_is = |arn: &str| when(&format!(r#""ArnEquals":{{"ec2:ServerCertificateArn":"{arn}"}}"#));
    world.users.policy("USER", &arn_is(&other));
    assert!(!may(&world, "USER", "ModifyClientVpnEndpoint", &id).await);
    assert!(may(&world, "USER", "ModifyClientVpnEndpoint", &[id[0], ("ServerCertificateArn", &other)]).await);
    // Whoever must log may not switch it off, nor log elsewhere.
    let modify = |more: &[(&'static str, &'static str)]| [id.as_slice(), more].concat();
    world
        .users
        .policy("USER", &when(&format!(r#""StringEquals":{{"ec2:CloudwatchLogGroupArn":"{group}"}}"#)));
    let (off, elsewhere) =
        (("ConnectionLogOptions.Enabled", "false"), ("ConnectionLogOptions.CloudwatchLogGroup", "/vpn/b"));
    assert!(may(&world, "USER", "ModifyClientVpnEndpoint", &modify(&[("Description", "x")])).await);
    assert!(!may(&world, "USER", "ModifyClientVpnEndpoint", &modify(&[off])).await);
    assert!(!may(&world, "USER", "ModifyClientVpnEndpoint", &modify(&[elsewhere])).await);
    create.retain(|(name, _)| !name.starts_with("ConnectionLogOptions.Cloudwatch"));
    create
        .iter_mut()
        .filter(|(name, _)| *name == "ConnectionLogOptions.Enabled")
        .for_each(|pair| pair.1 = "false");
    assert!(!may(&world, "USER", "CreateClientVpnEndpoint", &create).await);
}

#[tokio::test]
async fn conditions_on_directories_and_providers() {
    let world = World::new();
    let server = ("ServerCertificateArn", "arn:aws:acm:us-east-1:000000000000:certificate/none");
    let common = [server, ("ClientCidrBlock", "10.100.0.0/16"), ("ConnectionLogOptions.Enabled", "false")];
    let provider = "arn:aws:iam::000000000000:saml-provider/idp";
    let rows: [(&str, &str, [(&str, &str); 2]); 2] = [
        (
            "ec2:DirectoryArn",
            "arn:aws:ds:us-east-1:000000000000:directory/d-1234567890",
            [
                ("Authentication.1.Type", "directory-service-authentication"),
                ("Authentication.1.ActiveDirectory.DirectoryId", "d-1234567890"),
            ],
        ),
        (
            "ec2:SamlProviderArn",
            provider,
            [
                ("Authentication.1.Type", "federated-authentication"),
                ("Authentication.1.FederatedAuthentication.SAMLProviderArn", provider),
            ],
        ),
    ];
    for (key, arn, way) in rows {
        let pairs = [common.as_slice(), &way].concat();
        for (value, expected) in [(arn, true), ("arn:aws:x:us-east-1:000000000000:other", false)] {
            world.users.policy("USER", &when(&format!(r#""ArnLike":{{"{key}":"{value}"}}"#)));
            assert_eq!(
                may(&world, "USER", "CreateClientVpnEndpoint", &pairs).await,
                expected,
                "{key} {value}"
            );
        }
    }
}

#[tokio::test]
async fn conditions_on_the_request_and_the_caller() {
    let world = World::new();
    let vpc = [("CidrBlock", "10.0.0.0/16")];
    let tagged = [
        vpc[0],
        ("TagSpecification.1.ResourceType", "vpc"),
        ("TagSpecification.1.Tag.1.Key", "team"),
        ("TagSpecification.1.Tag.1.Value", "red"),
    ];
    // A condition; whether it holds; on an untagged and on a tagged VPC.
    let rows = [
        (r#""IpAddress":{"aws:SourceIp":"127.0.0.0/8"}"#, true, true),
        (r#""IpAddress":{"aws:SourceIp":"192.0.2.0/24"}"#, false, false),
        (r#""DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}"#, true, true),
        (r#""DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}"#, false, false),
        (r#""NumericGreaterThan":{"aws:EpochTime":"1000"}"#, true, true),
        (r#""Bool":{"aws:SecureTransport":"false"}"#, true, true),
        (r#""Bool":{"aws:SecureTransport":"true"}"#, false, false),
        (r#""StringEquals":{"aws:username":"user"}"#, true, true),
        (r#""StringEquals":{"aws:username":"other"}"#, false, false),
        (r#""StringEquals":{"aws:RequestedRegion":"us-east-1"}"#, true, true),
        (r#""StringEquals":{"ec2:Region":"eu-west-1"}"#, false, false),
        (r#""ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/user"}"#, true, true),
        (r#""StringEquals":{"aws:PrincipalTag/team":"red"}"#, true, true),
        (r#""StringEquals":{"aws:PrincipalTag/Team":"red"}"#, true, true),
        (r#""StringEquals":{"aws:PrincipalTag/team":"blue"}"#, false, false),
        (r#""StringEquals":{"aws:RequestTag/team":"red"}"#, false, true),
        (r#""StringEquals":{"aws:RequestTag/team":"${aws:PrincipalTag/team}"}"#, false, true),
        (r#""ForAllValues:StringEquals":{"aws:TagKeys":["team"]}"#, true, true),
        (r#""ForAllValues:StringEquals":{"aws:TagKeys":["cost"]}"#, true, false),
        (r#""Null":{"aws:TagKeys":"false"}"#, false, true),
        (r#""StringEqualsIfExists":{"ec2:CreateAction":"CreateVpc"}"#, true, true),
        (r#""StringEqualsIfExists":{"ec2:CreateAction":"CreateSubnet"}"#, true, false),
    ];
    for (condition, plain, with_tag) in rows {
        world.users.tagged("USER", &when(condition), &[RED]);
        assert_eq!(may(&world, "USER", "CreateVpc", &vpc).await, plain, "{condition}");
        assert_eq!(may(&world, "USER", "CreateVpc", &tagged).await, with_tag, "{condition}, tagged");
    }
    // Tagging alone may be bound to creating.
    world.users.policy(
        "USER",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:CreateVpc","Resource":"*"},
            {"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*",
             "Condition":{"StringEquals":{"ec2:CreateAction":"CreateVpc"}}}]}"#,
    );
    assert!(may(&world, "USER", "CreateVpc", &tagged).await);
    let tags = [("ResourceId.1", "vpc-0123456789abcdef0"), ("Tag.1.Key", "team"), ("Tag.1.Value", "red")];
    assert!(!may(&world, "USER", "CreateTags", &tags).await);
    // Over TLS, and later.
    world.users.policy("USER", &when(r#""Bool":{"aws:SecureTransport":"true"}"#));
    let how = How { key: "USER", ..How::default() };
    let mut call = signed(&how, "/", "", b"Action=DescribeVpcs".to_vec(), &[]);
    call.secure = true;
    assert_eq!(world.send(call).await.code(), "");
    world.users.policy("USER", &when(r#""NumericLessThan":{"aws:EpochTime":"1800000100"}"#));
    assert!(may(&world, "USER", "CreateVpc", &vpc).await);
    world.clock.store(NOW + 200, Ordering::Relaxed);
    assert!(!may(&world, "USER", "CreateVpc", &vpc).await);
}

/// Keys of tags that are taken away are keys of the request too.
#[tokio::test]
async fn conditions_on_tags_that_are_taken_away() {
    let world = World::new();
    let only = r#""ForAllValues:StringEquals":{"aws:TagKeys":["cost"]},"Null":{"aws:TagKeys":"false"}"#;
    world.users.policy("USER", &when(only));
    let metadata = super::iam::metadata("one");
    let made = [("Name", "idp"), ("SAMLMetadataDocument", metadata.as_str())];
    let arn = world.iam("CreateSAMLProvider", &made).await.ok().text("SAMLProviderArn");
    let certificate = world.certificate("server.example.com").await;
    for (key, code, status) in [("cost", "", 200), ("team", "AccessDenied", 400)] {
        let how = How { key: "USER", service: "iam", ..How::default() };
        let untag = [("SAMLProviderArn", arn.as_str()), ("TagKeys.member.1", key)];
        assert_eq!(world.call_as(how, "UntagSAMLProvider", &untag).await.code(), code, "{key}");
        let body = serde_json::json!({"CertificateArn": certificate, "Tags": [{"Key": key}]});
        let (found, answer) = world.acm("USER", "RemoveTagsFromCertificate", &body).await;
        assert_eq!(found, status, "{key}: {answer}");
    }
}

/// Another account's provider may have a name that one of ours has: its tags are not ours.
#[tokio::test]
async fn tags_of_a_provider_are_those_of_the_own_account() {
    let world = World::new();
    let metadata = super::iam::metadata("one");
    let made = [
        ("Name", "idp"),
        ("SAMLMetadataDocument", metadata.as_str()),
        ("Tags.member.1.Key", RED.0),
        ("Tags.member.1.Value", RED.1),
    ];
    let arn = world.iam("CreateSAMLProvider", &made).await.ok().text("SAMLProviderArn");
    world.users.policy("USER", &when(r#""StringEquals":{"iam:ResourceTag/team":"red"}"#));
    let how = How { key: "USER", service: "iam", ..How::default() };
    world.call_as(how, "GetSAMLProvider", &[("SAMLProviderArn", &arn)]).await.ok();
    let foreign = arn.replace("000000000000", "999999999999");
    let reply = world.call_as(how, "GetSAMLProvider", &[("SAMLProviderArn", &foreign)]).await;
    assert_eq!(reply.code(), "AccessDenied");
}
