"""Terraform and its AWS provider, unchanged: apply, an empty second plan, update in place, import, destroy, nothing left.

The provider sleeps four minutes around each association it makes or ends. So most tests make the association by a plain
call and take it in by import; those in which the provider makes and ends its own are marked slow, to run beside others.
"""

import contextlib
import glob
import json
import os
import shutil
import subprocess

import pytest

from conftest import role_toml, users_toml
from support import namespaces
from support.calls import Caller, Refused
from support.servers import FABRIC_MISSING, ROOT, eventually

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

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="no program terraform: Terraform's scenarios did not run")


def mirror():
    """The folder that holds the provider, if one does."""
    return next((path for path in MIRRORS if path and os.path.isdir(os.path.join(path, PROVIDER))), None)


class Terraform:
    """A configuration in a folder of its own, applied to a server."""

    def __init__(self, folder, server, pki, outside, *scenarios, text=None):
        self.folder, self.server = folder, server
        self.key = None
        self.variables = {"pki": str(pki), "stage": 1}
        if text is None:
            shutil.copy(SCENARIOS / "provider.tf", folder)
        else:
            (folder / "main.tf").write_text(text)
        for scenario in scenarios:
            self.add(scenario)
        source = mirror()
        settings = f'filesystem_mirror {{\n path = "{source}"\n include = ["{PROVIDER}"]\n }}\n' if source else ""
        settings += f'direct {{\n exclude = [{json.dumps(PROVIDER) if source else ""}]\n }}\n'
        (folder / "settings").write_text(f"provider_installation {{\n{settings}}}\ndisable_checkpoint = true\n")
        done = outside(lambda: self._run("init"))
        assert done.returncode == 0, done.stdout

    def add(self, scenario):
        """Puts the files of a scenario beside those that are there."""
        for path in (SCENARIOS / scenario).iterdir():
            shutil.copy(path, self.folder)

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

    def apply(self, **variables):
        """Makes it so; the outputs."""
        self.variables.update(variables)
        done = self._run("apply", "-auto-approve", "-input=false")
        assert done.returncode == 0, done.stdout
        return {name: output["value"] for name, output in self.state()["outputs"].items()}

    def take_in(self):
        """Applies import blocks; what Terraform says of it."""
        done = self._run("apply", "-auto-approve", "-input=false")
        assert done.returncode == 0, done.stdout
        return done.stdout

    def plan(self):
        """Whether there is something to do, and what."""
        done = self._run("plan", "-detailed-exitcode", "-input=false", "-lock=false")
        assert done.returncode in (EMPTY, CHANGES), done.stdout
        return done.returncode, done.stdout

    def settles(self):
        """Nothing is left to do."""
        code, text = self.plan()
        assert code == EMPTY, text

    def destroy(self):
        """Removes everything."""
        done = self._run("destroy", "-auto-approve", "-input=false")
        assert done.returncode == 0, done.stdout

    def forget(self, *addresses):
        """Takes things out of the state: as if they had been made by hand."""
        done = self._run("state", "rm", *addresses)
        assert done.returncode == 0, done.stdout

    def state(self):
        """What Terraform believes."""
        return json.loads((self.folder / "terraform.tfstate").read_text())

    def attributes(self, kind, name, key=None):
        """The attributes of one resource, as Terraform believes."""
        for resource in self.state()["resources"]:
            if (resource["mode"], resource["type"], resource["name"]) == ("managed", kind, name):
                for instance in resource["instances"]:
                    if instance.get("index_key") == key:
                        return instance["attributes"]
        raise AssertionError(f"no {kind}.{name}")


def left(caller):
    """What a server still has."""
    found = {
        "vpcs": caller.ec2("DescribeVpcs")["Vpcs"],
        "subnets": caller.ec2("DescribeSubnets")["Subnets"],
        "groups": caller.ec2("DescribeSecurityGroups")["SecurityGroups"],
        "rules": caller.ec2("DescribeSecurityGroupRules")["SecurityGroupRules"],
        "interfaces": caller.ec2("DescribeNetworkInterfaces")["NetworkInterfaces"],
        "endpoints": caller.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"],
        "certificates": caller.acm("ListCertificates")["CertificateSummaryList"],
        "tags": caller.ec2("DescribeTags")["Tags"],
    }
    return {name: rows for name, rows in found.items() if rows}


@pytest.fixture
def terraform(places, make_server, certificates, outside):
    """Makes configurations on a server of their own, with its kernel fabric where there is one."""
    if not (certificates.folder / "new.example.com.crt").exists():
        certificates.run("issue-server", "new.example.com")
    with namespaces.fresh() if FABRIC_MISSING is None else contextlib.nullcontext():
        arguments = ["--gateway-address", namespaces.POOL] if FABRIC_MISSING is None else []
        server = make_server(*arguments, privileged=True)

        def make(*scenarios, **more):
            return Terraform(places.folder(), server, certificates.folder, outside, *scenarios, **more)

        make.server = server

        yield make
        server.close()


def restart(server):
    """Killed, and started again on what it has stored."""
    server.kill()
    server.start()


