"""Each error code the actions answer, its status and its text where the text is known."""

import concurrent.futures
import re

import pytest

from support.calls import Caller
from support.servers import FABRIC_MISSING
from support.world import World

UNKNOWN = "cvpn-endpoint-0123456789abcdef0"
# Without the kernel fabric an association fails, and is one all the same.
END = ("associated",) if FABRIC_MISSING is None else ("association-failed",)


def raw(world, action, parameters):
    return world.root.ec2_raw(action, parameters)


def check(reply, code, text=""):
    assert reply.status == 400, reply.text
    assert reply.code == code, reply.text
    assert re.search(text, reply.message), reply.message


# --- CreateClientVpnEndpoint: a change to well formed parameters, the code, a pattern of the text.

CREATE_ROWS = {
    "block too small": ({"ClientCidrBlock": "10.8.0.0/23"}, "InvalidParameterValue", r"10\.8\.0\.0/23"),
    "block too large": ({"ClientCidrBlock": "10.0.0.0/11"}, "InvalidParameterValue", r"/22 and a /12"),
    "host bits": ({"ClientCidrBlock": "10.8.0.1/22"}, "InvalidParameterValue", "host bits"),
    "no block": ({"ClientCidrBlock": "ten"}, "InvalidParameterValue", "Value \\(ten\\)"),
    "no mask": ({"ClientCidrBlock": "10.8.0.0"}, "InvalidParameterValue", ""),
    "IPv6 block": ({"ClientCidrBlock": "2001:db8::/22"}, "InvalidParameterValue", ""),
    "block absent": ({"ClientCidrBlock": None}, "MissingParameter", "ClientCidrBlock$"),
    "block with IPv6 traffic": ({"TrafficIpAddressType": "ipv6"}, "InvalidParameterCombination", ""),
    "certificate absent": ({"ServerCertificateArn": None}, "MissingParameter", "ServerCertificateArn$"),
    "certificate unknown": (
        {"ServerCertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/none"},
        "InvalidParameterValue",
        "certificate/none",
    ),
    "certificate no ARN": ({"ServerCertificateArn": "x"}, "InvalidParameterValue", ""),
    "client root unknown": (
        {"Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": "x"},
        "InvalidParameterValue",
        "",
    ),
    "no authentication": (
        {"Authentication.1.Type": None, "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": None},
        "MissingParameter",
        "Authentication",
    ),
    "authentication without type": ({"Authentication.1.Type": None}, "MissingParameter", r"Authentication\.1\.Type"),
    "unknown type": ({"Authentication.1.Type": "password"}, "InvalidParameterValue", "Valid values: certificate-"),
    "certificate authentication without its root": (
        {"Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": None},
        "MissingParameter",
        "ClientRootCertificateChainArn",
    ),
    "directory without id": (
        {
            "Authentication.1.Type": "directory-service-authentication",
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": None,
        },
        "MissingParameter",
        "DirectoryId",
    ),
    "two user-based ways": (
        {
            "Authentication.1.Type": "directory-service-authentication",
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": None,
            "Authentication.1.ActiveDirectory.DirectoryId": "d-1",
            "Authentication.2.Type": "federated-authentication",
            "Authentication.2.FederatedAuthentication.SAMLProviderArn": "arn:aws:iam::000000000000:saml-provider/p",
        },
        "InvalidParameterCombination",
        "",
    ),
    "three ways": (
        {f"Authentication.{n}.Type": "certificate-authentication" for n in (1, 2, 3)},
        "InvalidParameterValue",
        "",
    ),
    "no log options": ({"ConnectionLogOptions.Enabled": None}, "MissingParameter", "ConnectionLogOptions"),
    "log without group": ({"ConnectionLogOptions.Enabled": "true"}, "MissingParameter", "CloudwatchLogGroup"),
    "no boolean": ({"ConnectionLogOptions.Enabled": "maybe"}, "InvalidParameterValue", "maybe"),
    "three DNS servers": (
        {f"DnsServers.{n}": f"10.0.0.{n}" for n in (1, 2, 3)},
        "InvalidParameterValue",
        "",
    ),
    "DNS server no address": ({"DnsServers.1": "dns.example.com"}, "InvalidParameterValue", "dns.example.com"),
    "transport": ({"TransportProtocol": "sctp"}, "InvalidParameterValue", "Valid values: tcp, udp"),
    "transport in capitals": ({"TransportProtocol": "UDP"}, "InvalidParameterValue", ""),
    "port": ({"VpnPort": "80"}, "InvalidParameterValue", "443, 1194"),
    "port no number": ({"VpnPort": "https"}, "InvalidParameterValue", ""),
    "port far too large": ({"VpnPort": "99999999999999999999"}, "InvalidParameterValue", ""),
    "description": ({"Description": "x" * 256}, "InvalidParameterValue", ""),
    "split tunnel": ({"SplitTunnel": "2"}, "InvalidParameterValue", ""),
    "token": ({"ClientToken": "x" * 65}, "InvalidClientToken", ""),
    "token not ASCII": ({"ClientToken": "é"}, "InvalidClientToken", ""),
    "tags of something else": (
        {"TagSpecification.1.ResourceType": "vpc", "TagSpecification.1.Tag.1.Key": "a"},
        "InvalidParameterValue",
        "vpc",
    ),
    "reserved tag": (
        {"TagSpecification.1.ResourceType": "client-vpn-endpoint", "TagSpecification.1.Tag.1.Key": "aws:a"},
        "InvalidParameterValue",
        "",
    ),
    "tag key too long": (
        {"TagSpecification.1.ResourceType": "client-vpn-endpoint", "TagSpecification.1.Tag.1.Key": "k" * 129},
        "InvalidParameterValue",
        "",
    ),
    "groups without VPC": (
        {"SecurityGroupId.1": "sg-0123456789abcdef0"},
        "InvalidParameterValue",
        "^Security Groups cannot be specified without a VPC ID$",
    ),
    "six groups": (
        {"VpcId": "vpc-1", **{f"SecurityGroupId.{n}": f"sg-{n}" for n in range(1, 7)}},
        "InvalidParameterValue",
        "",
    ),
    "VPC unknown": ({"VpcId": "vpc-0123456789abcdef0"}, "InvalidVpcID.NotFound", "vpc-0123456789abcdef0"),
    "portal": ({"SelfServicePortal": "on"}, "InvalidParameterValue", ""),
    "handler without function": ({"ClientConnectOptions.Enabled": "true"}, "MissingParameter", "LambdaFunctionArn"),
    "handler with another name": (
        {
            "ClientConnectOptions.Enabled": "true",
            "ClientConnectOptions.LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:other",
        },
        "InvalidParameterValue",
        "AWSClientVPN-",
    ),
    "timeout": ({"SessionTimeoutHours": "9"}, "InvalidParameterValue", "8, 10, 12, 24"),
    "banner too long": (
        {"ClientLoginBannerOptions.Enabled": "true", "ClientLoginBannerOptions.BannerText": "é" * 1401},
        "InvalidParameterValue",
        "1400",
    ),
    "address type": ({"EndpointIpAddressType": "ipv5"}, "InvalidParameterValue", "ipv4, ipv6, dual-stack"),
    "gateway and VPC": (
        {"TransitGatewayConfiguration.TransitGatewayId": "tgw-1", "VpcId": "vpc-1"},
        "InvalidParameterCombination",
        "",
    ),
    "gateway zones twice": (
        {
            "TransitGatewayConfiguration.TransitGatewayId": "tgw-1",
            "TransitGatewayConfiguration.AvailabilityZone.1": "a",
            "TransitGatewayConfiguration.AvailabilityZoneId.1": "a",
        },
        "InvalidParameterCombination",
        "",
    ),
    "gateway unknown": (
        {"TransitGatewayConfiguration.TransitGatewayId": "tgw-1"},
        "InvalidTransitGatewayID.NotFound",
        "tgw-1",
    ),
}


