"""Signed requests to a server: well formed as boto3 makes them, or with anything wrong with them."""

import contextlib
import datetime
import http.client
import ssl
import unittest.mock
import urllib.parse
import uuid
import xml.etree.ElementTree as ElementTree
from json import loads

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from . import model

EC2_VERSION = "2016-11-15"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class Refused(Exception):
    """An error answer, read with botocore's own parser."""

    def __init__(self, reply):
        super().__init__(f"{reply.status} {reply.code}: {reply.message}")
        self.reply, self.code, self.message, self.status = reply, reply.code, reply.message, reply.status


class Reply:
    """An HTTP answer."""

    def __init__(self, response, body, service):
        self.status, self.headers, self.body, self.service = response.status, response.headers, body, service

    @property
    def text(self):
        """The body as text."""
        return self.body.decode()

    @property
    def root(self):
        """The body as an XML tree, namespaces kept."""
        return ElementTree.fromstring(self.body)

    def _error(self):
        if self.headers.get_content_type() == "application/x-amz-json-1.1":
            document = loads(self.body)
            return document["__type"], document["message"]
        error = next(element for element in self.root.iter() if element.tag.endswith("Error"))
        return tuple(next(c.text or "" for c in error if c.tag.endswith(name)) for name in ("Code", "Message"))

    @property
    def code(self):
        """The error's code."""
        return self._error()[0]

    @property
    def message(self):
        """The error's text."""
        return self._error()[1]

    @property
    def request_id(self):
        """The request id of the header."""
        return self.headers["x-amzn-RequestId"]

    def check_form(self):
        """What holds for every EC2 answer (spec §2.0)."""
        assert self.headers["Content-Type"] == "text/xml;charset=UTF-8"
        assert self.text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<')
        root = self.root
        if self.status == 200:
            # Parsers skip the namespace, people's tools may not.
            space = f"{{http://ec2.amazonaws.com/doc/{EC2_VERSION}/}}"
            assert root.tag.startswith(space) and root.tag.endswith("Response"), root.tag
            assert root[0].tag == f"{space}requestId"
            found = root[0].text
        else:
            assert [root.tag, *(child.tag for child in root)] == ["Response", "Errors", "RequestID"]
            assert [child.tag for child in root[0][0]] == ["Code", "Message"]
            found = root[1].text
        assert found == self.request_id
        uuid.UUID(found)
        return self


def form(parameters):
    """An encoded form of a mapping or of pairs."""
    return urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)


@contextlib.contextmanager
def signing_time(moment):
    """botocore signs as if it were this time."""
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: moment):
        yield


def now():
    """The time, as botocore has it for signing."""
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


class Caller:
    """A key and a region on a server."""

    def __init__(self, server, key=None, region="us-east-1", tls=None):
        self.server, self.region, self.tls = server, region, tls
        self.key = key
        self._kept = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._kept:
            self._kept.close()
            self._kept = None

    def with_key(self, key):
        """The same with another access key (id, secret)."""
        return Caller(self.server, key, self.region, self.tls)

    def in_region(self, region):
        """The same in another region."""
        return Caller(self.server, self.key, region, self.tls)

    def credentials(self):
        """For botocore; the root key if there is no other."""
        return botocore.credentials.Credentials(*(self.key or self.server.root_key))

    def connection(self, seconds=30):
        """A fresh connection."""
        host, port = self.server.address
        if self.server.url.startswith("https:"):
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=self.tls)
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def signed(self, method, query, body, headers, service):
        """A signed request in headers: target and headers, ready to send."""
        url = f"{self.server.url}/" + (f"?{query}" if query else "")
        request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers)
        botocore.auth.SigV4Auth(self.credentials(), service, self.region).add_auth(request)
        return url[len(self.server.url) :], dict(request.headers.items())

    def presigned(self, query, service="ec2", expires=60, method="GET"):
        """A presigned target: path and query."""
        request = botocore.awsrequest.AWSRequest(method, f"{self.server.url}/?{query}")
        botocore.auth.SigV4QueryAuth(self.credentials(), service, self.region, expires=expires).add_auth(request)
        return request.url[len(self.server.url) :]

    def send(self, method, target, body=b"", headers=None, service="ec2", keep=False):
        """Sends it as it is; the answer. With `keep` the connection stays for the next call."""
        for attempt in (1, 2):
            fresh = not (keep and self._kept)
            if fresh:
                connection = self.connection()
            else:
                connection, self._kept = self._kept, None
            try:
                connection.request(method, target, body=body or None, headers=headers or {})
                response = connection.getresponse()
                reply = Reply(response, response.read(), service)
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                if fresh or attempt == 2:
                    raise
                continue
            if keep and not response.will_close:
                self._kept = connection
            else:
                connection.close()
            return reply

    def query(self, parameters, method="POST", service="ec2", headers=None, keep=False):
        """A signed Query request with these parameters, given as mapping, pairs, or text already encoded."""
        encoded = parameters if isinstance(parameters, (str, bytes)) else form(parameters)
        if isinstance(encoded, bytes):
            encoded = encoded.decode("latin-1")
        if method == "GET":
            target, head = self.signed("GET", encoded, b"", headers or {}, service)
            return self.send("GET", target, b"", head, service, keep)
        body = encoded.encode("latin-1")
        target, head = self.signed(method, "", body, {"Content-Type": FORM, **(headers or {})}, service)
        return self.send(method, target, body, head, service, keep)

    def ec2_raw(self, action, parameters=(), method="POST", version=EC2_VERSION, **more):
        """An EC2 action with parameters as they go over the wire; the answer, whatever it says."""
        pairs = [("Action", action)] + ([("Version", version)] if version else [])
        pairs += parameters.items() if isinstance(parameters, dict) else parameters
        return self.query(pairs, method, **more).check_form()

    def json(self, target, body=b"{}", service="acm", headers=None):
        """A JSON 1.1 request."""
        head = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, **(headers or {})}
        path, signed = self.signed("POST", "", body, head, service)
        return self.send("POST", path, body, signed, service)

    def call(self, service, operation, **parameters):
        """An operation as boto3 makes it and reads it; raises Refused."""
        shape = model.service(service).operation_model(operation)
        made = model.serializer(service).serialize_to_request(parameters, shape)
        body = made["body"]
        body = form(body).encode() if isinstance(body, dict) else body
        headers = {name: value for name, value in made["headers"].items() if value is not None}
        if model.service(service).metadata["protocol"] != "json":
            headers["Content-Type"] = FORM
        target, head = self.signed("POST", "", body, headers, service)
        reply = self.send("POST", target, body, head, service)
        if reply.status != 200:
            raise Refused(reply.check_form() if service == "ec2" else reply)
        if service == "ec2":
            reply.check_form()
        raw = {"status_code": reply.status, "headers": reply.headers, "body": reply.body}
        answer = model.parser(service).parse(raw, shape.output_shape)
        answer.pop("ResponseMetadata", None)
        return answer

    def ec2(self, operation, **parameters):
        """An EC2 operation."""
        return self.call("ec2", operation, **parameters)

    def acm(self, operation, **parameters):
        """An ACM operation."""
        return self.call("acm", operation, **parameters)

    def get(self, path, headers=None):
        """A plain unsigned GET."""
        return self.send("GET", path, headers=headers, service=None)


def insecure_tls():
    """Accepts any certificate: for looking at which one a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
