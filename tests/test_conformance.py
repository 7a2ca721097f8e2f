"""For each action of a Client VPN: a happy path whose every element is compared with AWS's model, each error code of its
list, and malformed parameters of every type (spec §2.0.1, §2.0.2, §2.2). What denies and DryRun answer stands in
test_actions.py, for the same table of actions. The last tests fail for an action or a code that has no row."""

import concurrent.futures
import fnmatch
import ipaddress
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from support import model, namespaces
from support.answers import Comparison, paths
from support.calls import Caller
from support.requests import leaves, without
from support.servers import FABRIC_MISSING, ROOT, Certificates, Server, environment, eventually
from support.world import World
from test_actions import ENDPOINT, WELL_FORMED

ACTIONS = sorted(action for action in WELL_FORMED if "ClientVpn" in action)
every_action = pytest.mark.parametrize("action", ACTIONS)

# --- What each action may answer, beside what the frame answers for all of them.

ON_ENDPOINT = {"InvalidClientVpnEndpointId.NotFound"}
TOKEN = {"IdempotentParameterMismatch", "InvalidClientToken"}
PAGED = {"InvalidParameterValue", "InvalidPaginationToken", "FilterLimitExceeded"}
NO_ATTACHMENT = {"InvalidTransitGatewayAttachmentID.NotFound"}
ON_ATTACHMENT = NO_ATTACHMENT | {"IncorrectState"}
# What an endpoint without a policy answers.
NO_POLICY = {"InvalidClientVpnEndpointAuthorizationPolicyNotFound"}
CODES = {
    "AcceptTransitGatewayClientVpnAttachment": ON_ATTACHMENT,
    "ApplySecurityGroupsToClientVpnTargetNetwork": ON_ENDPOINT
    | {
        "InvalidVpcID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidParameterValue",
        "InvalidClientVpnActiveAssociationNotFound",
        "ConcurrentMutationLimitExceeded",
    },
    "AssociateClientVpnTargetNetwork": ON_ENDPOINT
    | TOKEN
    | {
        "InvalidClientVpnSubnetId.NotFound",
        "InvalidClientVpnSubnetId.DuplicateAz",
        "InvalidClientVpnSubnetId.DifferentAccount",
        "InvalidClientVpnSubnetId.OverlappingCidr",
        "InvalidClientVpnDuplicateAssociationException",
        "InvalidSubnetID.Malformed",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
        "IncorrectState",
        "ConcurrentMutationLimitExceeded",
    },
    "AuthorizeClientVpnIngress": ON_ENDPOINT
    | TOKEN
    | {
        "InvalidClientVpnDuplicateAuthorizationRule",
        "ClientVpnAuthorizationRuleLimitExceeded",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
    },
    "CreateClientVpnEndpoint": TOKEN
    | {
        "ClientVpnEndpointLimitExceeded",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
        "InvalidVpcID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidTransitGatewayID.NotFound",
        "TagLimitExceeded",
    },
    "CreateClientVpnRoute": ON_ENDPOINT
    | TOKEN
    | {
        "InvalidClientVpnDuplicateRoute",
        "InvalidClientVpnActiveAssociationNotFound",
        "InvalidClientVpnSubnetId.NotFound",
        "InvalidSubnetID.Malformed",
        "ClientVpnRouteLimitExceeded",
        "InvalidParameterValue",
        "MissingParameter",
    },
    "DeleteClientVpnEndpoint": ON_ENDPOINT | {"ClientVpnEndpointAssociationExists"},
    "DeleteClientVpnEndpointAuthorizationPolicy": ON_ENDPOINT | NO_POLICY,
    "DeleteClientVpnRoute": ON_ENDPOINT
    | {
        "InvalidClientVpnRouteNotFound",
        "OperationNotPermitted",
        "InvalidParameterValue",
        "InvalidSubnetID.Malformed",
        "MissingParameter",
    },
    "DeleteTransitGatewayClientVpnAttachment": NO_ATTACHMENT,
    "DescribeClientVpnAuthorizationRules": ON_ENDPOINT | PAGED,
    "DescribeClientVpnConnections": ON_ENDPOINT | PAGED,
    "DescribeClientVpnEndpoints": ON_ENDPOINT | PAGED,
    "DescribeClientVpnRoutes": ON_ENDPOINT | PAGED,
    "DescribeClientVpnTargetNetworks": ON_ENDPOINT | PAGED | {"InvalidClientVpnAssociationIdNotFound"},
    "DisassociateClientVpnTargetNetwork": ON_ENDPOINT
    | {"InvalidClientVpnAssociationIdNotFound", "ConcurrentMutationLimitExceeded"},
    "ExportClientVpnClientCertificateRevocationList": ON_ENDPOINT,
    "ExportClientVpnClientConfiguration": ON_ENDPOINT,
    "GetClientVpnEndpointAuthorizationPolicy": ON_ENDPOINT | NO_POLICY,
    "ImportClientVpnClientCertificateRevocationList": ON_ENDPOINT
    | {"InvalidParameterValue", "ClientVpnCertificateRevocationListLimitExceeded"},
    "ModifyClientVpnEndpoint": ON_ENDPOINT
    | {
        "InvalidParameterValue",
        "MissingParameter",
        "InvalidVpcID.NotFound",
        "InvalidGroup.NotFound",
        "ClientVpnEndpointAssociationExists",
        "UnsupportedOperation",
    },
    "ModifyClientVpnEndpointAuthorizationPolicy": ON_ENDPOINT | TOKEN | {"InvalidParameterValue", "MissingParameter"},
    "RejectTransitGatewayClientVpnAttachment": ON_ATTACHMENT,
    "RevokeClientVpnIngress": ON_ENDPOINT
    | {
        "InvalidClientVpnEndpointAuthorizationRuleNotFound",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
    },
    "TerminateClientVpnConnections": ON_ENDPOINT
    | {
        "InvalidClientVpnConnection.IdNotFound",
        "InvalidClientVpnConnection.UserNotFound",
        "ClientVpnTerminateConnectionsLimitExceeded",
        "InvalidParameterCombination",
        "MissingParameter",
    },
}
UNREACHABLE = {
    ("AssociateClientVpnTargetNetwork", "InvalidClientVpnSubnetId.DifferentAccount"): (
        "accounts are isolated: another one's subnet is not there"
    ),
}
# Shown where connections can be made up: nobody has a user name before user-based authentication is built.
ELSEWHERE = {
    ("TerminateClientVpnConnections", "ClientVpnTerminateConnectionsLimitExceeded"): (
        "crates/api/src/tests/connections.rs",
        "terminating_a_user_has_a_limit",
    ),
}

