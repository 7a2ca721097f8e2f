"""Malformed and hostile requests, each with the answers that are right for it: of every action of every service."""

import json
import random
import re
import urllib.parse

from . import model
from .requests import leaves
from .servers import ROOT
from .wire import FORM, JSON, message, sign

VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15", "iam": "2010-05-08"}
TARGETS = {"ACM": ("acm", "CertificateManager"), "CloudWatch Logs": ("logs", "Logs_20140328")}

# What is hostile wherever a value may stand. None of them has a character that XML does not.
NASTY = [
    "",
    " ",
    "0",
    "-1",
    "9" * 400,
    "1e309",
    "NaN",
    "0x7fffffff",
    "true\n",
    "null",
    "'\"<>&]]>",
    '<!DOCTYPE x [<!ENTITY a "b">]>&a;',
    "${jndi:ldap://x}",
    "../../../../etc/passwd",
    "; cat /etc/passwd",
    "' OR 1=1 --",
    "%s%n%x",
    "\u202e\ufeff\U0010ffff",
    "e\u0301" * 200,
    "\t\r\n",
    "10.0.0.0/-1",
    "10.0.0.0/33",
    "0.0.0.0/0",
    "::/0",
    "::ffff:0:0/96",
    "fe80::1%eth0/64",
    "cvpn-endpoint-" + "f" * 5000,
    "arn:" + ":" * 500,
    "*" * 3000 + "x",
    "\\" * 1000,
    "x" * 100_000,
]
BAD_UTF8 = ["%ff", "%c0%80", "%ed%a0%80", "%f4%90%80%80", "%e2%82", "%80", "%f8%88%80%80%80"]
BAD_ESCAPES = ["%", "%4", "%zz", "%u0041", "%-1", "%%", "% 1"]
CONTROL = [f"%{n:02x}" for n in (*range(9), 11, 12, *range(14, 32))] + ["%ef%bf%be", "%ef%bf%bf"]
INDEXES = ["0", "00", "01", "-1", "+1", "1e3", "99999999999999999999", "100001", "N", "member", "%d9%a1", "1 "]
METHODS = ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "post", "Get", "PROPFIND", "X" * 100]
PATHS = ["//", "/x", "/ec2", "/%2f", "/health/", "/../", "/;x", "/./x", "/metrics/../x", "/" + "a" * 3000]
TYPES = [
    "text/plain",
    "application/json",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded; charset=utf-16",
    ";;;",
    "x" * 3000,
    "application/x-www-form-urlencoded, application/json",
]

# Codes of a Query service for what the frame and the decoder find, and what an action may find after them.
DRY = (412, "DryRunOperation")
ANY = {400, 403, 404, 409, 412}


class Case:
    """A request as bytes, and what may be answered: pairs of status and code; a bare status: any code.

    `None` among them: the server may hang up. `finish`: the client sends nothing more.
    """

    def __init__(self, label, request, right, service, finish=False, head=False):
        self.label, self.request, self.right = label, request, right
        self.service, self.finish, self.head = service, finish, head


JSON_KINDS = [
    "json-syntax",
    "json-utf8",
    "json-deep",
    "json-no-object",
    "json-type",
    "json-number",
    "json-twice",
    "json-long-list",
    "json-nasty",
    "json-target",
    "json-method",
    "json-cut",
]


def json_actions():
    """(service, target) of every JSON action, from the list a test of the product keeps exact."""
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", (ROOT / "docs/actions.md").read_text(), re.M)
    return [(TARGETS[service][0], f"{TARGETS[service][1]}.{action}") for action, service in rows if service in TARGETS]


