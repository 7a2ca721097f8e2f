"""`users.toml`: users, keys and policies, read again while the server runs; a broken file changes nothing."""

import itertools
import json
import os
import stat
import subprocess

import pytest

from conftest import users_toml
from support.calls import Caller
from support.servers import Server, bascule, eventually
from support.world import World

KEY = ("AKIAUSER000000000000", "user-user-user-user-user-user-user-user")
OTHER = ("AKIAOTHER00000000000", "other-other-other-other-other-other-oth")
PARAMETERS = {"CidrBlock": "10.0.0.0/16"}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*", **more):
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


@pytest.fixture(scope="module")
def served(places, certificates):
    """A server with an endpoint that has a tag, and another without."""
    server = Server(places).start()
    world = World(server, certificates, "us-east-1")
    tags = [{"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "team", "Value": "red"}]}]
    endpoints = {"red": world.endpoint(TagSpecifications=tags), "plain": world.endpoint()}
    yield server, world, endpoints
    server.close()


_files = itertools.count(1)


def put_all(server, documents, key=KEY):
    """Puts users in force, one for each policy, and waits until they are; a caller for each."""
    number = next(_files)
    keys = {name: (f"{key[0]}{index}", key[1]) for index, name in enumerate(documents)}
    users = {f"{name}-{number}": keys[name] for name in documents}
    server.write_users(users_toml(users, {f"{name}-{number}": text for name, text in documents.items()}))
    callers = {name: Caller(server, keys[name]) for name in documents}

    def in_force():
        name, caller = next(iter(callers.items()))
        reply = caller.query([("Action", "GetCallerIdentity"), ("Version", "2011-06-15")], service="sts")
        return reply.status == 200 and f"user/{name}-{number}<" in reply.text

    eventually(in_force, what="the file is read again")
    return callers


def put(server, document, key=KEY):
    """The same for one user."""
    return put_all(server, {"user": document}, key)["user"]


def may(caller, action, **parameters):
    code = caller.ec2_raw(action, {**parameters, "DryRun": "true"}).code
    assert code in ("DryRunOperation", "UnauthorizedOperation"), code
    return code == "DryRunOperation"


def test_policies(served):
    server, world, endpoints = served
    red, plain = ({"ClientVpnEndpointId": endpoints[name]} for name in ("red", "plain"))
    arn = f"arn:aws:ec2:us-east-1:000000000000:client-vpn-endpoint/{endpoints['red']}"
    subnets = "arn:aws:ec2:us-east-1:000000000000:subnet/*"
    association = {**red, "SubnetId": "subnet-0123456789abcdef0"}
    tagged = {**PARAMETERS, "TagSpecification.1.ResourceType": "vpc", "TagSpecification.1.Tag.1.Key": "a"}
    team = {"StringEquals": {"ec2:ResourceTag/team": "red"}}
    here, there = ({"IpAddress": {"aws:SourceIp": block}} for block in ("127.0.0.0/8", "192.0.2.0/24"))
    delete, export, associate = (
        "DeleteClientVpnEndpoint",
        "ExportClientVpnClientConfiguration",
        "AssociateClientVpnTargetNetwork",
    )
    # A name, a policy, and what it lets do and what not.
    rows = [
        ("prefix", policy(allow("ec2:Create*")), [("CreateVpc", PARAMETERS)], [("DescribeSubnets", {})]),
        ("deny", policy(allow("*"), deny(f"ec2:{delete}", arn)), [(delete, plain)], [(delete, red)]),
        ("resource", policy(allow(f"ec2:{export}", arn)), [(export, red)], [(export, plain)]),
        ("tag", policy(allow("ec2:*ClientVpn*", Condition=team)), [(delete, red)], [(delete, plain)]),
        ("here", policy(allow("ec2:DescribeSubnets", Condition=here)), [("DescribeSubnets", {})], []),
        ("there", policy(allow("*", Condition=there)), [], [("DescribeSubnets", {})]),
        # Each resource a call touches is asked for.
        ("one", policy(allow(f"ec2:{associate}", arn)), [], [(associate, association)]),
        ("both", policy(allow(f"ec2:{associate}", [arn, subnets])), [(associate, association)], []),
        # And tagging while creating is a permission of its own.
        ("create", policy(allow("ec2:CreateVpc")), [("CreateVpc", PARAMETERS)], [("CreateVpc", tagged)]),
        ("tagging", policy(allow(["ec2:CreateVpc", "ec2:CreateTags"])), [("CreateVpc", tagged)], []),
    ]
    callers = put_all(server, {name: document for name, document, _, _ in rows})
    for name, _, yes, no in rows:
        for expected, calls in ((True, yes), (False, no)):
            for action, parameters in calls:
                assert may(callers[name], action, **parameters) == expected, (name, action)
    assert not may(callers["resource"].in_region("eu-west-1"), export, **red)


def test_what_is_denied_has_no_effect(served):
    server, world, endpoints = served
    caller = put(server, policy(allow("ec2:Describe*")))
    before = world.everything()
    for action, parameters in (
        ("CreateVpc", PARAMETERS),
        ("DeleteClientVpnEndpoint", {"ClientVpnEndpointId": endpoints["plain"]}),
    ):
        reply = caller.ec2_raw(action, parameters)
        assert (reply.status, reply.code) == (403, "UnauthorizedOperation")
    assert world.everything() == before


BROKEN = {
    "no TOML": "[[user]\nname =",
    "unknown key": '[[user]]\nname = "a"\naccess_key_id = "A"\nsecret_access_key = "sixteen-characters"\nadmin = true\n',
    "secret too short": '[[user]]\nname = "a"\naccess_key_id = "A"\nsecret_access_key = "canary-short"\n',
    "policy that is not there": '[[user]]\nname = "a"\naccess_key_id = "A"\nsecret_access_key = "sixteen-characters"\npolicies = ["p"]\n',
    "policy that does not parse": '[[policy]]\nname = "p"\ndocument = "{"\n',
    "policy without an effect": '[[policy]]\nname = "p"\ndocument = \'{"Version":"2012-10-17","Statement":[{"Action":"*","Resource":"*"}]}\'\n',
    "the same key twice": 2 * '[[user]]\nname = "a"\naccess_key_id = "A"\nsecret_access_key = "sixteen-characters"\n',
    "not UTF-8": b"\xff\xfe",
    "a user's key is the root's": None,
}


@pytest.fixture(scope="module")
def good(served):
    """A user whose file stays the last good one while all broken ones come."""
    return put(served[0], policy(allow("ec2:DescribeSubnets")))


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_keeps_the_last_good_one(served, good, what):
    server, _, _ = served
    caller = good
    text = BROKEN[what]
    if text is None:
        text = users_toml({"root2": (server.root_key[0], "sixteen-characters-and-more")}, {})
    said = server.errors().count("the last good users stay in force")
    path = server.data / "users.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    eventually(lambda: server.errors().count("the last good users stay in force") == said + 1, what="the log says why")
    assert may(caller, "DescribeSubnets") and not may(caller, "CreateVpc", **PARAMETERS)
    assert "canary-short" not in server.errors()
    line = [line for line in server.errors().splitlines() if "the last good users stay in force" in line][-1]
    assert str(path) in line


def test_a_user_who_is_taken_out_is_nobody(served):
    server, world, _ = served
    first = put(server, policy(allow("*")))
    second = put(server, policy(allow("*")), OTHER)
    reply = first.ec2_raw("DescribeSubnets")
    assert (reply.status, reply.code) == (401, "AuthFailure")
    assert may(second, "DescribeSubnets")
    (server.data / "users.toml").unlink()
    eventually(lambda: second.ec2_raw("DescribeSubnets").status == 401, what="without a file there are no users")
    assert world.ec2("DescribeVpcs") is not None


def test_a_broken_file_at_the_start_is_said(make_server):
    server = make_server(start=False, users="[[user]\n")
    server.launch()
    assert server.process.wait(30) == 2
    assert "users.toml" in server.errors() and "line 1" in server.errors()


def test_files_are_their_owners_alone(make_server):
    server = make_server()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.data.iterdir()}
    for name in ("credentials", "master.key"):
        assert modes[name] == 0o600, name
    assert modes["store.redb"] & 0o077 == 0
    key, secret = server.root_key
    assert key.startswith("AKIA") and len(key) == 20 and len(secret) == 40


def test_the_root_key_of_the_environment(make_server):
    given = ("AKIAENVIRONMENT00000", "environment-environment-environment-envi")
    variables = {"BASCULE_ROOT_ACCESS_KEY_ID": given[0], "BASCULE_ROOT_SECRET_ACCESS_KEY": given[1]}
    server = make_server(variables=variables)
    assert server.root_key == given
    assert Caller(server).ec2_raw("DescribeVpcs").status == 200
    # The first start decides; later ones do not change it.
    assert server.stop() == 0
    server.variables = {
        "BASCULE_ROOT_ACCESS_KEY_ID": "AKIALATER00000000000",
        "BASCULE_ROOT_SECRET_ACCESS_KEY": "later" * 8,
    }
    server.start()
    assert server.root_key == given
    assert Caller(server, given).ec2_raw("DescribeVpcs").status == 200
    half = make_server(start=False, variables={"BASCULE_ROOT_ACCESS_KEY_ID": given[0]})
    half.launch()
    assert half.process.wait(30) == 2 and "BASCULE_ROOT_SECRET_ACCESS_KEY" in half.errors()


def test_there_is_no_key_without_a_server(make_server):
    one, other = make_server(), make_server()
    assert one.root_key != other.root_key
    assert Caller(other, one.root_key).ec2_raw("DescribeVpcs").code == "AuthFailure"


def test_profile_uses_the_data_directory(make_server, certificates):
    server = make_server()
    world = World(server, certificates, "us-east-1")
    endpoint = world.endpoint()
    arguments = [
        "--endpoint",
        endpoint,
        "--cert",
        certificates.path("alice.crt"),
        "--key",
        certificates.path("alice.key"),
    ]
    done = bascule("profile", "--data-dir", server.data, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("client\n")
    key = certificates.pem("alice.key").decode().strip()
    assert f"<key>\n{key}\n</key>" in done.stdout
    done = bascule("profile", "--data-dir", server.data, *arguments[:-1], certificates.path("ca.key"))
    assert done.returncode == 1 and "is not the key of" in done.stderr
    done = bascule(
        "profile", "--data-dir", server.data, "--endpoint", "cvpn-endpoint-0123456789abcdef0", *arguments[2:]
    )
    assert done.returncode == 1 and "InvalidClientVpnEndpointId.NotFound" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: there is nobody else to read the files")
def test_nobody_else_reads_them(make_server):
    server = make_server()
    os.chown(server.data, 0, 0)
    for path in server.data.iterdir():
        os.chown(path, 0, 0)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", *server.data.iterdir()],
        capture_output=True,
    )
    assert done.returncode != 0 and done.stdout == b""
