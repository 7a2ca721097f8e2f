"""Thirty-two callers make the same thing at the same moment: it is made once, and each learns what became of its call
(spec §2.0.3, §2.2.5, §2.2.9, §2.2.12)."""

import concurrent.futures
import threading

import pytest

from support.calls import Caller
from support.servers import FABRIC_MISSING, eventually
from support.world import World

THREADS = 32
ROUNDS = 4
END = {"associated"} if FABRIC_MISSING is None else {"association-failed"}
# More than ten operations on an endpoint at once are refused, and the caller is to try again (spec §6).
BUSY = "ConcurrentMutationLimitExceeded"


def at_once(world, action, parameters):
    """The answers of thirty-two equal calls, sent when all have connected."""
    ready = threading.Barrier(THREADS)

    def call(_):
        with Caller(world.server, region=world.region) as caller:
            caller.send("GET", "/health", service=None, keep=True)
            ready.wait(30)
            return caller.ec2_raw(action, parameters, keep=True)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, range(THREADS)))


def codes(replies):
    """How each call went: `done`, or its code."""
    return sorted("done" if reply.status == 200 else reply.code for reply in replies)


def without_id(reply):
    return reply.text.replace(reply.request_id, "")


@pytest.fixture
def rounds(shared, certificates):
    """A fresh region for each round."""
    return [World(shared, certificates) for _ in range(ROUNDS)]


def test_one_association(rounds):
    for world in rounds:
        endpoint, subnet = world.endpoint(), world.subnet(world.vpc())
        given = {"ClientVpnEndpointId": endpoint, "SubnetId": subnet}
        replies = at_once(world, "AssociateClientVpnTargetNetwork", given)
        found = codes(replies)
        assert found.count("done") == 1, found
        assert set(found) <= {"done", BUSY, "InvalidClientVpnDuplicateAssociationException"}, found
        (done,) = (reply for reply in replies if reply.status == 200)
        rows = lambda: world.networks(endpoint)
        assert list(rows()) == [done.root.findtext("{*}associationId")]
        eventually(
            lambda: {row["Status"]["Code"] for row in rows().values()} == END, seconds=30, what="it has come to its end"
        )
        assert [key for key, row in world.routes(endpoint).items() if row["Origin"] == "associate"] == [
            ("10.0.0.0/16", subnet)
        ]


@pytest.mark.fabric
def test_one_route(rounds):
    for world in rounds:
        endpoint, _, subnet, _ = world.associated()
        given = {"ClientVpnEndpointId": endpoint, "DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": subnet}
        found = codes(at_once(world, "CreateClientVpnRoute", given))
        assert found == ["InvalidClientVpnDuplicateRoute"] * (THREADS - 1) + ["done"], found
        assert sorted(world.routes(endpoint)) == [("0.0.0.0/0", subnet), ("10.0.0.0/16", subnet)]


def test_one_rule(rounds):
    for world in rounds:
        endpoint = world.endpoint()
        given = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}
        found = codes(at_once(world, "AuthorizeClientVpnIngress", given))
        assert found == ["InvalidClientVpnDuplicateAuthorizationRule"] * (THREADS - 1) + ["done"], found
        assert list(world.rules(endpoint)) == [("10.0.0.0/16", "")]


def test_one_endpoint_by_its_token(rounds):
    for world in rounds:
        given = {
            "ClientCidrBlock": "10.8.0.0/22",
            "ServerCertificateArn": world.arn,
            "Authentication.1.Type": "certificate-authentication",
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": world.arn,
            "ConnectionLogOptions.Enabled": "false",
            "ClientToken": "at-once",
        }
        replies = at_once(world, "CreateClientVpnEndpoint", given)
        assert codes(replies) == ["done"] * THREADS
        # All are told the same, each under an id of its own.
        assert len({without_id(reply) for reply in replies}) == 1
        assert len({reply.request_id for reply in replies}) == THREADS
        made = [row["ClientVpnEndpointId"] for row in world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]]
        assert made == [replies[0].root.findtext("{*}clientVpnEndpointId")]
