"""Random sequences of calls against the reference model of the service: the same answers, errors, and state.

`BASCULE_REFERENCE_SEQUENCES` says how many, `BASCULE_REFERENCE_SEED` from which seed. A failure prints its seed and a
sequence that fails and of which nothing can be left out.
"""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import random
import shutil
import tempfile
import threading
import time

import pytest

from support import namespaces
from support.players import Difference, Materials, Player
from support.reference import TOKENS, Reference
from support.servers import Places, Server
from support.line import Broken, Line
from support.writers import NEEDS_NETWORKS, WEIGHTS, Writer

pytestmark = pytest.mark.long

SEQUENCES = int(os.environ.get("BASCULE_REFERENCE_SEQUENCES", "10000"))
SEED = int(os.environ.get("BASCULE_REFERENCE_SEED", "1"))
# The share of sequences on the kernel fabric, where an association costs tens of milliseconds.
FABRIC_SHARE = 0.03
KILLED_SHARE = 0.03
# A kill comes after so many calls, and then at some moment of those that are being made.
KILL_AFTER_CALLS = (40, 300)
KILL_DELAY_SECONDS = 0.01
THREADS = 8
STEPS = (8, 16)
SHRINK_SECONDS = 240
# What each call is, as the log would have it, is of no use here.
QUIET = {"BASCULE_LOG": "warn"}
SHARED_MEMORY, ROOM_MIB = pathlib.Path("/dev/shm"), 1024

_regions = itertools.count(1)


@pytest.fixture(scope="module")
def quick_places():
    """Folders in memory where there is room for them: the disk is not what is tested here."""
    before = tempfile.tempdir
    try:
        if os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > ROOM_MIB << 20:
            tempfile.tempdir = str(SHARED_MEMORY)
        places = Places()
    finally:
        tempfile.tempdir = before
    yield places
    places.remove()


@pytest.fixture(scope="module")
def materials(certificates):
    return Materials(certificates)


class Table:
    """A server and what is played on it."""

    make_player = Player

    def __init__(self, server, reachable, materials):
        self.server, self.reachable, self.materials = server, reachable, materials
        self.key = server.root_key

    def line(self):
        return Line(self.server.address, self.key)

    def player(self, line):
        return self.make_player(line, f"ref-{next(_regions)}", self.reachable, self.materials)


def write(dice, player, make_writer=Writer):
    """Writes and plays a sequence; its steps, as far as they came, and the difference if there was one."""
    kinds = [about for about in WEIGHTS if player.model.reachable or about != "routes"]
    about = dice.choice(sorted(NEEDS_NETWORKS)) if player.model.reachable else dice.choice(kinds)
    writer, steps = make_writer(dice, player, about), []
    try:
        for number in range(dice.randint(*STEPS)):
            action, given, pages = writer.next()
            steps.append(player.symbolic(number, action, given, pages))
            player.play(steps[-1])
        player.compare()
        player.clean()
    except (Difference, Broken) as error:
        return steps, error
    return steps, None


def replay(table, steps):
    """Plays steps in a fresh region; the difference, or None."""
    with contextlib.closing(table.line()) as line:
        player = table.player(line)
        try:
            for step in steps:
                player.play(step)
            player.compare()
            player.clean()
        except (Difference, Broken) as error:
            return error
    return None


def shrink(steps, fails):
    """The sequence without any step and parameter that it fails without as well."""
    deadline = time.monotonic() + SHRINK_SECONDS
    smaller = True
    while smaller:
        smaller = False
        for at in reversed(range(len(steps))):
            shorter = steps[:at] + steps[at + 1 :]
            if time.monotonic() < deadline and fails(shorter):
                steps, smaller = shorter, True
        for at in range(len(steps)):
            for pair in steps[at].pairs:
                step = steps[at]
                bare = type(step)(step.number, step.action, [p for p in step.pairs if p != pair], step.pages)
                if time.monotonic() < deadline and step.action != "ImportCertificate":
                    lighter = [*steps[:at], bare, *steps[at + 1 :]]
                    if fails(lighter):
                        steps, smaller = lighter, True
    return steps


def report(table, seed, steps, error):
    """What a failure says."""
    last = replay(table, steps)
    if last is None:
        return f"seed {seed}: {error}\nnot again in:\n" + "\n".join(map(repr, steps))
    small = shrink(steps, lambda some: replay(table, some))
    last = replay(table, small) or last
    shown = "\n".join(map(repr, small))
    return f"seed {seed}: {error}\n\nwhat is left of the sequence:\n{shown}\n\nand how: {last}"


