"""docs/runbooks.md: what is seen is made, what it tells to type is typed, and then it is well again."""

import datetime
import os
import re
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support import shell
from support.calls import Caller, Refused
from support.servers import FABRIC_MISSING, NOBODY, ROOT, Certificates, bascule, eventually
from support.world import World

PAGE = "docs/runbooks.md"
TITLES = re.findall(r"^## (.*)$", (ROOT / PAGE).read_text(), re.M)
# A certificate that ends soon ends this long after it was made.
SECONDS = 3


@pytest.fixture
def own(places):
    """An authority of the test's own, which it may change."""
    return Certificates(places.folder())


def typed(title, server, certificates, number=0, **variables):
    """Runs a block of the page on a server; what it printed."""
    block = shell.blocks(PAGE, title)[number]
    settings = {
        "DIR": server.data,
        "PKI": certificates.folder,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": server.data / "credentials",
    }
    return shell.run(block, server.folder, **{**settings, **variables})


def said(server, words):
    """Waits until the log says so, in the page's words."""
    assert words in (ROOT / PAGE).read_text(), words
    eventually(lambda: words in server.errors(), what=f"the log says: {words}")


def connects(server, world, endpoint, certificates, profile=None):
    """Whether a client of our own gets a tunnel; what it printed."""
    if profile is None:
        text = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]
        cert, key = (certificates.pem(f"alice.{kind}").decode() for kind in ("crt", "key"))
        profile = server.folder / "alice-now.ovpn"
        profile.write_text(f"{text}\n<cert>\n{cert}</cert>\n<key>\n{key}</key>\n")
    done = bascule("client", profile, "--connect-within", "4", "--expect", "deny 10.0.255.1:9 within 1s")
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def carrying(make_server, own):
    """A server in user space with an endpoint that clients can connect to: server, world, endpoint."""
    server = make_server("--fabric", "userspace")
    world = World(server, own, "us-east-1")
    endpoint, *_ = world.associated()
    world.ec2(
        "AuthorizeClientVpnIngress", ClientVpnEndpointId=endpoint, TargetNetworkCidr="10.0.0.0/16",
        AuthorizeAllGroups=True,
    )
    return server, world, endpoint


def touch(world, endpoint):
    """Lets the server look at an endpoint now, and not within the minute."""
    world.ec2(
        "AuthorizeClientVpnIngress", ClientVpnEndpointId=endpoint, TargetNetworkCidr="10.1.0.0/24",
        AuthorizeAllGroups=True,
    )


def test_locked_out(make_server, own):
    server = make_server()
    lost = server.root_key
    (server.data / "credentials").unlink()
    out = typed("Locked out", server, own)
    assert lost[0] in out and "arn:aws:iam::000000000000:root" in out
    assert server.root_key[0] != lost[0]
    # Both are active now: the page says what makes room.
    done = bascule("keys", "rotate", "--data-dir", server.data)
    assert done.returncode == 1 and "both" in done.stderr and "disable" in done.stderr
    assert bascule("keys", "disable", lost[0], "--data-dir", server.data).returncode == 0
    eventually(lambda: Caller(server, lost).ec2_raw("DescribeVpcs").status == 401, what="the lost key is refused")
    assert Caller(server, lost).ec2_raw("DescribeVpcs").code == "AuthFailure"


def test_without_the_master_key(make_server, places):
    server = make_server()
    key = server.root_key
    server.stop()
    kept = places.folder()
    shutil.move(server.data / "master.key", kept / "master.key")
    if server.as_nobody:
        os.chown(kept / "master.key", 0, 0)
    server.launch()
    assert server.process.wait(30) == 2
    server.close()
    assert "another master key" in server.errors().strip().splitlines()[-1], server.errors()
    # The copy that was kept is all it takes.
    user, group = (NOBODY, NOBODY) if server.as_nobody else (os.geteuid(), os.getegid())
    block = shell.as_owner(shell.blocks(PAGE, "Locked out")[1], user, group)
    shell.run(block, server.folder, DIR=server.data, KEPT=kept)
    server.start()
    assert server.root_key == key and Caller(server).ec2_raw("DescribeVpcs").status == 200


def test_the_revocation_list_has_expired(carrying, own):
    server, world, endpoint = carrying
    assert connects(server, world, endpoint, own)[0]
    own.run("crl", "--days", "0")
    has_ended(datetime.datetime.now().timestamp())
    world.ec2(
        "ImportClientVpnClientCertificateRevocationList", ClientVpnEndpointId=endpoint,
        CertificateRevocationList=own.pem("crl.pem").decode(),
    )
    said(server, "the client certificate revocation list has EXPIRED: NOBODY can connect")
    assert not connects(server, world, endpoint, own)[0]
    typed("Nobody can connect: the revocation list has expired", server, own, EP=endpoint)
    eventually(lambda: connects(server, world, endpoint, own)[0], what="clients connect again")


