"""The quick start of README with the AWS CLI and boto3, unchanged, signatures verified; and with a wrong secret."""

import concurrent.futures
import subprocess

import boto3
import botocore.exceptions
import pytest

from support.servers import environment, eventually
from support.shell import AWS, blocks, run
from support.world import World


def quick_start():
    """The README's block but for its line that builds and starts the service."""
    lines = blocks("README.md", "Quick start")[0].splitlines()
    assert "bascule serve" in lines[0] and lines[1].startswith("export AWS_ENDPOINT_URL=")
    return lines[1:]


@pytest.mark.fabric
def test_the_readme_as_it_stands(own_namespace, make_server, certificates):
    server = make_server(privileged=True)
    first, *rest = quick_start()
    first = first.replace("http://127.0.0.1:8585", server.url).replace("/var/lib/bascule/", f"{server.data}/")
    assert server.url in first and str(server.data) in first
    run("\n".join([first, *rest]), server.folder)
    profile = (server.folder / "alice.ovpn").read_text()
    assert profile.startswith("client\n") and "<cert>" in profile and "<key>" in profile
    world = World(server, certificates, "us-east-1")
    (endpoint,) = world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]
    found = endpoint["ClientVpnEndpointId"]
    eventually(lambda: world.status(found) == "available", what="the endpoint is available")
    assert [row["Status"]["Code"] for row in world.networks(found).values()] == ["associated"]
    assert {key for key, row in world.routes(found).items() if row["Origin"] == "associate"} == {
        ("10.0.0.0/16", endpoint["AssociatedTargetNetworks"][0]["NetworkId"])
    }
    assert world.rules(found)[("10.0.0.0/16", "")]["AccessAll"] is True


def boto_calls(clients, certificates):
    """The quick start with boto3, as calls that each need what the one before answered."""
    ec2, acm, sts = (clients(name) for name in ("ec2", "acm", "sts"))
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:root"
    arn = acm.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainName"] == "vpn.example.com"
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    mutual = {"ClientRootCertificateChainArn": arn}
    endpoint = ec2.create_client_vpn_endpoint(
        ClientCidrBlock="10.8.0.0/22",
        ServerCertificateArn=arn,
        AuthenticationOptions=[{"Type": "certificate-authentication", "MutualAuthentication": mutual}],
        ConnectionLogOptions={"Enabled": False},
    )["ClientVpnEndpointId"]
    association = ec2.associate_client_vpn_target_network(ClientVpnEndpointId=endpoint, SubnetId=subnet)
    ec2.authorize_client_vpn_ingress(
        ClientVpnEndpointId=endpoint, TargetNetworkCidr="10.0.0.0/16", AuthorizeAllGroups=True
    )
    return endpoint, association["AssociationId"]


@pytest.fixture
def clients(shared, certificates, monkeypatch):
    """Makes boto3 clients as users do: credentials and endpoint from the environment."""
    world = World(shared, certificates)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared.data / "credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", world.region)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.session.Session()
    return session.client


@pytest.mark.fabric
def test_boto3_to_an_associated_endpoint_and_back(clients, certificates):
    endpoint, association = boto_calls(clients, certificates)
    ec2 = clients("ec2")

    def state():
        (row,) = ec2.describe_client_vpn_endpoints(ClientVpnEndpointIds=[endpoint])["ClientVpnEndpoints"]
        return row["Status"]["Code"]

    eventually(lambda: state() == "available", what="available")
    # The case trap: botocore drops these members silently when they are in camelCase.
    (row,) = ec2.describe_client_vpn_endpoints()["ClientVpnEndpoints"]
    assert row["ConnectionLogOptions"] == {"Enabled": False}
    pages = ec2.get_paginator("describe_client_vpn_routes").paginate(
        ClientVpnEndpointId=endpoint, PaginationConfig={"PageSize": 5}
    )
    assert [route["Origin"] for route in pages.build_full_result()["Routes"]] == ["associate"]
    text = ec2.export_client_vpn_client_configuration(ClientVpnEndpointId=endpoint)["ClientConfiguration"]
    assert text.startswith("client\n")
    ec2.disassociate_client_vpn_target_network(ClientVpnEndpointId=endpoint, AssociationId=association)
    eventually(lambda: state() == "pending-associate", what="pending-associate")
    assert ec2.delete_client_vpn_endpoint(ClientVpnEndpointId=endpoint)["Status"]["Code"] == "deleting"
    with pytest.raises(botocore.exceptions.ClientError) as error:
        ec2.export_client_vpn_client_configuration(ClientVpnEndpointId=endpoint)
    assert error.value.response["Error"]["Code"] == "InvalidClientVpnEndpointId.NotFound"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.value.response["ResponseMetadata"]["RequestId"]