# --- A region with things in it. Names in braces below stand for their ids.

QUOTAS = """
endpoint-operations = 2
[quotas]
endpoints_per_region = 7
rules_per_endpoint = 7
routes_per_association = 4
revocation_list_entries = 3
vpcs_per_region = 50
"""
# Whoever has the transit gateways: another account.
ELSEWHERE_KEY = ("AKIAELSEWHERE0000000", "elsewhere-elsewhere-elsewhere-elsewhere")
USERS_ELSEWHERE = f"""
[[user]]
name = "elsewhere"
access_key_id = "{ELSEWHERE_KEY[0]}"
secret_access_key = "{ELSEWHERE_KEY[1]}"
account = "111111111111"
policies = ["all"]
[[policy]]
name = "all"
document = '{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*"}}]}}'
"""


@pytest.fixture(scope="module")
def own(places):
    """A server with small quotas, in a namespace of its own if it has the kernel fabric."""
    arguments = ["--gateway-address", namespaces.POOL] if FABRIC_MISSING is None else []

    def run():
        server = Server(places, *arguments, privileged=FABRIC_MISSING is None, config=QUOTAS, users=USERS_ELSEWHERE)
        try:
            yield server.start()
        finally:
            server.close()

    if FABRIC_MISSING is None:
        with namespaces.fresh():
            yield from run()
    else:
        yield from run()


@pytest.fixture(scope="module")
def authority(places):
    """An authority whose list has four entries; its first list has none."""
    authority = Certificates(places.folder())
    authority.run("crl")
    authority.path("crl.pem").rename(authority.path("empty.pem"))
    for name in ("one", "two", "three", "four"):
        authority.run("issue-client", name)
        authority.run("revoke", name)
    authority.run("crl")
    return authority


@pytest.fixture
def fresh(own, authority):
    """A region nobody else uses."""
    return World(own, authority)


class Furnished:
    """Two endpoints in a VPC, one of them associated, a third whose clients' block overlaps; and another VPC."""

    def __init__(self, world):
        self.world = world
        groups = lambda: {row["VpcId"]: row["GroupId"] for row in world.ec2("DescribeSecurityGroups")["SecurityGroups"]}
        vpc, other = world.vpc(), world.vpc("10.1.0.0/16")
        self.names = {
            "vpc": vpc,
            "other_vpc": other,
            "group": groups()[vpc],
            "other_group": groups()[other],
            "associated": world.subnet(vpc, "10.0.1.0/24", zone="a"),
            "same_zone": world.subnet(vpc, "10.0.2.0/24", zone="a"),
            "loose": world.subnet(vpc, "10.0.3.0/24", zone="b"),
            "second": world.subnet(vpc, "10.0.4.0/24", zone="c"),
            "small": world.subnet(vpc, "10.0.5.0/28", zone="d"),
            "foreign": world.subnet(other, "10.1.1.0/24", zone="e"),
            "arn": world.arn,
            "endpoint": world.endpoint(),
            "bare": world.endpoint(),
            "overlapping": world.endpoint(ClientCidrBlock="10.0.0.0/22"),
            "crl": world.certificates.pem("crl.pem").decode(),
        }
        self.names["association"] = world.associate(self.names["endpoint"], self.names["associated"])
        world.associate(self.names["endpoint"], self.names["second"])

    def fill(self, parameters):
        """The parameters with ids for names."""
        return {name: value.format_map(self.names) for name, value in parameters.items()}


@pytest.fixture(scope="module")
def furnished(own, authority):
    return Furnished(World(own, authority))


# --- Error codes. A row: action, code, parameters; several: all but the last are done. The third item may be a text
# the message must have.

