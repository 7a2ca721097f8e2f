"""A lean client of the API port: one connection kept open, Signature Version 4 by hand, answers as plain values.

For tests of very many calls, where botocore's machinery would cost more than the server.
"""

import hashlib
import hmac
import json
import socket
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

from .wire import FORM, JSON, signing_key

SPACE = b' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
ANSWER_SECONDS = 60


class Broken(Exception):
    """The connection ended before an answer was whole; whether the call was done is not known."""


class Answer:
    """An answer: the status, and the members without the request id; or code and message of an error."""

    __slots__ = ("status", "tree", "code", "message", "seconds")

    def __init__(self, status, tree, code, message, seconds):
        self.status, self.tree, self.code, self.message, self.seconds = status, tree, code, message, seconds

    def __repr__(self):
        return f"{self.status} {self.code}: {self.message}" if self.code else f"{self.status} {self.tree}"


def plain(element):
    """An element's content: a text, a list of items, or members by name."""
    children = list(element)
    if not children:
        return element.text or ""
    if children[0].tag == "item":
        assert all(child.tag == "item" for child in children), ElementTree.tostring(element)
        return [plain(child) for child in children]
    members = {child.tag: plain(child) for child in children}
    assert len(members) == len(children), ElementTree.tostring(element)
    return members


def read_ec2(status, body, seconds):
    """An EC2 answer."""
    root = ElementTree.fromstring(body.replace(SPACE, b"", 1))
    if status == 200:
        tree = plain(root)
        assert tree.pop("requestId"), body
        return Answer(status, tree, None, None, seconds)
    error = root[0][0]
    return Answer(status, None, error[0].text, error[1].text or "", seconds)


def read_json(status, body, seconds):
    """An answer of a JSON 1.1 service."""
    document = json.loads(body)
    if status == 200:
        return Answer(status, document, None, None, seconds)
    return Answer(status, None, document["__type"], document["message"], seconds)


class Line:
    """One connection to a server, in any region; `address` and `key` (id, secret) may change with a restart."""

    def __init__(self, address, key):
        self.address, self.key = address, key
        self._socket = None
        self._second = self._stamp = None

    def close(self):
        """Hangs up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ec2(self, region, pairs):
        """An EC2 action, its parameters as they go over the wire."""
        body = "&".join([f"{name}={urllib.parse.quote(value, safe='')}" for name, value in pairs]).encode()
        return self._call(region, "ec2", FORM, None, body, read_ec2)

    def acm(self, region, operation, body):
        """An operation of Certificate Manager; the body as JSON text."""
        return self._call(region, "acm", JSON, f"CertificateManager.{operation}", body.encode(), read_json)

    def _head(self, region, service, kind, target, body):
        second = int(time.time())
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        stamp = self._stamp
        host = f"{self.address[0]}:{self.address[1]}"
        headers = [("content-type", kind), ("host", host), ("x-amz-date", stamp)]
        if target:
            headers.append(("x-amz-target", target))
        names = ";".join([name for name, _ in headers])
        lines = "".join([f"{name}:{value}\n" for name, value in headers])
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = signing_key(self.key[1], stamp[:8], region, service)
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        headers.append(
            (
                "authorization",
                f"AWS4-HMAC-SHA256 Credential={self.key[0]}/{scope}, SignedHeaders={names}, Signature={signature}",
            )
        )
        head = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return f"POST / HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode()

    def _call(self, region, service, kind, target, body, read):
        request = self._head(region, service, kind, target, body) + body
        started = time.monotonic()
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self.address, timeout=ANSWER_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            status, answer = self._receive()
        except OSError as error:
            self.close()
            raise Broken(f"{error!r}") from error
        return read(status, answer, time.monotonic() - started)

    def _receive(self):
        data = self._more()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].decode("latin-1").lower()
        at = head.index("content-length:") + len("content-length:")
        length = int(head[at : at + 20].split("\r\n", 1)[0])
        body = data[end + 4 :]
        while len(body) < length:
            body += self._more()
        assert len(body) == length
        if "connection: close" in head:
            self.close()
        return int(head[9:12]), body

    def _more(self):
        chunk = self._socket.recv(65536)
        if not chunk:
            raise ConnectionResetError("hung up")
        return chunk
