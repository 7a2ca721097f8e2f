"""`/_bascule/…` from outside: an account deleted, saved and restored, with clients that are really connected."""

import json
import subprocess

import botocore.auth
import botocore.awsrequest
import pytest

from support import namespaces
from support.calls import Caller
from support.servers import BINARY, bascule, environment, eventually
from support.world import World

EVERYTHING = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
EC2 = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}'
ONE, TWO, WEAK = (("AKIA" + name * 16, name.lower() * 40) for name in "ABC")


def users():
    """An account for each of two tests, and somebody who may use EC2 alone."""
    text = ""
    for name, document in (("everything", EVERYTHING), ("ec2", EC2)):
        text += f"[[policy]]\nname = \"{name}\"\ndocument = '''{document}'''\n"
    for account, (key, secret), policy in (("1" * 12, ONE, "everything"), ("2" * 12, TWO, "everything"), ("1" * 12, WEAK, "ec2")):
        name = "weak" if policy == "ec2" else "tester"
        text += f'[[user]]\nname = "{name}"\naccount = "{account}"\naccess_key_id = "{key}"\n'
        text += f'secret_access_key = "{secret}"\npolicies = ["{policy}"]\n'
    return text


def own(caller, name, body=b"", headers=None):
    """A signed call of Bascule's own; status and document."""
    url = f"/_bascule/{name}"
    request = botocore.awsrequest.AWSRequest("POST", caller.server.url + url, data=body, headers=headers or {})
    botocore.auth.SigV4Auth(caller.credentials(), "bascule", caller.region).add_auth(request)
    reply = caller.send("POST", url, body, dict(request.headers.items()))
    assert reply.headers["Content-Type"] == "application/json"
    return reply.status, json.loads(reply.body)


class Connected:
    """An account with an endpoint, and a client connected to it for as long as it may."""

    def __init__(self, server, certificates, places, key=None):
        self.world = World(server, certificates)
        self.world.root.key = key
        self.endpoint, self.association, self.subnet, self.vpc = self.world.associated()
        self.world.ec2(
            "AuthorizeClientVpnIngress",
            ClientVpnEndpointId=self.endpoint, TargetNetworkCidr="10.0.0.0/16", AuthorizeAllGroups=True,
        )
        text = self.world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=self.endpoint)
        cert, key = (certificates.pem(f"alice.{kind}").decode() for kind in ("crt", "key"))
        self.profile = places.folder() / "alice.ovpn"
        self.profile.write_text(f"{text['ClientConfiguration']}\n<cert>\n{cert}</cert>\n<key>\n{key}</key>\n")

    def client(self, seconds=60):
        """A client that stays."""
        return subprocess.Popen(
            ["timeout", str(seconds), BINARY, "client", self.profile],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def connects(self):
        """Whether a client gets in now."""
        done = bascule("client", self.profile, "--expect", "deny 192.0.2.9 within 200ms", "--connect-within", "1")
        return done.returncode == 0

    def live(self):
        """Live connections of the endpoint."""
        rows = self.world.ec2("DescribeClientVpnConnections", ClientVpnEndpointId=self.endpoint)["Connections"]
        return [row for row in rows if row["Status"]["Code"] == "active"]


@pytest.fixture
def server(make_server):
    """In user space, with two more accounts."""
    return make_server("--fabric", "userspace", users=users())


def connections(server):
    """How many clients the gateway carries."""
    text = Caller(server).get("/metrics").text
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("bascule_connections "))


def test_two_accounts_are_reset_independently_and_sessions_end_before_the_answer(server, certificates, places):
    one, two = (Connected(server, certificates, places, key) for key in (ONE, TWO))
    clients = [account.client() for account in (one, two)]
    try:
        for account in (one, two):
            eventually(account.live, what="the client is connected")
        status, answer = own(Caller(server, WEAK), "reset")
        assert (status, answer["error"]) == (403, "AccessDenied"), answer
        assert own(one.world.root, "reset") == (200, {"account": "1" * 12})
        # No later than the answer: nothing is there, nobody is carried, nobody gets in.
        assert connections(server) == 1
        assert one.world.status(one.endpoint) is None
        assert not one.world.ec2("DescribeVpcs")["Vpcs"]
        assert not one.connects()
        assert len(two.live()) == 1 and two.connects()
        assert two.world.status(two.endpoint) == "available"
        assert own(two.world.root, "reset")[0] == 200
        assert connections(server) == 0
    finally:
        for client in clients:
            client.terminate()
            client.wait(10)
            client.stdout.close()


