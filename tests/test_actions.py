"""Rows for every action: done, denied, DryRun, missing and unknown parameters, and the forms of the answers."""

import pytest

from conftest import USERS
from support import model
from support.calls import form
from support.world import World
from test_members import EXPECTED_ACTIONS

ENDPOINT = "cvpn-endpoint-0123456789abcdef0"
ASSOCIATION = "cvpn-assoc-0123456789abcdef0"
SUBNET, VPC = "subnet-0123456789abcdef0", "vpc-0123456789abcdef0"
ARN = "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-0000-0000-000000000000"
GROUP, GATEWAY = "sg-0123456789abcdef0", "tgw-0123456789abcdef0"
ON_ENDPOINT = {"ClientVpnEndpointId": ENDPOINT}
ON_ATTACHMENT = {"TransitGatewayAttachmentId": "tgw-attach-0123456789abcdef0"}

# Well formed parameters of every action, on the wire; what they name does not exist.
WELL_FORMED = {
    "AcceptTransitGatewayClientVpnAttachment": ON_ATTACHMENT,
    "ApplySecurityGroupsToClientVpnTargetNetwork": {**ON_ENDPOINT, "VpcId": VPC, "SecurityGroupId.1": GROUP},
    "AssociateClientVpnTargetNetwork": {**ON_ENDPOINT, "SubnetId": SUBNET},
    "AuthorizeClientVpnIngress": {**ON_ENDPOINT, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"},
    "CreateClientVpnEndpoint": {
        "ClientCidrBlock": "10.8.0.0/22",
        "ServerCertificateArn": ARN,
        "Authentication.1.Type": "certificate-authentication",
        "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": ARN,
        "ConnectionLogOptions.Enabled": "false",
    },
    "CreateClientVpnRoute": {**ON_ENDPOINT, "DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": SUBNET},
    "CreateSubnet": {"VpcId": VPC, "CidrBlock": "10.0.1.0/24"},
    "CreateTransitGateway": {},
    "CreateVpc": {"CidrBlock": "10.0.0.0/16"},
    "DeleteClientVpnEndpoint": ON_ENDPOINT,
    "DeleteClientVpnEndpointAuthorizationPolicy": ON_ENDPOINT,
    "DeleteClientVpnRoute": {**ON_ENDPOINT, "DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": SUBNET},
    "DeleteTransitGateway": {"TransitGatewayId": GATEWAY},
    "DeleteTransitGatewayClientVpnAttachment": ON_ATTACHMENT,
    "DescribeAvailabilityZones": {},
    "DescribeClientVpnAuthorizationRules": ON_ENDPOINT,
    "DescribeClientVpnConnections": ON_ENDPOINT,
    "DescribeClientVpnEndpoints": {"ClientVpnEndpointId.1": ENDPOINT},
    "DescribeClientVpnRoutes": ON_ENDPOINT,
    "DescribeClientVpnTargetNetworks": ON_ENDPOINT,
    "DescribeSecurityGroups": {"GroupId.1": GROUP},
    "DescribeSubnets": {"SubnetId.1": SUBNET},
    "DescribeTransitGatewayAttachments": {"TransitGatewayAttachmentIds.1": "tgw-attach-0123456789abcdef0"},
    "DescribeTransitGateways": {"TransitGatewayIds.1": GATEWAY},
    "DescribeVpcs": {"VpcId.1": VPC},
    "DisassociateClientVpnTargetNetwork": {**ON_ENDPOINT, "AssociationId": ASSOCIATION},
    "ExportClientVpnClientCertificateRevocationList": ON_ENDPOINT,
    "ExportClientVpnClientConfiguration": ON_ENDPOINT,
    "GetClientVpnEndpointAuthorizationPolicy": ON_ENDPOINT,
    "ModifyClientVpnEndpointAuthorizationPolicy": {
        **ON_ENDPOINT,
        "PolicyDocument": "permit(principal, action, resource);",
    },
    "ImportClientVpnClientCertificateRevocationList": {
        **ON_ENDPOINT,
        "CertificateRevocationList": "-----BEGIN X509 CRL-----",
    },
    "ModifyClientVpnEndpoint": ON_ENDPOINT,
    "RejectTransitGatewayClientVpnAttachment": ON_ATTACHMENT,
    "RevokeClientVpnIngress": {**ON_ENDPOINT, "TargetNetworkCidr": "10.0.0.0/16", "RevokeAllGroups": "true"},
    "TerminateClientVpnConnections": {**ON_ENDPOINT, "ConnectionId": "cvpn-connection-0123456789abcdef0"},
}
# What they are answered, as nothing of that exists.
NOT_FOUND = {
    "AcceptTransitGatewayClientVpnAttachment": "InvalidTransitGatewayAttachmentID.NotFound",
    "CreateClientVpnEndpoint": "InvalidParameterValue",
    "CreateSubnet": "InvalidVpcID.NotFound",
    "DeleteTransitGateway": "InvalidTransitGatewayID.NotFound",
    "DeleteTransitGatewayClientVpnAttachment": "InvalidTransitGatewayAttachmentID.NotFound",
    "DescribeSecurityGroups": "InvalidGroup.NotFound",
    "DescribeSubnets": "InvalidSubnetID.NotFound",
    "DescribeTransitGatewayAttachments": "InvalidTransitGatewayAttachmentID.NotFound",
    "DescribeTransitGateways": "InvalidTransitGatewayID.NotFound",
    "DescribeVpcs": "InvalidVpcID.NotFound",
    "RejectTransitGatewayClientVpnAttachment": "InvalidTransitGatewayAttachmentID.NotFound",
}
ACTIONS = sorted(EXPECTED_ACTIONS["ec2"])
# Of the actions beside these, the parameters that are not required by the model and are all the same.
GROUP_RULE = {
    "GroupId": GROUP,
    "IpPermissions.1.IpProtocol": "tcp",
    "IpPermissions.1.FromPort": "1",
    "IpPermissions.1.ToPort": "2",
    "IpPermissions.1.IpRanges.1.CidrIp": "10.0.0.0/16",
}
BESIDE = {
    "AssociateSubnetCidrBlock": {"Ipv6CidrBlock": "2001:db8:0:1::/64"},
    "AssociateVpcCidrBlock": {"CidrBlock": "10.1.0.0/16"},
    "AuthorizeSecurityGroupEgress": GROUP_RULE,
    "AuthorizeSecurityGroupIngress": GROUP_RULE,
    "CreateSecurityGroup": {"VpcId": VPC},
    "CreateTags": {"ResourceId.1": VPC, "Tag.1.Key": "a", "Tag.1.Value": "b"},
    "DeleteSecurityGroup": {"GroupId": GROUP},
    "DeleteTags": {"ResourceId.1": VPC},
    "ModifySecurityGroupRules": {
        "SecurityGroupRule.1.SecurityGroupRuleId": "sgr-0123456789abcdef0",
        "SecurityGroupRule.1.SecurityGroupRule.IpProtocol": "-1",
        "SecurityGroupRule.1.SecurityGroupRule.CidrIpv4": "10.0.0.0/16",
    },
    "ModifySubnetAttribute": {"MapPublicIpOnLaunch.Value": "true"},
    "ModifyVpcAttribute": {"EnableDnsSupport.Value": "true"},
    "DescribeVpcAttribute": {"Attribute": "enableDnsSupport"},
    "RevokeSecurityGroupEgress": GROUP_RULE,
    "RevokeSecurityGroupIngress": GROUP_RULE,
    "UpdateSecurityGroupRuleDescriptionsEgress": GROUP_RULE,
    "UpdateSecurityGroupRuleDescriptionsIngress": GROUP_RULE,
}
VALUES = {
    "AssociationId": "vpc-cidr-assoc-0123456789abcdef0",
    "AssociationIds": ASSOCIATION,
    "ClientVpnEndpointId": ENDPOINT,
    "GroupId": GROUP,
    "SubnetId": SUBNET,
    "VpcId": VPC,
}
every_action = pytest.mark.parametrize("action", ACTIONS)


@pytest.fixture
def denied(caller):
    """A user without any policy."""
    return caller.with_key(USERS["nothing"])


def test_the_table_is_whole():
    assert sorted(WELL_FORMED) == ACTIONS


def test_the_frame_is_around_every_other_action_too(caller, denied, declared):
    """What the rows below show of a Client VPN's own actions, for all that are built beside them."""
    for action in sorted(set(declared["ec2"]) - set(ACTIONS)):
        required = model.required_wire_names("ec2", action)
        row = {**{name: VALUES.get(name, "x") for name in required}, **BESIDE.get(action, {})}
        given = {**row, "DryRun": "true"}
        reply = caller.ec2_raw(action, given)
        assert (reply.status, reply.code) == (412, "DryRunOperation"), f"{action}: give BESIDE a row? {reply.text}"
        for parameters in (row, given):
            reply = denied.ec2_raw(action, parameters)
            assert (reply.status, reply.code) == (403, "UnauthorizedOperation"), action
        for name in required:
            reply = caller.ec2_raw(action, {key: value for key, value in row.items() if key != name})
            assert (reply.status, reply.code) == (400, "MissingParameter"), action
            assert reply.message == f"The request must contain the parameter {name}"
        reply = caller.ec2_raw(action, {**given, "Nonsense": "1"})
        assert (reply.status, reply.code) == (400, "UnknownParameter"), action
        reply = caller.ec2_raw(action, {**row, "DryRun": "x"})
        assert (reply.status, reply.code) == (400, "InvalidParameterValue"), action
        assert caller.ec2_raw(action, given, method="GET").code == "DryRunOperation", action
        assert caller.ec2_raw(action, row, version="2014-10-01").code == "NoSuchVersion", action


@every_action
def test_a_user_without_a_policy_may_not(denied, action):
    for dry_run in ({}, {"DryRun": "true"}, {"DryRun": "false"}):
        reply = denied.ec2_raw(action, {**WELL_FORMED[action], **dry_run})
        assert (reply.status, reply.code) == (403, "UnauthorizedOperation")
        assert reply.message.startswith("You are not authorized to perform this operation.")


@every_action
def test_dry_run_answers_before_anything_is_looked_up(caller, action):
    for spelling in ("true", "True", "TRUE"):
        reply = caller.ec2_raw(action, {**WELL_FORMED[action], "DryRun": spelling})
        assert (reply.status, reply.code) == (412, "DryRunOperation")
        assert reply.message == "Request would have succeeded, but DryRun flag is set."


@every_action
def test_dry_run_takes_booleans_only(caller, action):
    for wrong in ("yes", "1", "", "true "):
        reply = caller.ec2_raw(action, {**WELL_FORMED[action], "DryRun": wrong})
        assert (reply.status, reply.code) == (400, "InvalidParameterValue"), wrong


@every_action
def test_what_does_not_exist_is_not_found(world, action):
    reply = world.root.ec2_raw(action, WELL_FORMED[action])
    if action in ("CreateTransitGateway", "CreateVpc", "DescribeAvailabilityZones"):
        assert reply.status == 200
    else:
        assert (reply.status, reply.code) == (400, NOT_FOUND.get(action, "InvalidClientVpnEndpointId.NotFound"))
        if action not in NOT_FOUND:
            assert reply.message == f"Endpoint {ENDPOINT} does not exist"


@every_action
def test_each_required_parameter_is_asked_for(caller, action):
    for name in model.required_wire_names("ec2", action):
        assert name in WELL_FORMED[action]
        parameters = {key: value for key, value in WELL_FORMED[action].items() if key != name}
        # The order of evaluation: parameters before permission and DryRun.
        for caller_, dry_run in ((caller, {}), (caller, {"DryRun": "true"}), (caller.with_key(USERS["nothing"]), {})):
            reply = caller_.ec2_raw(action, {**parameters, **dry_run})
            assert (reply.status, reply.code) == (400, "MissingParameter"), name
            assert reply.message == f"The request must contain the parameter {name}"


@every_action
def test_a_parameter_the_action_does_not_have_is_refused(caller, action):
    for name in ("Nonsense", "clientVpnEndpointId", "Filter.1.Nonsense", "DryRun.1", "ClientVpnEndpointId.1.2"):
        reply = caller.ec2_raw(action, {**WELL_FORMED[action], name: "1"})
        assert (reply.status, reply.code) == (400, "UnknownParameter"), name
        assert name in reply.message


@every_action
def test_get_and_post_and_both_at_once_are_the_same(caller, action):
    parameters = {**WELL_FORMED[action], "DryRun": "true"}
    assert caller.ec2_raw(action, parameters, method="GET").code == "DryRunOperation"
    query, body = form({"Action": action}), form(parameters)
    target, headers = caller.signed(
        "POST", query, body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}, "ec2"
    )
    assert caller.send("POST", target, body, headers).check_form().code == "DryRunOperation"
    presigned = caller.presigned(form({"Action": action, **parameters}))
    assert caller.send("GET", presigned).check_form().code == "DryRunOperation"


