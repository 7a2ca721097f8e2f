"""Terraform and its AWS provider, unchanged: a stack with everything an endpoint refers to, taken in by import as well.

The provider sleeps four minutes around each association it makes or ends. So here the association is made by a plain
call and taken in by import; those of the provider's own are in `test_terraform_upstream`.
"""

import json

import pytest

from conftest import role_toml, users_toml
from support.calls import Caller, Refused
from support.servers import FABRIC_MISSING, eventually
from support.terraform import TERRAFORM, Terraform, left, server_of_its_own
from test_a_day import Person

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="no program terraform: Terraform's scenarios did not run")


@pytest.fixture
def terraform(places, certificates, outside):
    """Makes configurations on a server of their own."""
    with server_of_its_own(places, certificates) as server:

        def make(*scenarios, **more):
            return Terraform(places, server, certificates.folder, outside, *scenarios, **more)

        make.server = server
        yield make


def restart(server):
    """Killed, and started again on what it has stored."""
    server.kill()
    server.start()


def test_a_whole_life(terraform, certificates):
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
        connects(one, endpoint, certificates)
        refused(caller, "DeleteSubnet", "DependencyViolation", SubnetId=subnet)
        refused(caller, "DeleteVpc", "DependencyViolation", VpcId=vpc)
        # Ended behind Terraform's back, with its route: nothing for it to wait for.
        caller.ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
        eventually(lambda: not networks(caller, endpoint), what="the association is gone")
    one.destroy()
    assert left(caller) == {}


def connects(one, endpoint, certificates):
    """A real OpenVPN client connects through what Terraform has made."""
    exported = Caller(one.server).ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)
    person = Person(one.folder, "alice")
    try:
        person.connect(exported["ClientConfiguration"], certificates)
        person.waits_for("Initialization Sequence Completed")
    finally:
        person.leaves()


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
