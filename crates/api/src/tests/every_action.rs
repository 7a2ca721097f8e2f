//! What holds for every action: nobody can register one and forget a step. The rows come from the registry.

use super::{How, Pairs, World, allow};

const ENDPOINT: (&str, &str) = ("ClientVpnEndpointId", "cvpn-endpoint-0123456789abcdef0");

const VPC: (&str, &str) = ("VpcId", "vpc-0123456789abcdef0");
const GROUP: (&str, &str) = ("GroupId", "sg-0123456789abcdef0");

/// Well-formed parameters of every EC2 action, naming things that do not exist.
fn sample(action: &str) -> Vec<(&'static str, &'static str)> {
    match action {
        "ApplySecurityGroupsToClientVpnTargetNetwork" => {
            vec![ENDPOINT, ("VpcId", "vpc-0123456789abcdef0"), ("SecurityGroupId.1", "sg-0123456789abcdef0")]
        }
        "AcceptTransitGatewayClientVpnAttachment"
        | "DeleteTransitGatewayClientVpnAttachment"
        | "RejectTransitGatewayClientVpnAttachment" => {
            vec![("TransitGatewayAttachmentId", "tgw-attach-0123456789abcdef0")]
        }
        "ImportClientVpnClientCertificateRevocationList" => {
            vec![ENDPOINT, ("CertificateRevocationList", "-----BEGIN X509 CRL-----")]
        }
        "ModifyClientVpnEndpointAuthorizationPolicy" => {
            vec![ENDPOINT, ("PolicyDocument", "permit(principal, action, resource);")]
        }
        "AssociateClientVpnTargetNetwork" => vec![ENDPOINT, ("SubnetId", "subnet-0123456789abcdef0")],
        "AuthorizeClientVpnIngress" => {
            vec![ENDPOINT, ("TargetNetworkCidr", "10.0.0.0/16"), ("AuthorizeAllGroups", "true")]
        }
        "RevokeClientVpnIngress" => {
            vec![ENDPOINT, ("TargetNetworkCidr", "10.0.0.0/16"), ("RevokeAllGroups", "true")]
        }
        "CreateClientVpnEndpoint" => vec![
            ("ClientCidrBlock", "10.100.0.0/16"),
            ("ServerCertificateArn", "arn:aws:acm:us-east-1:000000000000:certificate/none"),
            ("Authentication.1.Type", "directory-service-authentication"),
            ("Authentication.1.ActiveDirectory.DirectoryId", "d-1234567890"),
            ("ConnectionLogOptions.Enabled", "false"),
        ],
        "CreateClientVpnRoute" | "DeleteClientVpnRoute" => vec![
            ENDPOINT,
            ("DestinationCidrBlock", "10.5.0.0/16"),
            ("TargetVpcSubnetId", "subnet-0123456789abcdef0"),
        ],
        "DeleteTransitGateway" | "ModifyTransitGateway" => {
            vec![("TransitGatewayId", "tgw-0123456789abcdef0")]
        }
        "DeleteVpc" => vec![VPC],
        "DescribeVpcAttribute" => vec![VPC, ("Attribute", "enableDnsSupport")],
        "ModifyVpcAttribute" => vec![VPC, ("EnableDnsSupport.Value", "true")],
        "AssociateSubnetCidrBlock" => {
            vec![("SubnetId", "subnet-0123456789abcdef0"), ("Ipv6CidrBlock", "2001:db8:0:1::/64")]
        }
        "DisassociateSubnetCidrBlock" => vec![("AssociationId", "subnet-cidr-assoc-0123456789abcdef0")],
        "AssociateVpcCidrBlock" => vec![VPC, ("CidrBlock", "10.1.0.0/16")],
        "DisassociateVpcCidrBlock" => vec![("AssociationId", "vpc-cidr-assoc-0123456789abcdef0")],
        "DeleteSubnet" => vec![("SubnetId", "subnet-0123456789abcdef0")],
        "ModifySubnetAttribute" => {
            vec![("SubnetId", "subnet-0123456789abcdef0"), ("MapPublicIpOnLaunch.Value", "true")]
        }
        "CreateSecurityGroup" => vec![VPC, ("GroupName", "web"), ("GroupDescription", "for the web")],
        "DeleteSecurityGroup" => vec![GROUP],
        "AuthorizeSecurityGroupEgress"
        | "AuthorizeSecurityGroupIngress"
        | "RevokeSecurityGroupEgress"
        | "RevokeSecurityGroupIngress"
        | "UpdateSecurityGroupRuleDescriptionsEgress"
        | "UpdateSecurityGroupRuleDescriptionsIngress" => vec![
            GROUP,
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
        ],
        "ModifySecurityGroupRules" => vec![
            GROUP,
            ("SecurityGroupRule.1.SecurityGroupRuleId", "sgr-0123456789abcdef0"),
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "-1"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.0/8"),
        ],
        "CreateTags" | "DeleteTags" => {
            vec![("ResourceId.1", "vpc-0123456789abcdef0"), ("Tag.1.Key", "env"), ("Tag.1.Value", "test")]
        }
        "CreateSubnet" => vec![("VpcId", "vpc-0123456789abcdef0"), ("CidrBlock", "10.0.1.0/24")],
        "CreateVpc" => vec![("CidrBlock", "10.0.0.0/16")],
        "DisassociateClientVpnTargetNetwork" => {
            vec![ENDPOINT, ("AssociationId", "cvpn-assoc-0123456789abcdef0")]
        }
        "TerminateClientVpnConnections" => {
            vec![ENDPOINT, ("ConnectionId", "cvpn-connection-0123456789abcdef0")]
        }
        "DescribeAccountAttributes"
        | "DescribeAvailabilityZones"
        | "DescribeClientVpnEndpoints"
        | "DescribeNetworkAcls"
        | "DescribeNetworkInterfaces"
        | "DescribeRouteTables"
        | "DescribeSecurityGroupRules"
        | "DescribeSecurityGroups"
        | "DescribeSubnets"
        | "DescribeTags"
        | "DescribeTransitGatewayAttachments"
        | "DescribeTransitGateways"
        | "CreateTransitGateway"
        | "DescribeVpcs" => vec![],
        "DeleteClientVpnEndpoint"
        | "DeleteClientVpnEndpointAuthorizationPolicy"
        | "DescribeClientVpnAuthorizationRules"
        | "DescribeClientVpnConnections"
        | "DescribeClientVpnRoutes"
        | "DescribeClientVpnTargetNetworks"
        | "ExportClientVpnClientCertificateRevocationList"
        | "ExportClientVpnClientConfiguration"
        | "GetClientVpnEndpointAuthorizationPolicy"
        | "ModifyClientVpnEndpoint" => vec![ENDPOINT],
        other => panic!("{other} has no row here: add one"),
    }
}