@every_action
def test_another_version_is_refused(caller, action):
    for version in ("2014-10-01", "2016-11-16", "x"):
        reply = caller.ec2_raw(action, WELL_FORMED[action], version=version)
        assert (reply.status, reply.code) == (400, "NoSuchVersion")
        assert version in reply.message
    assert caller.ec2_raw(action, {**WELL_FORMED[action], "DryRun": "true"}, version=None).code == "DryRunOperation"


@every_action
def test_a_parameter_comes_once(caller, action):
    pairs = [*WELL_FORMED[action].items(), ("DryRun", "true"), ("DryRun", "false")]
    reply = caller.ec2_raw(action, pairs)
    assert (reply.status, reply.code) == (400, "InvalidQueryParameter")


def test_actions_of_the_model_are_built_or_said_not_to_be(caller, declared):
    operations = [name for name in model.service("ec2").operation_names if "ClientVpn" in name]
    assert len(operations) == 25
    for operation in sorted(set(operations) - set(declared["ec2"])):
        reply = caller.ec2_raw(operation)
        assert (reply.status, reply.code) == (400, "UnsupportedOperation"), operation
        assert operation in reply.message


@pytest.mark.parametrize("action", ["Nonsense", "describeVpcs", "DescribeVpcs ", "RunInstances", "é", "<a>&'\""])
def test_an_unknown_action_is_named(caller, action):
    reply = caller.ec2_raw(action)
    assert (reply.status, reply.code) == (400, "InvalidAction")
    assert reply.message == f"The action {action} is not valid for this web service."