@pytest.fixture(scope="module")
def plain(shared, certificates):
    """A region with a certificate, for calls that change nothing."""
    world = World(shared, certificates)
    assert world.arn
    return world


@pytest.mark.parametrize("row", CREATE_ROWS)
def test_create_endpoint(plain, row):
    change, code, text = CREATE_ROWS[row]
    good = {
        "ClientCidrBlock": "10.8.0.0/22",
        "ServerCertificateArn": plain.arn,
        "Authentication.1.Type": "certificate-authentication",
        "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": plain.arn,
        "ConnectionLogOptions.Enabled": "false",
        **change,
    }
    good = {name: value for name, value in good.items() if value is not None}
    check(raw(plain, "CreateClientVpnEndpoint", good), code, text)
    assert plain.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"] == []


def test_a_server_certificate_needs_a_domain(plain):
    arn = plain.import_certificate("alice")
    error = plain.refused("CreateClientVpnEndpoint", **plain.endpoint_parameters(ServerCertificateArn=arn))
    assert (error.code, error.message) == ("InvalidParameterValue", f"Certificate {arn} does not have a domain")


def test_a_certificate_of_another_region_is_unknown(plain, world):
    error = world.refused("CreateClientVpnEndpoint", **plain.endpoint_parameters())
    assert error.code == "InvalidParameterValue" and plain.arn in error.message