fn names() -> Vec<&'static str> {
    crate::ec2::ACTIONS.iter().map(|action| action.name).collect()
}

fn with<'p>(pairs: Pairs<'p>, more: (&'p str, &'p str)) -> Vec<(&'p str, &'p str)> {
    let mut all = pairs.to_vec();
    all.push(more);
    all
}

#[tokio::test]
async fn a_dry_run_of_a_permitted_action_names_no_resource_and_leaves_no_trace() {
    let world = World::new();
    for action in names() {
        let reply = world.call(action, &with(&sample(action), ("DryRun", "true"))).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (412, "DryRunOperation"),
            "{action}: {}",
            reply.body
        );
    }
    assert_eq!(store::Store::revision(world.store.as_ref()).await.unwrap(), 0);
}

#[tokio::test]
async fn without_permission_every_action_is_denied_before_anything_is_looked_up() {
    let world = World::new();
    world.users.policy("NOBODY", &allow("s3:*"));
    let how = How { key: "NOBODY", ..How::default() };
    for action in names() {
        for dry_run in ["true", "false"] {
            let reply = world.call_as(how, action, &with(&sample(action), ("DryRun", dry_run))).await;
            assert_eq!((reply.status, reply.code().as_str()), (403, "UnauthorizedOperation"), "{action}");
        }
    }
}

#[tokio::test]
async fn permission_for_exactly_the_action_is_enough() {
    let world = World::new();
    for action in names() {
        world.users.policy(action, &allow(&format!("ec2:{action}")));
        let how = How { key: action, ..How::default() };
        let reply = world.call_as(how, action, &with(&sample(action), ("DryRun", "true"))).await;
        assert_eq!(reply.code(), "DryRunOperation", "{action}");
    }
}

#[tokio::test]
async fn an_unsigned_call_is_refused() {
    let world = World::new();
    for action in names() {
        let mut call = super::signed(&How::default(), "/", "", format!("Action={action}").into_bytes(), &[]);
        call.headers.retain(|(name, _)| name != "authorization");
        let reply = world.send(call).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "MissingAuthenticationToken"), "{action}");
    }
}

