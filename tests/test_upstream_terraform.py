"""Terraform on one URL: the endpoint from Bascule, what stands beside it from the upstream."""

import subprocess

import pytest

from support import namespaces
from support.calls import Caller
from support.servers import eventually
from support.terraform import TERRAFORM, Terraform, left
from support.upstreams import Moto, settings, variables
from test_terraform import associate, networks, restart
from test_upstream import client, fails, package
from test_upstream_networks import NETWORKS, direct

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="no program terraform: Terraform's scenarios did not run")
# So that its functions are of the endpoint's own account.
MOTO_ACCOUNT = "123456789012"
ALLOWED = ("cloudwatch", "iam", "lambda", "s3", "ssm")


def test_a_stack_of_both(places, make_server, certificates, outside):
    moto = Moto(places.folder())
    try:
        server = make_server("--account", MOTO_ACCOUNT, config=settings(moto.url, ALLOWED), variables=variables())
        one = Terraform(places, server, certificates.folder, outside, "upstream")
        path = one.folder / "package.zip"
        path.write_bytes(package())
        outputs = one.apply(package=path)
        assert outputs["regions"] > 10
        function = client(server, "lambda").get_function(FunctionName="AWSClientVPN-connect")["Configuration"]
        assert function["FunctionArn"] == outputs["function"]
        (endpoint,) = Caller(server).ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]
        assert endpoint["ClientConnectOptions"]["LambdaFunctionArn"] == outputs["function"]
        parameter = client(server, "ssm").get_parameter(Name="/vpn/endpoint")["Parameter"]
        assert parameter["Value"] == outputs["endpoint"] == endpoint["ClientVpnEndpointId"]
        one.settles()
        one.apply(stage=2)
        one.settles()
        one.destroy()
        assert left(Caller(server)) == {}
        assert fails(client(server, "lambda").get_function, FunctionName="AWSClientVPN-connect")[1] == 404
        assert client(server, "s3").list_buckets()["Buckets"] == []
    finally:
        moto.close()


def enforced():
    """What the kernel here lets pass."""
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


# Waits for nothing; beside the slow ones there is room for it.
@pytest.mark.slow
@pytest.mark.fabric
def test_a_stack_on_the_upstreams_networks(own_namespace, places, make_server, certificates, outside):
    moto = Moto(places.folder())
    try:
        server = make_server(
            *NETWORKS,
            *("--gateway-address", namespaces.POOL),
            privileged=True,
            config=settings(moto.url, ["ec2"]),
            variables=variables(),
        )
        one = Terraform(places, server, certificates.folder, outside, "upstream_networks")
        outputs = one.apply()
        one.settles()
        # The networks are there, under the ids that the endpoint here refers to.
        there, caller = direct(moto.url), Caller(server)
        (vpc,) = there.describe_vpcs(VpcIds=[outputs["vpc"]])["Vpcs"]
        tags = lambda row: {tag["Key"]: tag["Value"] for tag in row["Tags"]}
        assert tags(vpc) == {"Name": "main", "Stage": "1", "Managed": "terraform"}
        (endpoint,) = caller.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]
        inline = one.attributes("aws_security_group", "inline")["id"]
        assert (endpoint["VpcId"], set(endpoint["SecurityGroupIds"])) == (vpc["VpcId"], {outputs["group"], inline})
        assert "client-vpn-endpoint" not in str(there.describe_tags()["Tags"])

        # An association made by hand and taken in, a route through it, and a change of everything.
        endpoint = outputs["endpoint"]
        association = associate(caller, endpoint, outputs["subnet"])
        eventually(lambda: "7001" in enforced(), what="the group's rule is in force")
        one.add("by_hand")
        one.apply(stage=2, endpoint=endpoint, association=association)
        eventually(lambda: "7002" in enforced() and "7001" not in enforced(), what="the changed rule is in force")
        restart(server)
        one.settles()
        assert tags(there.describe_vpcs(VpcIds=[outputs["vpc"]])["Vpcs"][0])["Stage"] == "2"
        (row,) = networks(Caller(server), endpoint)
        assert (row["TargetNetworkId"], row["SecurityGroups"]) == (outputs["subnet"], [outputs["group"]])
        routes = caller.ec2("DescribeClientVpnRoutes", ClientVpnEndpointId=endpoint)["Routes"]
        assert {route["DestinationCidr"] for route in routes} == {"10.0.0.0/16", "172.16.0.0/12"}

        caller.ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
        eventually(lambda: not networks(caller, endpoint), what="the association is gone")
        one.destroy()
        assert caller.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"] == []
        assert caller.acm("ListCertificates")["CertificateSummaryList"] == []
        assert [row["IsDefault"] for row in there.describe_vpcs()["Vpcs"]] == [True]
        assert {row["GroupName"] for row in there.describe_security_groups()["SecurityGroups"]} == {"default"}
    finally:
        moto.close()
