"""Whoever reads what `bascule` prints may go before its end (`bascule keys list | head -1`): every command goes on to its own
exit code all the same, without a panic, and `serve` serves."""

import contextlib
import os
import re
import signal
import subprocess
import urllib.request

import pytest

from support.calls import Caller
from support.servers import BINARY, STOP_SECONDS, Server, bascule, environment, eventually
from support.world import World


@contextlib.contextmanager
def nobody():
    """A pipe that has no reader."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def unread(*words, both, **variables):
    """A command whose output, or whose output and complaints, nobody reads: its code, and what it complained of."""
    with nobody() as closed:
        done = subprocess.run(
            [BINARY, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=closed,
            stderr=closed if both else subprocess.PIPE,
            env=environment(**variables),
            text=True,
            timeout=60,
        )
    return done.returncode, done.stderr or ""


@pytest.fixture(scope="module")
def rows(places, certificates):
    """Command lines with the exit codes they have, whether anybody reads or not; and variables of a command."""
    server, far, stopped = (Server(places).start() for _ in range(3))
    stopped.stop()
    world = World(server, certificates, region="us-east-1")
    endpoint, folder, at = world.endpoint(), places.folder(), ("--data-dir", server.data)
    pair = ("--cert", certificates.path("alice.crt"), "--key", certificates.path("alice.key"))
    profile, expectations = folder / "alice.ovpn", folder / "expect.toml"
    material = "ca {0}/ca.crt\ncert {0}/alice.crt\nkey {0}/alice.key\n".format(certificates.folder)
    # Nothing answers at that port; of the last line the client says that it passes over it.
    profile.write_text(f"client\nremote 127.0.0.1 9 udp\n{material}strange-option\n")
    expectations.write_text("[[expectation]]\nexpect = 'reach somewhere'\n")
    numbers = iter(range(100))

    def new():
        return folder / f"new-{next(numbers)}"

    from_far = ("--endpoint-url", far.url, "--region", "us-east-1", "--profile", "default")
    authority = new()
    assert bascule("pki", "init-ca", "--dir", authority).returncode == 0
    kept, backup = folder / "state", folder / "backup"

    def made():
        # Called twice: names are new every time, and there are at most two keys.
        name, (former, _) = f"n{next(numbers)}", stopped.root_key
        pki = ("--dir", authority)
        yield ("version",), 0
        yield ("help",), 0
        yield ("serve", "--help"), 0
        yield ("nonsense",), 2
        yield ("serve", "--listen", "x"), 2
        yield from ((("completions", shell), 0) for shell in ("bash", "zsh", "fish"))
        yield ("man", new()), 0
        yield ("pki", "init-ca", "--dir", new()), 0
        yield ("pki", "issue-server", f"{name}.example", *pki), 0
        yield ("pki", "issue-client", name, *pki), 0
        yield ("pki", "revoke", name, *pki), 0
        yield ("pki", "crl", *pki), 0
        yield ("pki", "tls-crypt-key", "--dir", new()), 0
        yield ("keys", "list", "--data-dir", stopped.data), 0
        yield ("keys", "rotate", "--data-dir", stopped.data), 0
        yield ("keys", "enable", former, "--data-dir", stopped.data), 0
        yield ("keys", "disable", former, "--data-dir", stopped.data), 0
        yield ("keys", "enable", "nobody", "--data-dir", stopped.data), 1
        yield ("profile", "--endpoint", endpoint, *pair, *at), 0
        yield ("export", "terraform", *at), 0
        # Nothing is there.
        yield ("import", "aws", *from_far, *at), 0
        yield ("fabric", "check"), bascule("fabric", "check").returncode
        yield ("backup", backup, *at), 0
        yield ("restore", backup, "--data-dir", new()), 0
        yield ("state", "save", kept, *at), 0
        # These two are no text that somebody looks into: cut off they are worth nothing.
        yield ("state", "save", "-", *at), 1
        yield ("backup", "-", *at), 1
        yield ("client", profile, "--expect", "deny 10.0.0.9", "--connect-within", "1"), 1
        yield ("client", profile, "--expect-file", expectations), 2
        yield ("state", "reset", *at), 0
        yield ("state", "load", kept, *at), 0

    yield made, {"import": {"AWS_SHARED_CREDENTIALS_FILE": str(far.data / "credentials")}}
    server.close()
    far.close()


def test_every_command_ends_as_it_would_if_it_were_read(rows):
    (made, variables), wrong, seen = rows, [], set()
    for both in (False, True):
        for words, code in made():
            found, complained = unread(*words, both=both, **variables.get(words[0], {}))
            lines = len(complained.strip().splitlines())
            # What clap says of wrong usage has more lines than one, and the client says what it passes over.
            short = lines <= 1 or code == 2 or words[0] == "client"
            if found != code or "panicked" in complained or not short:
                wrong.append((words, both, code, found, complained))
            seen.add(words[0])
    assert not wrong, "\n".join(map(str, wrong))
    commands = set(re.findall(r"^  ([a-z]+) ", bascule("help").stdout, re.M))
    assert commands and commands <= seen, commands - seen


def test_what_cannot_be_written_for_another_reason_is_a_failure():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [BINARY, "version"], stdout=full, stderr=subprocess.PIPE, env=environment(), text=True, timeout=60
        )
    assert done.returncode == 1 and done.stderr.startswith("bascule: standard output: No space left"), done.stderr


@pytest.mark.parametrize("gone", ["from the beginning", "later"])
def test_the_service_serves_though_nobody_reads_its_log(make_server, gone):
    server = make_server(start=False)
    output, log = os.pipe()
    if gone == "from the beginning":
        os.close(output)
    server.process = subprocess.Popen(
        server.command(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        # Each request is then a line, at least.
        env=environment(BASCULE_LOG="trace"),
        cwd=server.folder,
    )
    os.close(log)
    if gone == "from the beginning":
        server.process.stdout.close()
    url = eventually((server.data / "api-url").exists, 30, "the server is ready") and (server.data / "api-url").read_text()
    server.url = url.strip()
    if gone == "later":
        assert server.process.stdout.readline().startswith(b"ready ")
        server.process.stdout.close()
        os.close(output)
    caller = Caller(server)
    for number in range(3):
        caller.ec2("CreateVpc", CidrBlock=f"10.{number}.0.0/16")
    assert len(caller.ec2("DescribeVpcs")["Vpcs"]) == 3
    with urllib.request.urlopen(server.url + "/health", timeout=10) as health:
        assert health.status == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(STOP_SECONDS) == 0