GATEWAY = "TransitGatewayConfiguration.TransitGatewayId"
ON = {"ClientVpnEndpointId": "{endpoint}"}
PERMIT = "permit(principal, action, resource);"
ON_BARE = {"ClientVpnEndpointId": "{bare}"}
RULE = {**ON, "TargetNetworkCidr": "10.0.0.0/16"}
EVERYONE = {**RULE, "AuthorizeAllGroups": "true"}
CREATE = {
    "ClientCidrBlock": "10.8.0.0/22",
    "ServerCertificateArn": "{arn}",
    "Authentication.1.Type": "certificate-authentication",
    "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": "{arn}",
    "ConnectionLogOptions.Enabled": "false",
}
TAGS = {"TagSpecification.1.ResourceType": "client-vpn-endpoint"} | {
    f"TagSpecification.1.Tag.{n}.{part}": f"k{n}" for n in range(1, 52) for part in ("Key", "Value")
}
ROUTE = {**ON, "DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": "{associated}"}
ROWS = [
    (
        "ApplySecurityGroupsToClientVpnTargetNetwork",
        [
            ("InvalidVpcID.NotFound", {**ON, "VpcId": "vpc-0123456789abcdef0", "SecurityGroupId.1": "{group}"}),
            ("InvalidGroup.NotFound", {**ON, "VpcId": "{vpc}", "SecurityGroupId.1": "sg-0123456789abcdef0"}),
            ("InvalidGroup.NotFound", {**ON, "VpcId": "{vpc}", "SecurityGroupId.1": "{other_group}"}),
            (
                "InvalidParameterValue",
                {**ON, "VpcId": "{vpc}", **{f"SecurityGroupId.{n}": "{group}" for n in range(1, 7)}},
            ),
            (
                "InvalidClientVpnActiveAssociationNotFound",
                {**ON_BARE, "VpcId": "{vpc}", "SecurityGroupId.1": "{group}"},
            ),
            (
                "InvalidClientVpnActiveAssociationNotFound",
                {**ON, "VpcId": "{other_vpc}", "SecurityGroupId.1": "{other_group}"},
            ),
        ],
    ),
    (
        "AssociateClientVpnTargetNetwork",
        [
            ("InvalidClientVpnSubnetId.NotFound", {**ON, "SubnetId": "subnet-0123456789abcdef0"}),
            ("InvalidClientVpnSubnetId.NotFound", {**ON, "SubnetId": "{foreign}"}),
            ("InvalidClientVpnSubnetId.DuplicateAz", {**ON, "SubnetId": "{same_zone}"}),
            (
                "InvalidClientVpnSubnetId.OverlappingCidr",
                {"ClientVpnEndpointId": "{overlapping}", "SubnetId": "{loose}"},
            ),
            ("InvalidClientVpnDuplicateAssociationException", {**ON, "SubnetId": "{associated}"}),
            ("InvalidSubnetID.Malformed", {**ON, "SubnetId": "subnet"}),
            ("InvalidParameterValue", {**ON, "SubnetId": "{small}"}),
            ("InvalidParameterCombination", {**ON, "SubnetId": "{loose}", "AvailabilityZone": "x"}),
            ("InvalidParameterCombination", {**ON, "AvailabilityZone": "x", "AvailabilityZoneId": "x"}),
            ("MissingParameter", ON),
            ("InvalidClientToken", {**ON, "SubnetId": "{loose}", "ClientToken": "t" * 65}),
        ],
    ),
    (
        "AuthorizeClientVpnIngress",
        [
            ("InvalidClientVpnDuplicateAuthorizationRule", EVERYONE, EVERYONE),
            ("InvalidParameterValue", {**EVERYONE, "TargetNetworkCidr": "10.0.0.1/16"}),
            ("InvalidParameterCombination", {**EVERYONE, "AccessGroupId": "g"}),
            ("MissingParameter", RULE),
            ("InvalidClientToken", {**EVERYONE, "ClientToken": "é"}),
            (
                "IdempotentParameterMismatch",
                {**EVERYONE, "TargetNetworkCidr": "10.2.0.0/16", "ClientToken": "authorize"},
                {**EVERYONE, "TargetNetworkCidr": "10.3.0.0/16", "ClientToken": "authorize"},
            ),
        ],
    ),
    (
        "CreateClientVpnEndpoint",
        [
            ("InvalidParameterValue", {**CREATE, "ClientCidrBlock": "10.8.0.0/23"}),
            ("InvalidParameterValue", {**CREATE, "ServerCertificateArn": "{arn}x"}),
            ("InvalidParameterCombination", {**CREATE, "TrafficIpAddressType": "ipv6"}),
            (
                "InvalidParameterCombination",
                {**CREATE, "VpcId": "{vpc}", GATEWAY: "tgw-1"},
            ),
            ("MissingParameter", without(CREATE, "ClientCidrBlock")),
            ("InvalidVpcID.NotFound", {**CREATE, "VpcId": "vpc-0123456789abcdef0"}),
            ("InvalidGroup.NotFound", {**CREATE, "VpcId": "{vpc}", "SecurityGroupId.1": "{other_group}"}),
            ("InvalidTransitGatewayID.NotFound", {**CREATE, GATEWAY: "tgw-0123456789abcdef0"}),
            ("TagLimitExceeded", {**CREATE, **TAGS}),
            ("InvalidClientToken", {**CREATE, "ClientToken": "t" * 65}),
        ],
    ),
    (
        "CreateClientVpnRoute",
        [
            ("InvalidClientVpnDuplicateRoute", {**ROUTE, "DestinationCidrBlock": "10.0.0.0/16"}),
            ("InvalidClientVpnActiveAssociationNotFound", {**ROUTE, **ON_BARE}),
            ("InvalidClientVpnSubnetId.NotFound", {**ROUTE, "TargetVpcSubnetId": "{loose}"}),
            ("InvalidClientVpnSubnetId.NotFound", {**ROUTE, "TargetVpcSubnetId": "subnet-0123456789abcdef0"}),
            ("InvalidSubnetID.Malformed", {**ROUTE, "TargetVpcSubnetId": "x"}),
            ("InvalidParameterValue", {**ROUTE, "DestinationCidrBlock": "10.8.1.0/24"}),
            ("MissingParameter", without(ROUTE, "TargetVpcSubnetId")),
            ("InvalidClientToken", {**ROUTE, "ClientToken": "t" * 65}),
            (
                "IdempotentParameterMismatch",
                {**ROUTE, "DestinationCidrBlock": "172.16.0.0/16", "ClientToken": "route"},
                {**ROUTE, "DestinationCidrBlock": "172.17.0.0/16", "ClientToken": "route"},
            ),
        ],
    ),
    ("DeleteClientVpnEndpoint", [("ClientVpnEndpointAssociationExists", ON)]),
    ("DeleteClientVpnEndpointAuthorizationPolicy", [(*NO_POLICY, ON_BARE)]),
    ("GetClientVpnEndpointAuthorizationPolicy", [(*NO_POLICY, ON_BARE)]),
    (
        "ModifyClientVpnEndpointAuthorizationPolicy",
        [
            ("InvalidParameterValue", {**ON, "PolicyDocument": "permit(principal"}),
            ("MissingParameter", {**ON_BARE, "ShadowMode": "enabled"}),
            ("InvalidClientToken", {**ON, "PolicyDocument": PERMIT, "ClientToken": "t" * 65}),
            (
                "IdempotentParameterMismatch",
                {**ON, "PolicyDocument": PERMIT, "ClientToken": "policy"},
                {**ON, "PolicyDocument": PERMIT, "ShadowMode": "enabled", "ClientToken": "policy"},
            ),
        ],
    ),
    (
        "DeleteClientVpnRoute",
        [
            ("InvalidClientVpnRouteNotFound", {**ROUTE, "DestinationCidrBlock": "172.30.0.0/16"}),
            ("OperationNotPermitted", {**ROUTE, "DestinationCidrBlock": "10.0.0.0/16"}),
            ("InvalidParameterValue", {**ROUTE, "DestinationCidrBlock": "x"}),
            ("InvalidSubnetID.Malformed", {**ROUTE, "TargetVpcSubnetId": "x"}),
            # Each association has a route to the VPC: which one is meant?
            ("MissingParameter", {**ON, "DestinationCidrBlock": "10.0.0.0/16"}),
        ],
    ),
    (
        "DescribeClientVpnTargetNetworks",
        [("InvalidClientVpnAssociationIdNotFound", {**ON, "AssociationIds.1": "cvpn-assoc-0123456789abcdef0"})],
    ),
    (
        "DisassociateClientVpnTargetNetwork",
        [
            ("InvalidClientVpnAssociationIdNotFound", {**ON, "AssociationId": "cvpn-assoc-0123456789abcdef0"}),
            ("InvalidClientVpnAssociationIdNotFound", {**ON_BARE, "AssociationId": "{association}"}),
        ],
    ),
    (
        "ImportClientVpnClientCertificateRevocationList",
        [
            ("InvalidParameterValue", {**ON, "CertificateRevocationList": "-----BEGIN X509 CRL-----"}),
            (
                "ClientVpnCertificateRevocationListLimitExceeded",
                {**ON, "CertificateRevocationList": "{crl}"},
            ),
        ],
    ),
    (
        "ModifyClientVpnEndpoint",
        [
            ("InvalidParameterValue", {**ON, "VpnPort": "80"}),
            ("InvalidParameterValue", {**ON, "ServerCertificateArn": "{arn}x"}),
            ("InvalidParameterValue", {**ON, "SecurityGroupId.1": "{group}"}),
            ("MissingParameter", {**ON, "ClientConnectOptions.Enabled": "true"}),
            ("InvalidVpcID.NotFound", {**ON, "VpcId": "vpc-0123456789abcdef0"}),
            ("InvalidGroup.NotFound", {**ON, "VpcId": "{vpc}", "SecurityGroupId.1": "{other_group}"}),
            ("ClientVpnEndpointAssociationExists", {**ON, "VpcId": "{other_vpc}"}),
            ("UnsupportedOperation", {**ON, GATEWAY: "tgw-1"}),
        ],
    ),
    (
        "RevokeClientVpnIngress",
        [
            ("InvalidClientVpnEndpointAuthorizationRuleNotFound", {**RULE, "AccessGroupId": "nobody"}),
            ("InvalidParameterValue", {**RULE, "TargetNetworkCidr": "x", "RevokeAllGroups": "true"}),
            ("InvalidParameterCombination", {**RULE, "AccessGroupId": "g", "RevokeAllGroups": "true"}),
            ("MissingParameter", RULE),
        ],
    ),
    (
        "TerminateClientVpnConnections",
        [
            (
                "InvalidClientVpnConnection.IdNotFound",
                {**ON, "ConnectionId": "cvpn-connection-0123456789abcdef0"},
            ),
            ("InvalidClientVpnConnection.UserNotFound", {**ON, "Username": "nobody"}),
            ("InvalidParameterCombination", {**ON, "ConnectionId": "x", "Username": "x"}),
            ("MissingParameter", ON),
        ],
    ),
]