def test_groups_are_of_the_vpc(world):
    one, other = world.vpc(), world.vpc("10.1.0.0/16")
    groups = {row["VpcId"]: row["GroupId"] for row in world.ec2("DescribeSecurityGroups")["SecurityGroups"]}
    for group in (groups[other], "sg-0123456789abcdef0", "sg"):
        parameters = world.endpoint_parameters(VpcId=one, SecurityGroupIds=[group])
        error = world.refused("CreateClientVpnEndpoint", **parameters)
        assert error.code == "InvalidGroup.NotFound" and group in error.message


def test_quotas(world):
    for _ in range(5):
        world.endpoint()
    assert (
        world.refused("CreateClientVpnEndpoint", **world.endpoint_parameters()).code == "ClientVpnEndpointLimitExceeded"
    )
    for number in range(5):
        world.vpc(f"10.{number}.0.0/16")
    assert world.refused("CreateVpc", CidrBlock="10.9.0.0/16").code == "VpcLimitExceeded"
    # Another region has its own.
    assert World(world.server, world.certificates).vpc()


# --- Associations


def test_associate(world):
    vpc = world.vpc()
    first = world.subnet(vpc, "10.0.1.0/24", zone="a")
    same_zone = world.subnet(vpc, "10.0.2.0/24", zone="a")
    small = world.subnet(vpc, "10.0.3.0/28", zone="b")
    fitting = world.subnet(vpc, "10.0.4.0/27", zone="c")
    foreign = world.subnet(world.vpc("10.1.0.0/16"), "10.1.1.0/24", zone="d")
    endpoint = world.endpoint()
    association = world.associate(endpoint, first, until=END)
    rows = [
        ({"SubnetId": first}, "InvalidClientVpnDuplicateAssociationException", first),
        ({"SubnetId": same_zone}, "InvalidClientVpnSubnetId.DuplicateAz", f"{world.region}a"),
        ({"SubnetId": foreign}, "InvalidClientVpnSubnetId.NotFound", foreign),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidClientVpnSubnetId.NotFound", "subnet-0123456789abcdef0"),
        ({"SubnetId": "subnet"}, "InvalidSubnetID.Malformed", ""),
        ({"SubnetId": ""}, "InvalidSubnetID.Malformed", ""),
        ({"SubnetId": small}, "InvalidParameterValue", small),
        ({}, "MissingParameter", "SubnetId$"),
        ({"SubnetId": fitting, "AvailabilityZone": f"{world.region}c"}, "InvalidParameterCombination", ""),
        ({"AvailabilityZoneId": "x"}, "InvalidParameterCombination", ""),
        ({"SubnetId": fitting, "ClientToken": "t" * 65}, "InvalidClientToken", ""),
    ]
    for parameters, code, text in rows:
        given = {"ClientVpnEndpointId": endpoint, **parameters}
        check(raw(world, "AssociateClientVpnTargetNetwork", given), code, text)
    for unknown in (UNKNOWN, "cvpn-endpoint-xyz", "", "é"):
        given = {"ClientVpnEndpointId": unknown, "SubnetId": fitting}
        check(raw(world, "AssociateClientVpnTargetNetwork", given), "InvalidClientVpnEndpointId.NotFound", unknown)
    assert list(world.networks(endpoint)) == [association]
    assert world.associate(endpoint, fitting, until=END)


