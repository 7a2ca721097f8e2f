"""Network namespaces for this very process: a server's kernel fabric then works in isolation.

A namespace entered by the main thread is inherited by the threads and programs it starts, so that servers, the AWS CLI
and this process's own sockets all live in it. It vanishes, with everything a server left in it, when the last of them
has gone.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000
# What a server in a namespace finds as its own global addresses.
ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
# Any address of this block can be bound in a namespace: for tests with many endpoints.
POOL = "198.51.100.0/24"
# The far side of a VPC: target networks are routed there.
VPC_SIDE = "10.0.0.1/16"
# Below /proc/sys/net: what a new namespace takes from the host, where containers or a firewall may have set it.
FRESH = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def why_no_fabric():
    """Why the kernel fabric cannot work here; None if it can."""
    if os.geteuid() != 0:
        return "not root: the kernel fabric is not at hand, so nothing becomes associated"
    for program in ("ip", "nft"):
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return f"no program {program}: the kernel fabric is not at hand, so nothing becomes associated"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no /dev/net/tun: the kernel fabric is not at hand, so nothing becomes associated"
    return None


def enter_new():
    """Moves this thread into a namespace of its own, with the addresses above."""
    _check(_libc.unshare(CLONE_NEWNET))
    for name in FRESH:
        pathlib.Path("/proc/sys/net", name).write_text("0")
    _ip("link", "set", "lo", "up")
    # Not every kernel has dummy links; a veth pair with both ends here does as well.
    _ip("link", "add", "outside", "type", "veth", "peer", "name", "vpc")
    for address in ADDRESSES:
        _ip("addr", "add", f"{address}/24", "dev", "outside")
    _ip("addr", "add", VPC_SIDE, "dev", "vpc")
    for link in ("outside", "vpc"):
        # Without link-local addresses, which would come up at some later moment.
        _ip("link", "set", link, "addrgenmode", "none")
        _ip("link", "set", link, "up")
    _ip("route", "add", "local", POOL, "dev", "lo")


def current():
    """A descriptor of this thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def go_back(descriptor):
    """Moves this thread into the namespace of a descriptor."""
    _check(_libc.setns(descriptor, CLONE_NEWNET))


class Doorway:
    """A port of this namespace that leads to a port of another."""

    def __init__(self, port, namespace):
        self._to, self._namespace = ("127.0.0.1", port), namespace
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:{}".format(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        # Only this thread moves; a socket stays where it was made.
        go_back(self._namespace)
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
                threading.Thread(target=self._both_ways, args=(near, far), daemon=True).start()
                del near, far

    def _both_ways(self, near, far):
        with near, far:
            back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
            back.start()
            self._carry(near, far)
            back.join()

    @staticmethod
    def _carry(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        """Takes no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.close(self._namespace)


@contextlib.contextmanager
def fresh():
    """Another namespace for the time of a block: one fabric helper may run in each."""
    before = current()
    try:
        enter_new()
        yield
    finally:
        go_back(before)
        os.close(before)
