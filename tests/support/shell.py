"""What a page tells people to type, run as they would."""

import pathlib
import re
import subprocess
import sys

from .servers import BINARY, ROOT, environment

AWS = str(pathlib.Path(sys.executable).with_name("aws"))


def blocks(page, title):
    """The shell blocks of a page's section, as they stand."""
    section = (ROOT / page).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.S)


def as_owner(script, user, group):
    """Lines for the account of the service, for the account of a test's server."""
    return script.replace("-o bascule -g bascule", f"-o {user} -g {group}").replace("bascule:bascule", f"{user}:{group}")


def tools(folder, **more):
    """An environment in which the words `aws` and `bascule` are what they are after an installation."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, program in (("aws", AWS), ("bascule", BINARY.resolve())):
        if not (programs / name).exists():
            (programs / name).symlink_to(program)
    found = environment(**more)
    return {**found, "PATH": f"{programs}:{found['PATH']}"}


def run(script, folder, **variables):
    """Runs lines to their end, each of which must succeed; what they printed."""
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        cwd=folder,
        env=tools(folder, **{name: str(value) for name, value in variables.items()}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
