"""The acceptance scenarios of Terraform's AWS provider for Client VPN, as rows: what each expects after each step.

The names are upstream's, the configurations and expectations our own. Every row also means: after each step an empty plan,
nothing replaced unless the row says so, import into another state with the same attributes, destroy, nothing left.
"""

import dataclasses
import re

ENDPOINT, RULE, TAGS = "aws_ec2_client_vpn_endpoint", "aws_ec2_client_vpn_authorization_rule", "tags_all"
ASSOCIATION, ROUTE = "aws_ec2_client_vpn_network_association", "aws_ec2_client_vpn_route"
GATEWAY = "aws_ec2_transit_gateway"
# What is imported, and by which name.
IMPORTED = {
    ENDPOINT: lambda of: of["id"],
    RULE: lambda of: of["id"],
    ROUTE: lambda of: of["id"],
    ASSOCIATION: lambda of: f"{of['client_vpn_endpoint_id']},{of['association_id']}",
    GATEWAY: lambda of: of["id"],
}


@dataclasses.dataclass(frozen=True)
class Of:
    """An attribute of another resource."""

    address: str
    path: str = "id"


@dataclasses.dataclass(frozen=True)
class Like:
    """A text of a form."""

    pattern: str


GONE = "not there"
"""In place of a resource's attributes: there is none."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One scenario: its resources with the attributes expected after each step; later steps are like the last one given."""

    area: str
    name: str
    configuration: str
    seen: str
    steps: tuple
    # Another one after each step.
    replaced: bool = False
    # What a plan makes anew once it was removed behind Terraform's back.
    anew: frozenset = frozenset()
    # Deletions in the wrong order, by operation, and the error code.
    refused: tuple = ()


def at(attributes, path):
    """The attribute of a path: names, numbers, and `*` for all elements, sorted."""
    if not path:
        return attributes
    name, _, rest = path.partition(".")
    if name == "*":
        return sorted(at(element, rest) for element in attributes)
    return at(attributes[int(name)] if name.isdigit() else attributes[name], rest)


def plain(value):
    """Without what is empty: Terraform has a null in one place and an empty list, map or text in another."""
    match value:
        case dict():
            found = {name: plain(element) for name, element in value.items()}
            return {name: element for name, element in found.items() if element is not None} or None
        case list():
            return [plain(element) for element in value] or None
    return None if value == "" else value


def differing(first, again, except_for=()):
    """Attributes that are not the same, without those."""
    first, again = plain(first), plain(again)
    names = (first.keys() | again.keys()) - set(except_for)
    return {name: (first.get(name), again.get(name)) for name in sorted(names) if first.get(name) != again.get(name)}


def resolved(value, everything):
    """The value with what it refers to."""
    match value:
        case Of(address, path):
            return at(everything[address], path)
        case list():
            return [resolved(element, everything) for element in value]
        case dict():
            return {name: resolved(element, everything) for name, element in value.items()}
    return value


def fault(expected, found, everything):
    """What differs, or None."""
    if isinstance(expected, Like):
        return None if re.fullmatch(expected.pattern, found or "") else f"{found!r} is not like {expected.pattern}"
    wanted = resolved(expected, everything)
    if isinstance(wanted, list) and isinstance(found, list):
        wanted, found = sorted(wanted, key=str), sorted(found, key=str)
    if plain(wanted) == plain(found):
        return None
    return f"{found!r} instead of {wanted!r}"


def faults(expectation, everything):
    """What differs from the attributes expected of each address."""
    found = []
    for address, attributes in expectation.items():
        if attributes == GONE or address not in everything:
            if (attributes == GONE) == (address in everything):
                found.append(f"{address}: {'there' if address in everything else 'not there'}")
            continue
        for path, expected in attributes.items():
            if text := fault(expected, at(everything[address], path), everything):
                found.append(f"{address}.{path}: {text}")
    return found


