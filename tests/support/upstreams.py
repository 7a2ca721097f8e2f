"""What `--upstream` points to: moto's server as a process of its own, and servers that fail."""

import contextlib
import datetime
import http.client
import http.server
import ipaddress
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .servers import environment

MOTO = pathlib.Path(sys.executable).with_name("moto_server")
START_SECONDS = 60


class Moto:
    """moto's server on a random port; ended by its own process."""

    def __init__(self, folder, **variables):
        self.log = folder / "moto.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [MOTO, "-H", "127.0.0.1", "-p", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(PYTHONUNBUFFERED="1", **variables),
                cwd=folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", self.log.read_text(errors="replace"))):
            assert self.process.poll() is None, self.log.read_text(errors="replace")
            assert time.monotonic() < deadline, "moto did not start in time"
            time.sleep(0.05)
        self.url = found[1]

    def close(self):
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Broken:
    """Accepts connections, reads something, answers these bytes; None: nothing, for as long as it lives."""

    def __init__(self, answer):
        self.answer, self.held = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                if self.answer is None:
                    self.held.append(stream)
                    continue
                with stream, contextlib.suppress(OSError):
                    stream.recv(65536)
                    stream.sendall(self.answer)

    def close(self):
        """Ends it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for stream in self.held:
            stream.close()
        self.thread.join(10)


class Front:
    """Stands before another server, over TLS if it gets a context, and passes what it is asked, or not, by its mood.

    `well`; `dead`: hangs up; `slow`: never answers; `garbage`: bytes that are no HTTP; `page`: somebody else's page;
    `empty`: every list of EC2 is empty; `refusing`: every call is refused for want of permission.
    """

    def __init__(self, target, tls=None):
        self.target, self.mood, self.count = target, "well", 0
        self.released = threading.Event()
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                front.answer(self)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = "{}://127.0.0.1:{}".format("https" if tls else "http", self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def answer(self, request):
        """One request, by the mood."""
        self.count += 1
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.close_connection = True
        mood = self.mood
        if mood == "dead":
            return
        if mood == "slow":
            self.released.wait(60)
            return
        if mood == "garbage":
            request.wfile.write(b"\x00\xffnothing of the kind\r\n\r\n")
            return
        if mood == "page":
            self._say(request, 200, b"<html><body>Please sign in</body></html>")
            return
        action = dict(urllib.parse.parse_qsl(body.decode(errors="replace"))).get("Action", "")
        if mood == "empty":
            odd = {
                "DescribeSecurityGroups": "securityGroupInfo",
                "DescribeManagedPrefixLists": "prefixListSet",
                "GetManagedPrefixListEntries": "entrySet",
            }
            name = odd.get(action, action[8:-1].lower() + "Set")
            text = f"<{action}Response><requestId>r</requestId><{name}/></{action}Response>"
            self._say(request, 200, text.encode())
            return
        if mood == "refusing":
            error = "<Code>UnauthorizedOperation</Code><Message>You may not.</Message>"
            text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>r</RequestID></Response>"
            self._say(request, 403, text.encode())
            return
        host, port = self.target.split("//")[1].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request(request.command, request.path, body or None, dict(request.headers.items()))
            answer = connection.getresponse()
            self._say(request, answer.status, answer.read(), answer.headers.get("Content-Type"))
        except OSError:
            pass  # Hangs up.
        finally:
            connection.close()

    @staticmethod
    def _say(request, status, body, kind="text/xml"):
        request.send_response(status)
        request.send_header("Content-Type", kind or "text/xml")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def close(self):
        """Ends it."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


def authority(folder):
    """A CA and a certificate of it for 127.0.0.1: the CA's file and a context that serves it."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def made(name, issuer, key, signer, *extensions):
        builder = x509.CertificateBuilder()
        builder = builder.subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(signer, hashes.SHA256())

    named = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = made(named("A CA"), named("A CA"), ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = made(named("upstream"), named("A CA"), key, ca_key, here)
    ca_path, chain = folder / "ca.pem", folder / "leaf.pem"
    ca_path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca_path, context


def settings(url, allow=(), more=""):
    """The configuration of an upstream."""
    names = ", ".join(f'"{name}"' for name in allow)
    return f'[upstream]\nurl = "{url}"\nallow = [{names}]\n{more}\n'


def variables(key="AKIAUPSTREAM00000000", secret="upstream-canary-upstream-canary-upstream"):
    """The environment that holds an upstream's credentials."""
    return {"BASCULE_UPSTREAM_ACCESS_KEY_ID": key, "BASCULE_UPSTREAM_SECRET_ACCESS_KEY": secret}
