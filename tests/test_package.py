"""The Debian package, installed on a throwaway copy of this machine, used, removed and purged: nothing stays but the data."""

import os
import pathlib
import re
import subprocess
import urllib.request

import pytest

from support import machine
from support.servers import eventually

PACKAGE = os.environ.get("BASCULE_DEB")
DATA = "/var/lib/bascule"
WHY_NOT = machine.why_not() or (None if PACKAGE else "BASCULE_DEB names no package: cargo xtask deb --built makes one")
if os.path.exists(DATA) or os.path.exists("/usr/bin/bascule"):
    WHY_NOT = "this machine has a Bascule of its own"
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

CONFIGURATION = {"/etc/bascule", "/etc/bascule/bascule.toml"}
# What dpkg, adduser, man-db and the loader keep for themselves, whatever is installed.
BOOKS = re.compile(
    r"/var/lib/dpkg/(?!info/bascule)|/var/log/|/var/cache/(man|ldconfig|debconf)(/|$)"
    r"|/etc/(passwd|shadow|group|gshadow|subuid|subgid|\.pwd\.lock)-?$|/var/lib/systemd/deb-systemd-helper-\w+$"
    r"|/etc/systemd/system/multi-user\.target\.wants$"
)
# What `systemctl enable` makes.
ENABLED = "/etc/systemd/system/multi-user.target.wants/bascule.service"
# What dpkg and systemd's helper keep of a package that was removed and not purged; the unit is masked meanwhile.
REMAINS = {
    "/var/lib/dpkg/info/bascule.list",
    "/var/lib/dpkg/info/bascule.postrm",
    "/etc/systemd/system/bascule.service",
    "/var/lib/systemd/deb-systemd-helper-enabled/bascule.service.dsh-also",
    "/var/lib/systemd/deb-systemd-helper-masked/bascule.service",
    ENABLED,
}


@pytest.fixture
def host(places):
    made = machine.Machine(places.folder())
    # Images for containers leave out manuals and completions by this.
    for settings in made.path("/etc/dpkg/dpkg.cfg.d").glob("*"):
        settings.unlink()
    # An index of all manuals is none of our business, and takes seconds.
    made.path("/var/lib/man-db/auto-update").unlink(missing_ok=True)
    # Somebody may have had it here.
    if account(made):
        made.run("deluser", "--quiet", "--system", "bascule")
    made.took = made.gone()
    made.run("mkdir", "/tmp/package")
    made.path("/tmp/package/bascule.deb").write_bytes(pathlib.Path(PACKAGE).read_bytes())
    yield made
    made.close()


def install(host):
    host.run("dpkg", "--install", "/tmp/package/bascule.deb")


def left(host):
    """What is there that was not there before the package was."""
    return {path for path in host.added() if not BOOKS.match(path)}


def account(host):
    return host.run("getent", "passwd", "bascule", check=False).stdout


def serve(host):
    """As the unit does, until there are data."""
    host.run("install", "--directory", "--owner=bascule", "--group=bascule", "--mode=0700", DATA)
    environment = {**machine.ENVIRONMENT, "BASCULE_DATA_DIR": DATA, "BASCULE_CONFIG": "/etc/bascule/bascule.toml"}
    command = host.command("/usr/bin/bascule", "serve", "--listen", "127.0.0.1:0", "--fabric", "none", user="bascule")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            ready = server.stdout.readline()
            assert ready.startswith("ready http://"), server.communicate(timeout=30)[1]
            with urllib.request.urlopen(ready.split()[1] + "/health", timeout=10) as health:
                assert health.status == 200
        finally:
            server.terminate()
        assert server.wait(20) == 0
    assert "active" in host.run("bascule", "keys", "list", "--data-dir", DATA, user="bascule").stdout
    return {path for path in left(host) if path.startswith(DATA)}


def test_nothing_stays_but_the_data(host):
    assert not left(host) and not account(host)
    install(host)
    assert host.run("bascule", "version").stdout.startswith("bascule ")
    there = left(host)
    for path in (
        "/usr/bin/bascule",
        "/lib/systemd/system/bascule.service",
        "/usr/share/man/man1/bascule.1.gz",
        "/usr/share/man/man1/bascule-serve.1.gz",
        "/usr/share/bash-completion/completions/bascule",
        "/usr/share/zsh/vendor-completions/_bascule",
        "/usr/share/fish/vendor_completions.d/bascule.fish",
        "/usr/share/doc/bascule/copyright",
        "/usr/share/doc/bascule/NOTICES",
        *CONFIGURATION,
    ):
        assert path in there or f"/usr{path}" in there, path
    assert "/nologin" in account(host) and f":{DATA}:" in account(host)
    # Nothing was started, or will be at the next boot.
    assert not {path for path in there if path.startswith("/etc/systemd") or path.startswith(DATA)}
    host.run("mkdir", "--parents", os.path.dirname(ENABLED))
    host.run("ln", "--symbolic", "/lib/systemd/system/bascule.service", ENABLED)
    data = serve(host)
    assert {f"{DATA}/store.redb", f"{DATA}/credentials", f"{DATA}/master.key"} <= data

    host.run("dpkg", "--remove", "bascule")
    assert left(host) - REMAINS == CONFIGURATION | data
    # With the conffile and the data that it finds it is what it was.
    install(host)
    assert serve(host) >= data

    data = serve(host)
    owner = account(host)
    host.run("dpkg", "--purge", "bascule")
    assert left(host) == data
    # The keys in there are its, and its number is given to nobody else.
    assert owner and account(host) == owner
    assert host.gone() == host.took


def test_nothing_at_all_stays_where_there_are_no_data(host):
    before = {name: host.path(f"/etc/{name}").read_text() for name in ("passwd", "group")}
    install(host)
    data = serve(host)
    host.run("dpkg", "--remove", "bascule")
    assert data <= left(host)
    host.run("rm", "--recursive", DATA)
    host.run("dpkg", "--purge", "bascule")
    assert not left(host) and host.gone() == host.took
    assert {name: host.path(f"/etc/{name}").read_text() for name in before} == before
