"""The service as it is installed: the unit's account and capabilities suffice, and what holds the main process in."""

import errno
import gzip
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from support import inside, unit
from support.calls import Caller
from support.servers import NOBODY, ROOT, bascule, eventually
from support.world import World

AT_FDCWD = -100
# Numbers of x86-64.
CLOSE, CLONE, EXECVE, PTRACE, MOUNT, OPENAT, UNSHARE, SETNS, PROCESS_VM_READV = 3, 56, 59, 101, 165, 257, 272, 308, 310
IO_URING_SETUP, OPEN_TREE, FSCONFIG, CLONE3, MOUNT_SETATTR = 425, 428, 431, 435, 442
CLONE_THREAD = 0x10000
CREATE, READ, WRITE = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, os.O_RDONLY | os.O_CLOEXEC, os.O_RDWR | os.O_CLOEXEC


# Who the service is, and what it may open: what holds the main process in beside that is its own doing.
ACCOUNT = ("User", "Group", "AmbientCapabilities", "CapabilityBoundingSet", "DevicePolicy", "DeviceAllow")


def as_the_unit(server, *only):
    """A command's beginning: under these settings of the unit, or under all."""
    return [sys.executable, unit.__file__, str(server.data), ",".join(only)]


@pytest.fixture
def service(own_namespace, make_server):
    server = make_server("--fabric", "kernel", "--gateway-address", "198.51.100.0/24", start=False)
    server.before = as_the_unit(server, *ACCOUNT)
    return server.start()


@pytest.fixture
def confined(own_namespace, make_server):
    """Under the whole unit."""
    if unit.why_not() is not None:
        pytest.skip(unit.why_not())
    server = make_server("--fabric", "kernel", "--gateway-address", "198.51.100.0/24", start=False)
    server.before = as_the_unit(server)
    return server.start()


def test_the_kept_set_of_calls_is_systemds():
    program = shutil.which("systemd-analyze")
    version = program and subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if not version or not version.startswith("systemd 252 "):
        pytest.skip("needs systemd-analyze of systemd 252, as in Debian 12")

    def of(name):
        done = subprocess.run([program, "syscall-filter", name], capture_output=True, text=True, check=True)
        words = [line.strip() for line in done.stdout.splitlines()[1:]]
        words = [word for word in words if word and not word.startswith("#")]
        return set().union(*[of(word) if word.startswith("@") else {word} for word in words])

    kept = unit.SETS["@system-service"].read_text().splitlines()[1:]
    assert {word for line in kept for word in line.split()} == of("@system-service")


def assert_a_client_gets_a_tunnel(server, world, endpoint, certificates):
    text = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]
    cert, key = (certificates.pem(f"alice.{kind}").decode() for kind in ("crt", "key"))
    profile = server.folder / "alice.ovpn"
    profile.write_text(f"{text}\n<cert>\n{cert}</cert>\n<key>\n{key}</key>\n")
    done = bascule("client", profile, "--expect", "deny 10.0.255.1:9 within 1s")
    assert done.returncode == 0, done.stdout + done.stderr


def threads(pid):
    """Ids: of the main thread, and of one of each kind that what comes from the internet passes through."""
    found = {}
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name)):
        found.setdefault((task / "comm").read_text().strip(), int(task.name))
    kinds = {kind for kind in found if kind in ("control", "worker-0") or kind.startswith("tokio")}
    assert len(kinds) == 3, found
    return [pid, *(found[kind] for kind in sorted(kinds))]


