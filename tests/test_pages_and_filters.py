"""Pages and filters of all Describes (spec §2.0.4)."""

import pytest

from support import namespaces
from support.servers import FABRIC_MISSING, Server
from support.world import World

END = ("associated",) if FABRIC_MISSING is None else ("association-failed",)
COUNT = 12
CLIENT_VPN = {
    "DescribeClientVpnEndpoints": "ClientVpnEndpoints",
    "DescribeClientVpnTargetNetworks": "ClientVpnTargetNetworks",
    "DescribeClientVpnRoutes": "Routes",
    "DescribeClientVpnAuthorizationRules": "AuthorizationRules",
    "DescribeClientVpnConnections": "Connections",
}
PAGED = {**CLIENT_VPN, "DescribeVpcs": "Vpcs", "DescribeSubnets": "Subnets", "DescribeSecurityGroups": "SecurityGroups"}


class Full(World):
    """A region with many of each thing."""

    def __init__(self, server, certificates):
        super().__init__(server, certificates)
        self.vpcs = [self.vpc(f"10.{number}.0.0/16") for number in range(COUNT)]
        self.subnets = {zone: self.subnet(self.vpcs[0], zone=zone) for zone in "abcdef"}
        self.subnets |= {number: self.subnet(self.vpcs[0], zone="a") for number in range(COUNT - 6)}
        self.endpoints = [
            self.endpoint(
                ClientCidrBlock="10.200.0.0/22",
                TransportProtocol="tcp" if number % 3 == 0 else "udp",
                VpnPort=1194,
                TagSpecifications=[
                    {"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "Name", "Value": f"number-{number}"}]}
                ],
            )
            for number in range(COUNT)
        ]
        # The second is UDP.
        self.busy = self.endpoints[1]
        self.associations = {zone: self.associate(self.busy, self.subnets[zone], until=END) for zone in "abcdef"}
        for number in range(COUNT):
            self.ec2(
                "AuthorizeClientVpnIngress",
                ClientVpnEndpointId=self.busy,
                TargetNetworkCidr=f"10.{number}.0.0/16",
                Description=f"rule {number}",
                **({"AuthorizeAllGroups": True} if number % 2 else {"AccessGroupId": f"group-{number % 3}"}),
            )
            if FABRIC_MISSING is None:
                self.ec2(
                    "CreateClientVpnRoute",
                    ClientVpnEndpointId=self.busy,
                    DestinationCidrBlock=f"172.16.{number}.0/24",
                    TargetVpcSubnetId=self.subnets["a" if number % 2 else "b"],
                )

    def rows(self, action, **more):
        """What an action answers with the busy endpoint, where it takes one."""
        if action in CLIENT_VPN and action != "DescribeClientVpnEndpoints":
            more["ClientVpnEndpointId"] = self.busy
        return self.ec2(action, **more)

    def raw(self, action, parameters):
        """The same with raw parameters."""
        if action in CLIENT_VPN and action != "DescribeClientVpnEndpoints":
            parameters = {"ClientVpnEndpointId": self.busy, **parameters}
        return self.root.ec2_raw(action, parameters)


@pytest.fixture(scope="module")
def full(places, certificates):
    def make():
        arguments = ["--gateway-address", namespaces.POOL] if FABRIC_MISSING is None else []
        config = "[quotas]\nendpoints_per_region = 50\nvpcs_per_region = 50\n"
        server = Server(places, *arguments, privileged=True, config=config).start()
        try:
            yield Full(server, certificates)
        finally:
            server.close()

    if FABRIC_MISSING is None:
        with namespaces.fresh():
            yield from make()
    else:
        yield from make()


@pytest.mark.parametrize("action", PAGED)
@pytest.mark.parametrize("size", [5, 6, 1000, None])
def test_pages_hold_everything_once_and_in_order(full, action, size):
    member = PAGED[action]
    whole = full.rows(action)
    assert "NextToken" not in whole
    rows, token, pages = [], None, 0
    while True:
        more = {"MaxResults": size} if size else {}
        page = full.rows(action, **more, **({"NextToken": token} if token else {}))
        assert len(page[member]) <= (size or 1000)
        rows += page[member]
        pages += 1
        token = page.get("NextToken")
        if token is None:
            break
        assert len(page[member]) == size
    assert rows == whole[member]
    expected = {"DescribeClientVpnTargetNetworks": 6, "DescribeClientVpnConnections": 0}.get(action, COUNT)
    if action == "DescribeClientVpnRoutes":
        # Automatic ones, and those of the fixture.
        expected = 6 + (COUNT if FABRIC_MISSING is None else 0)
    assert len(rows) == expected
    assert pages == max(1, -(-expected // (size or 1000)))


@pytest.mark.parametrize("action", PAGED)
def test_the_size_of_a_page_has_bounds(full, action):
    for wrong in ("4", "0", "-1", "1001", "2147483648"):
        reply = full.raw(action, {"MaxResults": wrong})
        assert (reply.status, reply.code) == (400, "InvalidParameterValue")
        assert reply.message == (
            f"Value ( {wrong} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
        )
    for wrong in ("five", "", "5.0", "+5", " 5"):
        reply = full.raw(action, {"MaxResults": wrong})
        assert (reply.status, reply.code) == (400, "InvalidParameterValue"), wrong
    for right in ("5", "1000", "005"):
        assert full.raw(action, {"MaxResults": right}).status == 200, right


@pytest.mark.parametrize("action", PAGED)
def test_a_token_that_was_never_given_is_refused(full, action):
    for wrong in ("x", "", "AAAA", "é", "A" * 5000, "../..", "null"):
        reply = full.raw(action, {"NextToken": wrong})
        assert (reply.status, reply.code) == (400, "InvalidPaginationToken"), wrong


@pytest.mark.parametrize("action", [*PAGED, "DescribeAvailabilityZones"])
def test_filters_the_action_does_not_know_are_refused(full, action):
    for name in ("nonsense", "Endpoint-Id", "", "x" * 500):
        reply = full.raw(action, {"Filter.1.Name": name, "Filter.1.Value.1": "x"})
        assert (reply.status, reply.code) == (400, "InvalidParameterValue"), name
        # Foreign text is repeated, but not at any length.
        assert len(reply.message) < 400
        if len(name) < 64:
            assert reply.message == f"The filter '{name}' is invalid"
    reply = full.raw(action, {"Filter.1.Value.1": "x"})
    assert (reply.status, reply.code) == (400, "MissingParameter")
    many = {"Filter.1.Name": "vpc-id", **{f"Filter.1.Value.{n}": "x" for n in range(1, 202)}}
    assert full.raw(action, many).code == "FilterLimitExceeded"


ENDPOINT_FILTERS = [
    ({"transport-protocol": ["tcp"]}, {0, 3, 6, 9}),
    ({"transport-protocol": ["udp", "tcp"]}, set(range(COUNT))),
    ({"transport-protocol": ["TCP"]}, set()),
    ({"tag:Name": ["number-1", "number-2"]}, {1, 2}),
    ({"tag:Name": ["number-?"]}, set(range(10))),
    ({"tag:Name": ["*1*"]}, {1, 10, 11}),
    ({"tag:Name": ["\\*"]}, set()),
    ({"tag:name": ["*"]}, set()),
    ({"tag-key": ["Name"]}, set(range(COUNT))),
    ({"tag-key": ["Name"], "transport-protocol": ["tcp"], "tag:Name": ["number-3", "number-4"]}, {3}),
    ({"endpoint-id": ["cvpn-endpoint-*"]}, set(range(COUNT))),
    ({"endpoint-id": []}, set()),
]


def as_filters(wanted):
    return [{"Name": name, "Values": values} for name, values in wanted.items()]


@pytest.mark.parametrize(("wanted", "expected"), ENDPOINT_FILTERS, ids=lambda value: str(value)[:40])
def test_filters_of_endpoints(full, wanted, expected):
    rows = full.rows("DescribeClientVpnEndpoints", Filters=as_filters(wanted))["ClientVpnEndpoints"]
    assert {full.endpoints.index(row["ClientVpnEndpointId"]) for row in rows} == expected


def test_endpoints_by_id(full):
    first, second = full.endpoints[:2]
    rows = full.rows("DescribeClientVpnEndpoints", ClientVpnEndpointIds=[second, first])["ClientVpnEndpoints"]
    assert {row["ClientVpnEndpointId"] for row in rows} == {first, second}
    rows = full.rows("DescribeClientVpnEndpoints", Filters=as_filters({"endpoint-id": [first]}))["ClientVpnEndpoints"]
    assert [row["ClientVpnEndpointId"] for row in rows] == [first]
    # Ids and a page's size together are taken.
    rows = full.rows("DescribeClientVpnEndpoints", ClientVpnEndpointIds=[first], MaxResults=5)["ClientVpnEndpoints"]
    assert len(rows) == 1


def test_filters_of_target_networks(full):
    def zones(**more):
        rows = full.rows("DescribeClientVpnTargetNetworks", **more)["ClientVpnTargetNetworks"]
        return "".join(
            sorted(zone for zone, found in full.associations.items() if found in [r["AssociationId"] for r in rows])
        )

    assert zones() == "abcdef"
    assert zones(AssociationIds=[full.associations["b"]]) == "b"
    assert zones(AssociationIds=[full.associations["c"], full.associations["a"]]) == "ac"
    assert zones(Filters=as_filters({"association-id": [full.associations["d"]]})) == "d"
    assert zones(Filters=as_filters({"target-network-id": [full.subnets["e"], full.subnets["f"]]})) == "ef"
    assert zones(Filters=as_filters({"vpc-id": [full.vpcs[0]]})) == "abcdef"
    assert zones(Filters=as_filters({"vpc-id": [full.vpcs[1]]})) == ""
    # The other spelling, which clients got used to.
    reply = full.raw("DescribeClientVpnTargetNetworks", {"AssociationId.1": full.associations["b"]})
    assert [e.text for e in reply.root.iter() if e.tag.endswith("}associationId")] == [full.associations["b"]]


def test_filters_of_rules(full):
    def numbers(wanted):
        rows = full.rows("DescribeClientVpnAuthorizationRules", Filters=as_filters(wanted))["AuthorizationRules"]
        return sorted(int(row["Description"].split()[1]) for row in rows)

    assert numbers({"destination-cidr": ["10.3.0.0/16"]}) == [3]
    assert numbers({"destination-cidr": ["10.1?.0.0/16"]}) == [10, 11]
    assert numbers({"group-id": ["group-0"]}) == [0, 6]
    assert numbers({"group-id": [""]}) == [1, 3, 5, 7, 9, 11]
    assert numbers({"description": ["rule 1", "rule 2"]}) == [1, 2]
    assert numbers({"description": ["RULE 1"]}) == []
    assert numbers({"group-id": ["group-*"], "destination-cidr": ["10.4.0.0/16", "10.5.0.0/16"]}) == [4]


@pytest.mark.fabric
def test_filters_of_routes(full):
    def count(wanted):
        return len(full.rows("DescribeClientVpnRoutes", Filters=as_filters(wanted))["Routes"])

    assert count({"origin": ["associate"]}) == 6
    assert count({"origin": ["add-route"]}) == COUNT
    assert count({"destination-cidr": ["10.0.0.0/16"]}) == 6
    # As Terraform looks a route up: exactly one.
    assert count({"destination-cidr": ["10.0.0.0/16"], "target-subnet": [full.subnets["a"]]}) == 1
    assert count({"destination-cidr": ["172.16.1.0/24"], "target-subnet": [full.subnets["a"]]}) == 1
    assert count({"destination-cidr": ["172.16.1.0/24"], "target-subnet": [full.subnets["b"]]}) == 0


def test_filters_of_connections(full):
    for name in ("connection-id", "username"):
        assert full.rows("DescribeClientVpnConnections", Filters=as_filters({name: ["x"]})) == {"Connections": []}


def test_filters_of_networks(full):
    vpc = full.vpcs[0]
    rows = full.rows("DescribeSubnets", Filters=as_filters({"vpc-id": [vpc], "availability-zone": [f"{full.region}b"]}))
    assert [row["SubnetId"] for row in rows["Subnets"]] == [full.subnets["b"]]
    rows = full.rows("DescribeVpcs", Filters=as_filters({"cidr": ["10.7.0.0/16"]}))["Vpcs"]
    assert [row["VpcId"] for row in rows] == [full.vpcs[7]]
    rows = full.rows("DescribeSecurityGroups", Filters=as_filters({"vpc-id": [vpc], "group-name": ["default"]}))
    assert [row["VpcId"] for row in rows["SecurityGroups"]] == [vpc]
    rows = full.rows("DescribeAvailabilityZones", Filters=as_filters({"zone-name": [f"{full.region}a"]}))
    assert [row["ZoneName"] for row in rows["AvailabilityZones"]] == [f"{full.region}a"]