def _rows():
    """Every row as (action, code, earlier calls, the call)."""
    for action, rows in ROWS:
        for code, *calls in rows:
            yield action, code, calls[:-1], calls[-1]
    for action in ACTIONS:
        given = WELL_FORMED[action]
        # What names nothing that exists.
        if ENDPOINT in given.values():
            yield action, "InvalidClientVpnEndpointId.NotFound", [], given
        if "TransitGatewayAttachmentId" in given:
            yield action, "InvalidTransitGatewayAttachmentID.NotFound", [], given
        if PAGED <= CODES.get(action, set()):
            on = {} if action == "DescribeClientVpnEndpoints" else ON
            for wrong in ("4", "1001", "-1"):
                yield action, "InvalidParameterValue", [], {**on, "MaxResults": wrong}
            yield action, "InvalidParameterValue", [], {**on, "Filter.1.Name": "x", "Filter.1.Value.1": "x"}
            yield action, "InvalidPaginationToken", [], {**on, "NextToken": "x"}
            known = {"DescribeClientVpnConnections": "username", "DescribeClientVpnEndpoints": "endpoint-id"}
            known = {**known, "DescribeClientVpnTargetNetworks": "vpc-id"}.get(action, "destination-cidr")
            many = {f"Filter.1.Value.{n}": "x" for n in range(1, 202)}
            yield action, "FilterLimitExceeded", [], {**on, "Filter.1.Name": known, **many}


ERROR_ROWS = list(_rows())
# These rows look at what only an association has that is in force.
IN_FORCE = {"CreateClientVpnRoute", "DeleteClientVpnRoute", "ApplySecurityGroupsToClientVpnTargetNetwork"}


def _named(row):
    action, code, _, parameters = row
    marks = [pytest.mark.fabric] if action in IN_FORCE and parameters.get("ClientVpnEndpointId") == "{endpoint}" else []
    return pytest.param(*row, marks=marks, id=f"{action}-{code}")


@pytest.mark.parametrize(("action", "code", "before", "parameters"), map(_named, ERROR_ROWS))
def test_errors(furnished, action, code, before, parameters):
    root = furnished.world.root
    for earlier in before:
        reply = root.ec2_raw(action, furnished.fill(earlier))
        assert reply.status == 200 or reply.code == code, reply.text
    reply = root.ec2_raw(action, furnished.fill(parameters))
    assert (reply.status, reply.code) == (400, code), reply.text
    assert reply.message and len(reply.message) < 600


# --- Error codes that take more than a call.

MADE = {}


def made(action, code, *marks):
    """Registers what brings a code about: a function of a fresh region that returns the answer."""

    def register(function):
        MADE[action, code] = pytest.param(function, action, code, marks=marks, id=f"{action}-{code}")
        return function

    return register