def test_a_saved_state_comes_back_with_its_ids_profiles_and_effects(server, certificates, places):
    account = Connected(server, certificates, places, ONE)
    before = account.world.everything()
    networks = account.world.networks(account.endpoint)
    status, snapshot = own(account.world.root, "snapshot")
    assert status == 200 and "PRIVATE" not in json.dumps(snapshot)
    document = json.dumps(snapshot).encode()

    account.world.disassociate(account.endpoint, account.association)
    more = account.world.associated()[0]
    assert own(account.world.root, "restore", document)[0] == 200
    # In force with the answer.
    assert account.connects()
    assert account.world.status(more) is None
    assert account.world.everything() == before
    assert account.world.networks(account.endpoint) == networks

    assert own(account.world.root, "reset")[0] == 200
    assert not account.connects()
    assert own(account.world.root, "restore", document)[0] == 200
    assert account.connects() and account.world.everything() == before

    # It is this account's, of this server, and of this version.
    assert own(Caller(server, TWO), "restore", document)[1]["error"] == "InvalidSnapshot"
    later = json.dumps({**snapshot, "bascule-snapshot": 2}).encode()
    assert own(account.world.root, "restore", later)[1]["error"] == "UnknownFormat"
    # And it outlives the server.
    server.kill()
    server.start()
    assert own(account.world.root, "restore", document)[0] == 200
    assert account.connects()


def test_another_servers_key_does_not_open_it(server, make_server):
    other = make_server()
    document = json.dumps(own(Caller(server), "snapshot")[1]).encode()
    status, answer = own(Caller(other), "restore", document)
    assert (status, answer["error"]) == (400, "InvalidSnapshot") and "master key" in answer["message"]


def test_the_command_line_and_curl(server, certificates, places):
    account = Connected(server, certificates, places)
    key, secret = server.root_key
    here = environment(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
    file = places.folder() / "state"
    for arguments in (["save", file], ["reset"], ["load", file]):
        done = bascule("state", *arguments, env=here)
        assert done.returncode == 0, done.stderr
        assert (account.world.status(account.endpoint) is None) == (arguments == ["reset"])
    assert file.stat().st_mode & 0o777 == 0o600
    done = bascule("state", "load", places.folder() / "nothing", env=here)
    assert done.returncode == 1 and "cannot read" in done.stderr
    command = ["curl", "-s", "-w", " %{http_code}", "-X", "POST", f"{server.url}/_bascule/reset"]
    signed = ["--aws-sigv4", "aws:amz:us-east-1:bascule", "--user", f"{key}:{secret}"]
    run = lambda *more: subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
    assert run().endswith(" 403")
    assert run(*signed) == '{"account":"000000000000"} 200'
    assert account.world.status(account.endpoint) is None


def test_dev_open_takes_local_programs_without_a_signature(make_server):
    caller = Caller(make_server("--dev-open"))
    caller.ec2("CreateVpc", CidrBlock="10.0.0.0/16")
    page = {"Origin": "http://evil.example"}
    assert caller.send("POST", "/_bascule/reset", headers=page).status == 403
    assert caller.send("POST", "/_bascule/reset", headers={"Host": "evil.example"}).status == 403
    assert len(caller.ec2("DescribeVpcs")["Vpcs"]) == 1
    assert caller.send("POST", "/_bascule/reset").status == 200
    assert not caller.ec2("DescribeVpcs")["Vpcs"]


def kernel():
    """What a server has in the kernel of this namespace: links, rules, filters."""
    commands = (["ip", "-o", "link"], ["ip", "rule"], ["nft", "-s", "list", "ruleset"])
    texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    return [{line.split(":")[1] for line in texts[0].splitlines()}, *texts[1:]]


@pytest.mark.fabric
def test_a_reset_takes_devices_rules_and_filters_out_of_the_kernel(make_server, certificates, places, own_namespace):
    server = make_server("--gateway-address", namespaces.POOL, privileged=True)
    before = kernel()
    account = Connected(server, certificates, places)
    assert all(now != then for now, then in zip(kernel(), before))
    document = json.dumps(own(account.world.root, "snapshot")[1]).encode()
    with_it = kernel()
    assert own(account.world.root, "reset")[0] == 200
    assert kernel() == before
    assert own(account.world.root, "restore", document)[0] == 200
    assert len(kernel()[0]) == len(with_it[0])
