"""Thousands of random and damaged requests: never the server's fault, always a well formed answer, and it lives on."""

import collections
import contextlib
import http.client
import json
import pathlib
import random
import socket
import string
import urllib.parse

import pytest

from support import model
from support.calls import Caller, form
from support.servers import Server
from support.world import World
from test_actions import ACTIONS, WELL_FORMED

SEEDS = [11, 22, 33, 44]
REQUESTS = 1000
GROWTH_MIB = 24

NASTY = [
    "",
    " ",
    "0",
    "-1",
    "1",
    "5",
    "1000",
    "99999999999999999999999",
    "-9223372036854775809",
    "1e9",
    "NaN",
    "true",
    "FALSE",
    "null",
    "é",
    "\U0001f512",
    "\u202e",
    "\ufeff",
    "\t\r\n",
    "'\"<>&",
    "]]>",
    '<!DOCTYPE x [<!ENTITY a "b">]>',
    "${jndi:x}",
    "../../etc/passwd",
    "%00",
    "10.0.0.0/0",
    "0.0.0.0/0",
    "255.255.255.255/32",
    "10.0.0.0/-1",
    "10.0.0.0/33",
    "::/0",
    "::ffff:10.0.0.0/96",
    "fe80::1%eth0",
    "10.8.0.0/22",
    "cvpn-endpoint-",
    "cvpn-endpoint-0123456789abcdef0",
    "subnet-0123456789abcdef0",
    "vpc-",
    "local",
    "arn:aws:acm:us-east-1:000000000000:certificate/",
    "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-",
    ":::::",
    "certificate-authentication",
    "client-vpn-endpoint",
    "*" * 200,
    "a*" * 100,
    "\\",
    "x" * 5000,
]
SEGMENTS = ["1", "2", "0", "01", "1000", "100001", "N", "member", "", "Name", "Value", "Key", "Type", "Tag", "Enabled"]


@pytest.fixture(scope="module")
def target(places, certificates):
    server = Server(places, config="[quotas]\nendpoints_per_region = 100000\nvpcs_per_region = 100000\n").start()
    world = World(server, certificates, "us-east-1")
    vpc = world.vpc()
    known = [vpc, world.subnet(vpc), world.endpoint(), world.arn]
    yield server, known
    assert server.is_alive()
    assert server.stop() == 0
    server.close()


def leaf_names(action):
    """Wire names of everything an action takes, each list with its first element."""
    names = []

    def walk(shape, prefix, depth=0):
        for member in shape.members:
            kind = shape.members[member]
            name = f"{prefix}{model.wire_name(shape, member)}"
            if kind.type_name == "list":
                name, kind = f"{name}.1", kind.member
            if kind.type_name == "structure" and depth < 4:
                walk(kind, f"{name}.", depth + 1)
            else:
                names.append(name)

    walk(model.service("ec2").operation_model(action).input_shape, "")
    return names


NAMES = {action: leaf_names(action) for action in ACTIONS}
EVERY_NAME = sorted({name for names in NAMES.values() for name in names})


class Dice(random.Random):
    """Makes requests."""

    def value(self, known):
        kind = self.random()
        if kind < 0.5:
            return self.choice(NASTY)
        if kind < 0.7:
            return self.choice(known)
        if kind < 0.85:
            return "".join(self.choice(string.printable[:95]) for _ in range(self.randrange(40)))
        return "".join(chr(self.choice([*range(32, 127), *range(160, 0xD7FF, 997)])) for _ in range(self.randrange(20)))

    def name(self, action):
        name = self.choice(NAMES[action]) if self.random() < 0.8 else self.choice(EVERY_NAME)
        if self.random() < 0.2:
            parts = name.split(".")
            parts.insert(self.randrange(len(parts) + 1), self.choice(SEGMENTS))
            name = ".".join(parts)
        return name if self.random() < 0.95 else name[: self.randrange(len(name) + 1)]

    def pairs(self, known):
        action = self.choice(ACTIONS)
        pairs = [("Action", action), ("Version", "2016-11-15")]
        if self.random() < 0.7:
            pairs += WELL_FORMED[action].items()
        pairs += [(self.name(action), self.value(known)) for _ in range(self.choice([0, 0, 1, 1, 2, 5]))]
        if self.random() < 0.3:
            at = self.randrange(len(pairs))
            pairs[at] = (pairs[at][0], self.value(known))
        if self.random() < 0.1:
            self.shuffle(pairs)
        # A name that comes twice is refused before anything else: seldom.
        return pairs if self.random() < 0.05 else list(dict(pairs).items())

    def damaged(self, text):
        """Some bytes of an encoded form changed, taken out, doubled."""
        raw = bytearray(text.encode())
        for _ in range(self.randrange(1, 6)):
            if not raw:
                break
            at = self.randrange(len(raw))
            match self.randrange(4):
                case 0:
                    raw[at] = self.randrange(256)
                case 1:
                    del raw[at : at + self.randrange(8)]
                case 2:
                    raw[at:at] = bytes(self.choice(b"&=%.+;") for _ in range(self.randrange(4)))
                case 3:
                    raw[at:at] = raw[at : at + self.randrange(16)]
        return bytes(raw)