def test_no_action(caller):
    for parameters in ({}, {"Action": ""}):
        reply = caller.query({**parameters, "Version": "2016-11-15"}).check_form()
        assert (reply.status, reply.code) == (400, "MissingAction")


@pytest.fixture(scope="module")
def furnished(shared, certificates):
    """A region with an endpoint that is as far as it comes on this machine."""
    world = World(shared, certificates)
    vpc = world.vpc()
    subnet = world.subnet(vpc, zone="a")
    spare = world.subnet(vpc, zone="b")
    endpoint = world.endpoint()
    association = world.associate(endpoint, subnet)
    world.ec2(
        "AuthorizeClientVpnIngress",
        ClientVpnEndpointId=endpoint,
        TargetNetworkCidr="10.0.0.0/16",
        AuthorizeAllGroups=True,
    )
    return world, {"endpoint": endpoint, "subnet": subnet, "spare": spare, "vpc": vpc, "association": association}


def test_a_dry_run_leaves_no_trace(furnished):
    world, ids = furnished
    endpoint = ids["endpoint"]
    real = {
        **WELL_FORMED,
        "CreateClientVpnEndpoint": {
            **WELL_FORMED["CreateClientVpnEndpoint"],
            "ServerCertificateArn": world.arn,
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": world.arn,
            "ClientToken": "dry",
        },
        "AssociateClientVpnTargetNetwork": {"SubnetId": ids["spare"], "ClientToken": "dry"},
        "AuthorizeClientVpnIngress": {"TargetNetworkCidr": "10.1.0.0/16", "AuthorizeAllGroups": "true"},
        "CreateClientVpnRoute": {"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": ids["subnet"]},
        "CreateSubnet": {"VpcId": ids["vpc"], "CidrBlock": "10.0.99.0/24"},
        "DisassociateClientVpnTargetNetwork": {"AssociationId": ids["association"]},
        "RevokeClientVpnIngress": {"TargetNetworkCidr": "10.0.0.0/16", "RevokeAllGroups": "true"},
    }
    before = world.everything()
    for action, parameters in real.items():
        shape = model.service("ec2").operation_model(action).input_shape
        if "ClientVpnEndpointId" in shape.members:
            parameters = {**parameters, "ClientVpnEndpointId": endpoint}
        reply = world.root.ec2_raw(action, {**parameters, "DryRun": "true"})
        assert reply.code == "DryRunOperation", (action, reply.text)
    assert world.everything() == before


