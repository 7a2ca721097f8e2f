"""A marker in every secret input, the log at its lowest level: no marker in any output, nor in any file but its own."""

import base64
import json
import socket

import pytest

from conftest import users_toml
from support import namespaces
from support.calls import Caller, form
from support.servers import FABRIC_MISSING, Certificates, Server, bascule, eventually
from support.world import World

ROOT_SECRET = "CanaryRootSecretOfTheEnvironment00000001"
USER_SECRET = "CanaryUserSecretOfTheFileOfUsers00000002"
BROKEN_SECRET = "CanaryUserSecretOfABrokenFile00000000003"
# Files that exist to hold secrets, in the data directory.
OWN_FILES = {"credentials", "users.toml", "master.key"}
# Parts of calls that the audit trail is there to keep.
KEPT = {"a description"}


def forms(marker):
    """A marker as it is, and as it could have been written down."""
    raw = marker if isinstance(marker, bytes) else marker.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):
        # Base64 of it at any place in something longer.
        text = base64.b64encode(b"\0" * shift + raw)
        yield text[4 : len(text) - len(text) % 4 - 4]
    yield str(list(raw))[1:-1].encode()


class Hunt:
    """Markers: secrets, found nowhere but in the files that are for them; and parts of calls, found in no log."""

    def __init__(self):
        self.secrets, self.calls, self.replies = {}, {}, []

    def check(self, server, more=()):
        texts = {"standard error": server.errors().encode(), "standard output": server.output}
        texts.update({f"output {index}": text for index, text in enumerate(more)})
        files = {path.name: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
        assert OWN_FILES <= set(files) and any(name not in OWN_FILES for name in files)
        for name, marker in self.secrets.items():
            for shape in forms(marker):
                for where, text in {**texts, **{f: t for f, t in files.items() if f not in OWN_FILES}}.items():
                    assert shape not in text, f"{name} stands in {where}"
                for reply in self.replies:
                    assert shape not in reply.body, f"{name} stands in an answer"
        # The audit trail keeps parameters, and of those no token; the log keeps none.
        audit = {path.name: path.read_bytes() for path in (server.data / "audit").iterdir()}
        assert {name.split("-")[0] for name in audit} == {"callers", "strangers"}
        assert all(text.count(b"\n") >= 3 for text in audit.values()), "there is something to be searched"
        for name, marker in self.calls.items():
            for where, text in {**texts, **({} if name in KEPT else audit)}.items():
                assert marker.encode() not in text, f"{name} stands in {where}"


def key_markers(pem, name):
    """The secret of a private key: the PEM's lines, and the bytes."""
    lines = pem.decode().splitlines()[1:-1]
    der = base64.b64decode("".join(lines))
    # The private scalar of a P-256 key in PKCS #8 begins here.
    scalar = der[der.index(b"\x04\x20") + 2 :][:32] if b"\x04\x20" in der else der[40:72]
    return {f"{name} (text)": lines[0][-40:], f"{name} (bytes)": scalar}


@pytest.fixture
def surroundings():
    """A namespace of its own for the kernel fabric's helper, whose output counts too."""
    if FABRIC_MISSING is not None:
        yield False
        return
    with namespaces.fresh():
        yield True


def test_no_secret_is_written_down(surroundings, places):
    hunt = Hunt()
    certificates = Certificates(places.folder())
    hunt.secrets |= {
        "the root secret": ROOT_SECRET,
        "a user's secret": USER_SECRET,
        "a broken file's secret": BROKEN_SECRET,
    }
    hunt.secrets |= key_markers(certificates.pem("vpn.example.com.key"), "a certificate's key")
    hunt.secrets |= key_markers(certificates.pem("alice.key"), "a refused key")
    user = ("AKIACANARYUSER000000", USER_SECRET)
    policies = {"canary": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'}
    server = Server(
        places,
        privileged=surroundings,
        users=users_toml({"canary": user}, policies),
        variables={
            "BASCULE_LOG": "trace",
            "BASCULE_ROOT_ACCESS_KEY_ID": "AKIACANARYROOT000000",
            "BASCULE_ROOT_SECRET_ACCESS_KEY": ROOT_SECRET,
        },
    ).start()
    try:
        outputs = calls(hunt, server, certificates, user)
        server.stop()
        # What a restart reads and writes counts as well.
        server.start()
        assert Caller(server).ec2_raw("DescribeVpcs").status == 200
        server.kill()
        key = (server.data / "master.key").read_bytes().strip()
        hunt.secrets["the master key"] = key[-40:]
        assert "DEBUG" in server.errors(), "the log is at a low level"
        hunt.check(server, outputs)
        # The hunt finds what is there to be found.
        hunt.secrets["an id"] = "AKIACANARYROOT000000"
        with pytest.raises(AssertionError, match="an id stands in"):
            hunt.check(server, outputs)
    finally:
        server.close()


def calls(hunt, server, certificates, user):
    """Calls with a marker in whatever may be secret; other outputs."""
    world = World(server, certificates, "us-east-1")
    root, named = world.root, Caller(server, user)

    def note(reply):
        hunt.replies.append(reply)
        return reply

    # A whole life, signed with both keys, and with wrong ones.
    vpc = world.vpc()
    subnet = world.subnet(vpc)
    endpoint = world.endpoint(ClientToken="CanaryClientToken01", Description="CanaryDescription01")
    hunt.calls |= {"a client token": "CanaryClientToken01", "a description": "CanaryDescription01"}
    association = world.associate(endpoint, subnet)
    note(named.ec2_raw("ExportClientVpnClientConfiguration", {"ClientVpnEndpointId": endpoint}))
    note(named.ec2_raw("DescribeClientVpnEndpoints"))
    note(named.json("CertificateManager.DescribeCertificate", json.dumps({"CertificateArn": world.arn}).encode()))
    note(named.json("CertificateManager.ListCertificates"))
    # Refused certificates, and JSON with a key in the wrong place.
    pem = certificates.pem("alice.key")
    blob = {name: base64.b64encode(value).decode() for name, value in certificates.material("vpn.example.com").items()}
    blob["PrivateKey"] = base64.b64encode(pem).decode()
    for body in (
        json.dumps(blob),
        json.dumps({**blob, "PrivateKey": pem.decode()}),
        json.dumps({**blob, pem.decode(): "x"}),
        json.dumps({**blob, "PrivateKey": [pem.decode()]}),
        json.dumps(blob)[:-1],
        json.dumps({"Certificate": pem.decode()}),
    ):
        reply = note(root.json("CertificateManager.ImportCertificate", body.encode()))
        assert reply.status == 400
    # Signatures, tokens, whole queries and bodies.
    query = form([("Action", "DescribeVpcs"), ("NextToken", "CanaryNextToken0001")])
    hunt.calls["a parameter"] = "CanaryNextToken0001"
    for caller in (root, named):
        target = caller.presigned(query)
        hunt.calls[f"a presigned signature of {caller.key}"] = target.rsplit("=", 1)[1]
        note(root.send("GET", target))
        note(root.send("GET", target.replace("CanaryNextToken0001", "CanaryNextToken0001x")))
    target, headers = root.signed("POST", "", query.encode(), {"X-Amz-Security-Token": "CanarySessionToken1"}, "ec2")
    hunt.secrets["a session token"] = "CanarySessionToken1"
    hunt.calls["a signature"] = headers["Authorization"].rsplit("=", 1)[1]
    note(root.send("POST", target, query.encode(), headers))
    note(root.send("POST", "/", query.encode(), {"Authorization": "Bearer CanaryBearerToken01"}))
    hunt.secrets["a bearer token"] = "CanaryBearerToken01"
    note(root.send("POST", "/?X-Amz-Security-Token=CanarySessionToken1&Action=%zz&password=CanaryPassword00001"))
    hunt.secrets["a password in a query"] = "CanaryPassword00001"
    note(root.send("POST", "/CanaryPath0000000001", b"x"))
    note(root.send("PUT", "/", b"CanaryBody0000000001"))
    hunt.calls["a body"] = "CanaryBody0000000001"
    note(root.ec2_raw("CreateVpc", {"CanaryParameterName1": "CanaryParameterValue"}))
    hunt.calls["an unknown parameter's value"] = "CanaryParameterValue"
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(
            b"GET /?X-Amz-Signature=CanaryBrokenLine001 HTTP/9.9\r\nAuthorization: CanaryBrokenLine001\r\n\r\n"
        )
        while connection.recv(4096):
            pass
    hunt.secrets["a broken request"] = "CanaryBrokenLine001"
    # A file of users that is refused.
    good = (server.data / "users.toml").read_text()
    for broken in (
        good + f'[[user]]\nname = "x"\nsecret_access_key = "{BROKEN_SECRET}\n',
        good + f'[[user]]\nname = "x"\naccess_key_id = "x"\nsecret_access_key = {BROKEN_SECRET}\n',
        good + f'[[user]]\nname = "x"\naccess_key_id = "x"\nsecret_access_key = "s"\n{BROKEN_SECRET} = 1\n',
    ):
        said = server.errors().count("the last good users stay in force")
        server.write_users(broken)
        eventually(lambda: server.errors().count("the last good users stay in force") > said, what="it is refused")
    server.write_users(good)
    world.disassociate(endpoint, association)
    metrics = root.get("/metrics").body
    # The commands beside the server say nothing secret either where something goes wrong.
    done = bascule(
        "profile",
        *("--data-dir", server.data, "--endpoint", "x"),
        *("--cert", certificates.path("alice.crt"), "--key", certificates.path("alice.key")),
    )
    assert done.returncode == 1
    return [metrics, done.stdout.encode(), done.stderr.encode()]
