"""An ordinary user's server carries packets too: the user-space fabric, chosen by itself where there is no other."""

import http.server
import socket
import threading

import pytest

from support import namespaces
from support.calls import Caller
from support.servers import FABRIC_MISSING, bascule, eventually
from support.world import World


def own_address():
    """An address of this host that is not loopback; asking for it sends nothing."""
    if FABRIC_MISSING is None:
        return namespaces.ADDRESSES[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))
        except OSError:
            pytest.skip("this host has no address but loopback")
        return probe.getsockname()[0]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves an empty folder."""

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    """A web server at the host's own address."""
    server = http.server.ThreadingHTTPServer((own_address(), 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address
    server.shutdown()
    server.server_close()


def figure(server, name):
    text = Caller(server).get("/metrics").text
    return sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def capabilities(server):
    with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as status:
        return {line.split()[1] for line in status if line.startswith(("CapEff:", "CapPrm:"))}


def test_our_own_client_reaches_a_web_server_and_what_is_denied_reached_the_policy(
    make_server, certificates, places, web
):
    address, port = web
    server = make_server("--fabric", "auto", "--userspace-host", address)
    assert capabilities(server) == {"0" * 16}
    lines = [line for line in server.errors().splitlines() if "the user-space fabric carries" in line]
    assert len(lines) == 1 and "CAP_NET_ADMIN" in lines[0], server.errors()
    world = World(server, certificates)
    endpoint, association, subnet, _ = world.associated()
    block = f"{address}/32"
    world.ec2(
        "CreateClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock=block, TargetVpcSubnetId=subnet
    )
    rule = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": block}
    world.ec2("AuthorizeClientVpnIngress", AuthorizeAllGroups=True, **rule)
    eventually(lambda: world.routes(endpoint)[block, subnet]["Status"]["Code"] == "active", what="the route")

    profile = places.folder() / "alice.ovpn"
    text = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]
    cert, key = (certificates.pem(f"alice.{kind}").decode() for kind in ("crt", "key"))
    profile.write_text(f"{text}\n<cert>\n{cert}</cert>\n<key>\n{key}</key>\n")

    def client(*expectations):
        flags = [part for text in expectations for part in ("--expect", text)]
        done = bascule("client", profile, *flags)
        assert done.returncode == 0, done.stdout + done.stderr + server.errors()

    api = server.address[1]
    client(f"reach {address}:{port} http", f"deny {address}:{api} within 1s")
    assert figure(server, 'bascule_userspace_refused_total{reason="destination"}') > 0
    world.ec2("RevokeClientVpnIngress", RevokeAllGroups=True, **rule)
    client(f"deny {address}:{port} within 1s")
    assert figure(server, 'bascule_dropped_packets_total{reason="no-rule"}') > 0
    world.disassociate(endpoint, association)
    assert world.status(endpoint) == "pending-associate"
    assert figure(server, "bascule_userspace_flows{") == 0


def test_the_kernel_fabric_is_not_pretended(make_server):
    server = make_server("--fabric", "kernel", start=False).launch()
    assert server.process.wait(30) == 1
    assert "fabric = kernel cannot work here" in server.errors() and "fabric check" in server.errors()