def test_a_policy_decides_by_action_and_dry_run_says_the_truth(furnished):
    world, ids = furnished
    reader, dry = (world.root.with_key(USERS[name]) for name in ("reader", "dry"))
    for action in ACTIONS:
        parameters = {**WELL_FORMED[action], "DryRun": "true"}
        may = action.startswith("Describe")
        code = "DryRunOperation" if may else "UnauthorizedOperation"
        assert reader.ec2_raw(action, parameters).code == code, action
        code = "UnauthorizedOperation" if action == "DeleteClientVpnEndpoint" else "DryRunOperation"
        assert dry.ec2_raw(action, parameters).code == code, action
    # Nobody without permission learns whether something exists.
    for endpoint in (ids["endpoint"], ENDPOINT):
        reply = dry.ec2_raw("DeleteClientVpnEndpoint", {"ClientVpnEndpointId": endpoint})
        assert (reply.status, reply.code) == (403, "UnauthorizedOperation")
    assert reader.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"] == [world.describe(ids["endpoint"])]


def test_the_whole_life_of_everything(world):
    """Every action done, and what it answers, in the model's own words."""
    vpc = world.ec2("CreateVpc", CidrBlock="10.0.0.0/16")["Vpc"]
    assert vpc["CidrBlock"] == "10.0.0.0/16" and vpc["State"] in ("pending", "available")
    assert world.ec2("DescribeVpcs", VpcIds=[vpc["VpcId"]])["Vpcs"][0]["State"] == "available"
    subnet = world.ec2("CreateSubnet", VpcId=vpc["VpcId"], CidrBlock="10.0.1.0/24")["Subnet"]
    assert (subnet["VpcId"], subnet["CidrBlock"]) == (vpc["VpcId"], "10.0.1.0/24")
    zones = world.ec2("DescribeAvailabilityZones")["AvailabilityZones"]
    assert subnet["AvailabilityZone"] in [zone["ZoneName"] for zone in zones]
    assert {zone["RegionName"] for zone in zones} == {world.region}
    assert world.ec2("DescribeSubnets")["Subnets"][0]["SubnetId"] == subnet["SubnetId"]
    (group,) = world.ec2("DescribeSecurityGroups")["SecurityGroups"]
    assert (group["GroupName"], group["VpcId"]) == ("default", vpc["VpcId"])

    made = world.ec2("CreateClientVpnEndpoint", **world.endpoint_parameters(VpcId=vpc["VpcId"]))
    endpoint = made["ClientVpnEndpointId"]
    assert made == {
        "ClientVpnEndpointId": endpoint,
        "Status": {"Code": "pending-associate"},
        "DnsName": f"{endpoint}.prod.clientvpn.{world.region}.amazonaws.com",
    }
    row = world.describe(endpoint)
    assert row.pop("CreationTime")[10] == "T"
    assert row == {
        "ClientVpnEndpointId": endpoint,
        "Status": {"Code": "pending-associate"},
        "DnsName": f"*.{endpoint}.prod.clientvpn.{world.region}.amazonaws.com",
        "ClientCidrBlock": "10.8.0.0/22",
        "DnsServers": [],
        "SplitTunnel": False,
        "VpnProtocol": "openvpn",
        "TransportProtocol": "udp",
        "VpnPort": 443,
        "AssociatedTargetNetworks": [],
        "ServerCertificateArn": world.arn,
        "AuthenticationOptions": [
            {
                "Type": "certificate-authentication",
                "MutualAuthentication": {"ClientRootCertificateChain": world.arn},
            }
        ],
        "ConnectionLogOptions": {"Enabled": False},
        "Tags": [],
        "SecurityGroupIds": [group["GroupId"]],
        "VpcId": vpc["VpcId"],
        "SelfServicePortalUrl": f"https://self-service.clientvpn.amazonaws.com/endpoints/{endpoint}",
        "ClientConnectOptions": {"Enabled": False, "Status": {"Code": "applied"}},
        "SessionTimeoutHours": 24,
        "ClientLoginBannerOptions": {"Enabled": False},
        "ClientRouteEnforcementOptions": {"Enforced": False},
        "DisconnectOnSessionTimeout": True,
        "EndpointIpAddressType": "ipv4",
        "TrafficIpAddressType": "ipv4",
    }
    on = {"ClientVpnEndpointId": endpoint}
    rule = {**on, "TargetNetworkCidr": "10.0.0.0/16"}
    assert world.ec2("AuthorizeClientVpnIngress", **rule, AuthorizeAllGroups=True, Description="all") == {
        "Status": {"Code": "authorizing"}
    }
    assert world.ec2("AuthorizeClientVpnIngress", **rule, AccessGroupId="S-1-5") == {"Status": {"Code": "authorizing"}}
    rules = world.rules(endpoint)
    assert rules[("10.0.0.0/16", "")] == {
        "ClientVpnEndpointId": endpoint,
        "Description": "all",
        "GroupId": "",
        "AccessAll": True,
        "DestinationCidr": "10.0.0.0/16",
        "Status": {"Code": "active"},
    }
    assert rules[("10.0.0.0/16", "S-1-5")]["AccessAll"] is False
    assert world.ec2("DescribeClientVpnConnections", **on) == {"Connections": []}
    document = 'permit(principal, action, resource) when { context.connection.platform == "win" };'
    assert world.policy(endpoint) is None
    made = world.ec2("ModifyClientVpnEndpointAuthorizationPolicy", **on, PolicyDocument=document, Description="a & b")
    assert made == {"Status": "creating"}
    assert world.policy(endpoint) == {
        "PolicyDocument": document,
        "Description": "a & b",
        "ShadowMode": "disabled",
        "Status": "active",
    }
    changed = world.ec2("ModifyClientVpnEndpointAuthorizationPolicy", **on, ShadowMode="enabled")
    assert changed == {"Status": "updating"}
    row = world.policy(endpoint)
    assert (row["PolicyDocument"], row["ShadowMode"], row["Status"]) == (document, "enabled", "active")
    assert world.ec2("DeleteClientVpnEndpointAuthorizationPolicy", **on) == {"Status": "deleting"}
    assert world.policy(endpoint) is None
    text = world.ec2("ExportClientVpnClientConfiguration", **on)["ClientConfiguration"]
    assert "remote " in text and "-----BEGIN CERTIFICATE-----" in text and "PRIVATE KEY" not in text
    # Only the rule for everyone goes; groups' rules of the same network stay.
    assert world.ec2("RevokeClientVpnIngress", **rule, RevokeAllGroups=True) == {"Status": {"Code": "revoking"}}
    assert list(world.rules(endpoint)) == [("10.0.0.0/16", "S-1-5")]
    assert world.ec2("DeleteClientVpnEndpoint", **on) == {"Status": {"Code": "deleting"}}
    assert world.status(endpoint) is None


