"""Who may do what, over the wire: accounts of their own, tags of callers, throttling, limits of operations."""

import json

import pytest

from conftest import users_toml
from support.calls import Caller
from support.servers import Server
from support.world import World

ONE = ("AKIAACCOUNTONE000000", "one-one-one-one-one-one-one-one-one-one-")
TWO = ("AKIAACCOUNTTWO000000", "two-two-two-two-two-two-two-two-two-two-")
RED = ("AKIATAGGEDRED0000000", "red-red-red-red-red-red-red-red-red-red-")
ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
TEAM = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ec2:Create*", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "ec2:DeleteClientVpnEndpoint",
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}},
            },
        ],
    }
)


def with_line(text, name, line):
    """A users.toml with one more line for a user."""
    return text.replace(f'name = "{name}"\naccess', f'name = "{name}"\n{line}\naccess')


@pytest.fixture(scope="module")
def served(places):
    """A server with users of two more accounts and one with a tag."""
    users = {"one": ONE, "two": TWO, "red": RED}
    text = users_toml(users, {"one": ALL, "two": ALL, "red": TEAM})
    text = with_line(text, "one", 'account = "111111111111"')
    text = with_line(text, "two", 'account = "222222222222"')
    text = with_line(text, "red", 'tags = { team = "red" }')
    server = Server(places, users=text).start()
    yield server
    server.close()


def test_accounts_see_nothing_of_each_other(served, certificates):
    worlds = {}
    for name, key, account in (("root", None, "0" * 12), ("one", ONE, "1" * 12), ("two", TWO, "2" * 12)):
        world = World(served, certificates, "us-east-1")
        world.root = Caller(served, key)
        worlds[name] = world
        who = world.root.call("sts", "GetCallerIdentity")
        assert who["Account"] == account and f"::{account}:" in who["Arn"]
        assert f":{account}:certificate/" in world.arn
        assert world.ec2("CreateVpc", CidrBlock="10.0.0.0/16")["Vpc"]["OwnerId"] == account
        world.made = world.endpoint()
    names, ids = set(), set()
    for world in worlds.values():
        (row,) = world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]
        assert row["ClientVpnEndpointId"] == world.made
        names.add(row["DnsName"])
        ids |= {vpc["VpcId"] for vpc in world.ec2("DescribeVpcs")["Vpcs"]}
        for other in worlds.values():
            if other is not world:
                assert world.describe(other.made) is None
                error = world.refused("DeleteClientVpnEndpoint", ClientVpnEndpointId=other.made)
                assert error.code == "InvalidClientVpnEndpointId.NotFound"
                error = world.refused("CreateClientVpnEndpoint", **other.endpoint_parameters())
                assert error.code == "InvalidParameterValue"
    assert len(names) == len(ids) == 3


def test_what_a_caller_is_tagged_with(served, certificates):
    world = World(served, certificates, "eu-west-1")
    red = Caller(served, RED, "eu-west-1")
    made = {
        team: world.endpoint(
            TagSpecifications=[{"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "team", "Value": team}]}]
        )
        for team in ("red", "blue")
    }
    for team, code in (("red", "DryRunOperation"), ("blue", "UnauthorizedOperation")):
        parameters = {"ClientVpnEndpointId": made[team], "DryRun": "true"}
        assert red.ec2_raw("DeleteClientVpnEndpoint", parameters).code == code, team


def test_throttling_is_a_setting(make_server):
    limits = "throttle = true\n[throttle-limits]\nread-burst = 5\nread-per-second = 1\n"
    server = make_server(config=limits)
    with Caller(server) as root:
        replies = [root.ec2_raw("DescribeVpcs", keep=True) for _ in range(50)]
    refused = [reply for reply in replies if reply.status != 200]
    assert all(reply.status == 200 for reply in replies[:5])
    assert refused and all((reply.status, reply.code) == (503, "RequestLimitExceeded") for reply in refused)
    assert b"bascule_api_throttled_total" in Caller(server).get("/metrics").body
    with Caller(make_server()) as root:
        assert all(root.ec2_raw("DescribeVpcs", keep=True).status == 200 for _ in range(150))