def raw_create(world):
    names = {"arn": world.arn}
    return {name: value.format_map(names) for name, value in CREATE.items()}


@made("CreateClientVpnEndpoint", "ClientVpnEndpointLimitExceeded")
def too_many_endpoints(world):
    for _ in range(7):
        world.endpoint()
    return world.root.ec2_raw("CreateClientVpnEndpoint", raw_create(world))


@made("CreateClientVpnEndpoint", "IdempotentParameterMismatch")
def another_endpoint_with_the_token(world):
    given = {**raw_create(world), "ClientToken": "endpoint"}
    assert world.root.ec2_raw("CreateClientVpnEndpoint", given).status == 200
    return world.root.ec2_raw("CreateClientVpnEndpoint", {**given, "SplitTunnel": "true"})


@made("AssociateClientVpnTargetNetwork", "IdempotentParameterMismatch")
def another_association_with_the_token(world):
    vpc, endpoint = world.vpc(), world.endpoint()
    for zone in "ab":
        given = {"ClientVpnEndpointId": endpoint, "SubnetId": world.subnet(vpc, zone=zone), "ClientToken": "t"}
        reply = world.root.ec2_raw("AssociateClientVpnTargetNetwork", given)
    return reply


class OfAnother:
    """A transit gateway of another account, and an endpoint that asks to be attached to it."""

    def __init__(self, world):
        self.owner = Caller(world.server, region=world.region).with_key(ELSEWHERE_KEY)
        block = {"Options.TransitGatewayCidrBlocks.1": "10.200.0.0/24"}
        made = self.owner.ec2_raw("CreateTransitGateway", block)
        assert made.status == 200, made.text
        self.gateway = made.root.findtext("{*}transitGateway/{*}transitGatewayId")
        self.world = world

    def ask(self):
        """Another endpoint that asks; its id, and the attachment's."""
        made = self.world.root.ec2_raw("CreateClientVpnEndpoint", {**raw_create(self.world), GATEWAY: self.gateway})
        assert made.status == 200, made.text
        endpoint = made.root.findtext("{*}clientVpnEndpointId")
        row = self.world.describe(endpoint)
        assert row["Status"] == {"Code": "pending"}
        return endpoint, row["TransitGatewayConfiguration"]["TransitGatewayAttachmentId"]

    def decide(self, verb, attachment):
        """The owner's word."""
        action = f"{verb}TransitGatewayClientVpnAttachment"
        return self.owner.ec2_raw(action, {"TransitGatewayAttachmentId": attachment})


@made("AssociateClientVpnTargetNetwork", "IncorrectState")
def a_zone_of_an_endpoint_that_waits(world):
    endpoint, _ = OfAnother(world).ask()
    given = {"ClientVpnEndpointId": endpoint, "AvailabilityZone": f"{world.region}a"}
    return world.root.ec2_raw("AssociateClientVpnTargetNetwork", given)


def decided_twice(verb):
    def bring_about(world):
        other = OfAnother(world)
        _, attachment = other.ask()
        assert other.decide("Reject", attachment).status == 200
        return other.decide(verb, attachment)

    return bring_about


for _verb in ("Accept", "Reject"):
    made(f"{_verb}TransitGatewayClientVpnAttachment", "IncorrectState")(decided_twice(_verb))


@made("AuthorizeClientVpnIngress", "ClientVpnAuthorizationRuleLimitExceeded")
def too_many_rules(world):
    on = {"ClientVpnEndpointId": world.endpoint(), "AuthorizeAllGroups": "true"}
    for number in range(8):
        given = {**on, "TargetNetworkCidr": f"10.{number}.0.0/16"}
        reply = world.root.ec2_raw("AuthorizeClientVpnIngress", given)
        assert (reply.status == 200) == (number < 7), reply.text
    return reply


@made("CreateClientVpnRoute", "ClientVpnRouteLimitExceeded", pytest.mark.fabric)
def too_many_routes(world):
    endpoint, _, subnet, _ = world.associated()
    # The one the association made counts.
    for number in range(4):
        given = {"ClientVpnEndpointId": endpoint, "TargetVpcSubnetId": subnet}
        given["DestinationCidrBlock"] = f"172.{16 + number}.0.0/16"
        reply = world.root.ec2_raw("CreateClientVpnRoute", given)
        assert (reply.status == 200) == (number < 3), reply.text
    return reply


def all_at_once(world, calls, code):
    """The first answer with the code, of many calls at once; several rounds, as the calls may miss each other."""

    def call(pair):
        return Caller(world.server, region=world.region).ec2_raw(*pair)

    for _ in range(20):
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            replies = list(pool.map(call, calls))
        if found := [reply for reply in replies if reply.status != 200 and reply.code == code]:
            return found[0]
    raise AssertionError(f"never {code}")


CROWD = 32
BUSY = "ConcurrentMutationLimitExceeded"


@made("AssociateClientVpnTargetNetwork", BUSY)
def associations_at_once(world):
    vpc, endpoint = world.vpc(), world.endpoint()
    subnets = [world.subnet(vpc, zone=zone) for zone in "abcdef"] * 6
    action = "AssociateClientVpnTargetNetwork"
    return all_at_once(world, [(action, {"ClientVpnEndpointId": endpoint, "SubnetId": s}) for s in subnets], BUSY)


@made("DisassociateClientVpnTargetNetwork", BUSY)
def disassociations_at_once(world):
    vpc, endpoint = world.vpc(), world.endpoint()
    subnets = [world.subnet(vpc, zone=zone) for zone in "abcdef"]
    for _ in range(10):
        calls = [
            ("DisassociateClientVpnTargetNetwork", {"ClientVpnEndpointId": endpoint, "AssociationId": found})
            for found in [world.associate(endpoint, subnet) for subnet in subnets] * 6
        ]

        def call(pair):
            return Caller(world.server, region=world.region).ec2_raw(*pair)

        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            replies = list(pool.map(call, calls))
        if found := [reply for reply in replies if reply.status != 200 and reply.code == BUSY]:
            return found[0]
        eventually(lambda: not world.networks(endpoint), what="all are gone")
    raise AssertionError(f"never {BUSY}")


