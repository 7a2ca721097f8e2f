"""The server: a process with a data directory of its own, and the commands of `bascule` about it."""

import collections
import configparser
import fcntl
import json
import os
import pathlib
import queue
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading

from .addresses import Block

READY_SECONDS = 30
STOP_SECONDS = 10
# How long a new account may take to be known: the server looks at its users twice a second.
ACCOUNT_SECONDS = 10
COMMAND_SECONDS = 120
REGION = "us-east-1"
# The user of every account that a test has made, and its policy.
USER = '"bascule-pytest"'
EVERYTHING = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'

Credentials = collections.namedtuple("Credentials", "access_key_id secret_access_key")
Pair = collections.namedtuple("Pair", "certificate key")


class BasculeError(Exception):
    """A command of `bascule` failed, or the server was not ready: what it said."""


def find_binary(given=None):
    """What was named, else `BASCULE_BIN`, else `bascule` on the path."""
    found = given or os.environ.get("BASCULE_BIN") or shutil.which("bascule")
    if not found:
        raise BasculeError("there is no `bascule` on the path, and neither --bascule-bin nor BASCULE_BIN names one")
    return pathlib.Path(found).resolve()


def _environment(**more):
    """This process's, without its own settings for Bascule and for AWS."""
    foreign = ("BASCULE_", "AWS_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(foreign)}, **more}


class Certificates:
    """An authority of `bascule pki`, with what it has issued."""

    def __init__(self, binary, folder):
        self._binary, self.folder = binary, folder
        if not self.authority.exists():
            self._pki("init-ca")

    @property
    def authority(self):
        """The authority's certificate: the chain of an imported certificate."""
        return self.folder / "ca.crt"

    def server(self, name="vpn.example.com"):
        """A server's certificate and key, in files; its name must have a dot."""
        return self._issue("issue-server", name)

    def client(self, name):
        """A client's certificate and key, in files."""
        return self._issue("issue-client", name)

    def _issue(self, command, name):
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if not pair.certificate.exists():
            self._pki(command, name)
        return pair

    def _pki(self, *arguments):
        command = [self._binary, "pki", *arguments, "--dir", self.folder]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS)
        if done.returncode:
            raise BasculeError(done.stderr.strip())