def test_every_option_of_an_endpoint_is_answered_as_given(world):
    vpc = world.vpc()
    groups = [row["GroupId"] for row in world.ec2("DescribeSecurityGroups")["SecurityGroups"]]
    providers = [
        {"TrustProviderType": "crowdstrike", "TenantId": "one", "PublicSigningKeyUrl": "https://example.com/keys"},
        {"TrustProviderType": "jamf", "TenantId": "two"},
    ]
    handler = f"arn:aws:lambda:{world.region}:000000000000:function:AWSClientVPN-ask:live"
    given = world.endpoint_parameters(
        ClientCidrBlock="10.16.0.0/12",
        ConnectionLogOptions={
            "Enabled": True,
            "CloudwatchLogGroup": "vpn",
            "CloudwatchLogStream": "one",
            "IncludeAuthorizationPolicyContext": True,
        },
        DnsServers=["10.0.0.2", "10.0.0.3"],
        TransportProtocol="tcp",
        VpnPort=1194,
        Description='ä <b> & "c"',
        SplitTunnel=True,
        TagSpecifications=[{"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "Name", "Value": "a&b"}]}],
        SecurityGroupIds=groups,
        VpcId=vpc,
        SelfServicePortal="disabled",
        ClientConnectOptions={"Enabled": True, "LambdaFunctionArn": handler},
        SessionTimeoutHours=8,
        ClientLoginBannerOptions={"Enabled": True, "BannerText": "é" * 1400},
        ClientRouteEnforcementOptions={"Enforced": True},
        DisconnectOnSessionTimeout=False,
        DevicePostureOptions={"Enabled": True, "TrustProviders": providers},
    )
    row = world.describe(world.endpoint(**given))
    same = (
        "ClientCidrBlock ConnectionLogOptions DnsServers TransportProtocol VpnPort Description SplitTunnel"
        " SecurityGroupIds VpcId SessionTimeoutHours ClientLoginBannerOptions ClientRouteEnforcementOptions"
        " DisconnectOnSessionTimeout"
    )
    for name in same.split():
        assert row[name] == given[name], name
    assert row["Tags"] == [{"Key": "Name", "Value": "a&b"}]
    assert row["ClientConnectOptions"]["LambdaFunctionArn"] == handler
    assert "SelfServicePortalUrl" not in row
    # The switch stands in requests only.
    assert row["DevicePostureOptions"] == {"TrustProviders": providers}
    endpoint = row["ClientVpnEndpointId"]
    world.ec2("ModifyClientVpnEndpoint", ClientVpnEndpointId=endpoint, DevicePostureOptions={"Enabled": False})
    assert "DevicePostureOptions" not in world.describe(endpoint)


def test_a_policy_is_read_before_it_is_kept(world):
    on = {"ClientVpnEndpointId": world.endpoint()}
    modify = "ModifyClientVpnEndpointAuthorizationPolicy"
    assert world.refused(modify, **on, ShadowMode="enabled").code == "MissingParameter"
    good = "forbid(principal, action, resource) unless { context has connection };"
    world.ec2(modify, **on, PolicyDocument=good)
    before = world.policy(on["ClientVpnEndpointId"])
    nested = "permit(principal, action, resource) when { " + "(" * 4000
    for document in ("", "permit", '{"Statement": []}', good + "x", good + "//" + "x" * 10000, nested):
        error = world.refused(modify, **on, PolicyDocument=document)
        assert error.code == "InvalidParameterValue", document[:60]
        assert "provide a valid Cedar policy document" in error.message
        assert world.policy(on["ClientVpnEndpointId"]) == before


def test_the_log_options_of_an_answer_are_in_pascal_case(world):
    endpoint = world.endpoint(ConnectionLogOptions={"Enabled": True, "CloudwatchLogGroup": "vpn"})
    reply = world.root.ec2_raw("DescribeClientVpnEndpoints", {"ClientVpnEndpointId.1": endpoint})
    root = reply.root
    (options,) = (e for e in root.iter() if e.tag.endswith("}connectionLogOptions"))
    names = [child.tag.split("}")[1] for child in options]
    assert names == ["Enabled", "CloudwatchLogGroup", "CloudwatchLogStream"]
    stream = options[2].text
    assert stream.startswith(f"{endpoint}-{world.region}-20"), stream
    # Everything else of the answer is camelCase.
    inside = set(options.iter())
    others = {e.tag.split("}")[1] for e in root.iter() if e not in inside} - {"DescribeClientVpnEndpointsResponse"}
    assert all(name[0].islower() for name in others), others