#[tokio::test]
async fn parameters_nobody_knows_are_refused() {
    let world = World::new();
    for action in names() {
        let reply = world.call(action, &with(&sample(action), ("NoSuchThing", "1"))).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "UnknownParameter"), "{action}");
        let reply = world.call(action, &with(&sample(action), ("DryRun", "perhaps"))).await;
        assert_eq!(reply.code(), "InvalidParameterValue", "{action}");
    }
}

/// Before a dry run is answered (spec: aws-client-vpn §2.0.1).
#[tokio::test]
async fn a_missing_required_parameter_is_named() {
    let world = World::new();
    let all = crate::members_json();
    let mut checked = 0;
    for action in names() {
        let row = all[0]["actions"].as_array().unwrap().iter().find(|row| row["action"] == action).unwrap();
        for member in row["request"].as_array().unwrap().iter().filter(|member| member["required"] == true) {
            let wire = member["wire"].as_str().unwrap();
            let mut pairs = sample(action);
            pairs.retain(|(name, _)| *name != wire && !name.starts_with(&format!("{wire}.")));
            let reply = world.call(action, &with(&pairs, ("DryRun", "true"))).await;
            assert_eq!(reply.code(), "MissingParameter", "{action} {wire}: {}", reply.body);
            assert!(reply.text("Message").contains(wire), "{}", reply.body);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_exist_is_said_so() {
    let world = World::new();
    for action in names() {
        let pairs = sample(action);
        if !pairs.contains(&ENDPOINT) {
            continue;
        }
        let reply = world.call(action, &pairs).await;
        assert_eq!(reply.code(), "InvalidClientVpnEndpointId.NotFound", "{action}");
        assert_eq!(reply.text("Message"), format!("Endpoint {} does not exist", ENDPOINT.1));
        let mut odd = pairs.clone();
        odd[0].1 = "no id at all";
        assert_eq!(world.call(action, &odd).await.code(), "InvalidClientVpnEndpointId.NotFound", "{action}");
    }
}

#[tokio::test]
async fn every_page_size_and_token_is_checked() {
    let world = World::new();
    for action in names() {
        let pairs = sample(action);
        let unpaged = ["DescribeAccountAttributes", "DescribeAvailabilityZones", "DescribeVpcAttribute"];
        if !action.starts_with("Describe") || unpaged.contains(&action) {
            continue;
        }
        for (size, code) in
            [("4", "InvalidParameterValue"), ("1001", "InvalidParameterValue"), ("5", "DryRunOperation")]
        {
            let sized = with(&pairs, ("MaxResults", size));
            assert_eq!(
                world.call(action, &with(&sized, ("DryRun", "true"))).await.code(),
                code,
                "{action} {size}"
            );
        }
        let filtered = with(&pairs, ("Filter.1.Name", "no-such-filter"));
        let reply = world.call(action, &with(&filtered, ("Filter.1.Value.1", "x"))).await;
        assert_eq!(reply.code(), "InvalidParameterValue", "{action}");
        assert_eq!(reply.text("Message"), "The filter 'no-such-filter' is invalid");
    }
}

#[tokio::test]
async fn actions_that_are_known_and_not_built_say_so() {
    let world = World::new();
    for action in crate::ec2::NOT_BUILT {
        let reply = world.call(action, &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "UnsupportedOperation"));
        assert!(reply.text("Message").contains(action));
        assert!(!names().contains(action), "{action} is built");
    }
    let reply = world.call("MakeMeASandwich", &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidAction"));
    assert_eq!(reply.text("Message"), "The action MakeMeASandwich is not valid for this web service.");
}

#[tokio::test]
async fn garbage_is_refused_and_never_an_error_of_ours() {
    let world = World::new();
    let garbage =
        ["", "-1", "9999999999999999999999", "\u{0}", "é", "<x>&", "10.0.0.0/99", "arn:", "*", "a.b.c"];
    for action in names() {
        for value in garbage {
            for index in 0..sample(action).len() {
                let mut pairs = sample(action);
                pairs[index].1 = value;
                let reply = world.call(action, &pairs).await;
                let fine = reply.status == 400 || reply.status == 200;
                assert!(fine, "{action} {:?} {value:?}: {} {}", pairs[index], reply.status, reply.body);
                reply.all("RequestID");
            }
        }
    }
}
