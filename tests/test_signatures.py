"""Signatures by the thousand: what botocore signs is accepted, however odd its parameters; and of what is altered after
signing, in one character of anything that is signed, nothing is. `BASCULE_SIGNED` and `BASCULE_ALTERED` say how many:
`cargo xtask campaign signed` and `cargo xtask campaign altered` send 10,000 and 100,000."""

import collections
import json
import os
import random
import urllib.parse

import botocore.auth
import botocore.awsrequest
import pytest

from support.calls import EC2_VERSION, FORM, Caller
from support.servers import Server
from support.wire import JSON, Wire, message

SIGNED = int(os.environ.get("BASCULE_SIGNED", "2000"))
ALTERED = int(os.environ.get("BASCULE_ALTERED", "5000"))
SEED = int(os.environ.get("BASCULE_SEED", "1"))
SHOWN_FAULTS = 20
# How many alterations are made of one signed request: it must not grow old meanwhile.
TO_EACH = 100

# What refuses a request before or because of its signature. Anything else says that the signature was accepted.
NOT_ACCEPTED = {
    "AuthFailure",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    # Of the form, which is read first.
    "InvalidCharacter",
    "InvalidQueryParameter",
    "MalformedQueryString",
    # Of HTTP: another path or method.
    "InvalidRequest",
}
ODD = [
    "",
    " ",
    "a b",
    "a+b",
    "a%20b",
    "%",
    "%2F/",
    "é€\U0001f512",
    "e\u0301",
    "\u202eabc",
    "\t\r\n",
    "~-_.!*'()",
    '[]{}|\\^`"<>#?@:;,=&/$',
    "=&=&",
    "..",
    "x" * 3000,
    "\u00e9" * 500,
    "AWS4-HMAC-SHA256 Credential=x",
]


@pytest.fixture(scope="module")
def target(places):
    server = Server(places).start()
    yield server
    server.close()