def run(table, seeds):
    """Plays the sequences of these seeds; the number of calls."""
    waiting, failures, calls = iter(seeds), [], []
    lock = threading.Lock()

    def work():
        with contextlib.closing(table.line()) as line:
            while not failures:
                with lock:
                    seed = next(waiting, None)
                if seed is None:
                    break
                player = table.player(line)
                steps, error = write(random.Random(seed), player)
                calls.append(player.calls)
                if error is not None:
                    failures.append((seed, steps, error))

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work) for _ in range(THREADS)]:
            done.result()
    if failures:
        seed, steps, error = min(failures, key=lambda failure: failure[0])
        pytest.fail(report(table, seed, steps, error), pytrace=False)
    return sum(calls)


def test_sequences(quick_places, materials):
    server = Server(quick_places, variables=QUIET).start()
    try:
        run(Table(server, False, materials), range(SEED, SEED + SEQUENCES))
        assert server.is_alive() and "panicked" not in server.errors()
    finally:
        server.close()


@pytest.mark.fabric
def test_sequences_on_the_kernel_fabric(quick_places, materials):
    with namespaces.fresh():
        server = Server(quick_places, "--gateway-address", namespaces.POOL, privileged=True, variables=QUIET).start()
        try:
            run(Table(server, True, materials), range(SEED, SEED + max(1, int(SEQUENCES * FABRIC_SHARE))))
            assert server.is_alive() and "panicked" not in server.errors()
        finally:
            server.close()


class Forgetful(Reference):
    """A model that is wrong: in it a revoked rule stays."""

    def _RevokeClientVpnIngress(self, given):
        outcome = super()._RevokeClientVpnIngress(given)
        outcome.commit = lambda _: None
        return outcome


class ForgetfulPlayer(Player):
    make_model = Forgetful


class ForgetfulTable(Table):
    make_player = ForgetfulPlayer


def test_a_difference_is_found_and_made_small(quick_places, materials):
    server = Server(quick_places, variables=QUIET).start()
    try:
        with pytest.raises(pytest.fail.Exception) as caught:
            run(ForgetfulTable(server, False, materials), range(SEED, SEED + 2000))
    finally:
        server.close()
    text = str(caught.value)
    small = text.split("what is left of the sequence:\n")[1].split("\n\n")[0].splitlines()
    actions = [line.split()[1] for line in small]
    expected = ["ImportCertificate", "CreateClientVpnEndpoint", "AuthorizeClientVpnIngress", "RevokeClientVpnIngress"]
    assert actions == expected, text
    assert text.startswith("seed ") and "DescribeClientVpnAuthorizationRules" in text


# --- kill -9 between calls and in the middle of them


class Restarts:
    """A server that is killed and started again all the time."""

    def __init__(self, server, dice):
        self.server, self.dice = server, dice
        self.up, self.due, self.over = threading.Event(), threading.Event(), threading.Event()
        self.up.set()
        self.kills, self.left, self.fault = 0, self._next(), None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.due.set()
        self._thread.join()

    def _next(self):
        return self.dice.randint(*KILL_AFTER_CALLS)

    def tick(self):
        """A call is about to be made."""
        self.left -= 1
        if self.left < 0:
            self.due.set()

    def _run(self):
        try:
            while self.due.wait() and not self.over.wait(self.dice.uniform(0, KILL_DELAY_SECONDS)):
                self.again()
                self.left = self._next()
                self.due.clear()
        except BaseException as error:
            self.fault = error
            raise
        finally:
            self.up.set()

    def again(self):
        """Kills it and starts it."""
        self.up.clear()
        self.server.kill()
        self.kills += 1
        self.server.start()
        self.up.set()


class StartOver(Exception):
    """A call without a token was cut off that may not be made twice: the sequence is played elsewhere."""


# Calls that may have been done when they were cut off: made again, they then find nothing.
NOTHING_LEFT = {
    "DeleteClientVpnEndpoint": "InvalidClientVpnEndpointId.NotFound",
    "DeleteClientVpnRoute": "InvalidClientVpnRouteNotFound",
    "DisassociateClientVpnTargetNetwork": "InvalidClientVpnAssociationIdNotFound",
    "RevokeClientVpnIngress": "InvalidClientVpnEndpointAuthorizationRuleNotFound",
}
ONCE = {"CreateVpc", "CreateSubnet", "CreateSecurityGroup"}


