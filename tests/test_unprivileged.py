"""A server without privileges answers the whole API and says what is missing; one with them gives them up."""

import pathlib

import pytest

from support.calls import Caller
from support.servers import Server, eventually
from support.world import World


@pytest.fixture(scope="module")
def unprivileged(places):
    server = Server(places).start()
    yield server
    server.close()


def process_status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_an_association_fails_and_says_what_to_type(unprivileged, certificates):
    world = World(unprivileged, certificates)
    vpc = world.vpc()
    subnet = world.subnet(vpc)
    endpoint = world.endpoint()
    association = world.associate(endpoint, subnet, until=("association-failed",))
    status = world.networks(endpoint)[association]["Status"]
    assert "run bascule serve as root" in status["Message"] and "--fabric userspace" in status["Message"], status
    assert world.status(endpoint) == "pending-associate"
    error = world.refused(
        "CreateClientVpnRoute", ClientVpnEndpointId=endpoint, DestinationCidrBlock="0.0.0.0/0", TargetVpcSubnetId=subnet
    )
    assert error.code == "InvalidClientVpnActiveAssociationNotFound"
    world.disassociate(endpoint, association)
    assert world.routes(endpoint) == {}
    # And it may be tried again.
    again = world.associate(endpoint, subnet, until=("association-failed",))
    assert again != association
    world.disassociate(endpoint, again)
    world.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    eventually(lambda: world.status(endpoint) is None, what="the endpoint is gone")


def test_the_routes_of_a_failed_association_fail_too(unprivileged, certificates):
    """creating ends in active or failed (spec §1.5)."""
    world = World(unprivileged, certificates)
    endpoint = world.endpoint()
    world.associate(endpoint, world.subnet(world.vpc()), until=("association-failed",))
    codes = lambda: {row["Status"]["Code"] for row in world.routes(endpoint).values()}
    eventually(lambda: codes() <= {"failed"}, seconds=3, what="no route stays creating")


def test_the_log_says_it_at_the_start(unprivileged):
    line = next(line for line in unprivileged.errors().splitlines() if "no client can connect" in line)
    assert "WARN" in line and "run bascule serve as root" in line


def test_endpoints_get_loopback_addresses(unprivileged, certificates):
    world = World(unprivileged, certificates)
    remotes = set()
    for _ in range(3):
        answer = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=world.endpoint())
        remotes |= {line for line in answer["ClientConfiguration"].splitlines() if line.startswith("remote ")}
    assert len(remotes) == 3
    assert all(remote.startswith("remote 127.64.") for remote in remotes)


def test_metrics_and_health(unprivileged):
    caller = Caller(unprivileged)
    assert caller.get("/health").status == 200
    text = caller.get("/metrics").text
    for line in filter(None, text.splitlines()):
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0
    for name in ("bascule_connections", "bascule_packets_total", "bascule_dropped_packets_total"):
        assert f"# TYPE {name} " in text
    assert "bascule_connections 0\n" in text


def test_it_has_no_capability(unprivileged):
    status = process_status(unprivileged.process.pid)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


@pytest.mark.fabric
def test_the_main_process_gives_up_everything(shared):
    main = shared.process.pid
    for task in pathlib.Path(f"/proc/{main}/task").iterdir():
        status = process_status(f"{main}/task/{task.name}")
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd")} == {0}
        # It cannot gain any by exec, and cannot exec.
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    children = pathlib.Path(f"/proc/{main}/task/{main}/children").read_text().split()
    assert len(children) == 1, "the helper is the only other process"
    assert int(process_status(children[0])["CapEff"], 16) != 0