class Signer(random.Random):
    """Requests signed by botocore, as parts that can be altered."""

    def __init__(self, seed, server):
        super().__init__(seed)
        self.server, self.host = server, "{}:{}".format(*server.address)
        self.caller = Caller(server)

    def text(self):
        """An odd but legal text."""
        if self.random() < 0.5:
            return self.choice(ODD)
        points = [
            *range(32, 127),
            *range(0xA0, 0xD7FF, 401),
            *range(0xE000, 0xFFFD, 977),
            *range(0x10000, 0x10FFFF, 70_001),
        ]
        return "".join(chr(self.choice(points)) for _ in range(self.randrange(80)))

    def pairs(self):
        """A Describe whose filters can have any text, and find nothing."""
        pairs = [("Action", "DescribeVpcs"), ("Version", EC2_VERSION)]
        for number in range(1, self.randrange(1, 5)):
            pairs.append((f"Filter.{number}.Name", f"tag:{self.text()}"))
            pairs += [(f"Filter.{number}.Value.{n}", self.text()) for n in range(1, self.randrange(2, 5))]
        if self.random() < 0.3:
            self.shuffle(pairs)
        return pairs

    def extra_headers(self):
        """Headers that are signed, too."""
        names = self.sample(["X-Custom", "X-Amz-Meta-Odd", "Accept", "If-Match", "X-Empty"], self.randrange(4))
        return {name: self.choice(["", "a", "  two   blanks ", "a,b;c=d", '"q  q"', "*/*"]) for name in names}

    def signed(self, service, method, query, body, headers, presigned=False):
        """A request's parts: method, path, query, headers, body."""
        request = botocore.awsrequest.AWSRequest(
            method, f"http://{self.host}/" + (f"?{query}" if query else ""), data=body, headers=headers
        )
        if presigned:
            botocore.auth.SigV4QueryAuth(self.caller.credentials(), service, "us-east-1", expires=600).add_auth(request)
        else:
            botocore.auth.SigV4Auth(self.caller.credentials(), service, "us-east-1").add_auth(request)
        query = request.url.partition("?")[2]
        return Parts(service, method, "/", query, {"Host": self.host, **dict(request.headers.items())}, body)

    def any(self):
        """One of the ways a request can be signed."""
        kind = self.randrange(6)
        if kind == 0:
            return self.signed("ec2", "GET", encoded(self.pairs()), b"", self.extra_headers())
        if kind == 1:
            return self.signed("ec2", "GET", encoded(self.pairs()), b"", {}, presigned=True)
        if kind == 2:
            # Part in the query string, part in the body.
            pairs = self.pairs()
            at = self.randrange(len(pairs))
            body = encoded(pairs[at:]).encode()
            return self.signed("ec2", "POST", encoded(pairs[:at]), body, {"Content-Type": FORM, **self.extra_headers()})
        if kind == 3:
            body = urllib.parse.urlencode(self.pairs()).encode()
            return self.signed("ec2", "POST", "", body, {"Content-Type": FORM, **self.extra_headers()})
        if kind == 4:
            body = json.dumps({"MaxItems": self.randrange(1, 1000)}, ensure_ascii=self.random() < 0.5).encode()
            head = {"Content-Type": JSON, "X-Amz-Target": "CertificateManager.ListCertificates", **self.extra_headers()}
            return self.signed("acm", "POST", "", body, head)
        body = encoded([("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).encode()
        return self.signed("sts", "POST", "", body, {"Content-Type": FORM, **self.extra_headers()})


def encoded(pairs):
    """As the canonical form has it."""
    return urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe="-_.~")


class Parts:
    """A signed request."""

    def __init__(self, service, method, path, query, headers, body):
        self.service, self.method, self.path, self.query = service, method, path, query
        self.headers, self.body = headers, body

    def message(self):
        """As it goes over the wire."""
        target = self.path + (f"?{self.query}" if self.query else "")
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        return message(self.method, target, headers, self.body, length=bool(self.body) or self.method == "POST")

    def changed(self, **parts):
        """The same with other parts."""
        return Parts(**{**self.__dict__, **parts})


def test_what_botocore_signs_is_accepted(target):
    signer = Signer(SEED, target)
    with Wire(target.address) as wire:
        for number in range(SIGNED):
            parts = signer.any()
            if len(parts.query) > 30_000:
                continue
            reply = wire.ask(parts.message(), parts.service)
            assert reply is not None and reply.status == 200, (number, parts.__dict__, reply and reply.text)


# --- Alterations: each returns the request with one thing changed, or nothing where the change would mean nothing.

WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def another(dice, text, at, alphabet=WORD):
    """The text with another character at a place: a neighbouring bit's where that is printable, else any."""
    old = text[at]
    new = chr(ord(old) ^ (1 << dice.randrange(7)))
    if not ("!" <= new <= "~") or new in '"\\' or dice.random() < 0.5:
        new = dice.choice([c for c in alphabet if c != old])
    return text[:at] + new + text[at + 1 :]


def within(dice, parts, before, after):
    """One character of what stands in Authorization between two texts."""
    value = parts.headers.get("Authorization")
    if value is None:
        return None
    start = value.index(before) + len(before)
    end = value.index(after, start) if after else len(value)
    changed = another(dice, value, dice.randrange(start, end))
    return parts.changed(headers={**parts.headers, "Authorization": changed})


def in_query(dice, parts, name=None):
    """One character of the query string, of one parameter's value if it is named; what means the same is none."""
    if not parts.query or (name and f"{name}=" not in parts.query):
        return None
    start, end = 0, len(parts.query)
    if name:
        start = parts.query.index(f"{name}=") + len(name) + 1
        end = parts.query.find("&", start) if "&" in parts.query[start:] else end
    query = another(dice, parts.query, dice.randrange(start, end))
    return None if meaning(query) == meaning(parts.query) else parts.changed(query=query)


def meaning(query):
    """Names and values of a query string, whatever their order and escapes."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    decoded = lambda text: urllib.parse.unquote_to_bytes(text.replace("+", " "))
    return sorted((decoded(name), decoded(value)) for name, _, value in pairs)


def signature(dice, parts):
    return within(dice, parts, "Signature=", None) or in_query(dice, parts, "X-Amz-Signature")


def access_key(dice, parts):
    if parts.headers.get("Authorization"):
        return within(dice, parts, "Credential=", "/")
    return in_query(dice, parts, "X-Amz-Credential")


def scope(dice, parts):
    if parts.headers.get("Authorization"):
        key = parts.headers["Authorization"].split("Credential=")[1].split("/")[0]
        return within(dice, parts, f"Credential={key}", ",")
    return in_query(dice, parts, "X-Amz-Credential")


def signed_headers(dice, parts):
    return within(dice, parts, "SignedHeaders=", ",") or in_query(dice, parts, "X-Amz-SignedHeaders")


def date(dice, parts):
    if "X-Amz-Date" not in parts.headers:
        return in_query(dice, parts, dice.choice(["X-Amz-Date", "X-Amz-Expires"]))
    value = parts.headers["X-Amz-Date"]
    changed = another(dice, value, dice.randrange(len(value)), "0123456789TZ")
    return parts.changed(headers={**parts.headers, "X-Amz-Date": changed})


def header(dice, parts):
    """The value of a header that is signed; blanks around it and twice in it mean nothing."""
    names = [
        name for name in parts.headers if name not in ("Authorization", "X-Amz-Date") and parts.headers[name].strip()
    ]
    name = dice.choice(names)
    value = parts.headers[name]
    at = dice.choice([at for at, c in enumerate(value) if c not in " \t"])
    return parts.changed(headers={**parts.headers, name: another(dice, value, at)})


def header_gone(dice, parts):
    name = dice.choice([name for name in parts.headers if name not in ("Authorization", "Host")] or [None])
    return name and parts.changed(headers={key: value for key, value in parts.headers.items() if key != name})


def body(dice, parts):
    if not parts.body:
        return parts.changed(body=bytes([dice.choice(b"&=ax")]))
    raw = bytearray(parts.body)
    match dice.randrange(3):
        case 0:
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        case 1:
            del raw[dice.randrange(len(raw))]
        case 2:
            raw.insert(dice.randrange(len(raw) + 1), dice.choice(b"&=ax%+ \n"))
    return parts.changed(body=bytes(raw))


def path(dice, parts):
    return parts.changed(
        path=dice.choice(["//", "/.", "/./", "/x", "/%20", "/%2f", "/x/..", "/;", "/ec2", "/" + dice.choice(WORD)])
    )


def method(dice, parts):
    return parts.changed(method=dice.choice([m for m in ("GET", "POST", "PUT", "HEAD", "Post") if m != parts.method]))


def query(dice, parts):
    if not parts.query:
        return parts.changed(
            query=dice.choice(["DryRun=true", "a", "=", "X-Amz-Expires=600", "Action=CreateVpc", "%00"])
        )
    return in_query(dice, parts)


ALTERATIONS = [signature, access_key, scope, signed_headers, date, header, header_gone, body, query, path, method]


def accepted(reply):
    """Whether an answer says that the signature was taken for good."""
    if reply is None or reply.status in (405, 431):
        return False
    kind = reply.headers.get("content-type", "")
    if reply.status != 200 and not kind.startswith(("text/xml", "application/x-amz-json")):
        # HTTP itself did not take it.
        return False
    return reply.status == 200 or reply.code not in NOT_ACCEPTED


def test_nothing_that_is_altered_is_accepted(target):
    dice = Signer(SEED, target)
    faults, seen, sent = [], collections.Counter(), 0
    with Wire(target.address) as wire:
        while sent < ALTERED:
            original = dice.any()
            if len(original.query) > 30_000:
                continue
            reply = wire.ask(original.message(), original.service)
            assert reply.status == 200, (original.__dict__, reply.text)
            for _ in range(TO_EACH):
                alter = dice.choice(ALTERATIONS)
                parts = alter(dice, original)
                # A header that was not signed may be left out.
                if not parts or parts.message() == original.message():
                    continue
                reply = wire.ask(parts.message(), parts.service, head=parts.method == "HEAD")
                sent += 1
                seen[alter.__name__] += 1
                if accepted(reply):
                    faults.append(f"{alter.__name__}: {parts.message()[:2000]!r}: {reply.text[:300]}")
                    assert len(faults) < SHOWN_FAULTS, "\n".join(faults)
                assert reply is None or reply.status < 500, (alter.__name__, parts.message()[:2000], reply.text)
    assert not faults, "\n".join(faults)
    print(f"{sent} altered, none accepted: {dict(seen)}")
    # Each kind had its share.
    assert set(seen) == {alter.__name__ for alter in ALTERATIONS} and min(seen.values()) > sent / 100, seen
