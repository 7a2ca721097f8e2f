"""The fixtures, and the server's log beside a test that failed."""

import pytest

from .server import Account, Bascule

# The tail of a shared server's log is read from its file.
SHARED = "bascule_shared"


def pytest_addoption(parser):
    """Options of the command line, and their keys in the configuration."""
    group = parser.getgroup("bascule", "a Bascule server for tests")
    group.addoption("--bascule-bin", metavar="FILE", help="the program [default: BASCULE_BIN, else on the path]")
    group.addoption(
        "--bascule-shared",
        action="store_true",
        help="with pytest-xdist: one server for all workers, an account for each [default: a server for each]",
    )
    parser.addini("bascule_arguments", "more arguments of `bascule serve`", type="args", default=[])


def _start(config):
    return Bascule(config.getoption("--bascule-bin"), config.getini("bascule_arguments"))


@pytest.fixture(scope="session")
def bascule_arguments(pytestconfig):
    """More arguments of `bascule serve`; to be overridden where they are known at run time only."""
    return pytestconfig.getini("bascule_arguments")


@pytest.fixture(scope="session")
def bascule(pytestconfig, bascule_arguments):
    """A server on a free port, without privileges, stopped at the end of the session."""
    shared = getattr(pytestconfig, "workerinput", {}).get(SHARED)
    if shared:
        account = Account(*shared["account"])
        pytestconfig.stash[LOG] = shared["log"]
        yield account
        return
    with Bascule(pytestconfig.getoption("--bascule-bin"), bascule_arguments) as server:
        pytestconfig.stash[LOG] = str(server.log_file)
        yield server


@pytest.fixture
def clean_bascule(bascule):
    """The same with nothing in it."""
    bascule.reset()
    return bascule


LOG = pytest.StashKey()
SERVER = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test's report has the end of the server's log."""
    report = yield
    log = item.config.stash.get(LOG, None)
    if report.failed and log and "bascule" in getattr(item, "fixturenames", ()):
        try:
            with open(log, errors="replace") as file:
                report.sections.append(("bascule log", "".join(file.readlines()[-40:])))
        except OSError:
            pass
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """With pytest-xdist and --bascule-shared, in the process that has the workers: each gets an account."""
    config = node.config
    if not config.getoption("--bascule-shared"):
        return
    if SERVER not in config.stash:
        config.stash[SERVER] = _start(config)
    server = config.stash[SERVER]
    account = server.account()
    node.workerinput[SHARED] = {
        "account": (
            str(account.binary),
            str(account.folder),
            str(account.data_dir),
            account.endpoint_url,
            list(account.credentials),
        ),
        "log": str(server.log_file),
    }


def pytest_unconfigure(config):
    """The shared server's end."""
    server = config.stash.get(SERVER, None)
    if server:
        server.stop()