def resident_mib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(status[1]) * 4096 / (1 << 20)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_forms(target, seed):
    server, known = target
    with Caller(server) as caller:
        run(server, known, Dice(seed), caller)


def run(server, known, dice, caller):
    seen = collections.Counter()
    before = None
    for number in range(REQUESTS):
        pairs = dice.pairs(known)
        text = form([(name, value) for name, value in pairs])
        damaged = dice.random() < 0.3
        body = dice.damaged(text) if damaged else text.encode()
        path, headers = caller.signed("POST", "", body, {"Content-Type": "application/x-www-form-urlencoded"}, "ec2")
        reply = caller.send("POST", path, body, headers, keep=True)
        assert reply.status < 500, (number, body, reply.text)
        assert reply.status in (200, 400, 401, 403, 412), (number, body, reply.text)
        # botocore reads every one of them.
        reply.check_form()
        if reply.status != 200:
            assert reply.code and reply.message is not None and len(reply.body) < 4000
            seen[reply.code] += 1
        else:
            seen["done"] += 1
        if number == REQUESTS // 10:
            before = resident_mib(server)
    # It has met more than the first check.
    assert seen["done"] > 10 and len(seen) > 12, seen
    assert resident_mib(server) - before < GROWTH_MIB
    assert caller.get("/health").status == 200
    assert "panicked" not in server.errors() and "ERROR" not in server.errors(), server.errors()[-2000:]


def test_random_queries_and_headers(target):
    server, known = target
    with Caller(server) as caller:
        run_queries(known, Dice(55), caller)
        assert caller.get("/health").status == 200


def run_queries(known, dice, caller):
    for number in range(600):
        query = urllib.parse.quote_from_bytes(dice.damaged(form(dice.pairs(known))), safe="&=%+.;/?-_~")
        match dice.randrange(4):
            case 0:
                path, headers = caller.presigned(query), {}
            case 1:
                path = caller.presigned(form([("Action", "DescribeVpcs")]))
                path, headers = path[: dice.randrange(2, len(path))], {}
            case 2:
                path, headers = caller.signed("GET", query, b"", {}, "ec2")
                value = dice.damaged(headers["Authorization"]).decode("latin-1")
                headers["Authorization"] = "".join(c for c in value if " " <= c <= "~")
            case 3:
                path, headers = f"/?{query}", {"X-Amz-Target": f"CertificateManager.{dice.choice(ACTIONS)}"}
        try:
            reply = caller.send(dice.choice(["GET", "GET", "POST"]), path, headers=headers, keep=True)
        except http.client.InvalidURL:
            continue
        assert reply.status < 500, (number, path, headers, reply.text)
        assert reply.status == 200 or reply.code, (number, path, headers)


def test_random_json(target):
    server, known = target
    dice, caller = Dice(66), Caller(server)
    names = [
        "Certificate",
        "PrivateKey",
        "CertificateChain",
        "CertificateArn",
        "Tags",
        "Includes",
        "MaxItems",
        "NextToken",
        "SortBy",
    ]

    def value(depth=0):
        kind = dice.randrange(8 if depth < 3 else 5)
        if kind < 3:
            return dice.value(known)
        if kind == 3:
            return dice.choice([None, True, 0, -1, 1 << 70, 1.5, 1e308])
        if kind == 4:
            return "QUFB" * dice.randrange(50)
        if kind == 5:
            return [value(depth + 1) for _ in range(dice.randrange(4))]
        return {dice.choice(names + ["Key", "Value", "keyTypes"]): value(depth + 1) for _ in range(dice.randrange(4))}

    for number in range(600):
        operation = dice.choice(["ImportCertificate", "DescribeCertificate", "ListCertificates"])
        body = json.dumps({dice.choice(names): value() for _ in range(dice.randrange(5))})
        raw = dice.damaged(body) if dice.random() < 0.3 else body.encode()
        if dice.random() < 0.02:
            raw = b"[" * 100_000
        reply = caller.json(f"CertificateManager.{operation}", raw)
        assert reply.status in (200, 400), (number, raw, reply.text)
        document = json.loads(reply.body)
        assert reply.status == 200 or set(document) == {"__type", "message"}
    assert caller.get("/health").status == 200


def test_random_bytes_on_the_port(target):
    server, _ = target
    dice = Dice(77)
    for _ in range(150):
        with socket.create_connection(server.address, timeout=20) as connection:
            # It may hang up at any moment.
            with contextlib.suppress(OSError):
                connection.sendall(dice.randbytes(dice.randrange(1, 2000)))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
    assert Caller(server).get("/health").status == 200
