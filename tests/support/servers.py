"""`bascule serve` under test: started, watched, killed, started again."""

import configparser
import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from . import namespaces

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BASCULE_BIN", ROOT / "target/debug/bascule"))
# Nobody, who has no capability and owns nothing.
NOBODY = 65534

READY_SECONDS = 30
STOP_SECONDS = 10


def eventually(condition, seconds=10, what="the condition"):
    """The first true value of the condition; an assertion when the time is up."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def environment(**more):
    """What programs under test get: nothing of the caller's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "RUST_BACKTRACE": "1", **more}


def bascule(*arguments, **more):
    """Runs a command of the binary to its end."""
    more.setdefault("env", environment())
    more.setdefault("timeout", 60)
    more.setdefault("text", True)
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, **more)


class Places:
    """Folders that others may enter, gone at the end; and the binary where nobody can run it."""

    def __init__(self):
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="bascule-tests-"))
        self._base.chmod(0o755)
        self._count = 0

    def folder(self):
        """A new folder."""
        self._count += 1
        folder = self._base / str(self._count)
        folder.mkdir()
        return folder

    def binary_for_nobody(self):
        """A copy: the folder this repository is in may be closed to others."""
        copy = self._base / "bascule"
        if not copy.exists():
            shutil.copy(BINARY, copy)
            copy.chmod(0o755)
        return copy

    def remove(self):
        """Removes everything."""
        shutil.rmtree(self._base, ignore_errors=True)


class Server:
    """One data directory and the server on it."""

    def __init__(self, places, *arguments, privileged=False, config=None, users=None, variables=None, stdin=None):
        self.folder = places.folder()
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.arguments = ["--data-dir", self.data, "--listen", "127.0.0.1:0", *arguments]
        self.variables = variables or {}
        # Without privileges there is no kernel fabric: such servers do not get in each other's way.
        self.as_nobody = not privileged and os.geteuid() == 0
        self.binary = places.binary_for_nobody() if self.as_nobody else BINARY
        if config is not None:
            path = self.folder / "bascule.toml"
            path.write_text(config)
            self.arguments += ["--config", path]
        if users is not None:
            self.write_users(users)
        self._own(self.data)
        # What starts the program in the server's place, if not itself or nobody.
        self.before = None
        self.process = None
        self.url = None
        self.starts = 0

    def _own(self, path):
        if self.as_nobody:
            os.chown(path, NOBODY, NOBODY)

    def write_users(self, text):
        """Puts another users.toml in place, in one step."""
        new = self.data / "users.toml.new"
        new.write_text(text)
        new.chmod(0o600)
        self._own(new)
        new.rename(self.data / "users.toml")

    def command(self):
        """What is executed."""
        before = self.before
        if before is None:
            nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            before = nobody if self.as_nobody else []
        return [*before, str(self.binary), "serve", *map(str, self.arguments)]

    def launch(self):
        """Starts the process without waiting for anything."""
        self.starts += 1
        self.error_path = self.folder / f"stderr.{self.starts}"
        with open(self.error_path, "wb") as errors:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(**self.variables),
                cwd=self.folder,
            )
        self.output = b""
        return self

    def start(self):
        """Starts it and waits for its ready line."""
        self.launch()
        deadline = time.monotonic() + READY_SECONDS
        while not (found := re.search(rb"^ready (https?://\S+)\n", self.output, re.M)):
            self.read_output(max(0, deadline - time.monotonic()))
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.errors()}"
            assert time.monotonic() < deadline, f"not ready in time: {self.errors()}"
        self.url = found[1].decode()
        return self

    def read_output(self, seconds):
        """Takes what stands on its standard output."""
        if select.select([self.process.stdout], [], [], seconds)[0]:
            self.output += os.read(self.process.stdout.fileno(), 65536)

    def errors(self):
        """All it has written to its standard error."""
        return "".join(
            (self.folder / f"stderr.{number}").read_text(errors="replace") for number in range(1, self.starts + 1)
        )

    @property
    def address(self):
        """Host and port of the API."""
        host, port = self.url.split("://")[1].rsplit(":", 1)
        return host, int(port)

    @property
    def root_key(self):
        """The root access key from DIR/credentials."""
        parsed = configparser.ConfigParser(interpolation=None)
        parsed.read(self.data / "credentials")
        return parsed["default"]["aws_access_key_id"], parsed["default"]["aws_secret_access_key"]

    def is_alive(self):
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As `kill -9`."""
        self.process.kill()
        self._ended()

    def stop(self):
        """As an operator stops it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self._ended()
        return self.process.returncode

    def _ended(self):
        self.process.wait(STOP_SECONDS)
        if self.process.stdout.closed:
            return
        with contextlib.suppress(OSError):
            while chunk := os.read(self.process.stdout.fileno(), 65536):
                self.output += chunk
        self.process.stdout.close()

    def close(self):
        """Ends it, however it is."""
        if self.is_alive():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            if self.is_alive():
                self.kill()
        elif self.process is not None:
            self._ended()


class Certificates:
    """A certificate authority of `bascule pki`, with a server's and a client's certificate."""

    def __init__(self, folder):
        self.folder = folder / "pki"
        self.run("init-ca")
        self.run("issue-server", "vpn.example.com")
        self.run("issue-client", "alice")

    def run(self, *arguments):
        """Runs a command of `bascule pki` in the folder."""
        done = bascule("pki", *arguments, "--dir", self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def path(self, name):
        """A file of the authority."""
        return self.folder / name

    def pem(self, name):
        """Its content."""
        return self.path(name).read_bytes()

    def material(self, name):
        """Parameters of ImportCertificate."""
        return {
            "Certificate": self.pem(f"{name}.crt"),
            "PrivateKey": self.pem(f"{name}.key"),
            "CertificateChain": self.pem("ca.crt"),
        }


FABRIC_MISSING = namespaces.why_no_fabric()