@made("ApplySecurityGroupsToClientVpnTargetNetwork", BUSY, pytest.mark.fabric)
def security_groups_at_once(world):
    endpoint, _, _, vpc = world.associated()
    groups = [
        world.ec2("CreateSecurityGroup", GroupName=f"g{n}", Description="x", VpcId=vpc)["GroupId"] for n in range(2)
    ]
    action = "ApplySecurityGroupsToClientVpnTargetNetwork"
    calls = [
        (action, {"ClientVpnEndpointId": endpoint, "VpcId": vpc, "SecurityGroupId.1": groups[n % 2]})
        for n in range(CROWD)
    ]
    return all_at_once(world, calls, BUSY)


@pytest.mark.parametrize(("bring_about", "action", "code"), MADE.values())
def test_errors_that_take_more(fresh, bring_about, action, code):
    reply = bring_about(fresh)
    assert (reply.status, reply.code) == (400, code), reply.text


# --- Happy paths.

NO_HAPPY_PATH = {}
NOT_ANSWERED = {
    "*.Status.Message": "said only when there is something to say",
    "*.PreviousStatus.Message": "the same",
    "*.CurrentStatus.Message": "the same",
    "DescribeClientVpnEndpoints.*.DeletionTime": "what is deleted is not listed",
    "DescribeClientVpnConnections.*.PostureComplianceStatuses*": "device posture is not built yet",
    "DescribeClientVpnConnections.*.Username": "user-based authentication is not built yet",
    "TerminateClientVpnConnections.Username": "the same",
}
CLIENTS = 6