class Hostile(random.Random):
    """Makes them."""

    def __init__(self, seed, server, key, declared, well_formed):
        super().__init__(seed)
        self.server, self.key, self.well_formed = server, key, well_formed
        self.host = "{}:{}".format(*server.address)
        self.query_actions = [(service, action) for service, rows in declared.items() for action in rows]
        self.json_actions = json_actions()
        self.required = {
            (service, action): [row["wire"] for row in declared[service][action]["request"] if row["required"]]
            for service, action in self.query_actions
        }
        # Only what the product takes: the rest is an unknown parameter.
        self.leaves = {
            (service, action): [
                leaf for leaf in leaves(service, action) if takes(declared[service][action]["request"], leaf)
            ]
            for service, action in self.query_actions
        }
        self.turn = 0

    def case(self):
        """The next one: actions take turns, so that each gets its share of every kind."""
        self.turn += 1
        if self.random() < 0.12:
            return self._json(*self.json_actions[self.turn % len(self.json_actions)])
        service, action = self.query_actions[self.turn % len(self.query_actions)]
        return self.choices(QUERY_KINDS, QUERY_WEIGHTS)[0](self, service, action)

    # --- Query services

    def base(self, service, action, dry=True):
        """Pairs of a well formed call; with `dry` it is not done even so."""
        pairs = [("Action", action), ("Version", VERSIONS[service])]
        given = self.well_formed.get(action) if service == "ec2" else None
        if given is None:
            given = {
                f"{name}.1" if name.endswith(("Permissions",)) else name: "x" for name in self.required[service, action]
            }
        return pairs + list(given.items()) + ([("DryRun", "true")] if dry and service == "ec2" else [])

    def post(self, service, body, headers=None, method="POST", target="/", finish=False):
        """Signed bytes."""
        body = body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape")
        head = sign(
            self.key, "us-east-1", service, self.host, method, "", body, {"Content-Type": FORM, **(headers or {})}
        )
        return message(method, target, head, body)

    def made(self, label, service, pairs, right, raw=""):
        body = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, errors="surrogatepass") + raw
        if len(body) < 6000 and not raw and self.random() < 0.1:
            head = sign(self.key, "us-east-1", service, self.host, "GET", body)
            return Case(f"{label} by GET", message("GET", f"/?{body}", head, length=False), right, service)
        return Case(label, self.post(service, body), right, service)

    def wrong_type(self, service, action):
        typed = [leaf for leaf in self.leaves[service, action] if leaf.kind in ("boolean", "integer", "enum")]
        if not typed:
            return self.unknown(service, action)
        leaf = self.choice(typed)
        value = self.choice(["x", "", "maybe", "1.5", "--1", "9" * 40, "[]", "true,false", "\U0001f512"])
        # A boolean of IAM is not there; of EC2 the value is wrong whatever else is.
        return self.changed(
            "wrong type", service, action, leaf.wire, value, {(400, "InvalidParameterValue"), (400, "ValidationError")}
        )

    def changed(self, label, service, action, name, value, right, dry=True):
        pairs = [pair for pair in self.base(service, action, dry) if pair[0] != name]
        return self.made(f"{label} {name}={value[:30]!r} of {action}", service, [*pairs, (name, value)], right)

    def unknown(self, service, action):
        name = self.choice(
            ["Nonsense", "nonsense", "Action.1", "Filter.1.Nonsense", "DryRun.1", "Tag.1.Key.1.x", "é", " "]
        )
        return self.changed("unknown", service, action, name, "1", {(400, "UnknownParameter")})

    def missing(self, service, action):
        if not self.required[service, action]:
            return self.unknown(service, action)
        name = self.choice(self.required[service, action])
        pairs = [pair for pair in self.base(service, action) if pair[0] != name and not pair[0].startswith(f"{name}.")]
        return self.made(f"missing {name} of {action}", service, pairs, {(400, "MissingParameter")})

    def huge_list(self, service, action):
        lists = [leaf.wire for leaf in self.leaves[service, action] if ".1" in leaf.wire] or ["Nonsense.1"]
        stem = self.choice(lists)
        at = self.choice([found.start() for found in re.finditer(r"\.1(?=\.|$)", stem)])
        count = self.choice([1100, 3000, 5100])
        extra = [(f"{stem[:at]}.{n}{stem[at + 2:]}", "x") for n in range(2, count)]
        taken = {name for name, _ in extra}
        pairs = [pair for pair in self.base(service, action) if pair[0] not in taken] + extra
        codes = {
            "InvalidParameterValue",
            "FilterLimitExceeded",
            "UnknownParameter",
            "TagLimitExceeded",
            "MissingParameter",
        }
        right = {(400, code) for code in codes | {"ValidationError", "InvalidParameterCombination"}}
        return self.made(
            f"{count} elements of {stem} of {action}",
            service,
            pairs,
            {(400, "MalformedQueryString")} if count > 5000 else right,
        )

    def deep(self, service, action):
        stem = self.choice([leaf.wire for leaf in self.leaves[service, action]] or ["Nonsense"])
        deep = stem + "".join(
            self.choice([".1", ".Name", ".Value.1", ".member.1"]) for _ in range(self.choice([1, 5, 20, 80, 2000]))
        )
        right = (
            {(400, "InvalidQueryParameter")}
            if len(deep) > 256
            else {(400, "UnknownParameter"), (400, "MissingParameter")}
        )
        # Below a list's element it makes an element that is not whole.
        words = ("InvalidParameterValue", "InvalidParameterCombination", "ValidationError")
        right |= set() if len(deep) > 256 else {(400, word) for word in words}
        return self.changed("deep", service, action, deep, "x", right)

    def odd_index(self, service, action):
        stem = self.choice([leaf.wire for leaf in self.leaves[service, action] if ".1" in leaf.wire] or ["Filter.1"])
        index = urllib.parse.unquote(self.choice(INDEXES))
        return self.changed(
            "index",
            service,
            action,
            stem.replace(".1", f".{index}", 1),
            "x",
            {(400, "UnknownParameter"), (400, "MissingParameter")},
        )

    def twice(self, service, action):
        pairs = self.base(service, action)
        name, value = self.choice(pairs)
        pairs.insert(self.randrange(len(pairs) + 1), (name, self.choice([value, "x", ""])))
        return self.made(f"twice {name} of {action}", service, pairs, {(400, "InvalidQueryParameter")})

    def encoding(self, service, action):
        kind, texts, code = self.choice(
            [
                ("bad UTF-8", BAD_UTF8, "MalformedQueryString"),
                ("bad escape", BAD_ESCAPES, "MalformedQueryString"),
                ("control", CONTROL, "InvalidCharacter"),
            ]
        )
        bad = self.choice(texts)
        raw = self.choice([f"&Nonsense=a{bad}", f"&a{bad}=x", f"&{bad}", f"&Nonsense={bad}&Nonsense.2=x"])
        if bad.endswith("%") or len(bad) < 3:
            raw = f"&Nonsense={bad}"
        return self.made(f"{kind} {raw} of {action}", service, self.base(service, action), {(400, code)}, raw)

    def nameless(self, service, action):
        raw = self.choice(["&=x", "&=", "&=&=", "&==x"])
        return self.made(
            f"nameless {raw} of {action}", service, self.base(service, action), {(400, "MalformedQueryString")}, raw
        )

    def nasty(self, service, action):
        """A hostile value for any parameter: refused, or taken where any text may stand; never an error of ours."""
        leaf = self.choice(self.leaves[service, action] or [None])
        if leaf is None:
            return self.unknown(service, action)
        dry = self.random() < 0.5
        return self.changed("nasty", service, action, leaf.wire, self.choice(NASTY), {200, *ANY}, dry)

    def random_text(self, service, action):
        leaf = self.choice(self.leaves[service, action] or [None])
        if leaf is None:
            return self.unknown(service, action)
        points = [
            *range(32, 127),
            *range(0xA0, 0xD7FF, 911),
            *range(0xE000, 0xFFFD, 577),
            *range(0x10000, 0x10FFFF, 40_009),
        ]
        value = "".join(chr(self.choice(points)) for _ in range(self.randrange(60)))
        return self.changed("random", service, action, leaf.wire, value, {200, *ANY}, self.random() < 0.5)

    def no_action(self, service, action):
        what, code = self.choice(
            [
                ("", "MissingAction"),
                (None, "MissingAction"),
                (action.lower(), "InvalidAction"),
                (f"{action} ", "InvalidAction"),
                ("\U0001f512", "InvalidAction"),
                ("a" * 5000, "InvalidAction"),
            ]
        )
        pairs = [pair for pair in self.base(service, action) if pair[0] != "Action"] + (
            [("Action", what)] if what is not None else []
        )
        return self.made(f"action {str(what)[:20]}", service, pairs, {(400, code)})

    def version(self, service, action):
        version = self.choice(["", "1", "2016-11-16", "2016-11-15 ", "x" * 3000])
        return self.changed("version", service, action, "Version", version, {(400, "NoSuchVersion")})

    def content_type(self, service, action):
        """The body is a form whatever it is called."""
        body = urllib.parse.urlencode(self.base(service, action), quote_via=urllib.parse.quote)
        kind = self.choice(TYPES)
        right = {DRY} if service == "ec2" else {200, *ANY}
        return Case(
            f"content type {kind[:30]} of {action}", self.post(service, body, {"Content-Type": kind}), right, service
        )

    def cut(self, service, action):
        """A body shorter than its length says, after which the client falls silent; or shorter than what was signed."""
        body = urllib.parse.urlencode(self.base(service, action), quote_via=urllib.parse.quote).encode()
        head, _, _ = self.post(service, body).partition(b"\r\n\r\n")
        at = self.randrange(len(body))
        if self.random() < 0.3:
            request = head + b"\r\n\r\n" + body[:at]
            return Case(f"cut at {at} of {action}", request, {None, 400, 413}, service, finish=True)
        shorter = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % at, head) + b"\r\n\r\n" + body[:at]
        wrong = {"ec2": (401, "AuthFailure")}.get(service, (403, "SignatureDoesNotMatch"))
        return Case(
            f"shorter by {len(body) - at} of {action}", shorter, {wrong, (400, "MalformedQueryString")}, service
        )

    def http(self, service, action):
        """Methods, paths, headers and framing."""
        body = urllib.parse.urlencode(self.base(service, action), quote_via=urllib.parse.quote).encode()
        signed = self.post(service, body)
        head, _, _ = signed.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        again = lambda *more: b"\r\n".join([*lines, *more, b"", b""]) + body
        kind = self.randrange(10)
        if kind == 0:
            method = self.choice(METHODS)
            return Case(
                f"method {method[:20]}",
                signed.replace(b"POST", method.encode(), 1),
                {405},
                service,
                head=method == "HEAD",
            )
        if kind == 1:
            path = self.choice(PATHS)
            return Case(f"path {path[:20]}", signed.replace(b"POST /", b"POST " + path.encode(), 1), {404}, service)
        if kind == 2:
            name = self.choice([b"Authorization", b"X-Amz-Date", b"Host"])
            line = next(line for line in lines if line.lower().startswith(name.lower()))
            return Case(f"{name.decode()} twice", again(line), {400, 401, (403, "SignatureDoesNotMatch")}, service)
        if kind == 3:
            return Case("a header that is no text", again(b"X-Odd: \xff\xfe"), {400}, service)
        if kind == 4:
            return Case("a head too large", again(b"X-Long: " + b"x" * 200_000), {431, 400, None}, service, finish=True)
        if kind == 5:
            return Case(
                "too many headers", again(*(b"X-%d: x" % n for n in range(300))), {431, 400}, service, finish=True
            )
        if kind == 6:
            bad = self.choice(
                [
                    b"GET\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01",
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"POST /\x00 HTTP/1.1\r\n\r\n",
                    b"\x00" * 100 + b"\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost : x\r\n\r\n",
                    b"POST / HTTP/1.1\r\n folded\r\n\r\n",
                ]
            )
            return Case(f"no HTTP {bad[:20]!r}", bad, {400, 505, 403, 404, None}, service, finish=True)
        if kind == 7:
            length = self.choice([b"-1", b"x", b"1e3", b"99999999999999999999999", b"+5", b"5, 6"])
            broken = re.sub(rb"Content-Length: \d+", b"Content-Length: " + length, head) + b"\r\n\r\n" + body
            return Case(f"length {length.decode()}", broken, {400, 413, None}, service, finish=True)
        if kind == 8:
            # Two ways to say where a body ends: one of them is a smuggler's.
            return Case(
                "length and chunks",
                again(b"Transfer-Encoding: chunked"),
                {400, 401, 403, 413, None},
                service,
                finish=True,
            )
        chunks = self.choice(
            [
                b"zz\r\nx\r\n0\r\n\r\n",
                b"5\r\nab",
                b"ffffffffffffffffff\r\nx",
                b"-1\r\n\r\n",
                b"5;" + b"x" * 50_000 + b"\r\nabcde\r\n0\r\n\r\n",
            ]
        )
        bare = b"\r\n".join(line for line in lines if not line.startswith(b"Content-Length"))
        return Case(
            "broken chunks",
            bare + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
            {400, 401, 403, 413, None},
            service,
            finish=True,
        )

    def large(self, service, action):
        """More than a body may have."""
        body = urllib.parse.urlencode(self.base(service, action)).encode() + b"&Nonsense=" + b"x" * (4 << 20)
        return Case("a body too large", self.post(service, body), {413}, service)

    # --- JSON services

    def _json(self, service, target):
        action = target.split(".")[1]
        shape = model.service(service).operation_model(action).input_shape
        members = list(shape.members) if shape else []
        good = {name: self.good(shape.members[name]) for name in (shape.required_members if shape else [])}
        malformed = {(400, "SerializationException")}
        mistyped = {(400, {"acm": "ValidationException", "logs": "InvalidParameterException"}[service])}
        any_code = {200, 400}
        kind = self.randrange(len(JSON_KINDS))
        headers, method = {}, "POST"
        if kind == 0:
            text = json.dumps(good)
            body, right = (
                self.choice(
                    [text[:-1], text + "}", "{,}", "{'a':1}", '{"a":01}', '{"a":NaN}', "\x00", "nul", text + "x"]
                ),
                malformed,
            )
        elif kind == 1:
            bad = self.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
            body, right = b'{"x": "' + bad + b'"}', malformed
        elif kind == 2:
            depth, (left, end) = self.choice([200, 5000, 200_000]), self.choice([("[", "]"), ('{"a":', "}")])
            body, right = left * depth + self.choice(["", "1" + end * depth]), malformed | mistyped
        elif kind == 3:
            body, right = self.choice(["[]", "1", '"x"', "true", "null", "-1e400", "[{}]"]), malformed | mistyped
        elif kind == 4 and members:
            name = self.choice(members)
            wrong = {
                "string": [1, [], {}, True],
                "list": ["x", {}, 1],
                "structure": ["x", 1, [1]],
                "map": ["x", 1, [1]],
                "blob": [1, {}, True],
            }
            value = self.choice(wrong.get(shape.members[name].type_name, ["x", [], {}]))
            body, right = json.dumps({**good, name: value}), mistyped | {400}
        elif kind == 5 and members:
            name = self.choice(members)
            raw = self.choice(["1e999", "-0", "9" * 5000, "1.0000000000000000000001", '"\\ud800"', '"\\u0000"', "null"])
            body, right = f'{{"{name}": {raw}}}', any_code
        elif kind == 6 and members:
            name = self.choice(members)
            body, right = f'{{"{name}": "a", "{name}": "b"}}', {400, 200}
        elif kind == 7 and members:
            name = self.choice(members)
            # A list that the model sets no bound may be as long as it wants.
            bounded = shape.members[name].type_name != "list" or "max" in shape.members[name].metadata
            body, right = json.dumps(
                {**good, name: [self.choice(["x", {"Key": "x"}, 1])] * self.choice([1000, 20_000])}
            ), {400} if bounded else any_code
        elif kind == 8:
            body, right = json.dumps({**good, **{self.choice(members or ["x"]): self.choice(NASTY)}}), any_code
        elif kind == 9:
            prefix = target.split(".")[0]
            target = self.choice(
                [
                    f"{prefix}.Nonsense",
                    f"{prefix}.",
                    f"{prefix}",
                    f"{prefix}.{action.lower()}",
                    f"{prefix}.{'x' * 3000}",
                    ".",
                    "Nothing.X",
                ]
            )
            body, right = "{}", {(400, "UnknownOperationException"), (400, "InvalidSignatureException")}
        elif kind == 10:
            method, body, right = self.choice(["GET", "PUT", "DELETE", "PATCH"]), json.dumps(good), {405}
        else:
            body, right = json.dumps(good)[:-1], malformed
            headers["Content-Type"] = self.choice(TYPES)
        raw = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        head = sign(
            self.key,
            "us-east-1",
            service,
            self.host,
            method,
            "",
            raw,
            {"Content-Type": JSON, "X-Amz-Target": target, **headers},
        )
        return Case(
            f"{JSON_KINDS[kind]} {raw[:60]!r} of {target[:60]}", message(method, "/", head, raw), right, service
        )

    def good(self, shape):
        """A value of a shape's type."""
        return {"string": "x", "integer": 1, "long": 1, "boolean": True, "list": [], "map": {}, "blob": "QQ=="}.get(
            shape.type_name, {}
        )


