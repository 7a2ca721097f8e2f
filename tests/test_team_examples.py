"""`packaging/python` and `examples/pytest`, run as a team runs them: pytest with the plugin, the team's own options."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from support.servers import BINARY, ROOT
from support.terraform import TERRAFORM, settings

PLUGIN = ROOT / "packaging/python/src"
EXAMPLES = ROOT / "examples/pytest"


@pytest.fixture
def team(places, outside):
    """Runs pytest on files in a folder: the folder, and what came of it."""

    def run(*arguments, files=(), test=None):
        folder = places.folder()
        for file in files:
            shutil.copy(file, folder)
        if test is not None:
            (folder / "test_it.py").write_text(test)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "settings").write_text(settings())
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "PYTHONPATH": str(PLUGIN),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TF_CLI_CONFIG_FILE": str(folder / "settings"),
            "GOGC": "400",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "bascule_pytest.plugin", "-p", "no:cacheprovider"]
        command += [f"--bascule-bin={BINARY}", "--junitxml=junit.xml", *arguments]
        # Where servers and Terraform are as a team has them: this host's own network.
        done = outside(
            lambda: subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
            )
        )
        return folder, done

    return run


def counts(file):
    """Tests, failures and skips of a JUnit report."""
    suites = list(ElementTree.parse(file).getroot().iter("testsuite"))
    return tuple(sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "skipped"))


@pytest.mark.long
@pytest.mark.skipif(TERRAFORM is None, reason="no terraform here")
def test_the_examples_hold(team):
    folder, done = team(files=EXAMPLES.iterdir())
    assert done.returncode == 0, done.stdout + done.stderr
    tests, failures, skipped = counts(folder / "junit.xml")
    if skipped:
        pytest.skip("this host has no address but loopback")
    assert (tests, failures) == (4, 0), done.stdout
    tests, failures, _ = counts(folder / "vpn.junit.xml")
    assert tests >= 2 and failures == 0


WORKERS = '''
import os, time

def test_one(bascule, worker_id):
    check(bascule, worker_id)

def test_two(bascule, worker_id):
    check(bascule, worker_id)

def check(bascule, worker):
    """Both at the same time: each makes something, waits for the other, resets, and looks at what is left of both."""
    ec2 = bascule.client("ec2")
    mine = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    said = os.path.join(os.getcwd(), "said")
    os.makedirs(said, exist_ok=True)
    def meet(step):
        open(os.path.join(said, f"{step}.{worker}"), "w").close()
        until = time.monotonic() + 60
        while len([name for name in os.listdir(said) if name.startswith(f"{step}.")]) < 2:
            assert time.monotonic() < until, "the other worker did not come"
            time.sleep(0.01)
    with open(os.path.join(said, "at." + worker), "w") as file:
        file.write(bascule.endpoint_url + " " + bascule.client("sts").get_caller_identity()["Account"])
    meet("made")
    assert [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]] == [mine]
    meet("seen")
    if worker == "gw0":
        bascule.reset()
    meet("reset")
    left = [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]]
    assert left == ([] if worker == "gw0" else [mine])
    bascule.reset()
    # Both workers ask for more accounts at the same time; one of them asks one of its own.
    others = [bascule.account(), bascule.account()]
    others.append(others[0].account())
    numbers = [other.client("sts").get_caller_identity()["Account"] for other in others]
    others[0].client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
    assert [len(one.client("ec2").describe_vpcs()["Vpcs"]) for one in (bascule, *others)] == [0, 1, 0, 0]
    assert others[0].certificates.authority.exists() and not (bascule.folder / "pki").exists()
    with open(os.path.join(said, "accounts." + worker), "w") as file:
        file.write(" ".join(numbers))
'''


def test_workers_share_a_server_and_do_not_disturb_each_other(team):
    folder, done = team("-n", "2", "--bascule-shared", test=WORKERS)
    assert done.returncode == 0, done.stdout + done.stderr
    (one, account), (other, another) = ((folder / f"said/at.gw{n}").read_text().split() for n in (0, 1))
    assert one == other and account != another
    accounts = " ".join((folder / f"said/accounts.gw{n}").read_text() for n in (0, 1)).split()
    assert len(accounts) == 6 and len({account, another, *accounts}) == 8, accounts


def test_without_sharing_each_worker_has_a_server(team):
    text = (
        "import pytest\n@pytest.mark.parametrize('test', [1, 2])\ndef test_it(bascule, worker_id, test):\n"
        "    bascule.save()\n    open('at.' + worker_id, 'w').write(bascule.endpoint_url)\n"
    )
    folder, done = team("-n", "2", test=text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "at.gw0").read_text() != (folder / "at.gw1").read_text()


def test_a_test_that_fails_shows_what_the_server_said(team):
    folder, done = team(test="def test_it(clean_bascule):\n    assert clean_bascule.endpoint_url is None\n")
    assert done.returncode == 1 and counts(folder / "junit.xml")[:2] == (1, 1)
    assert "bascule log" in done.stdout and "Reset" in done.stdout, done.stdout


def test_a_server_that_does_not_start_is_an_error_that_says_why(team):
    text = (
        "import pytest\n@pytest.fixture(scope='session')\ndef bascule_arguments():\n    return ['--region', '!']\n"
        "def test_it(bascule):\n    pass\n"
    )
    _, done = team(test=text)
    assert done.returncode == 1 and "BasculeError" in done.stdout and "region" in done.stdout, done.stdout