class Probes:
    """What the main process may not do, and the little it may, tried in its place again and again."""

    def __init__(self, server, **more):
        self.server, self.count = server, 0
        pid = server.process.pid
        # Theirs by file permissions: only the sandbox stands against it.
        self.elsewhere = server.folder / "elsewhere"
        self.elsewhere.mkdir()
        os.chown(self.elsewhere, NOBODY, NOBODY)
        # Where a call that is looked at would fail as well, it would with another error than a filter's.
        self.refused = {
            "exec": (errno.EPERM, EXECVE, "/bin/true", 0, 0),
            "ptrace": (errno.EPERM, PTRACE, 16, 2**22 + 1, 0, 0),
            "reading another process": (errno.EPERM, PROCESS_VM_READV, pid, 0, 0, 0),
            "mount": (errno.EPERM, MOUNT, "none", "/", "tmpfs", 0),
            "mount_setattr": (errno.EPERM, MOUNT_SETATTR, -1, 0, -1, 0),
            "open_tree": (errno.EPERM, OPEN_TREE, -1, 0, -1),
            "fsconfig": (errno.EPERM, FSCONFIG, -1, 0, 0, 0),
            "io_uring": (errno.EPERM, IO_URING_SETUP, 0, 0),
            "a namespace": (errno.EPERM, UNSHARE, 0),
            "another's namespace": (errno.EPERM, SETNS, -1, 0),
            "clone3": (errno.ENOSYS, CLONE3, 0, 0),
            "a foreign TUN": (errno.EACCES, OPENAT, AT_FDCWD, "/dev/net/tun", WRITE),
            "writing elsewhere": (errno.EACCES, OPENAT, AT_FDCWD, self.elsewhere / "x", CREATE, 0o600),
        }
        for flag in unit.NAMESPACES:
            if flag > 0xFF:
                # A thread that shares too little: no namespace is made of it even where nothing is refused.
                self.refused[f"clone {flag:#x}"] = (errno.EPERM, CLONE, flag | CLONE_THREAD, 0, 0, 0)
        self.refused.update(more)
        self.threads = threads(pid)

    def _once(self):
        for thread in self.threads:
            for what, (code, *call) in self.refused.items():
                assert inside.call(thread, *call) == -code, what
            # What is refused for a flag is looked at without it.
            assert inside.call(thread, CLONE, CLONE_THREAD, 0, 0, 0) == -errno.EINVAL
            for path, flags in ((self.server.data / "probe", CREATE), ("/etc/passwd", READ)):
                descriptor = inside.call(thread, OPENAT, AT_FDCWD, path, flags, 0o600)
                assert descriptor >= 0, path
                assert inside.call(thread, CLOSE, descriptor) == 0

    def while_it(self, works):
        """Tries all of it while the server has something to do."""
        failed = []

        def work():
            try:
                works()
            except Exception as error:  # noqa: BLE001: told below
                failed.append(error)

        working = threading.Thread(target=work)
        working.start()
        try:
            while working.is_alive():
                self._once()
                self.count += 1
        finally:
            working.join()
        assert not failed, failed
        assert self.count > 0
        assert not list(self.elsewhere.iterdir())
        assert self.server.is_alive()


PROBED = pytest.mark.skipif(inside.why_not() is not None, reason=str(inside.why_not()))


@pytest.mark.fabric
@PROBED
def test_under_the_unit_it_starts_and_carries_a_client_and_is_held_in(confined, certificates):
    world = World(confined, certificates)
    endpoint, subnet = world.endpoint(ConnectionLogOptions={"Enabled": False}), world.subnet(world.vpc())
    status = pathlib.Path(f"/proc/{confined.process.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t" in status and "CapEff:\t0000000000000000" in status
    # To the service this is on a file system that is not writable; its own temporary folder is.
    elsewhere, temporary = confined.folder / "elsewhere/x", "/tmp/x"
    probes = Probes(
        confined,
        **{
            "writing elsewhere": (errno.EROFS, OPENAT, AT_FDCWD, elsewhere, CREATE, 0o600),
            "writing temporary files": (errno.EACCES, OPENAT, AT_FDCWD, temporary, CREATE, 0o600),
        },
    )

    def come_and_go():
        association = world.associate(endpoint, subnet, until=("associated",))
        assert_a_client_gets_a_tunnel(confined, world, endpoint, certificates)
        world.disassociate(endpoint, association)

    probes.while_it(come_and_go)
    # Nothing that it wanted was refused: what holds it in is its own as well as the unit's.
    assert "Landlock" not in confined.errors() and "not permitted" not in confined.errors(), confined.errors()
    assert confined.stop() == 0


@pytest.mark.fabric
@PROBED
def test_the_sandbox_holds_while_associations_come_and_go(service, certificates):
    world = World(service, certificates)
    endpoint, subnet = world.endpoint(), world.subnet(world.vpc())
    probes = Probes(service)

    def come_and_go():
        for _ in range(3):
            world.disassociate(endpoint, world.associate(endpoint, subnet))

    probes.while_it(come_and_go)
    assert probes.count >= 3, probes.count


def test_the_service_manager_is_told(make_server, places):
    folder = places.folder()
    folder.chmod(0o777)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o666)
        told.settimeout(10)
        server = make_server(variables={"NOTIFY_SOCKET": str(folder / "notify")})
        assert b"READY=1" in told.recv(4096)
        server.stop()
        assert b"STOPPING=1" in told.recv(4096)


def test_a_hangup_stops_it_unless_it_was_ignored(make_server):
    server = make_server()
    server.process.send_signal(signal.SIGHUP)
    assert server.process.wait(20) == 0
    assert "stopping: clients are told to come back" in server.errors()
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = make_server()
    finally:
        signal.signal(signal.SIGHUP, former)
    server.process.send_signal(signal.SIGHUP)
    assert Caller(server).ec2("DescribeVpcs")["Vpcs"] is not None


LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.mark.skipif(LOGROTATE is None or os.geteuid() != 0, reason="needs root and the program logrotate")
def test_logrotate_as_it_is_shipped(make_server):
    server = make_server()
    folder = server.data / "audit"

    def called(number):
        Caller(server).ec2("CreateVpc", CidrBlock=f"10.{number}.0.0/16")
        text = f"10.{number}.0.0/16"
        return eventually(
            lambda: next((path.name for path in sorted(folder.iterdir()) if text in read(path)), None),
            what=f"call {number} is in the audit trail",
        )

    def read(path):
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()

    name = called(1)
    settings = (ROOT / "packaging/logrotate").read_text()
    settings = settings.replace("/var/lib/bascule", str(server.data)).replace("su bascule bascule", "su nobody nogroup")
    # Root's own, as logrotate wants it.
    (server.folder / "logrotate").write_text(settings)
    command = [LOGROTATE, "--force", "--state", server.folder / "state", server.folder / "logrotate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    # The line is in the file that was renamed, and the next one under the old name, in a new file.
    (renamed,) = [path for path in folder.iterdir() if path.name.startswith(f"{name}-")]
    assert "10.1.0.0/16" in read(renamed)
    assert called(2) == name
    assert "10.2.0.0/16" not in read(renamed) and "10.1.0.0/16" not in read(folder / name)


def test_completions_and_manual_pages(places):
    for shell, word in (("bash", "complete -F"), ("zsh", "#compdef bascule"), ("fish", "complete -c bascule")):
        done = bascule("completions", shell)
        assert done.returncode == 0 and word in done.stdout, done.stderr
    assert bascule("completions", "nonsense").returncode == 2
    folder = places.folder() / "man"
    assert bascule("man", folder).returncode == 0
    pages = {path.name for path in folder.iterdir()}
    assert {"bascule.1", "bascule-serve.1", "bascule-backup.1", "bascule-pki-init-ca.1"} <= pages
    assert "BASCULE_DATA_DIR" in (folder / "bascule-serve.1").read_text()
    # docs/command-line.md has every command, and every flag of `serve`; and no flag that is not there.
    text = (ROOT / "docs/command-line.md").read_text()
    for page in pages - {"bascule.1"}:
        command = page.removeprefix("bascule-").removesuffix(".1").split("-", 1)
        if command[0] != "pki" and command[0] not in ("keys", "state", "export", "import", "fabric"):
            command = ["-".join(command)]
        assert f"bascule {command[0]}" in text and (len(command) == 1 or f"`{command[1]}`" in text), command
    flags = set(re.findall(r"^ +(--[a-z0-9-]+)", bascule("serve", "--help").stdout, re.M))
    assert flags == set(re.findall(r"`(--[a-z0-9-]+)`", text))


# As containers have it.
READ_ONLY = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
IN_CONTAINER = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]


@pytest.mark.fabric
def test_where_proc_sys_is_read_only(own_namespace, make_server, certificates):
    pool = ("--fabric", "kernel", "--gateway-address", "198.51.100.0/24")
    closed = make_server(*pool, privileged=True, start=False)
    closed.before = IN_CONTAINER
    world = World(closed.start(), certificates)
    endpoint = world.endpoint()
    association = world.associate(endpoint, world.subnet(world.vpc()), until=("association-failed",))
    why = world.networks(endpoint)[association]["Status"]["Message"]
    assert "net.ipv4.conf.vpc.forwarding: Read-only file system" in why and 'sysctls = "leave"' in why, why
    assert closed.stop() == 0
    check = [*IN_CONTAINER, closed.binary, "fabric", "check", *pool[2:]]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "forwarding is off, and /proc/sys cannot be written" in done.stdout, done.stdout
    # What it tells to type.
    assert "sysctl -w net.ipv4.ip_forward=1" in done.stdout
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for setting in ("set", "leave"):
        server = make_server(*pool, privileged=True, start=False, config=f'[fabric]\nsysctls = "{setting}"\n')
        server.before = IN_CONTAINER
        world = World(server.start(), certificates)
        endpoint, *_ = world.associated()
        assert_a_client_gets_a_tunnel(server, world, endpoint, certificates)
        (place,) = pathlib.Path("/proc/sys/net/ipv4/conf").glob("bsc*")
        for name, value in (("forwarding", "1"), ("rp_filter", "0"), ("src_valid_mark", "1"), ("send_redirects", "0")):
            assert (place / name).read_text().strip() == value, name
        assert "fabric: net." not in server.errors()
        assert server.stop() == 0
