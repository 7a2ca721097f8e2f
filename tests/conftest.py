"""Fixtures: the namespace this process lives in, servers, certificates, regions."""

import json
import os
import subprocess

import pytest

from support import namespaces
from support.calls import Caller
from support.servers import BINARY, FABRIC_MISSING, ROOT, Certificates, Places, Server
from support.world import World

# Access keys of the shared server's users: id and secret.
USERS = {
    "nothing": ("AKIANOTHING000000000", "nothing-nothing-nothing-nothing-nothing"),
    "reader": ("AKIAREADER0000000000", "reader-reader-reader-reader-reader-reader"),
    "dry": ("AKIADRY0000000000000", "dry-dry-dry-dry-dry-dry-dry-dry-dry-dry"),
}
POLICIES = {
    "reader": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}',
    "dry": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},'
    '{"Effect":"Deny","Action":"ec2:DeleteClientVpnEndpoint","Resource":"*"}]}',
}


def role_toml(name, trust, policies=(), **more):
    """A role of a users.toml."""
    rows = {"name": name, "trust": trust, "policies": list(policies), **more}
    return "[[role]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())


def users_toml(users, policies):
    """A users.toml: users to keys, users to policy documents of the same name."""
    lines = []
    for name, (key, secret) in users.items():
        own = f'["{name}"]' if name in policies else "[]"
        lines.append(
            f'[[user]]\nname = "{name}"\naccess_key_id = "{key}"\nsecret_access_key = "{secret}"\npolicies = {own}\n'
        )
    for name, document in policies.items():
        lines.append(f"[[policy]]\nname = \"{name}\"\ndocument = '''{document}'''\n")
    return "\n".join(lines)


def pytest_configure(config):
    """As root, this process moves into a namespace of its own; the first one stays for what needs the network."""
    config.addinivalue_line("markers", "slow: waits for minutes, and computes nothing meanwhile")
    config.addinivalue_line("markers", "long: computes for minutes, and has no bound on its time")
    config.addinivalue_line("markers", "fabric: needs the kernel fabric: root, /dev/net/tun, nft")
    config.outside = None
    if FABRIC_MISSING is None:
        config.outside = namespaces.current()
        namespaces.enter_new()


def pytest_runtest_setup(item):
    """Tests that need the kernel fabric are skipped without it."""
    if FABRIC_MISSING is not None and item.get_closest_marker("fabric"):
        pytest.skip(FABRIC_MISSING)


@pytest.fixture(scope="session")
def outside(pytestconfig):
    """Runs a function in the namespace this process came from."""

    def run(work):
        if pytestconfig.outside is None:
            return work()
        here = namespaces.current()
        try:
            namespaces.go_back(pytestconfig.outside)
            return work()
        finally:
            namespaces.go_back(here)
            os.close(here)

    return run


@pytest.fixture(scope="session")
def declared(outside):
    """Service to action to its members, as the product declares them; ACM, which is JSON, is not among them."""

    def run():
        # The same selection of packages as that of the unit tests, so that nothing is built again.
        example = BINARY.parent / "examples/members"
        if "BASCULE_MEMBERS" not in os.environ:  # else the caller has built it
            build = ["cargo", "build", "--quiet", "--workspace", "--example", "members"]
            subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, timeout=900)
        return subprocess.run([example], check=True, capture_output=True, text=True).stdout

    services = json.loads(outside(run))
    return {service["service"]: {row["action"]: row for row in service["actions"]} for service in services}


@pytest.fixture(scope="session")
def places():
    """Folders."""
    places = Places()
    yield places
    places.remove()


@pytest.fixture(scope="session")
def certificates(places):
    """Certificates of `bascule pki`."""
    return Certificates(places.folder())


@pytest.fixture(scope="session")
def shared(places):
    """The server most tests share, each in a region of its own; with the kernel fabric where there is one."""
    arguments = ["--gateway-address", namespaces.POOL] if FABRIC_MISSING is None else []
    server = Server(places, *arguments, privileged=True, users=users_toml(USERS, POLICIES)).start()
    yield server
    server.close()


@pytest.fixture
def world(shared, certificates):
    """A fresh region on the shared server."""
    return World(shared, certificates)


@pytest.fixture
def caller(shared):
    """The root key on the shared server."""
    return Caller(shared)


@pytest.fixture
def make_server(places):
    """Makes servers that end with the test. Without `privileged` they run as nobody and have no kernel fabric."""
    made = []

    def make(*arguments, start=True, **more):
        server = Server(places, *arguments, **more)
        made.append(server)
        return server.start() if start else server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def own_namespace():
    """A namespace of the test's own: a privileged server there has its fabric to itself."""
    if FABRIC_MISSING is not None:
        pytest.skip(FABRIC_MISSING)
    with namespaces.fresh():
        yield