def case(name, kind=ENDPOINT):
    """The address of a scenario's endpoint."""
    return f'{kind}.case["{name}"]'


def endpoint(name, seen, *steps, area="endpoint", **more):
    """A scenario of one endpoint."""
    return Scenario(area, name, "options", seen, tuple({case(name): step} for step in steps), **more)


def rule(name, seen, *steps, **more):
    """A scenario of authorization rules."""
    return Scenario("authorization rule", name, "options", seen, steps, **more)


VPN, NEW = Of('aws_acm_certificate.server["vpn"]', "arn"), Of('aws_acm_certificate.server["new"]', "arn")
LOGIN, PORTAL = Of('aws_iam_saml_provider.idp["login"]', "arn"), Of('aws_iam_saml_provider.idp["portal"]', "arn")
VPC = Of("aws_vpc.main")
ONE, TWO = (Of(f'aws_security_group.own["{name}"]') for name in ("one", "two"))
LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN"
TEXT = 'Be <kind> & "careful"'
LOGS, CONNECT, BANNER = "connection_log_options.0", "client_connect_options.0", "client_login_banner_options.0"
WAY = "authentication_options.0"
NOT_LOGGED = {f"{LOGS}.enabled": False, f"{LOGS}.cloudwatch_log_group": "", f"{LOGS}.cloudwatch_log_stream": ""}
NOT_CONNECT = {f"{CONNECT}.enabled": False, f"{CONNECT}.lambda_function_arn": ""}
NO_BANNER = {f"{BANNER}.enabled": False, f"{BANNER}.banner_text": ""}


def logged(stream):
    """Connection logs to a stream."""
    group = "/vpn/connections"
    return {f"{LOGS}.enabled": True, f"{LOGS}.cloudwatch_log_group": group, f"{LOGS}.cloudwatch_log_stream": stream}


def ways(*kinds):
    """Kinds of authentication, in any order."""
    return {"authentication_options.*.type": sorted(f"{kind}-authentication" for kind in kinds)}


def route(destination, zone, description):
    """A route of an endpoint's own."""
    subnet = Of(f'aws_subnet.zone["{zone}"]')
    target = {"destination_cidr_block": destination, "target_vpc_subnet_id": subnet, "type": "Nat"}
    return {**target, "origin": "add-route", "description": description}


def association(zone):
    """An association in a zone."""
    return {
        "association_id": Like("cvpn-assoc-[0-9a-f]{17}"),
        "subnet_id": Of(f'aws_subnet.zone["{zone}"]'),
        "vpc_id": VPC,
    }


# What an endpoint has from its first association; Terraform sees it as it looks at the endpoint again.
LEARNED = {"vpc_id": VPC, "security_group_ids": [Of("data.aws_security_group.default")]}


def for_everyone(cidr):
    """A rule for everyone."""
    return {"target_network_cidr": cidr, "authorize_all_groups": True, "access_group_id": ""}


def for_group(name):
    """A rule for a group."""
    words = {"access_group_id": name, "description": f"for {name}"}
    return {"target_network_cidr": "10.2.0.0/24", "authorize_all_groups": False, **words}


def rules(kind, cases):
    """Rules of one resource by key."""
    return {f'{RULE}.{kind}["{key}"]': attributes for key, attributes in cases.items()}


def found_alike(by):
    """A data source shows what the endpoint is."""
    one = case("basicDataSource")
    same = ("id", "arn", "client_cidr_block", "description", "dns_name", "server_certificate_arn", "session_timeout_hours")
    same += ("split_tunnel", "transport_protocol", "vpn_port", "authentication_options", "self_service_portal")
    tags = {"tags": {"Name": "found", "Managed": "terraform"}}
    return {f"data.{ENDPOINT}.{by}": {**{name: Of(one, name) for name in same}, **tags}}


