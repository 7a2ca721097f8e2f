"""The shipped systemd unit without systemd: this program, run as root, puts itself under the unit's settings as a service
manager would, and becomes the service.

    python unit.py DATA ONLY PROGRAM ARGUMENT…

DATA stands for the unit's state directory. ONLY are the settings to apply, separated by commas; empty: all of them. A
setting of the unit that is neither applied here nor listed as one that cannot be is an error: each is thought about.
"""

import ctypes
import errno
import os
import pathlib
import resource
import shutil
import stat
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging/bascule.service"
SETS = {"@system-service": pathlib.Path(__file__).with_name("system-service.txt")}
NOBODY = 65534

# What starts, stops and bounds the service, and says nothing about what it may do; an object of another process's to remove;
# a bound of a control group.
ELSEWHERE = set(
    "Type NotifyAccess ExecStart Environment EnvironmentFile Restart RestartSec TimeoutStopSec KillMode StateDirectory "
    "RemoveIPC TasksMax".split()
)
# Calls that a setting refuses and that the filter's list must not have either, so that nothing is to be added for it.
REFUSED = {
    "ProtectClock": ("adjtimex", "clock_adjtime", "clock_settime", "settimeofday"),
    "ProtectHostname": ("sethostname", "setdomainname"),
    "ProtectKernelLogs": ("syslog",),
    "ProtectKernelModules": ("init_module", "finit_module", "delete_module"),
}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
LAST_FAMILY = 45
CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12}
LAST_CAPABILITY = 63
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
TUN = (10, 200)

# linux/mount.h, linux/sched.h, linux/prctl.h, linux/capability.h
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE = 1, 4096, 16384, 1 << 18
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
CLONE_NEWNS, CLONE_NEWUTS = 0x20000, 0x4000000
NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 24, 38, 47, 2
CAPABILITY_VERSION_3 = 0x20080522
# seccomp.h of libseccomp
ALLOW, KILL = 0x7FFF0000, 0x80000000
NE, EQ, GT, MASKED_EQ = 1, 4, 6, 7

_libc = ctypes.CDLL(None, use_errno=True)


def settings(name):
    """The values of a setting of the unit."""
    return [value for key, value in rows() if key == name]


def rows():
    """Names and values of the section `Service`."""
    lines = UNIT.read_text().split("[Service]\n")[1].split("\n[")[0].splitlines()
    return [tuple(line.split("=", 1)) for line in lines if line and not line.startswith("#")]


def allowed():
    """Names of the system calls that `SystemCallFilter` lets through."""
    names = set()
    for value in settings("SystemCallFilter"):
        for name in value.split():
            if name in SETS:
                names.update(word for line in SETS[name].read_text().splitlines()[1:] for word in line.split())
            else:
                assert name[0] not in "@~", f"SystemCallFilter={name}: not known here"
                names.add(name)
    return names


def why_not():
    """Why the unit's filter cannot be loaded here; None if it can."""
    try:
        Filter(ALLOW)
    except OSError as error:
        return f"no libseccomp: {error}"
    return None