class Life:
    """Every action done at least once, each raw answer kept; more of each thing than fits a page."""

    def __init__(self, world, folder):
        self.world, self.folder, self.replies, self.processes = world, folder, {}, []

    def do(self, action, **parameters):
        """A call that must be done."""
        reply = self.world.root.ec2_raw(action, parameters)
        assert reply.status == 200, f"{action}: {reply.text}"
        self.replies.setdefault(action, []).append(reply)
        return reply

    def pages(self, action, **parameters):
        """A Describe, and its first page."""
        self.do(action, **parameters)
        self.do(action, MaxResults="5", **parameters)

    def endpoints(self, vpc):
        """One with every option, one of each way to log in, and enough for two pages; the one people connect to."""
        world, region = self.world, self.world.region
        document = f'<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="i"><!--{"x" * 1000}-->'
        document += "<IDPSSODescriptor/></EntityDescriptor>"
        login, portal = (
            world.root.call("iam", "CreateSAMLProvider", Name=f"{name}-{region}", SAMLMetadataDocument=document)[
                "SAMLProviderArn"
            ]
            for name in ("login", "portal")
        )
        plain = raw_create(world)
        ways = without(plain, "Authentication")
        create = lambda more: self.do("CreateClientVpnEndpoint", **more).root.findtext("{*}clientVpnEndpointId")
        create(
            {
                **plain,
                "VpcId": vpc,
                "Description": "all of it",
                "DnsServers.1": "10.0.0.2",
                "TransportProtocol": "tcp",
                "SessionTimeoutHours": "8",
                "ConnectionLogOptions.Enabled": "true",
                "ConnectionLogOptions.CloudwatchLogGroup": "vpn",
                "ConnectionLogOptions.IncludeAuthorizationPolicyContext": "true",
                "DevicePostureOptions.Enabled": "true",
                "DevicePostureOptions.TrustProvider.1.TrustProviderType": "jamf",
                "DevicePostureOptions.TrustProvider.1.TenantId": "tenant",
                "DevicePostureOptions.TrustProvider.1.PublicSigningKeyUrl": "https://jamf.example.com/keys",
                "TagSpecification.1.ResourceType": "client-vpn-endpoint",
                "TagSpecification.1.Tag.1.Key": "Name",
                "TagSpecification.1.Tag.1.Value": "x",
                "ClientConnectOptions.Enabled": "true",
                "ClientConnectOptions.LambdaFunctionArn": (
                    f"arn:aws:lambda:{region}:000000000000:function:AWSClientVPN-x"
                ),
                "ClientLoginBannerOptions.Enabled": "true",
                "ClientLoginBannerOptions.BannerText": "hello",
            }
        )
        directory = {"Authentication.1.Type": "directory-service-authentication"}
        create({**ways, **directory, "Authentication.1.ActiveDirectory.DirectoryId": "d-1234567890"})
        federated = {
            "Authentication.1.Type": "federated-authentication",
            "Authentication.1.FederatedAuthentication.SAMLProviderArn": login,
            "Authentication.1.FederatedAuthentication.SelfServiceSAMLProviderArn": portal,
        }
        create({**ways, **federated})
        spare = create(plain)
        create(plain)
        endpoint = create({**plain, "TrafficIpAddressType": "dual-stack"})
        self.pages("DescribeClientVpnEndpoints")
        self.do("ModifyClientVpnEndpoint", ClientVpnEndpointId=spare, Description="another")
        self.do("DeleteClientVpnEndpoint", ClientVpnEndpointId=spare)
        return endpoint

    def run(self):
        """From nothing to everything."""
        world = self.world
        vpc = world.vpc(AmazonProvidedIpv6CidrBlock=True)
        endpoint = self.endpoints(vpc)
        on = {"ClientVpnEndpointId": endpoint}
        (row,) = world.ec2("DescribeVpcs", VpcIds=[vpc])["Vpcs"]
        block = ipaddress.ip_network(row["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        blocks = block.subnets(new_prefix=64)
        subnets = [world.subnet(vpc, zone=zone, Ipv6CidrBlock=str(next(blocks))) for zone in "abcdef"]
        for subnet in subnets:
            reply = self.do("AssociateClientVpnTargetNetwork", **on, SubnetId=subnet)
        last = reply.root.findtext("{*}associationId")
        codes = lambda: {row["Status"]["Code"] for row in world.networks(endpoint).values()}
        eventually(lambda: codes() == {"associated"}, seconds=30, what="all are associated")
        for number in range(CLIENTS):
            cidr = f"10.{number}.0.0/16"
            self.do(
                "AuthorizeClientVpnIngress", **on, TargetNetworkCidr=cidr, AuthorizeAllGroups="true", Description="x"
            )
        self.do("CreateClientVpnRoute", **on, DestinationCidrBlock="0.0.0.0/0", TargetVpcSubnetId=subnets[0])
        group = world.describe(endpoint)["SecurityGroupIds"][0]
        apply = {"VpcId": vpc, "SecurityGroupId.1": group}
        self.do("ApplySecurityGroupsToClientVpnTargetNetwork", **on, **apply)
        policy = "EndpointAuthorizationPolicy"
        self.do(f"ModifyClientVpn{policy}", **on, PolicyDocument=PERMIT, Description="all may in")
        self.do(f"GetClientVpn{policy}", **on)
        self.connections(on)
        self.do(f"DeleteClientVpn{policy}", **on)
        listed = world.certificates.pem("empty.pem").decode()
        self.do("ImportClientVpnClientCertificateRevocationList", **on, CertificateRevocationList=listed)
        self.do("ExportClientVpnClientCertificateRevocationList", **on)
        for action in ("AuthorizationRules", "Routes", "TargetNetworks", "Endpoints"):
            self.pages(f"DescribeClientVpn{action}", **({} if action == "Endpoints" else on))
        self.do("DeleteClientVpnRoute", **on, DestinationCidrBlock="0.0.0.0/0")
        self.do("RevokeClientVpnIngress", **on, TargetNetworkCidr="10.1.0.0/16", RevokeAllGroups="true")
        self.do("DisassociateClientVpnTargetNetwork", **on, AssociationId=last)
        self.transit_gateway()

    def transit_gateway(self):
        """An endpoint at another account's transit gateway: turned down, taken up, taken off."""
        other = OfAnother(self.world)
        deed = "TransitGatewayClientVpnAttachment"
        for verb in ("Reject", "Accept"):
            endpoint, attachment = other.ask()
            reply = other.decide(verb, attachment)
            assert reply.status == 200, reply.text
            self.replies.setdefault(f"{verb}{deed}", []).append(reply)
        on = {"ClientVpnEndpointId": endpoint}
        eventually(lambda: self.world.status(endpoint) == "available", what="it is available")
        self.do("CreateClientVpnRoute", **on, DestinationCidrBlock="10.9.0.0/16")
        self.do("DescribeClientVpnRoutes", **on)
        self.do("DescribeClientVpnTargetNetworks", **on)
        self.do("DescribeClientVpnEndpoints", **{"ClientVpnEndpointId.1": endpoint})
        reply = other.decide("Delete", attachment)
        assert reply.status == 200, reply.text
        self.replies.setdefault(f"Delete{deed}", []).append(reply)

    def connections(self, on):
        """Real clients, without a device of their own; one of them is sent away."""
        text = self.do("ExportClientVpnClientConfiguration", **on).root.findtext("{*}clientConfiguration")
        certificate, key = (self.world.certificates.pem(f"alice.{end}").decode() for end in ("crt", "key"))
        profile = self.folder / "alice.ovpn"
        profile.write_text(f"{text}\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n")
        for number in range(CLIENTS):
            with open(self.folder / f"client.{number}", "wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        ["openvpn", "--config", profile, "--dev", "null", "--ifconfig-noexec", "--route-noexec"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=environment() | {"PATH": f"{environment()['PATH']}:/usr/sbin:/sbin"},
                    )
                )
        rows = lambda: self.world.ec2("DescribeClientVpnConnections", **on)["Connections"]
        said = lambda: "".join(path.read_text() for path in self.folder.glob("client.*"))
        eventually(lambda: len(rows()) == CLIENTS, seconds=30, what=f"{CLIENTS} connections; the clients said {said()}")
        self.pages("DescribeClientVpnConnections", **on)
        self.do("TerminateClientVpnConnections", **on, ConnectionId=rows()[0]["ConnectionId"])

    def end(self):
        """Ends the clients."""
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def life(own, authority, places):
    life = Life(World(own, authority), places.folder())
    try:
        life.run()
        yield life
    finally:
        life.end()


@pytest.mark.fabric
@every_action
def test_a_happy_path_answers_as_the_model_says(life, action):
    if action in NO_HAPPY_PATH:
        assert action not in life.replies, f"{action} was done: it has a happy path now"
        return
    assert action in life.replies, f"{action} has no happy path: do it in Life"
    shape = model.service("ec2").operation_model(action).output_shape
    comparison = Comparison()
    for reply in life.replies[action]:
        comparison.answer(action, reply.root, shape)
    faults = comparison.faults
    excused = lambda path: [pattern for pattern in NOT_ANSWERED if fnmatch.fnmatchcase(path, pattern)]
    every = set(paths(shape, action))
    faults += [f"{path}: never answered" for path in sorted(every - comparison.seen) if not excused(path)]
    stale = [path for path in sorted(comparison.seen) if excused(path) and not path.endswith(".Message")]
    faults += [f"{path}: answered, and said not to be" for path in stale]
    assert not faults, "\n".join(faults)


def test_what_is_said_not_to_be_answered_is_in_the_model():
    every = [
        path for action in ACTIONS for path in paths(model.service("ec2").operation_model(action).output_shape, action)
    ]
    for pattern in NOT_ANSWERED:
        assert fnmatch.filter(every, pattern), pattern


def test_the_comparison_finds_what_differs():
    action = "DescribeClientVpnRoutes"
    shape = model.service("ec2").operation_model(action).output_shape
    good = "<routes><item><destinationCidr>x</destinationCidr><status><code>active</code></status></item></routes>"
    document = lambda inside, tag=f"{action}Response": f"<{tag}><requestId>1</requestId>{inside}</{tag}>"
    assert not Comparison().answer(action, ElementTree.fromstring(document(good)), shape).faults
    wrong = {
        "another root": document(good, "Response"),
        "no request id": f"<{action}Response>{good}</{action}Response>",
        "another case": document(good.replace("destinationCidr", "DestinationCidr")),
        "another order": document(f"<nextToken>x</nextToken>{good}"),
        "twice": document(good + good),
        "another element name": document(good.replace("item", "member")),
        "no enum value": document(good.replace("active", "done")),
        "a structure for a text": document(good.replace(">x<", "><x>x</x><")),
    }
    for what, text in wrong.items():
        assert Comparison().answer(action, ElementTree.fromstring(text), shape).faults, what


# --- Malformed parameters: of each type, of each action, from AWS's model.

WRONG = {
    "boolean": ["maybe", "1", "", "true "],
    "integer": ["x", "", "1.5", "0x10", "+5", "9" * 30, "-" + "9" * 30, "٣"],
    "enum": ["no-such-value", "", "UDP"],
}
# The longest text, and the code for a longer one (spec §2.0.3, §2.0.6, §2.1).
LENGTHS = {
    "Description": (255, "InvalidParameterValue"),
    "AccessGroupId": (255, "InvalidParameterValue"),
    "ClientToken": (64, "InvalidClientToken"),
    "BannerText": (1400, "InvalidParameterValue"),
    "Key": (128, "InvalidParameterValue"),
    "Value": (256, "InvalidParameterValue"),
}
# Parameters that another one must stand beside, or must not.
BESIDE = {
    "AccessGroupId": {"AuthorizeAllGroups": "false", "RevokeAllGroups": "false"},
    "BannerText": {"ClientLoginBannerOptions.Enabled": "true"},
    "Key": {"TagSpecification.1.ResourceType": "client-vpn-endpoint"},
    "Value": {"TagSpecification.1.ResourceType": "client-vpn-endpoint", "TagSpecification.1.Tag.1.Key": "a"},
}


def malformed(action):
    """Rows of one action: kind, parameters, code."""
    given = WELL_FORMED[action]
    for leaf in leaves("ec2", action):
        for value in WRONG.get(leaf.kind, []):
            yield f"wrong {leaf.kind}", {**given, leaf.wire: value}, "InvalidParameterValue"
        name = leaf.wire.rsplit(".", 1)[-1]
        if leaf.kind == "string" and name in LENGTHS and not leaf.wire.startswith("Filter."):
            most, code = LENGTHS[name]
            long = {**given, **BESIDE.get(name, {}), leaf.wire: "x" * (most + 1)}
            takes = {found.wire for found in leaves("ec2", action)}
            yield "too long", {key: value for key, value in long.items() if key in takes}, code
    shape = model.service("ec2").operation_model(action).input_shape
    for member in shape.required_members:
        yield "missing", without(given, model.wire_name(shape, member)), "MissingParameter"
    for name in ("Nonsense", "Nonsense.1", "dryRun", "DryRun.1"):
        yield "unknown", {**given, name: "1"}, "UnknownParameter"


@every_action
def test_malformed_parameters(own, action):
    root = Caller(own)
    faults, kinds = [], {}
    for kind, parameters, code in malformed(action):
        kinds[kind] = kinds.get(kind, 0) + 1
        reply = root.ec2_raw(action, parameters)
        changed = {key: value[:40] for key, value in parameters.items() if WELL_FORMED[action].get(key) != value}
        if (reply.status, reply.status != 200 and reply.code) != (400, code):
            faults.append(f"{kind} {changed}: {code} expected, {reply.text}")
    assert not faults, "\n".join(faults)
    assert kinds["wrong boolean"] >= 4 and kinds["unknown"] >= 4


@every_action
def test_long_texts_are_refused_or_not_found(own, action):
    """Of every other text: never taken in silence where it names something, never an error of ours."""
    root = Caller(own)
    for leaf in leaves("ec2", action):
        if leaf.kind == "string":
            reply = root.ec2_raw(action, {**WELL_FORMED[action], leaf.wire: "x" * 70_000})
            assert reply.status == 400, (leaf.wire, reply.text[:300])
            assert len(reply.body) < 2000, leaf.wire


# --- That nothing lacks.


def test_every_action_of_the_model_has_every_kind_of_row(declared):
    built = {action for action in model.service("ec2").operation_names if "ClientVpn" in action} & set(declared["ec2"])
    assert len(built) >= 22
    assert sorted(built) == ACTIONS, "WELL_FORMED of test_actions.py: denied, DryRun, missing, types, unknown"
    assert sorted(CODES) == ACTIONS, "CODES"
    for action in ACTIONS:
        kinds = {kind for kind, _, _ in malformed(action)}
        wanted = {"wrong boolean", "unknown"}
        if model.service("ec2").operation_model(action).input_shape.required_members:
            wanted.add("missing")
        for kind in ("enum", "integer"):
            if any(leaf.kind == kind for leaf in leaves("ec2", action)):
                wanted.add(f"wrong {kind}")
        if any(leaf.wire.rsplit(".", 1)[-1] in LENGTHS and "Filter" not in leaf.wire for leaf in leaves("ec2", action)):
            wanted.add("too long")
        assert wanted <= kinds, f"{action} lacks {wanted - kinds}"


def test_every_code_of_every_action_has_a_row():
    rows = {(action, code) for action, code, _, _ in ERROR_ROWS} | set(MADE)
    lacking = [
        (action, code)
        for action, codes in CODES.items()
        for code in sorted(codes)
        if (action, code) not in rows and (action, code) not in UNREACHABLE and (action, code) not in ELSEWHERE
    ]
    assert not lacking
    beyond = [(action, code) for action, code in rows if code not in CODES[action]]
    assert not beyond, "rows of codes that are not in the list"
    assert not set(UNREACHABLE) & rows and not set(ELSEWHERE) & rows
    for (_, code), (path, name) in ELSEWHERE.items():
        text = (ROOT / path).read_text()
        assert code in text.split(f"fn {name}()")[1].split("\n}\n")[0], name
