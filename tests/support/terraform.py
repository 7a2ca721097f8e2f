"""Terraform and its AWS provider, unchanged, on configurations of `tests/terraform`."""

import contextlib
import glob
import json
import os
import shutil
import subprocess

from . import namespaces
from .servers import FABRIC_MISSING, ROOT, Server

SCENARIOS = ROOT / "tests/terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"
# Folders that may hold the provider, first found first used.
MIRRORS = [
    os.environ.get("BASCULE_TERRAFORM_MIRROR", ""),
    os.path.expanduser("~/.terraform.d/plugins"),
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    *sorted(glob.glob("/opt/*")),
]
TERRAFORM = shutil.which("terraform")
RUN_SECONDS = 1200

EMPTY, CHANGES = 0, 2


def mirror():
    """The folder that holds the provider, if one does."""
    return next((path for path in MIRRORS if path and os.path.isdir(os.path.join(path, PROVIDER))), None)


def settings():
    """Terraform's own configuration: the provider from that folder."""
    source = mirror()
    places = f'filesystem_mirror {{\n path = "{source}"\n include = ["{PROVIDER}"]\n }}\n' if source else ""
    places += f'direct {{\n exclude = [{json.dumps(PROVIDER) if source else ""}]\n }}\n'
    return f"provider_installation {{\n{places}}}\ndisable_checkpoint = true\n"


class Terraform:
    """A configuration in a folder of its own, applied to a server."""

    def __init__(self, places, server, pki, outside, *scenarios, text=None):
        self.folder, self.places, self.server = places.folder(), places, server
        # Whose calls they are; the root's if nobody else's.
        self.key = None
        self.variables = {"pki": str(pki), "stage": 1}
        if text is None:
            self.add()
        else:
            (self.folder / "main.tf").write_text(text)
        for scenario in scenarios:
            self.add(scenario)
        (self.folder / "settings").write_text(settings())
        outside(lambda: self._done("init"))

    def add(self, scenario="."):
        """Puts the files of a scenario beside those that are there."""
        for path in (SCENARIOS / scenario).iterdir():
            if path.is_file():
                shutil.copy(path, self.folder)

    def copy(self):
        """The same configuration and state in another folder."""
        other = object.__new__(Terraform)
        other.__dict__.update(self.__dict__, folder=self.places.folder(), variables=dict(self.variables))
        shutil.copytree(self.folder, other.folder, symlinks=True, dirs_exist_ok=True)
        return other

    def _run(self, command, *arguments):
        key, secret = self.key or self.server.root_key
        variables = {f"TF_VAR_{name}": str(value) for name, value in self.variables.items()}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TF_CLI_CONFIG_FILE": str(self.folder / "settings"),
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_ARGS": "-no-color",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            # The provider spends a third of its time collecting garbage otherwise.
            "GOGC": "400",
            "TF_VAR_url": self.server.url,
            **variables,
        }
        return subprocess.run(
            [TERRAFORM, command, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
        )

    def _done(self, command, *arguments):
        done = self._run(command, *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def apply(self, **variables):
        """Makes it so; the outputs."""
        self.variables.update(variables)
        self.said = self._done("apply", "-auto-approve", "-input=false")
        return {name: output["value"] for name, output in self.state()["outputs"].items()}

    def take_in(self):
        """Applies what may have import blocks; what Terraform says of it."""
        return self._done("apply", "-auto-approve", "-input=false")

    def plan(self):
        """Whether there is something to do, and what."""
        done = self._run("plan", "-detailed-exitcode", "-input=false", "-lock=false")
        assert done.returncode in (EMPTY, CHANGES), done.stdout
        return done.returncode, done.stdout

    def changes(self):
        """What a plan would do: address to action, without what is only read."""
        done = self._run("plan", "-detailed-exitcode", "-input=false", "-lock=false", "-json")
        assert done.returncode in (EMPTY, CHANGES), done.stdout
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        planned = [line["change"] for line in lines if line["type"] == "planned_change"]
        found = {change["resource"]["addr"]: change["action"] for change in planned}
        assert found or done.returncode == EMPTY, done.stdout
        return {address: action for address, action in found.items() if action != "read"}

    def settles(self):
        """Nothing is left to do."""
        code, text = self.plan()
        assert code == EMPTY, text

    def destroy(self):
        """Removes everything."""
        self._done("destroy", "-auto-approve", "-input=false")

    def forget(self, *addresses):
        """Takes things out of the state: as if they had been made by hand."""
        self._done("state", "rm", *addresses)

    def state(self):
        """What Terraform believes."""
        return json.loads((self.folder / "terraform.tfstate").read_text())

    def everything(self):
        """The attributes of every resource and data source by address, as Terraform believes."""
        found = {}
        for resource in self.state()["resources"]:
            before = "data." if resource["mode"] == "data" else ""
            for instance in resource["instances"]:
                key = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                found[f"{before}{resource['type']}.{resource['name']}{key}"] = instance["attributes"]
        return found

    def attributes(self, kind, name):
        """The attributes of one resource."""
        return self.everything()[f"{kind}.{name}"]


def left(caller):
    """What a server still has."""
    found = {
        "vpcs": caller.ec2("DescribeVpcs")["Vpcs"],
        "subnets": caller.ec2("DescribeSubnets")["Subnets"],
        "groups": caller.ec2("DescribeSecurityGroups")["SecurityGroups"],
        "rules": caller.ec2("DescribeSecurityGroupRules")["SecurityGroupRules"],
        "interfaces": caller.ec2("DescribeNetworkInterfaces")["NetworkInterfaces"],
        "endpoints": caller.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"],
        "gateways": caller.ec2("DescribeTransitGateways")["TransitGateways"],
        "certificates": caller.acm("ListCertificates")["CertificateSummaryList"],
        "providers": caller.call("iam", "ListSAMLProviders")["SAMLProviderList"],
        "log groups": caller.call("logs", "DescribeLogGroups")["logGroups"],
        "tags": caller.ec2("DescribeTags")["Tags"],
    }
    return {name: rows for name, rows in found.items() if rows}


@contextlib.contextmanager
def server_of_its_own(places, certificates, **more):
    """A server with its kernel fabric where there is one."""
    if not (certificates.folder / "new.example.com.crt").exists():
        certificates.run("issue-server", "new.example.com")
    with namespaces.fresh() if FABRIC_MISSING is None else contextlib.nullcontext():
        arguments = ["--gateway-address", namespaces.POOL] if FABRIC_MISSING is None else []
        server = Server(places, *arguments, privileged=True, **more)
        try:
            yield server.start()
        finally:
            server.close()