def flipped(secret):
    """One character changed."""
    return ("A" if secret[0] != "A" else "B") + secret[1:]


ENDPOINT, ASSOCIATION, SUBNET = (
    "cvpn-endpoint-0123456789abcdef0",
    "cvpn-assoc-0123456789abcdef0",
    "subnet-0123456789abcdef0",
)
ARN = "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-0000-0000-000000000000"
# Every call of the quick start and of what follows it, with what EC2 and the others say to a wrong secret.
CALLS = [
    ("acm", "list-certificates", [], "InvalidSignatureException"),
    ("sts", "get-caller-identity", [], "SignatureDoesNotMatch"),
    ("ec2", "create-vpc", ["--cidr-block", "10.0.0.0/16"], "AuthFailure"),
    ("ec2", "create-subnet", ["--vpc-id", "vpc-0123456789abcdef0", "--cidr-block", "10.0.1.0/24"], "AuthFailure"),
    (
        "ec2",
        "create-client-vpn-endpoint",
        ["--client-cidr-block", "10.8.0.0/22", "--server-certificate-arn", ARN, "--authentication-options"]
        + [f"Type=certificate-authentication,MutualAuthentication={{ClientRootCertificateChainArn={ARN}}}"]
        + ["--connection-log-options", "Enabled=false"],
        "AuthFailure",
    ),
    (
        "ec2",
        "associate-client-vpn-target-network",
        ["--subnet-id", SUBNET, "--client-vpn-endpoint-id", ENDPOINT],
        "AuthFailure",
    ),
    (
        "ec2",
        "authorize-client-vpn-ingress",
        ["--target-network-cidr", "10.0.0.0/16", "--authorize-all-groups", "--client-vpn-endpoint-id", ENDPOINT],
        "AuthFailure",
    ),
    ("ec2", "export-client-vpn-client-configuration", ["--client-vpn-endpoint-id", ENDPOINT], "AuthFailure"),
    ("ec2", "describe-client-vpn-endpoints", [], "AuthFailure"),
    (
        "ec2",
        "disassociate-client-vpn-target-network",
        ["--association-id", ASSOCIATION, "--client-vpn-endpoint-id", ENDPOINT],
        "AuthFailure",
    ),
    ("ec2", "delete-client-vpn-endpoint", ["--client-vpn-endpoint-id", ENDPOINT], "AuthFailure"),
]


def test_one_wrong_character_of_the_secret_fails_every_call_of_the_cli(shared):
    key, secret = shared.root_key
    variables = {
        "AWS_ENDPOINT_URL": shared.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": flipped(secret),
    }

    def run(call):
        service, operation, arguments, _ = call
        command = [AWS, service, operation, *arguments]
        return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=60)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for (_, operation, _, code), done in zip(CALLS, pool.map(run, CALLS)):
            assert done.returncode != 0 and f"({code})" in done.stderr, f"{operation}: {done.stdout}{done.stderr}"


def test_every_flipped_character_of_the_secret_fails(caller):
    key, secret = caller.server.root_key
    for at in range(len(secret)):
        wrong = secret[:at] + flipped(secret[at]) + secret[at + 1 :]
        reply = caller.with_key((key, wrong)).ec2_raw("DescribeVpcs")
        assert (reply.status, reply.code) == (401, "AuthFailure"), at
    assert caller.ec2_raw("DescribeVpcs").status == 200