def test_a_whole_life(terraform):
    one = terraform("endpoint")
    server = one.server
    outputs = one.apply()
    endpoint = outputs["endpoint"]
    assert outputs["account"] == "000000000000"
    assert outputs["found"][:2] == [endpoint, endpoint]
    assert outputs["subnets"] == 2
    restart(server)
    one.settles()

    # Every field that can change in place.
    before = one.attributes("aws_ec2_client_vpn_endpoint", "main")
    arn = one.attributes("aws_acm_certificate", "server")["arn"]
    assert one.apply(stage=2)["endpoint"] == endpoint
    after = one.attributes("aws_ec2_client_vpn_endpoint", "main")
    assert one.attributes("aws_acm_certificate", "server")["arn"] == arn, "the certificate was rotated in place"
    same = {
        *("arn", "authentication_options", "client_cidr_block", "dns_name", "id", "self_service_portal_url", "tags_all"),
        *("connection_log_options", "self_service_portal", "server_certificate_arn", "transport_protocol", "vpc_id"),
        *("tags", "timeouts", "region"),
    }
    kept = {name for name in before if before[name] == after[name]}
    assert kept <= same, f"did not change: {kept - same}"
    assert after["tags_all"] == {"Name": "main", "Stage": "2", "Managed": "terraform"}
    # What somebody else tagged stays, as the provider is told to ignore it.
    caller = Caller(server)
    caller.ec2("CreateTags", Resources=[endpoint], Tags=[{"Key": "Ignored", "Value": "x"}])

    # Forgotten and taken in again, with an association made by hand and a route of Terraform's own.
    group = one.attributes("aws_security_group", "inline")["id"]
    rule = one.attributes("aws_vpc_security_group_ingress_rule", "from_inline")["id"]
    vpc = one.attributes("aws_vpc", "main")["id"]
    subnet = one.attributes("aws_subnet", "one")["id"]
    one.forget(
        *("aws_ec2_client_vpn_endpoint.main", "aws_ec2_client_vpn_authorization_rule.all", "aws_vpc.main"),
        *("aws_security_group.inline", "aws_vpc_security_group_ingress_rule.from_inline"),
        *("aws_cloudwatch_log_group.vpn", "aws_iam_saml_provider.idp"),
    )
    one.add("taken_in")
    # In the same step all that can be switched off is.
    variables = {"stage": 3, "endpoint": endpoint, "rule": rule, "vpc": vpc, "group": group}
    if FABRIC_MISSING is None:
        association = variables["association"] = associate(caller, endpoint, subnet)
        one.add("by_hand")
    one.apply(**variables)
    restart(server)
    one.settles()
    off = one.attributes("aws_ec2_client_vpn_endpoint", "main")
    assert off["dns_servers"] == []
    assert {off[name][0]["enabled"] for name in ("connection_log_options", "client_login_banner_options")} == {False}
    if FABRIC_MISSING is None:
        route = one.attributes("aws_ec2_client_vpn_route", "far")
        assert (route["origin"], route["type"]) == ("add-route", "Nat")
        refused(caller, "DeleteSubnet", "DependencyViolation", SubnetId=subnet)
        refused(caller, "DeleteVpc", "DependencyViolation", VpcId=vpc)
        # Ended behind Terraform's back, with its route: nothing for it to wait for.
        caller.ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
        eventually(lambda: not networks(caller, endpoint), what="the association is gone")
    one.destroy()
    assert left(caller) == {}


def networks(caller, endpoint):
    """The endpoint's associations."""
    return caller.ec2("DescribeClientVpnTargetNetworks", ClientVpnEndpointId=endpoint)["ClientVpnTargetNetworks"]


def associate(caller, endpoint, subnet):
    """Associates a subnet; the association's id once it is associated."""
    answer = caller.ec2("AssociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, SubnetId=subnet)
    eventually(
        lambda: [row["Status"]["Code"] for row in networks(caller, endpoint)] == ["associated"],
        what=f"{subnet} is associated",
    )
    return answer["AssociationId"]


def refused(caller, operation, code, **parameters):
    """The operation must fail with this code."""
    with pytest.raises(Refused) as caught:
        caller.ec2(operation, **parameters)
    assert caught.value.code == code


@pytest.mark.slow
@pytest.mark.fabric
def test_associations_by_the_provider_itself(terraform):
    one = terraform("associations")
    endpoint = one.apply()["endpoint"]
    caller = Caller(one.server)
    assert {row["Status"]["Code"] for row in networks(caller, endpoint)} == {"associated"}
    restart(one.server)
    one.settles()
    one.apply(stage=2)
    one.settles()
    one.destroy()
    assert left(caller) == {}


def test_with_a_role(terraform):
    """The provider assumes a role, as people have it across accounts."""
    server, key = terraform.server, ("AKIADEPLOYER00000000", "deployer-deployer-deployer-deployer-de")
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/deployer"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}},
    }
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    only = {"StringEquals": {"aws:PrincipalTag/team": "net", "aws:PrincipalAccount": "111111111111"}}
    documents = {name: json.dumps({"Version": "2012-10-17", "Statement": [statement]}) for name, statement in (
        ("deployer", {**everything, "Action": "sts:*"}), ("deploy", {**everything, "Condition": only}), ("trust", trust)
    )}
    users = users_toml({"deployer": key}, {name: documents[name] for name in ("deployer", "deploy")})
    role = role_toml("deploy", documents["trust"], ["deploy"], account="111111111111")
    server.write_users(f"{users}\n{role}")
    caller = Caller(server, key)
    eventually(lambda: caller.ec2_raw("DescribeVpcs").status == 403, what="the user is known")
    one = terraform("assumed")
    one.key = key
    outputs = one.apply()
    assert outputs["arn"] == "arn:aws:sts::111111111111:assumed-role/deploy/terraform"
    one.settles()
    # In the role's account, and nothing in the user's.
    assert outputs["owner"] == "111111111111"
    assert Caller(server).ec2("DescribeVpcs")["Vpcs"] == []
    one.destroy()


@pytest.mark.slow
def test_gone_behind_its_back(terraform):
    one = terraform("endpoint")
    endpoint = one.apply()["endpoint"]
    caller = Caller(one.server)
    caller.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    code, text = one.plan()
    assert code == CHANGES and "2 to add, 0 to change, 0 to destroy" in text, text
    assert one.apply()["endpoint"] != endpoint
    one.settles()
    one.destroy()
    assert left(caller) == {}