def _check(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`: an argument of a call, and what it is compared with."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    """A filter of system calls, made by the library that systemd makes its own with."""

    def __init__(self, default):
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._library.seccomp_init.argtypes = [ctypes.c_uint32]
        self._library.seccomp_load.argtypes = [ctypes.c_void_p]
        rule = self._library.seccomp_rule_add_array
        rule.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compare)]
        self._context = self._library.seccomp_init(default)

    def rule(self, action, call, *comparisons):
        """A call's action, where all comparisons hold. A call that this machine does not have needs none."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (Compare * len(comparisons))(*[Compare(*comparison) for comparison in comparisons])
        code = -self._library.seccomp_rule_add_array(self._context, action, number, len(comparisons), array)
        assert code == 0, f"{call}: {os.strerror(code)}"

    def load(self):
        """Puts it in force on this process and what it becomes."""
        code = -self._library.seccomp_load(self._context)
        assert code == 0, os.strerror(code)


def refuse(code):
    """A filter's action: the call answers this error."""
    return 0x00050000 | code


def mount(source, target, kind=None, flags=0, options=None):
    """mount(2)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def writable(path, yes):
    """Makes a mount, and all below it, writable or not."""
    attributes = (ctypes.c_uint64 * 4)(0 if yes else MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY if yes else 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _check(_libc.syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), AT_RECURSIVE, attributes, size))


def hide(path):
    """Nothing can be seen or made there."""
    if os.path.isdir(path):
        mount("none", path, "tmpfs", MS_RDONLY, "mode=0")


def devices():
    """`DevicePolicy=closed` and `DeviceAllow`: only those can be opened, by who may."""
    mount("none", "/dev", "tmpfs", 0, "mode=755")
    os.mkdir("/dev/net")
    for name, number in (*DEVICES.items(), ("net/tun", TUN)):
        os.mknod(f"/dev/{name}", stat.S_IFCHR, os.makedev(*number))
        os.chmod(f"/dev/{name}", 0o666)


class Service:
    """What this process becomes, by settings in the order of the methods."""

    def __init__(self, data, program, only):
        self.data, self.only = data, only
        # What stays of a folder for temporary files: the data directory's surroundings, and the program if it is there too.
        self.folder = program.parent if program.parent in data.parents else data.parent
        self.done = set()

    def value(self, name):
        """A setting's one value, if it is to be applied; else None."""
        self.done.add(name)
        values = settings(name)
        if not values or (self.only and name not in self.only):
            return None
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def has(self, name, value="yes"):
        """Whether a setting is to be applied; it then has to have this value."""
        found = self.value(name)
        assert found in (None, value), f"{name}={found}: not known here"
        return found is not None

    def files(self):
        """The file system as the service sees it."""
        _check(_libc.unshare(CLONE_NEWNS))
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        folder = self.folder
        if self.has("DevicePolicy", "closed"):
            assert self.value("DeviceAllow") == "/dev/net/tun rw"
            devices()
        if self.has("ProtectProc", "invisible"):
            mount("proc", "/proc", "proc", 0, "hidepid=invisible")
        if self.has("PrivateTmp"):
            there = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            for place in ("/tmp", "/var/tmp"):
                mount("none", place, "tmpfs", 0, "mode=1777")
            os.makedirs(folder, exist_ok=True)
            mount(f"/proc/self/fd/{there}", folder, None, MS_BIND | MS_REC)
            os.close(there)
        mount(self.data, self.data, None, MS_BIND)
        if self.has("ProtectSystem", "strict"):
            writable("/", False)
            for place in ("/dev", "/proc", "/sys", "/tmp", "/var/tmp", self.data):
                if os.path.ismount(place):
                    writable(place, True)
            if os.path.ismount(folder):
                writable(folder, False)
            writable(self.data, True)
        if self.has("ProtectHome"):
            for place in ("/home", "/root", "/run/user"):
                hide(place)
        if self.has("ProtectKernelModules"):
            hide("/usr/lib/modules")
        if self.has("ProtectControlGroups"):
            if os.path.ismount("/sys/fs/cgroup"):
                writable("/sys/fs/cgroup", False)
        if self.has("ProtectKernelLogs") and os.path.exists("/dev/kmsg"):
            mount("/dev/null", "/dev/kmsg", None, MS_BIND)
        if self.has("ProtectHostname"):
            _check(_libc.unshare(CLONE_NEWUTS))
        self.has("ProtectClock")
        os.chdir(self.data.parent)

    def account(self):
        """Limits, user and capabilities."""
        if (most := self.value("LimitNOFILE")) is not None:
            # Who may not raise it has what there is.
            limit = min(int(most), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        if (mask := self.value("UMask")) is not None:
            os.umask(int(mask, 8))
        if (mode := self.value("StateDirectoryMode")) is not None:
            os.chmod(self.data, int(mode, 8))
        kept = [CAPABILITIES[name] for name in (self.value("CapabilityBoundingSet") or "").split()]
        for number in set(range(LAST_CAPABILITY + 1)) - set(kept):
            # Those that this kernel does not know are refused.
            _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        ambient = [CAPABILITIES[name] for name in (self.value("AmbientCapabilities") or "").split()]
        if self.value("User") is not None:
            assert self.value("Group") == self.value("User")
            _check(_libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        mask = sum(1 << number for number in ambient)
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        _check(_libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)))
        for number in ambient:
            _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))
        if self.has("NoNewPrivileges"):
            _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))

    def calls(self):
        """Filters of system calls; the list of those that are let through last, as it may refuse to load another."""
        one = Filter(ALLOW)
        no, unknown = refuse(errno.EPERM), refuse(errno.ENOSYS)
        if self.has("LockPersonality"):
            one.rule(no, "personality", (0, NE, 0, 0))
        if self.has("MemoryDenyWriteExecute"):
            one.rule(no, "mmap", (2, MASKED_EQ, 6, 6))
            for call in ("mprotect", "pkey_mprotect"):
                one.rule(no, call, (2, MASKED_EQ, 4, 4))
            one.rule(no, "shmat", (2, MASKED_EQ, 0o100000, 0o100000))
        if (families := self.value("RestrictAddressFamilies")) is not None:
            known = {FAMILIES[name] for name in families.split()}
            for number in set(range(LAST_FAMILY + 1)) - known:
                one.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, EQ, number, 0))
            one.rule(refuse(errno.EAFNOSUPPORT), "socket", (0, GT, LAST_FAMILY, 0))
        if self.has("RestrictNamespaces"):
            # Its flags are in memory, where a filter cannot look.
            one.rule(unknown, "clone3")
            one.rule(no, "setns")
            for flag in NAMESPACES:
                one.rule(no, "unshare", (0, MASKED_EQ, flag, flag))
                one.rule(no, "clone", (0, MASKED_EQ, flag, flag))
        if self.has("RestrictRealtime"):
            for policy in (1, 2, 4, 6):
                one.rule(no, "sched_setscheduler", (1, EQ, policy, 0))
            one.rule(no, "sched_setscheduler", (1, GT, 6, 0))
        if self.has("RestrictSUIDSGID"):
            one.rule(unknown, "openat2")
            modes = {"chmod": 1, "fchmod": 1, "mkdir": 1, "mknod": 1, "fchmodat": 2, "mkdirat": 2, "mknodat": 2}
            for bit in (stat.S_ISUID, stat.S_ISGID):
                for call, argument in modes.items():
                    one.rule(no, call, (argument, MASKED_EQ, bit, bit))
                one.rule(no, "openat", (2, MASKED_EQ, os.O_CREAT, os.O_CREAT), (3, MASKED_EQ, bit, bit))
        self.has("SystemCallArchitectures", "native")
        one.load()
        self.has("SystemCallErrorNumber", "EPERM")
        self.done.add("SystemCallFilter")
        if not self.only or "SystemCallFilter" in self.only:
            names = allowed()
            for setting, calls in REFUSED.items():
                assert not names.intersection(calls), setting
            listed = Filter(no)
            for name in sorted(names):
                listed.rule(ALLOW, name)
            listed.load()


def main():
    """Becomes the service."""
    data, only, *command = sys.argv[1:]
    program = pathlib.Path(shutil.which(command[0]))
    service = Service(pathlib.Path(data), program, set(filter(None, only.split(","))))
    service.files()
    service.account()
    service.calls()
    unknown = {name for name, _ in rows()} - service.done - ELSEWHERE
    assert not unknown, f"settings of the unit that are not applied: {unknown}"
    os.execv(program, command)


if __name__ == "__main__":
    main()