def takes(members, leaf):
    """Whether the product has declared a parameter of the model."""
    names = [part.removesuffix("[]") for part in leaf.path.split(".")[1:]]
    for name in names:
        found = next((member for member in members if member["name"] == name), None)
        if found is None:
            # DryRun, which the frame reads for every action.
            return names == ["DryRun"]
        kind = found["type"]
        while isinstance(kind, dict) and "list" in kind:
            kind = kind["list"]
        members = kind["structure"] if isinstance(kind, dict) and "structure" in kind else []
    return True


KINDS = [
    (Hostile.wrong_type, 14),
    (Hostile.unknown, 5),
    (Hostile.missing, 8),
    (Hostile.huge_list, 1.5),
    (Hostile.deep, 6),
    (Hostile.odd_index, 6),
    (Hostile.twice, 6),
    (Hostile.encoding, 14),
    (Hostile.nameless, 2),
    (Hostile.nasty, 16),
    (Hostile.random_text, 8),
    (Hostile.no_action, 2),
    (Hostile.version, 2),
    (Hostile.content_type, 3),
    (Hostile.cut, 4),
    (Hostile.http, 6),
    (Hostile.large, 0.05),
]
QUERY_KINDS = [kind for kind, _ in KINDS]
QUERY_WEIGHTS = [weight for _, weight in KINDS]