def ending(own, name, subject=None):
    """Makes a certificate of the authority one that ends in a few seconds; the authority itself without a subject."""
    key = serialization.load_pem_private_key(own.pem("ca.key"), None)
    old = x509.load_pem_x509_certificate(own.pem(f"{name}.crt"))
    now = datetime.datetime.now(datetime.timezone.utc)
    new = x509.CertificateBuilder(
        issuer_name=old.issuer, subject_name=old.subject, public_key=old.public_key(), serial_number=old.serial_number,
        not_valid_before=now - datetime.timedelta(hours=1), not_valid_after=now + datetime.timedelta(seconds=SECONDS),
        extensions=list(old.extensions),
    ).sign(key, hashes.SHA256())
    own.path(f"{name}.crt").write_bytes(new.public_bytes(serialization.Encoding.PEM))
    return now.timestamp() + SECONDS


def has_ended(until):
    """Waits for the second after it."""
    eventually(lambda: datetime.datetime.now().timestamp() > until + 1, what="the certificate has ended")


def test_the_server_certificate_has_expired(make_server, own):
    server = make_server("--fabric", "userspace")
    until = ending(own, "vpn.example.com")
    world = World(server, own, "us-east-1")
    endpoint, *_ = world.associated()
    said(server, "ends soon")
    assert connects(server, world, endpoint, own)[0]
    has_ended(until)
    touch(world, endpoint)
    said(server, "the server certificate has EXPIRED")
    assert world.arn in [line for line in server.errors().splitlines() if "EXPIRED" in line][-1]
    held, text = connects(server, world, endpoint, own)
    assert not held and "expired" in text.lower(), text
    typed("The server certificate has expired", server, own, ARN=world.arn)
    eventually(lambda: connects(server, world, endpoint, own)[0], what="clients connect again")


def test_the_authority_has_expired(make_server, own):
    server = make_server("--fabric", "userspace")
    until = ending(own, "ca")
    world = World(server, own, "us-east-1")
    endpoint, *_ = world.associated()
    has_ended(until)
    touch(world, endpoint)
    said(server, "the authority of clients' certificates has EXPIRED")
    assert not connects(server, world, endpoint, own)[0]
    typed("The authority has expired", server, own, ARN=world.arn, EP=endpoint)
    profile = server.folder / "alice.ovpn"
    eventually(lambda: connects(server, world, endpoint, own, profile)[0], what="clients connect again")


@pytest.mark.skipif(FABRIC_MISSING is not None, reason="mounting a small disk needs root")
def test_the_disk_is_full(make_server, certificates):
    server = make_server(start=False)
    # A disk of its own, that only the server sees; it is there again after the restart, as its folder is.
    disk = server.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={8 << 20},mode=755", "none", disk], check=True)
    server.data = disk / "data"
    server.data.mkdir(mode=0o700)
    os.chown(server.data, NOBODY, NOBODY)
    server.arguments[1] = server.data
    try:
        server.start()
        world = World(server, certificates)
        vpc = world.vpc()
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        made = [vpc]

        def full():
            try:
                made.append(world.vpc(cidr=f"10.{len(made)}.0.0/16", TagSpecifications=[
                    {"ResourceType": "vpc", "Tags": [{"Key": str(n), "Value": "x" * 200} for n in range(40)]}
                ]))
            except Refused as error:
                return error

        error = eventually(full, what="a write fails")
        assert error.code == "Unavailable", error
        said(server, "the store's file failed: no more writes until it is opened anew")
        words = "audit lines cannot be written and are lost"
        assert words in (ROOT / PAGE).read_text()
        eventually(lambda: world.ec2("DescribeVpcs") and words in server.errors(), what="lost audit lines are told")
        # Reading goes on.
        assert {row["VpcId"] for row in world.ec2("DescribeVpcs")["Vpcs"]} >= set(made)
        filler.unlink()
        server.stop()
        server.start()
        assert {row["VpcId"] for row in world.ec2("DescribeVpcs")["Vpcs"]} >= set(made)
        world.vpc(cidr="10.200.0.0/16")
    finally:
        server.close()
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_no_address_for_an_endpoint(make_server, certificates):
    server = make_server("--fabric", "userspace", "--gateway-address", "127.77.0.1")
    world = World(server, certificates, "us-east-1")
    first, _, subnet, vpc = world.associated()
    second = world.endpoint(ClientCidrBlock="10.9.0.0/22")
    association = world.associate(second, world.subnet(vpc, zone="b"), until=("association-failed",))
    reason = world.networks(second)[association]["Status"]["Message"]
    assert "no free gateway address for this endpoint" in reason, reason
    world.disassociate(second, association)
    server.stop()
    server.arguments[server.arguments.index("127.77.0.1")] = "127.77.0.1,127.77.0.2"
    server.start()
    typed("No address is free", server, certificates, EP=second, ARN=world.arn)
    (third,) = {row["ClientVpnEndpointId"] for row in world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]} - {
        first, second
    }
    world.associate(third, subnet, until=("associated",))


def test_every_section_has_a_test():
    assert TITLES == [
        "Locked out",
        "Nobody can connect: the revocation list has expired",
        "The server certificate has expired",
        "The authority has expired",
        "The disk is full",
        "No address is free",
        # test_backup.py, crates/lab/tests/upgrade.rs.
        "The store does not open",
        "The machine is lost",
    ]
