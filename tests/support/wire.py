"""Requests as bytes, many a second: a kept connection, and a signer that does no more than Signature Version 4 needs.

boto3's own signer makes the requests of which acceptance is asked; this one makes those that are to be refused for
something else than their signature.
"""

import datetime
import functools
import hashlib
import hmac
import re
import socket
import urllib.parse

from .calls import Reply

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/x-amz-json-1.1"
# How long an answer may take before it counts as a hang.
ANSWER_SECONDS = 30


@functools.lru_cache(maxsize=64)
def signing_key(secret, date, region, service):
    """The key that signs a day's requests to a service."""
    key = f"AWS4{secret}".encode()
    for step in (date, region, service, "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return key


def sign(key, region, service, host, method="POST", query="", body=b"", headers=None):
    """Headers of a signed request for `/`: those given, the date, and the authorization. The query is well formed."""
    moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    whole = {"Host": host, "X-Amz-Date": moment, **(headers or {})}
    signed = sorted((name.lower(), " ".join(value.split())) for name, value in whole.items())
    names = ";".join(name for name, _ in signed)
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    canonical = "&".join(
        "=".join(pair) for pair in sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    )
    lines = [method, "/", canonical, *(f"{name}:{value}" for name, value in signed), "", names]
    text = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(text.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, digest])
    made = hmac.new(signing_key(key[1], moment[:8], region, service), to_sign.encode(), hashlib.sha256).hexdigest()
    credential = f"Credential={key[0]}/{scope}, SignedHeaders={names}, Signature={made}"
    return {**whole, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def _encoded(text):
    return urllib.parse.quote(urllib.parse.unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def message(method, target, headers, body=b"", length=True):
    """A request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "surrogateescape") + body


class _Response:
    """What `Reply` wants of a response."""

    def __init__(self, status, headers):
        self.status, self.headers = status, headers


class Headers(dict):
    """Headers of an answer, by lower-case name."""

    def __getitem__(self, name):
        return super().__getitem__(name.lower())

    def get_content_type(self):
        """Without parameters."""
        return self["content-type"].split(";")[0]


class Wire:
    """A connection that is kept, and made anew when the server closed it."""

    def __init__(self, address):
        self.address, self._socket, self._rest = address, None, b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Hangs up."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self._rest = None, b""

    def ask(self, request, service, finish=False, head=False):
        """The answer to a message; None where the server hung up instead. `finish`: nothing more is sent after it."""
        for fresh in (self._socket is None, True):
            if self._socket is None:
                self._socket = socket.create_connection(self.address, timeout=ANSWER_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._socket.sendall(request)
                if finish:
                    self._socket.shutdown(socket.SHUT_WR)
                reply = self._answer(service, head)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                # It may answer and hang up while a request is still being sent.
                reply = self._late(service)
            if reply is not None and not finish:
                return reply
            self.close()
            if reply is not None or fresh:
                return reply
        return None

    def _late(self, service):
        try:
            return self._answer(service, False)
        except TimeoutError:
            raise
        except OSError:
            return None

    def _more(self):
        chunk = self._socket.recv(65536)
        self._rest += chunk
        return bool(chunk)

    def _answer(self, service, head):
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return None
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        headers = Headers((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = 0 if head else int(headers.get("content-length", 0))
        while len(self._rest) < length:
            if not self._more():
                return None
        body, self._rest = self._rest[:length], self._rest[length:]
        number = int(re.match(r"HTTP/1\.[01] (\d{3})", status)[1])
        if headers.get("connection") == "close":
            self.close()
        return Reply(_Response(number, headers), body, service)
