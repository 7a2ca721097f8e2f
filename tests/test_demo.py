"""The demonstration: as root by the kernel and real clients, as an ordinary user without any capability by our own."""

import os
import re
import shutil
import subprocess

import pytest

from support.servers import BINARY, FABRIC_MISSING, NOBODY, environment

DEMO = BINARY.parent / "demo"
SECONDS = 300
pytestmark = pytest.mark.skipif(not DEMO.exists() and "CI" not in os.environ, reason=f"{DEMO.name} is not built")


def held(done):
    """Every step held; how many there were."""
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"^all (\d+) steps held", done.stdout, re.MULTILINE)[1])


def run(*command, folder, program=BINARY):
    variables = environment(BASCULE_BIN=str(program), TMPDIR=str(folder), HOME=str(folder))
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS, cwd=folder)


@pytest.mark.fabric
@pytest.mark.skipif(FABRIC_MISSING is not None, reason=f"no kernel fabric: {FABRIC_MISSING}")
def test_by_the_kernel(places):
    assert held(run(DEMO, folder=places.folder())) > 15


def test_by_an_ordinary_user_who_can_become_nobody_else(places):
    folder, program = places.folder(), places.binary_for_nobody()
    demo = shutil.copy(DEMO, folder / "demo")
    lowered = []
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        lowered = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    # Neither does a program help that somebody else's power comes with.
    lowered = [*(lowered or ["setpriv"]), "--no-new-privs"]
    done = run(*lowered, demo, folder=folder, program=program)
    assert "the user-space fabric, and our own client" in done.stdout
    assert held(done) > 10
