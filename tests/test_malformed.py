"""Malformed and hostile requests of every action of every service: the right refusal, never an error of the server's own,
never a hang, and no memory kept. `BASCULE_MALFORMED` says how many: `cargo xtask campaign malformed` sends 100,000."""

import collections
import json
import os
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

from support.hostile import QUERY_KINDS, Hostile
from support.servers import Server
from support.wire import Wire
from support.world import World
from test_actions import BESIDE, VALUES, WELL_FORMED

REQUESTS = int(os.environ.get("BASCULE_MALFORMED", "5000"))
SEED = int(os.environ.get("BASCULE_SEED", "1"))
# What the process may have grown by, beside what it takes for the first tenth.
GROWTH_MIB = 24
SHOWN_FAULTS = 40


def resident_mib(server):
    """Memory of the server's process."""
    status = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()
    return int(status[1]) * 4096 / (1 << 20)


@pytest.fixture(scope="module")
def target(places, certificates):
    server = Server(places).start()
    World(server, certificates, "us-east-1").endpoint()
    yield server
    server.close()


def well_formed(declared):
    """Parameters of every EC2 action."""
    found = {}
    for action, row in declared["ec2"].items():
        required = {member["wire"]: VALUES.get(member["wire"], "x") for member in row["request"] if member["required"]}
        lists = [member["wire"] for member in row["request"] if isinstance(member["type"], dict) and member["required"]]
        beside = BESIDE.get(action, {})
        plain = {name: value for name, value in required.items() if name not in lists}
        found[action] = WELL_FORMED.get(action, {**plain, **beside})
    return found


def judged(case, reply):
    """Status and code, and what is wrong with the answer; nothing if it is right."""
    if reply is None:
        return None, None, "" if None in case.right else "it hung up"
    code = None
    kind = reply.headers.get("content-type", "")
    try:
        if case.head:
            assert not reply.body
        elif kind.startswith("application/x-amz-json"):
            document = json.loads(reply.body)
            if reply.status != 200:
                code = document["__type"]
                assert set(document) == {"__type", "message"}
        elif kind.startswith("text/xml"):
            if case.service == "ec2":
                reply.check_form()
            code = None if reply.status == 200 else reply.code
            ElementTree.fromstring(reply.body)
        else:
            # Said below the services: too large, too slow, no HTTP.
            assert reply.status in (400, 404, 405, 408, 413, 431, 505), "no document"
    except (AssertionError, KeyError, StopIteration, ValueError, ElementTree.ParseError) as error:
        return reply.status, code, f"no answer of the service: {error!r}"
    if reply.status in case.right or (reply.status, code) in case.right:
        return reply.status, code, ""
    return reply.status, code, f"right: {sorted(map(str, case.right))}"


def test_malformed_requests(target, declared):
    hostile = Hostile(SEED, target, target.root_key, declared, well_formed(declared))
    faults, seen, before = [], collections.Counter(), None
    with Wire(target.address) as wire:
        for number in range(REQUESTS):
            case = hostile.case()
            reply = wire.ask(case.request, case.service, case.finish, case.head)
            status, code, wrong = judged(case, reply)
            seen[status, code] += 1
            if wrong:
                text = reply.text[:300] if reply is not None else ""
                faults.append(f"{number}: {case.service} {case.label[:200]}: {status} {code}, {wrong}: {text}")
                assert len(faults) < SHOWN_FAULTS, "\n".join(faults)
            assert status is None or status < 500, faults
            if number == REQUESTS // 10:
                before = resident_mib(target)
    assert not faults, "\n".join(faults)
    grown = resident_mib(target) - before
    print(f"{REQUESTS} requests, {len(seen)} kinds of answers, memory +{grown:.1f} MiB: {dict(seen)}")
    assert grown < GROWTH_MIB
    assert len(seen) > 30, seen
    assert "panicked" not in target.errors() and "ERROR" not in target.errors(), target.errors()[-2000:]
    assert World(target, None, "us-east-1").root.get("/health").status == 200


def test_every_action_gets_every_kind_of_case(target, declared):
    """What is sent to an action is of that action, and no kind fails to be made."""
    hostile = Hostile(SEED, target, target.root_key, declared, well_formed(declared))
    assert len(hostile.query_actions) >= 60 and len(hostile.json_actions) >= 20
    for service, action in hostile.query_actions:
        for kind in QUERY_KINDS:
            case = kind(hostile, service, action)
            assert case.request and case.right