class Account:
    """An account on a server: everything a test needs to know and do. Accounts see nothing of each other."""

    region = REGION

    def __init__(self, binary, folder, data_dir, endpoint_url, credentials):
        self.binary, self.folder = pathlib.Path(binary), pathlib.Path(folder)
        # The server's, which other processes may know too.
        self.data_dir = pathlib.Path(data_dir)
        self.endpoint_url, self.credentials = endpoint_url, Credentials(*credentials)

    def environment(self, **more):
        """For the AWS CLI, Terraform and `bascule`: this process's environment, but for what leads them here."""
        return _environment(
            AWS_ENDPOINT_URL=self.endpoint_url,
            AWS_ACCESS_KEY_ID=self.credentials.access_key_id,
            AWS_SECRET_ACCESS_KEY=self.credentials.secret_access_key,
            AWS_REGION=self.region,
            AWS_DEFAULT_REGION=self.region,
            AWS_EC2_METADATA_DISABLED="true",
            **more,
        )

    def client(self, service, **more):
        """A client of boto3, which must be installed."""
        import boto3

        more.setdefault("region_name", self.region)
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
            **more,
        )

    def run(self, *arguments, check=True, data=None):
        """A command of `bascule` about this account, to its end."""
        done = subprocess.run(
            [self.binary, *map(str, arguments)],
            env=self.environment(),
            cwd=self.folder,
            input=data,
            stdin=None if data is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )
        if check and done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise BasculeError(f"bascule {' '.join(map(str, arguments))}: {said}")
        return done

    def reset(self):
        """Ends every session and association of the account and deletes everything; done when it returns."""
        self.run("state", "reset")

    def save(self):
        """Everything of the account as it is now: bytes for `load`."""
        return self.run("state", "save", "-").stdout

    def load(self, state):
        """Makes everything of the account what it was; in force when it returns."""
        self.run("state", "load", "-", data=state)

    @property
    def certificates(self):
        """An authority for the tests: the same at every call."""
        return Certificates(self.binary, self.folder / "pki")

    def import_certificate(self, name="vpn.example.com"):
        """A server's certificate of `certificates` in ACM, through boto3; its ARN."""
        pair = self.certificates.server(name)
        imported = self.client("acm").import_certificate(
            Certificate=pair.certificate.read_bytes(),
            PrivateKey=pair.key.read_bytes(),
            CertificateChain=self.certificates.authority.read_bytes(),
        )
        return imported["CertificateArn"]

    def profile(self, endpoint, client, path=None):
        """The client profile of an endpoint with a client's certificate and key; its file."""
        certificate, key = client
        text = self.run("profile", "--endpoint", endpoint, "--cert", certificate, "--key", key).stdout
        path = pathlib.Path(path or self.folder / f"{pathlib.Path(certificate).stem}.{endpoint}.ovpn")
        path.write_bytes(text)
        return path

    def account(self):
        """Another account on this server, for a test or a worker that others must not disturb."""
        identity, key = self._new_user()
        folder = self.data_dir.parent / identity
        folder.mkdir()
        account = Account(self.binary, folder, self.data_dir, self.endpoint_url, key)
        account._wait_until_known()
        return account

    def _new_user(self):
        """Adds an account's user to the server's users; workers that share the server do so one at a time."""
        users = self.data_dir / "users.toml"
        with open(self.data_dir.parent / "users.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = users.read_text() if users.exists() else ""
            number = text.count(f"[[user]]\nname = {USER}\n") + 1
            identity, key = f"{100000000000 + number}", Credentials(f"AKIATEST{number:012}", secrets.token_urlsafe(30))
            if number == 1:
                text += f"[[policy]]\nname = {USER}\ndocument = '''{EVERYTHING}'''\n"
            text += f'[[user]]\nname = {USER}\naccount = "{identity}"\naccess_key_id = "{key.access_key_id}"\n'
            text += f'secret_access_key = "{key.secret_access_key}"\npolicies = [{USER}]\n'
            new = self.data_dir / "users.toml.new"
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            new.rename(users)
        return identity, key

    def _wait_until_known(self):
        """Until the server knows the account: a reset of nothing is then done."""
        pause = threading.Event()
        for _ in range(ACCOUNT_SECONDS * 10):
            done = self.run("state", "reset", check=False)
            if done.returncode == 0:
                return
            pause.wait(0.1)
        raise BasculeError(f"the new account is not known: {done.stderr.decode(errors='replace').strip()}")

    def expect(self, profile, *expectations, junit=None):
        """Connects with a profile and demands that every expectation holds; the report.

        An expectation is what `bascule client --expect` takes: `reach 192.0.2.10:80`, `deny 192.0.2.0/24`, `ping …`.
        """
        flags = [part for text in expectations for part in ("--expect", text)]
        return self._client([profile, *flags], junit)

    def expect_file(self, path, junit=None):
        """The same with a file of expectations, which names profiles itself; the report."""
        return self._client(["--expect-file", pathlib.Path(path).resolve()], junit)

    def _client(self, arguments, junit):
        __tracebackhide__ = True
        handle, report = tempfile.mkstemp(suffix=".json", dir=self.folder)
        os.close(handle)
        if junit:
            arguments = [*arguments, "--junit", pathlib.Path(junit).resolve()]
        done = self.run("client", *arguments, "--json", report, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode == 1:
            raise AssertionError(f"not every expectation held:\n{said}")
        if done.returncode:
            raise BasculeError(said.strip())
        return json.loads(pathlib.Path(report).read_text())


class Bascule(Account):
    """A running server, and the root of its own account."""

    def __init__(self, binary=None, arguments=(), fabric="userspace"):
        binary = find_binary(binary)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="bascule-"))
        data_dir, self.log_file = folder / "data", folder / "serve.log"
        self._block = Block()
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir, "--fabric", fabric]
        command += ["--gateway-address", self._block.cidr, *map(str, arguments)]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=_environment(), cwd=folder
            )
        # Reads on to the end, so that the server never waits for a reader.
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        try:
            url = lines.get(timeout=READY_SECONDS)
        except queue.Empty:
            url = None
        if url is None:
            log = self.log_tail()
            super().__init__(binary, folder, data_dir, None, ("", ""))
            self.stop()
            raise BasculeError(f"the server was not ready; its log ends:\n{log}")
        super().__init__(binary, folder, data_dir, url, self._root_key(data_dir))

    def _read(self, lines):
        for line in self.process.stdout:
            if line.startswith(b"ready "):
                lines.put(line.split()[1].decode())
        lines.put(None)

    @staticmethod
    def _root_key(data_dir):
        parsed = configparser.ConfigParser(interpolation=None)
        parsed.read(data_dir / "credentials")
        return parsed["default"]["aws_access_key_id"], parsed["default"]["aws_secret_access_key"]

    def log_tail(self, lines=40):
        """The last lines of the server's log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def stop(self):
        """As an operator stops it; by force if it does not. What it kept is gone with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._block.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