@pytest.mark.parametrize(
    ("client", "subnet"),
    [("10.0.0.0/22", "10.0.1.0/24"), ("10.0.8.0/22", "10.0.1.0/24"), ("10.0.0.0/12", "10.0.1.0/24")],
)
def test_a_target_network_must_not_overlap_the_clients(world, client, subnet):
    target = world.subnet(world.vpc(), subnet)
    error = world.refused(
        "AssociateClientVpnTargetNetwork",
        ClientVpnEndpointId=world.endpoint(ClientCidrBlock=client),
        SubnetId=target,
    )
    assert error.code == "InvalidClientVpnSubnetId.OverlappingCidr" and client in error.message


def test_disassociate_and_delete(world):
    endpoint, other = world.endpoint(), world.endpoint()
    association = world.associate(endpoint, world.subnet(world.vpc()), until=END)
    error = world.refused("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    assert (error.status, error.code) == (400, "ClientVpnEndpointAssociationExists")
    assert error.message == f"The endpoint that you're trying to delete has associations {association}"
    for on, unknown in ((endpoint, "cvpn-assoc-0123456789abcdef0"), (endpoint, "x"), (other, association)):
        error = world.refused("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=on, AssociationId=unknown)
        assert error.code == "InvalidClientVpnAssociationIdNotFound" and unknown in error.message
        error = world.refused("DescribeClientVpnTargetNetworks", ClientVpnEndpointId=on, AssociationIds=[unknown])
        assert error.code == "InvalidClientVpnAssociationIdNotFound"
    world.disassociate(endpoint, association)
    error = world.refused("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
    assert error.code == "InvalidClientVpnAssociationIdNotFound"
    world.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    error = world.refused("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    assert (error.code, error.message) == ("InvalidClientVpnEndpointId.NotFound", f"Endpoint {endpoint} does not exist")


# --- Routes


def test_routes_without_an_association(world):
    endpoint = world.endpoint()
    subnet = world.subnet(world.vpc())
    for target in (subnet, "local"):
        error = world.refused(
            "CreateClientVpnRoute",
            ClientVpnEndpointId=endpoint,
            DestinationCidrBlock="10.8.0.0/22",
            TargetVpcSubnetId=target,
        )
        assert error.code == "InvalidClientVpnActiveAssociationNotFound"
    error = world.refused("DeleteClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0")
    assert error.code == "InvalidClientVpnRouteNotFound"


@pytest.mark.fabric
def test_routes(world):
    endpoint, _, subnet, vpc = world.associated()
    second = world.subnet(vpc, zone="b")
    world.associate(endpoint, second, until=END)
    loose = world.subnet(vpc, zone="c")
    rows = [
        (
            {"DestinationCidrBlock": "10.0.0.0/16", "TargetVpcSubnetId": subnet},
            "InvalidClientVpnDuplicateRoute",
            "^Route already exists$",
        ),
        ({"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": loose}, "InvalidClientVpnSubnetId.NotFound", loose),
        (
            {"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": "subnet-0123456789abcdef0"},
            "InvalidClientVpnSubnetId.NotFound",
            "",
        ),
        ({"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": "x"}, "InvalidSubnetID.Malformed", ""),
        ({"DestinationCidrBlock": "0.0.0.0/0"}, "MissingParameter", "TargetVpcSubnetId"),
        ({"DestinationCidrBlock": "10.8.0.0/22", "TargetVpcSubnetId": subnet}, "InvalidParameterValue", "overlap"),
        ({"DestinationCidrBlock": "10.8.1.0/24", "TargetVpcSubnetId": subnet}, "InvalidParameterValue", "overlap"),
        ({"DestinationCidrBlock": "10.9.0.0/22", "TargetVpcSubnetId": "local"}, "InvalidParameterValue", ""),
        ({"DestinationCidrBlock": "1.2.3.4/8", "TargetVpcSubnetId": subnet}, "InvalidParameterValue", "host bits"),
        ({"DestinationCidrBlock": "x", "TargetVpcSubnetId": subnet}, "InvalidParameterValue", ""),
        ({"DestinationCidrBlock": "2001:db8::/32", "TargetVpcSubnetId": subnet}, "InvalidParameterValue", "IPv4"),
        (
            {"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": subnet, "Description": "d" * 256},
            "InvalidParameterValue",
            "",
        ),
    ]
    for parameters, code, text in rows:
        check(raw(world, "CreateClientVpnRoute", {"ClientVpnEndpointId": endpoint, **parameters}), code, text)
    error = world.refused(
        "DeleteClientVpnRoute",
        ClientVpnEndpointId=endpoint,
        DestinationCidrBlock="10.0.0.0/16",
        TargetVpcSubnetId=subnet,
    )
    assert error.code == "OperationNotPermitted"
    assert error.message == "Default route cannot be deleted; disassociate the target network"
    # The same destination once for each target; then the target must be said.
    for target in (subnet, second):
        made = world.ec2(
            "CreateClientVpnRoute",
            ClientVpnEndpointId=endpoint,
            DestinationCidrBlock="0.0.0.0/0",
            TargetVpcSubnetId=target,
            Description="out",
        )
        assert made == {"Status": {"Code": "creating"}}
    assert world.routes(endpoint)[("0.0.0.0/0", subnet)] == {
        "ClientVpnEndpointId": endpoint,
        "DestinationCidr": "0.0.0.0/0",
        "TargetSubnet": subnet,
        "Type": "Nat",
        "Origin": "add-route",
        "Status": {"Code": "active"},
        "Description": "out",
    }
    error = world.refused("DeleteClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0")
    assert error.code == "MissingParameter"
    gone = world.ec2(
        "DeleteClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0", TargetVpcSubnetId=second
    )
    assert gone == {"Status": {"Code": "deleting"}}
    assert world.ec2("DeleteClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0") == gone
    assert {destination for destination, _ in world.routes(endpoint)} == {"10.0.0.0/16"}
    # Between clients.
    world.ec2(
        "CreateClientVpnRoute",
        ClientVpnEndpointId=endpoint,
        DestinationCidrBlock="10.8.0.0/22",
        TargetVpcSubnetId="local",
    )
    assert world.routes(endpoint)[("10.8.0.0/22", "local")]["Status"] == {"Code": "active"}


@pytest.mark.fabric
def test_the_quota_of_routes(world):
    endpoint, _, subnet, _ = world.associated()
    for number in range(99):
        world.ec2(
            "CreateClientVpnRoute",
            ClientVpnEndpointId=endpoint,
            DestinationCidrBlock=f"172.16.{number}.0/24",
            TargetVpcSubnetId=subnet,
        )
    error = world.refused(
        "CreateClientVpnRoute",
        ClientVpnEndpointId=endpoint,
        DestinationCidrBlock="172.17.0.0/24",
        TargetVpcSubnetId=subnet,
    )
    assert error.code == "ClientVpnRouteLimitExceeded"
    assert len(world.routes(endpoint)) == 100


# --- Authorization rules


def test_rules(world):
    endpoint = world.endpoint()
    on = {"ClientVpnEndpointId": endpoint}
    everyone = {**on, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}
    assert raw(world, "AuthorizeClientVpnIngress", everyone).status == 200
    rows = [
        ("AuthorizeClientVpnIngress", everyone, "InvalidClientVpnDuplicateAuthorizationRule", ""),
        ("AuthorizeClientVpnIngress", {**everyone, "AccessGroupId": "g"}, "InvalidParameterCombination", ""),
        ("AuthorizeClientVpnIngress", {**everyone, "AuthorizeAllGroups": "false"}, "MissingParameter", ""),
        ("AuthorizeClientVpnIngress", {**on, "TargetNetworkCidr": "10.0.0.0/16"}, "MissingParameter", ""),
        ("AuthorizeClientVpnIngress", {**everyone, "TargetNetworkCidr": "10.0.0.1/16"}, "InvalidParameterValue", ""),
        ("AuthorizeClientVpnIngress", {**everyone, "TargetNetworkCidr": "::/0"}, "InvalidParameterValue", "IPv4"),
        ("AuthorizeClientVpnIngress", {**everyone, "Description": "d" * 256}, "InvalidParameterValue", ""),
        (
            "AuthorizeClientVpnIngress",
            {**on, "TargetNetworkCidr": "10.0.0.0/8", "AccessGroupId": "g" * 256},
            "InvalidParameterValue",
            "",
        ),
        (
            "AuthorizeClientVpnIngress",
            {**on, "TargetNetworkCidr": "10.0.0.0/8", "AccessGroupId": ""},
            "InvalidParameterValue",
            "",
        ),
        (
            "RevokeClientVpnIngress",
            {**on, "TargetNetworkCidr": "10.0.0.0/16", "AccessGroupId": "g"},
            "InvalidClientVpnEndpointAuthorizationRuleNotFound",
            "",
        ),
        (
            "RevokeClientVpnIngress",
            {**on, "TargetNetworkCidr": "10.0.0.0/8", "RevokeAllGroups": "true"},
            "InvalidClientVpnEndpointAuthorizationRuleNotFound",
            "10.0.0.0/8",
        ),
        (
            "RevokeClientVpnIngress",
            {**on, "TargetNetworkCidr": "x", "RevokeAllGroups": "true"},
            "InvalidParameterValue",
            "",
        ),
        ("RevokeClientVpnIngress", {**on, "TargetNetworkCidr": "10.0.0.0/16"}, "MissingParameter", ""),
    ]
    for action, parameters, code, text in rows:
        check(raw(world, action, parameters), code, text)
    # Terraform sends the flag beside a group, too.
    group = {**on, "TargetNetworkCidr": "10.0.0.0/16", "AccessGroupId": "g"}
    assert raw(world, "AuthorizeClientVpnIngress", {**group, "AuthorizeAllGroups": "false"}).status == 200
    assert raw(world, "RevokeClientVpnIngress", {**group, "RevokeAllGroups": "false"}).status == 200
    assert list(world.rules(endpoint)) == [("10.0.0.0/16", "")]


def test_the_quota_of_rules(world):
    endpoint = world.endpoint()
    for number in range(200):
        world.ec2(
            "AuthorizeClientVpnIngress",
            ClientVpnEndpointId=endpoint,
            TargetNetworkCidr=f"10.{number}.0.0/16",
            AuthorizeAllGroups=True,
        )
    error = world.refused(
        "AuthorizeClientVpnIngress",
        ClientVpnEndpointId=endpoint,
        TargetNetworkCidr="11.0.0.0/16",
        AuthorizeAllGroups=True,
    )
    assert error.code == "ClientVpnAuthorizationRuleLimitExceeded"
    assert len(world.rules(endpoint)) == 200


# --- Connections


def test_terminate(world):
    on = {"ClientVpnEndpointId": world.endpoint()}
    connection = "cvpn-connection-0123456789abcdef0"
    rows = [
        ({}, "MissingParameter", ""),
        ({"ConnectionId": connection, "Username": "alice"}, "InvalidParameterCombination", ""),
        ({"ConnectionId": connection}, "InvalidClientVpnConnection.IdNotFound", connection),
        ({"ConnectionId": ""}, "InvalidClientVpnConnection.IdNotFound", ""),
        ({"Username": "nobody"}, "InvalidClientVpnConnection.UserNotFound", "nobody"),
        ({"Username": ""}, "InvalidClientVpnConnection.UserNotFound", ""),
    ]
    for parameters, code, text in rows:
        check(raw(world, "TerminateClientVpnConnections", {**on, **parameters}), code, text)


# --- The networks beside it


def test_networks(world):
    vpc = world.vpc()
    world.subnet(vpc, "10.0.1.0/24")
    rows = [
        ("CreateVpc", {}, "MissingParameter", "CidrBlock"),
        ("CreateVpc", {"CidrBlock": "10.0.0.0/15"}, "InvalidVpc.Range", "10.0.0.0/15"),
        ("CreateVpc", {"CidrBlock": "10.0.0.0/29"}, "InvalidVpc.Range", ""),
        ("CreateVpc", {"CidrBlock": "x"}, "InvalidParameterValue", ""),
        ("CreateVpc", {"CidrBlock": "10.0.0.0/16", "InstanceTenancy": "host"}, "InvalidParameterValue", ""),
        ("CreateSubnet", {"VpcId": vpc}, "MissingParameter", "CidrBlock"),
        ("CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.1.0.0/24"}, "InvalidSubnet.Range", ""),
        ("CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.0.1.0/29"}, "InvalidSubnet.Range", ""),
        ("CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.0.1.128/25"}, "InvalidSubnet.Conflict", ""),
        (
            "CreateSubnet",
            {"VpcId": vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": "mars-1a"},
            "InvalidParameterValue",
            "mars-1a",
        ),
        (
            "CreateSubnet",
            {"VpcId": vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": "a", "AvailabilityZoneId": "b"},
            "InvalidParameterCombination",
            "",
        ),
        (
            "CreateSubnet",
            {"VpcId": "vpc-0123456789abcdef0", "CidrBlock": "10.0.2.0/24"},
            "InvalidVpcID.NotFound",
            "vpc-0123456789abcdef0",
        ),
        (
            "CreateSubnet",
            {"VpcId": vpc, "CidrBlock": "10.0.2.0/24", "TagSpecification.1.Tag.1.Key": "a"},
            "MissingParameter",
            "",
        ),
        ("DescribeVpcs", {"VpcId.1": "vpc-0123456789abcdef0"}, "InvalidVpcID.NotFound", "vpc-0123456789abcdef0"),
        ("DescribeSubnets", {"SubnetId.1": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound", ""),
        ("DescribeSubnets", {"SubnetId.1": "x"}, "InvalidSubnetID.Malformed", ""),
        ("DescribeSecurityGroups", {"GroupId.1": "sg-0123456789abcdef0"}, "InvalidGroup.NotFound", ""),
        ("DescribeSecurityGroups", {"GroupName.1": "none"}, "InvalidGroup.NotFound", "none"),
        ("DescribeAvailabilityZones", {"ZoneName.1": "mars-1a"}, "InvalidParameterValue", "mars-1a"),
    ]
    for action, parameters, code, text in rows:
        check(raw(world, action, parameters), code, text)


# --- Everything on an endpoint that is gone


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("AuthorizeClientVpnIngress", {"TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}),
        ("RevokeClientVpnIngress", {"TargetNetworkCidr": "10.0.0.0/16", "RevokeAllGroups": "true"}),
        ("CreateClientVpnRoute", {"DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": "local"}),
        ("DeleteClientVpnRoute", {"DestinationCidrBlock": "0.0.0.0/0"}),
        ("DescribeClientVpnAuthorizationRules", {}),
        ("DescribeClientVpnConnections", {}),
        ("DescribeClientVpnRoutes", {}),
        ("DescribeClientVpnTargetNetworks", {}),
        ("DisassociateClientVpnTargetNetwork", {"AssociationId": "cvpn-assoc-0123456789abcdef0"}),
        ("ExportClientVpnClientConfiguration", {}),
        ("TerminateClientVpnConnections", {"Username": "alice"}),
        ("DeleteClientVpnEndpoint", {}),
    ],
)
def test_an_endpoint_of_another_region_or_gone_or_misspelt(plain, world, action, parameters):
    elsewhere, gone = world.endpoint(), plain.endpoint()
    plain.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=gone)
    long = "cvpn-endpoint-" + "f" * 2000
    for unknown in (elsewhere, gone, UNKNOWN, UNKNOWN.upper(), "", "<&>", long):
        reply = raw(plain, action, {"ClientVpnEndpointId": unknown, **parameters})
        check(reply, "InvalidClientVpnEndpointId.NotFound", "does not exist$")
        # Foreign text is repeated, but not at any length.
        assert len(reply.message) < 400


# --- Concurrent operations on one endpoint


def test_operations_on_one_endpoint_are_limited_and_none_is_lost(world):
    """All at once: each is done, or refused with the code for too many; and what was done is there."""
    vpc, endpoint = world.vpc(), world.endpoint()
    subnets = [world.subnet(vpc, zone=letter) for letter in "abcdef"] * 5
    calls = [{"ClientVpnEndpointId": endpoint, "SubnetId": subnet} for subnet in subnets]

    def associate(parameters):
        return Caller(world.server, region=world.region).ec2_raw("AssociateClientVpnTargetNetwork", parameters)

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        replies = list(pool.map(associate, calls))
    refused = {reply.code for reply in replies if reply.status != 200}
    assert refused <= {
        "ConcurrentMutationLimitExceeded",
        "InvalidClientVpnDuplicateAssociationException",
    }
    for reply in replies:
        if reply.status != 200 and reply.code == "ConcurrentMutationLimitExceeded":
            assert (
                reply.message
                == "Cannot initiate another change for this endpoint at this time. Please try again later."
            )
    done = sorted(reply.root.findtext("{*}associationId") for reply in replies if reply.status == 200)
    assert done == sorted(world.networks(endpoint))
