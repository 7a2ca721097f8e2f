"""Terraform on one URL: the endpoint from Bascule, what stands beside it from the upstream."""

import pytest

from support.calls import Caller
from support.terraform import TERRAFORM, Terraform, left
from support.upstreams import Moto, settings, variables
from test_upstream import client, fails, package

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
