"""The life of associations as the API shows it, on the kernel fabric (spec §1.2 to §1.11, Appendix D)."""

import json
import subprocess
import time

import pytest

from support import namespaces
from support.servers import eventually
from support.world import World

pytestmark = pytest.mark.fabric
# From the call of a last disassociation to the first answer that shows it done.
SEED_SECONDS = 1.0


def create_route(world, endpoint, subnet, destination):
    return world.ec2(
        "CreateClientVpnRoute",
        ClientVpnEndpointId=endpoint,
        DestinationCidrBlock=destination,
        TargetVpcSubnetId=subnet,
    )


def links():
    done = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True)
    return {row["ifname"] for row in json.loads(done.stdout)}


def leftovers():
    """What a server has put into the kernel of this namespace."""
    rules = subprocess.run(["ip", "rule"], check=True, capture_output=True, text=True).stdout
    tables = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    routes = subprocess.run(["ip", "route", "show", "table", "all"], check=True, capture_output=True, text=True).stdout
    return links(), rules, tables, routes


def test_association_opens_the_endpoint(world):
    vpc = world.vpc()
    subnet = world.subnet(vpc)
    endpoint = world.endpoint()
    row = world.describe(endpoint)
    assert row["Status"] == {"Code": "pending-associate"}
    assert "VpcId" not in row and row["SecurityGroupIds"] == [] and world.routes(endpoint) == {}
    association = world.associate(endpoint, subnet, until=("associated",))
    row = world.describe(endpoint)
    assert row["Status"] == {"Code": "available"}
    # The endpoint is bound to the VPC and has its default group from now on.
    (group,) = world.ec2("DescribeSecurityGroups")["SecurityGroups"]
    assert (row["VpcId"], row["SecurityGroupIds"]) == (vpc, [group["GroupId"]])
    assert row["AssociatedTargetNetworks"] == [{"NetworkId": subnet, "NetworkType": "vpc"}]
    assert world.networks(endpoint) == {
        association: {
            "AssociationId": association,
            "VpcId": vpc,
            "TargetNetworkId": subnet,
            "ClientVpnEndpointId": endpoint,
            "Status": {"Code": "associated"},
            "SecurityGroups": [group["GroupId"]],
        }
    }
    assert world.routes(endpoint) == {
        ("10.0.0.0/16", subnet): {
            "ClientVpnEndpointId": endpoint,
            "DestinationCidr": "10.0.0.0/16",
            "TargetSubnet": subnet,
            "Type": "Nat",
            "Origin": "associate",
            "Status": {"Code": "active"},
            "Description": "Default Route",
        }
    }


def test_the_last_disassociation(world):
    endpoint, association, subnet, vpc = world.associated()
    create_route(world, endpoint, subnet, "0.0.0.0/0")
    create_route(world, endpoint, "local", "10.8.0.0/22")
    rule = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": True}
    world.ec2("AuthorizeClientVpnIngress", **rule)
    assert len(world.routes(endpoint)) == 3
    started = time.monotonic()
    answer = world.ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
    assert answer == {"AssociationId": association, "Status": {"Code": "disassociating"}}

    def done():
        row = world.describe(endpoint)
        networks, routes = world.networks(endpoint), world.routes(endpoint)
        # Never half: as long as the association is there it says disassociating, and its routes deleting.
        if row["Status"]["Code"] == "available":
            assert [network["Status"]["Code"] for network in networks.values()] in (["disassociating"], [])
            assert {route["Status"]["Code"] for route in routes.values()} <= {"deleting"}
            return False
        assert row["Status"] == {"Code": "pending-associate"}
        assert (networks, routes) == ({}, {})
        return True

    eventually(done, seconds=SEED_SECONDS, what="pending-associate, without association and routes")
    assert time.monotonic() - started < SEED_SECONDS
    # What survives it.
    row = world.describe(endpoint)
    assert row["VpcId"] == vpc and row["SecurityGroupIds"] and row["AssociatedTargetNetworks"] == []
    assert list(world.rules(endpoint)) == [("10.0.0.0/16", "")]
    error = world.refused(
        "CreateClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0", TargetVpcSubnetId=subnet
    )
    assert error.code == "InvalidClientVpnActiveAssociationNotFound"
    assert world.ec2("DescribeClientVpnConnections", ClientVpnEndpointId=endpoint) == {"Connections": []}
    # It comes back with the automatic route only, and then goes for good.
    again = world.associate(endpoint, subnet, until=("associated",))
    assert again != association and world.status(endpoint) == "available"
    assert list(world.routes(endpoint)) == [("10.0.0.0/16", subnet)]
    world.disassociate(endpoint, again)
    assert world.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint) == {"Status": {"Code": "deleting"}}
    eventually(lambda: world.status(endpoint) is None, seconds=2, what="the endpoint is gone")


