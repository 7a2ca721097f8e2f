"""`bascule keys`: the root's access keys, on a running server and on one that is down."""

import stat

import pytest

from support.calls import Caller
from support.servers import bascule, eventually


def keys(server, *arguments):
    """The command on the server's data directory."""
    return bascule("keys", *arguments, "--data-dir", server.data)


def listed(server):
    """Id to (state, whether it stands in credentials)."""
    done = keys(server, "list")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: (row[1], row[3:] == ["in", "credentials"]) for row in rows}


def status(server, key):
    return Caller(server, key).ec2_raw("DescribeVpcs").status


def refused(done, code, *texts):
    """One clear line and an exit code."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == "", (done.stdout, done.stderr)
    for text in texts:
        assert text in done.stderr, done.stderr


def test_a_life_of_keys_on_a_running_server(make_server):
    server = make_server()
    old = server.root_key
    assert listed(server) == {old[0]: ("active", True)}
    refused(keys(server, "disable", old[0]), 1, old[0], "only key", "rotate")

    done = keys(server, "rotate")
    assert done.returncode == 0, done.stderr
    new = server.root_key
    assert new[0] != old[0] and new[0] in done.stdout and f"bascule keys disable {old[0]}" in done.stdout
    assert new[1] not in done.stdout and old[1] not in done.stdout
    # In force within a second, and the old one stays good.
    eventually(lambda: status(server, new) == 200, seconds=3, what="the new key is accepted")
    assert status(server, old) == 200
    assert listed(server) == {old[0]: ("active", False), new[0]: ("active", True)}
    refused(keys(server, "rotate"), 1, old[0], new[0], "disable")

    assert keys(server, "disable", old[0]).returncode == 0
    eventually(lambda: status(server, old) == 401, seconds=3, what="the old key is refused")
    assert status(server, new) == 200 and listed(server)[old[0]] == ("disabled", False)
    assert keys(server, "enable", old[0]).returncode == 0
    eventually(lambda: status(server, old) == 200, seconds=3, what="the old key is accepted again")
    # Whichever is accepted is the one that is told.
    assert keys(server, "disable", new[0]).returncode == 0
    assert server.root_key == old
    eventually(lambda: status(server, new) == 401, seconds=3, what="the new key is refused")

    for name in ("credentials", "root-keys.toml"):
        assert stat.S_IMODE((server.data / name).stat().st_mode) == 0o600, name
    sealed = (server.data / "root-keys.toml").read_text()
    assert old[0] in sealed and old[1] not in sealed and new[1] not in sealed
    assert old[1] not in server.errors() and new[1] not in server.errors()


def test_keys_of_a_server_that_is_down(make_server):
    server = make_server()
    old = server.root_key
    assert server.stop() == 0
    assert keys(server, "rotate").returncode == 0
    assert keys(server, "disable", old[0]).returncode == 0
    server.start()
    assert server.root_key != old
    assert status(server, server.root_key) == 200 and status(server, old) == 401
    # What is lost of credentials comes back at a start; the key stays.
    key = server.root_key
    (server.data / "credentials").unlink()
    assert server.stop() == 0
    server.start()
    assert server.root_key == key and status(server, key) == 200


def test_a_broken_file_keeps_the_last_good_keys(make_server):
    server = make_server()
    key, path = server.root_key, server.data / "root-keys.toml"
    good = path.read_text()
    path.write_text(good.replace(key[0], "AKIAOTHER00000000000"))
    eventually(lambda: "the last root keys stay in force" in server.errors(), what="the log says why")
    assert status(server, key) == 200
    server.kill()
    server.launch()
    assert server.process.wait(30) == 2 and "root-keys.toml" in server.errors()


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("disable", "AKIANOBODY0000000000"), 1, ["AKIANOBODY0000000000", "no root key"]),
        (("enable", "AKIANOBODY0000000000"), 1, ["AKIANOBODY0000000000", "no root key"]),
    ],
)
def test_unknown_keys(make_server, arguments, code, texts):
    refused(keys(make_server(), *arguments), code, *texts)


def test_wrong_places(make_server, places):
    folder = places.folder()
    refused(bascule("keys", "list", "--data-dir", folder / "none"), 2, "data-dir = ", "none")
    refused(bascule("keys", "list", "--data-dir", folder), 2, "master-key-file = ")
    server = make_server()
    other = make_server()
    done = bascule("keys", "rotate", "--data-dir", server.data, "--master-key-file", other.data / "master.key")
    refused(done, 2, "another master key")
    assert bascule("keys").returncode == 2
    assert bascule("keys", "burn").returncode == 2
    # The server's own configuration file says where things are.
    config = folder / "bascule.toml"
    config.write_text(f'data-dir = "{server.data}"\n')
    done = bascule("keys", "list", "--config", config)
    assert done.returncode == 0 and server.root_key[0] in done.stdout