def gateway(description, accept, table, dns, blocks, tags):
    """A transit gateway. That its table has gone the provider sees only as it looks at it again."""
    shown = {"association_default_route_table_id": Like("tgw-rtb-[0-9a-f]{17}")} if table == "enable" else {}
    return {
        f"{GATEWAY}.main": {
            "description": description,
            "auto_accept_shared_attachments": accept,
            "default_route_table_association": table,
            "dns_support": dns,
            "transit_gateway_cidr_blocks": blocks,
            "tags": tags,
            "amazon_side_asn": 64512,
            **shown,
        }
    }


OWN = "beyond upstream"

SCENARIOS = [
    endpoint(
        "basic",
        "every default is answered as AWS's provider expects it",
        {
            "arn": Like(r"arn:aws:ec2:us-east-1:000000000000:client-vpn-endpoint/cvpn-endpoint-[0-9a-f]{17}"),
            "dns_name": Like(r"\*\.cvpn-endpoint-[0-9a-f]{17}\.prod\.clientvpn\.us-east-1\.\S+"),
            **ways("certificate"),
            f"{WAY}.root_certificate_chain_arn": VPN,
            "client_cidr_block": "10.100.0.0/16",
            **NOT_LOGGED,
            **NOT_CONNECT,
            **NO_BANNER,
            "client_route_enforcement_options.0.enforced": False,
            "description": "for basic",
            "disconnect_on_session_timeout": True,
            "dns_servers": [],
            "security_group_ids": [],
            "self_service_portal": "disabled",
            "self_service_portal_url": "",
            "server_certificate_arn": VPN,
            "session_timeout_hours": 24,
            "split_tunnel": False,
            "transport_protocol": "udp",
            "vpc_id": "",
            "vpn_port": 443,
            "tags": {},
        },
    ),
    endpoint(
        "disappears",
        "deleted behind Terraform's back: a plan makes it anew",
        {},
        anew=frozenset({case("disappears")}),
    ),
    endpoint("msADAuth", "kept and answered", {**ways("directory-service"), f"{WAY}.active_directory_id": "d-1234567890"}),
    endpoint("msADAuthAndMutualAuth", "both are kept and answered", ways("directory-service", "certificate")),
    endpoint(
        "federatedAuth",
        "kept and answered",
        {**ways("federated"), f"{WAY}.saml_provider_arn": LOGIN, f"{WAY}.self_service_saml_provider_arn": ""},
    ),
    endpoint(
        "federatedAuthWithSelfService",
        "both providers are kept and answered",
        {**ways("federated"), f"{WAY}.saml_provider_arn": LOGIN, f"{WAY}.self_service_saml_provider_arn": PORTAL},
    ),
    endpoint(
        "withClientConnect",
        "one function, another, none, in place",
        {f"{CONNECT}.enabled": True, f"{CONNECT}.lambda_function_arn": f"{LAMBDA}-one"},
        {f"{CONNECT}.enabled": True, f"{CONNECT}.lambda_function_arn": f"{LAMBDA}-two"},
        NOT_CONNECT,
    ),
    endpoint(
        "withClientLoginBanner",
        "one text, another, none, in place",
        {f"{BANNER}.enabled": True, f"{BANNER}.banner_text": f"{TEXT}, once"},
        {f"{BANNER}.enabled": True, f"{BANNER}.banner_text": f"{TEXT}, twice"},
        NO_BANNER,
    ),
    endpoint(
        "withClientRouteEnforcement",
        "on, off, on, in place",
        {"client_route_enforcement_options.0.enforced": True},
        {"client_route_enforcement_options.0.enforced": False},
        {"client_route_enforcement_options.0.enforced": True},
    ),
    endpoint(
        "withLogGroup",
        "a group alone (the server names a stream), one stream, another, none, in place",
        logged(Like(".+")),
        logged("one"),
        logged("two"),
        NOT_LOGGED,
    ),
    endpoint(
        "withDNSServers",
        "two in their order, one, none, in place",
        {"dns_servers.0": "10.1.0.2", "dns_servers.1": "1.1.1.1"},
        {"dns_servers": ["1.1.1.1"]},
        {"dns_servers": []},
    ),
    endpoint(
        "tags",
        "one, two with the first changed, the second alone, none, in place",
        {"tags": {"one": "1"}},
        {"tags": {"one": "uno", "two": "2"}},
        {"tags": {"two": "2"}},
        {"tags": {}},
    ),
    endpoint(
        "simpleAttributesUpdate",
        "description, certificate, timeout, its consequence, split tunnel and port change in place, and back",
        *(
            {
                "description": description,
                "server_certificate_arn": certificate,
                "session_timeout_hours": hours,
                "split_tunnel": split,
                "disconnect_on_session_timeout": split,
                "vpn_port": 1194 if split else 443,
            }
            for description, certificate, hours, split in (
                ("before", VPN, 12, True),
                ("after", NEW, 8, False),
                ("after", NEW, 8, False),
                ("", NEW, 24, True),
            )
        ),
    ),
    endpoint(
        "selfServicePortal",
        "on, off, on, off, in place; the address is there while it is on",
        *(
            {"self_service_portal": state, "self_service_portal_url": url}
            for state, url in (("enabled", Like("https://.+")), ("disabled", "")) * 2
        ),
    ),
    endpoint(
        "vpcNoSecurityGroups",
        "the VPC's default group appears",
        {"vpc_id": VPC, "security_group_ids": [Of("data.aws_security_group.default")]},
    ),
    endpoint(
        "vpcSecurityGroups",
        "two, one, the other, in place",
        {"vpc_id": VPC, "security_group_ids": [ONE, TWO]},
        {"vpc_id": VPC, "security_group_ids": [ONE]},
        {"vpc_id": VPC, "security_group_ids": [TWO]},
    ),
    Scenario(
        "endpoint",
        "basicDataSource",
        "options",
        "found by id, by tag and by filter, each with the endpoint's own attributes",
        ({**found_alike("by_id"), **found_alike("by_tag"), **found_alike("by_filter")},),
    ),
    rule("basic", "for everyone", {f"{RULE}.basic": for_everyone("10.1.1.0/24")}),
    rule(
        "groups",
        "one, two, another one",
        rules("groups", {"one": for_group("one"), "two": GONE, "three": GONE}),
        rules("groups", {"one": for_group("one"), "two": for_group("two"), "three": GONE}),
        rules("groups", {"one": GONE, "two": GONE, "three": for_group("three")}),
    ),
    rule(
        "subnets",
        "two, one",
        rules("subnets", {cidr: for_everyone(cidr) for cidr in ("10.3.1.0/24", "10.3.2.0/24")}),
        rules("subnets", {"10.3.1.0/24": GONE, "10.3.2.0/24": for_everyone("10.3.2.0/24")}),
    ),
    rule(
        "disappears",
        "revoked behind Terraform's back: a plan makes it anew",
        {f"{RULE}.disappears": for_everyone("10.4.0.0/24")},
        anew=frozenset({f"{RULE}.disappears"}),
    ),
    rule(
        "disappearsEndpoint",
        "its endpoint deleted behind Terraform's back: a plan makes both anew",
        {f"{RULE}.disappearsEndpoint": for_everyone("10.5.0.0/24")},
        anew=frozenset({f"{RULE}.disappearsEndpoint", case("rulesDisappearsEndpoint")}),
    ),
    Scenario(
        "network association",
        "basic",
        "associations",
        "made and ended by the provider, which waits four minutes around each",
        (
            {case("basic-a", ASSOCIATION): association("a"), case("basic"): {}},
            {case("basic-a", ASSOCIATION): association("a"), case("basic"): LEARNED},
        ),
    ),
    Scenario(
        "network association",
        "multipleSubnets",
        "associations",
        "two at once; the endpoint learns VPC and default group",
        tuple(
            {
                **{case(f"several-{zone}", ASSOCIATION): association(zone) for zone in "ab"},
                case("several"): learned,
            }
            for learned in ({}, LEARNED)
        ),
    ),
    Scenario(
        "network association",
        "disappears",
        "associations",
        "disassociated behind Terraform's back: a plan makes it anew",
        ({case("disappears-a", ASSOCIATION): association("a")},),
        anew=frozenset({case("disappears-a", ASSOCIATION)}),
    ),
    Scenario(
        "route",
        "basic",
        "associations",
        "one destination by two subnets",
        ({f'{ROUTE}.basic["{zone}"]': route("0.0.0.0/0", zone, "") for zone in "ab"},),
    ),
    Scenario(
        "route",
        "description",
        "associations",
        "another description is another route",
        tuple({f"{ROUTE}.description": route("172.16.0.0/12", "a", text)} for text in ("far away", "farther away")),
    ),
    Scenario(
        "route",
        "disappears",
        "associations",
        "deleted behind Terraform's back: a plan makes it anew",
        ({f"{ROUTE}.disappears": route("192.168.0.0/16", "a", "")},),
        anew=frozenset({f"{ROUTE}.disappears"}),
    ),
    endpoint(
        "replaced",
        "another client CIDR block, another transport, another authentication: another endpoint each time",
        {"client_cidr_block": "10.100.0.0/16", "transport_protocol": "udp", **ways("certificate")},
        {"client_cidr_block": "10.101.0.0/16", "transport_protocol": "udp", **ways("certificate")},
        {"client_cidr_block": "10.101.0.0/16", "transport_protocol": "tcp", **ways("certificate")},
        {"client_cidr_block": "10.101.0.0/16", "transport_protocol": "tcp", **ways("directory-service")},
        area=OWN,
        replaced=True,
    ),
    Scenario(
        OWN,
        "default and ignored tags",
        "options",
        "the provider's default tags are on everything; what somebody else tags stays, where it is to be ignored",
        ({case("basic"): {TAGS: {"Managed": "terraform"}}, f"{RULE}.basic": {}},),
    ),
    Scenario(
        OWN,
        "transit gateway",
        "options",
        "description, options, CIDR blocks and tags change in place",
        (
            gateway("core", "disable", "enable", "enable", ["10.210.0.0/24"], {"Name": "core"}),
            gateway(
                *("edge", "enable", "enable", "disable"),
                ["10.210.0.0/24", "10.211.0.0/24"],
                {"Name": "core", "Stage": "2"},
            ),
            gateway("edge", "enable", "disable", "disable", ["10.211.0.0/24"], {"Stage": "3"}),
            gateway("edge", "enable", "disable", "enable", ["10.211.0.0/24"], {}),
        ),
    ),
    Scenario(
        OWN,
        "wrong order",
        "options",
        "a VPC, a security group and a certificate in use are not deleted, and nothing is lost",
        ({},),
        refused=(
            ("DeleteCertificate", "ResourceInUseException"),
            ("DeleteSecurityGroup", "DependencyViolation"),
            ("DeleteVpc", "DependencyViolation"),
        ),
    ),
    Scenario(
        OWN,
        "wrong order with associations",
        "associations",
        "a subnet and a VPC in use are not deleted, nor an endpoint with associations, and nothing is lost",
        ({},),
        refused=(
            ("DeleteClientVpnEndpoint", "ClientVpnEndpointAssociationExists"),
            ("DeleteSubnet", "DependencyViolation"),
            ("DeleteVpc", "DependencyViolation"),
        ),
    ),
]


def table():
    """The rows as documentation shows them."""
    lines = ["", "| area | scenario | seen |", "|---|---|---|"]
    lines += [f"| {row.area} | {row.name} | {row.seen} |" for row in SCENARIOS]
    return "\n".join([*lines, "", ""])