def test_twenty_nights_in_a_row(world):
    """People disassociate every evening to save cost."""
    endpoint, association, subnet, _ = world.associated()
    for _ in range(20):
        started = time.monotonic()
        world.disassociate(endpoint, association)
        eventually(
            lambda: world.status(endpoint) == "pending-associate", seconds=SEED_SECONDS, what="pending-associate"
        )
        assert time.monotonic() - started < SEED_SECONDS
        association = world.associate(endpoint, subnet, until=("associated",))
        assert world.status(endpoint) == "available"
    assert len(world.routes(endpoint)) == 1


def test_one_of_two_leaves_the_other_alone(world):
    endpoint, first, subnet, vpc = world.associated()
    other = world.subnet(vpc, zone="b")
    second = world.associate(endpoint, other, until=("associated",))
    for target in (subnet, other):
        create_route(world, endpoint, target, "0.0.0.0/0")
    assert len(world.routes(endpoint)) == 4
    world.disassociate(endpoint, first)
    assert world.status(endpoint) == "available"
    assert set(world.routes(endpoint)) == {("10.0.0.0/16", other), ("0.0.0.0/0", other)}
    assert world.networks(endpoint)[second]["Status"] == {"Code": "associated"}
    # The zone is free again, also for another subnet.
    third = world.associate(endpoint, world.subnet(vpc, zone="a"), until=("associated",))
    for association in (second, third):
        world.disassociate(endpoint, association)
    eventually(lambda: world.status(endpoint) == "pending-associate", what="pending-associate")
    assert world.routes(endpoint) == {}


def test_disassociating_again_is_no_mistake(world):
    endpoint, association, _, _ = world.associated()
    on = {"ClientVpnEndpointId": endpoint, "AssociationId": association}
    answers = [world.root.ec2_raw("DisassociateClientVpnTargetNetwork", on) for _ in range(2)]
    # The second came either while it was under way, or after.
    assert answers[0].status == 200
    assert answers[1].status == 200 or answers[1].code == "InvalidClientVpnAssociationIdNotFound"


def test_two_endpoints_with_the_same_client_block(world):
    vpc = world.vpc()
    subnet = world.subnet(vpc)
    endpoints = [world.endpoint(), world.endpoint()]
    found = {endpoint: world.associate(endpoint, subnet, until=("associated",)) for endpoint in endpoints}
    world.disassociate(endpoints[0], found[endpoints[0]])
    assert [world.status(endpoint) for endpoint in endpoints] == ["pending-associate", "available"]


def test_tcp_is_served_or_says_why_not(world):
    endpoint = world.endpoint(TransportProtocol="tcp")
    subnet = world.subnet(world.vpc())
    association = world.associate(endpoint, subnet)
    status = world.networks(endpoint)[association]["Status"]
    if status["Code"] == "association-failed":
        assert "tcp" in status["Message"].lower()
        assert world.status(endpoint) == "pending-associate"
    else:
        assert status == {"Code": "associated"} and world.status(endpoint) == "available"
    world.disassociate(endpoint, association)
    eventually(lambda: world.status(endpoint) == "pending-associate", seconds=SEED_SECONDS, what="pending-associate")


def test_nothing_is_left_in_the_kernel(own_namespace, make_server, certificates):
    before = leftovers()
    server = make_server("--gateway-address", namespaces.POOL, privileged=True)
    world = World(server, certificates)
    endpoint, association, subnet, _ = world.associated()
    create_route(world, endpoint, subnet, "0.0.0.0/0")
    during = leftovers()
    assert len(during[0]) == len(before[0]) + 1 and all(a != b for a, b in zip(before[1:], during[1:]))
    world.disassociate(endpoint, association)
    eventually(lambda: leftovers() == before, seconds=2, what="all is as it was before")
    # The same when it is stopped, and again when it is killed and started.
    world.associate(endpoint, subnet, until=("associated",))
    assert server.stop() == 0
    eventually(lambda: leftovers() == before, seconds=2, what="all is as it was before")
    server.start()
    eventually(lambda: world.status(endpoint) == "available" and leftovers() != before, what="it is back")
    server.kill()
    server.start()
    eventually(lambda: world.status(endpoint) == "available", what="it is back")
    (association,) = world.networks(endpoint)
    world.disassociate(endpoint, association)
    eventually(lambda: leftovers() == before, seconds=2, what="all is as it was before")