class Stubborn(Player):
    """A player that makes a call again until it is answered, with its token if it has one."""

    def __init__(self, line, region, reachable, materials, restarts):
        super().__init__(line, region, reachable, materials)
        self.restarts, self.tokens, self.met, self.retries = restarts, itertools.count(1), restarts.kills, 0

    def send(self, action, given):
        cut = False
        while True:
            self.restarts.tick()
            try:
                answer = super().send(action, given)
                break
            except Broken:
                if action in ONCE:
                    raise StartOver from None
                cut = True
                self.retries += 1
                self.reconnect()
        gone = answer.code is not None and answer.code == NOTHING_LEFT.get(action)
        if cut and gone and not (outcome := self.model.expect(action, given)).faults:
            # The call that was cut off was done.
            answer.status, answer.code, answer.tree, answer.seconds = 200, None, dict(outcome.answer), 1.0
        return answer

    def reconnect(self):
        assert self.restarts.up.wait(60) and self.restarts.fault is None, self.restarts.fault
        self.line.address = self.restarts.server.address

    def _import(self, step, name):
        try:
            super()._import(step, name)
        except Broken:
            self.reconnect()
            raise StartOver from None

    def _steadily(self, number, work):
        """After a start, what was under way goes on: that is waited for, and what was seen before it does not count."""
        while True:
            if self.met != self.restarts.kills:
                self.met = self.restarts.kills
                self.settle(number)
            try:
                return work()
            except Difference:
                if self.met == self.restarts.kills:
                    raise

    def play(self, step):
        """Plays a step, over kills."""
        self._steadily(step.number, lambda: super(Stubborn, self).play(step))

    def compare(self, number=None):
        """Compares the whole state, over kills."""
        self._steadily(number, lambda: super(Stubborn, self).compare(number))

    def clean(self):
        """Nothing: all is looked at again at the very end."""


class Careful(Writer):
    """A writer that gives every call that can have one a token of its own."""

    def next(self):
        action, given, pages = super().next()
        given = dict(given)
        if action in TOKENS and not given.get("ClientToken"):
            given["ClientToken"] = f"own-{next(self.player.tokens)}"
            self.tokened.append((action, dict(given)))
        return action, given.items(), pages


def survive(server, dice, materials, seeds):
    """Plays sequences over kills, then looks at all of them once more; kills, and calls that were made again."""
    waiting, failures, players = iter(seeds), [], []
    lock, key = threading.Lock(), server.root_key

    def once(line, restarts, seed):
        """One sequence; its player, or None if it must be played elsewhere."""
        player = Stubborn(line, f"kill-{next(_regions)}", False, materials, restarts)
        try:
            steps, error = write(random.Random(seed), player, Careful)
        except StartOver:
            player.reconnect()
            return None
        if error is not None:
            shown = "\n".join(map(repr, steps))
            failures.append(f"seed {seed}: {error!r}\nafter {restarts.kills} kills, in\n{shown}")
        return player

    def work(restarts):
        with contextlib.closing(Line(server.address, key)) as line:
            while not failures:
                with lock:
                    seed = next(waiting, None)
                if seed is None:
                    break
                while (player := once(line, restarts, seed)) is None:
                    pass
                players.append(player)

    with Restarts(server, dice) as restarts, concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, restarts) for _ in range(THREADS)]:
            done.result()
    assert not failures, failures[0]
    restarts.again()
    with contextlib.closing(Line(server.address, key)) as line:
        for player in players:
            player.line = line
            player.compare()
    return restarts.kills, sum(player.retries for player in players)


def test_sequences_over_kills(quick_places, materials):
    server = Server(quick_places, variables=QUIET).start()
    try:
        count = max(1, int(SEQUENCES * KILLED_SHARE))
        kills, retries = survive(server, random.Random(SEED), materials, range(SEED, SEED + count))
        print(f"{count} sequences, {kills} kills, {retries} calls made again")
        assert "panicked" not in server.errors()
        assert count < 100 or (kills > 10 and retries > 10), "calls were cut off"
    finally:
        server.close()


def test_a_lost_write_is_noticed(quick_places, materials):
    """An older store in place of the newest: what was acknowledged after it is missed."""
    server = Server(quick_places, variables=QUIET).start()
    try:
        with contextlib.closing(Line(server.address, server.root_key)) as line:
            player = Player(line, f"kill-{next(_regions)}", False, materials)
            writer = Writer(random.Random(SEED), player, "rules")
            player.play(player.symbolic(0, "ImportCertificate", [("name", "server")]))
            player.play(player.symbolic(1, "CreateClientVpnEndpoint", writer.endpoint().items()))
            (endpoint,) = player.model.endpoints
            assert server.stop() == 0
            store = server.data / "store.redb"
            old = store.read_bytes()
            for replaced in (False, True):
                server.start()
                line.close()
                line.address = server.address
                if replaced:
                    with pytest.raises(Difference, match="DescribeClientVpnAuthorizationRules"):
                        player.compare()
                    break
                rule = [("ClientVpnEndpointId", endpoint), ("TargetNetworkCidr", "10.0.0.0/16")]
                rule.append(("AuthorizeAllGroups", "true"))
                player.play(player.symbolic(2, "AuthorizeClientVpnIngress", rule))
                player.compare()
                server.kill()
                store.write_bytes(old)
    finally:
        server.close()
