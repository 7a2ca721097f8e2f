"""`--upstream`: boto3 through Bascule to moto's server, for what Bascule does not have."""

import io
import json
import time
import urllib.request
import zipfile

import boto3
import botocore.config
import botocore.exceptions
import pytest

from conftest import users_toml
from support.calls import Caller
from support.upstreams import Broken, Moto, settings, variables
from test_audit import find, lines

READER = ("AKIAFORWARD000000000", "reader-reader-reader-reader-reader-reader")
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["lambda:Get*", "ec2:DescribeRegions"], "Resource": "*"}],
    }
)
ALLOWED = ("lambda", "iam", "s3", "cloudwatch")
SECRET = variables()["BASCULE_UPSTREAM_SECRET_ACCESS_KEY"]


def client(server, service, key=None, **more):
    """A boto3 client that asks once."""
    key = key or server.root_key
    return boto3.client(
        service,
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=botocore.config.Config(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=30, **more
        ),
    )


def fails(call, **parameters):
    """The error of a call that must fail: its code, status and message."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"].get("Message", "")


def own_id(answer):
    """Bascule's id of a forwarded call."""
    return answer["ResponseMetadata"]["HTTPHeaders"]["x-bascule-request-id"]


def package():
    """A function's code."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("handler.py", "def handler(event, context):\n    return {'allow': True}\n")
    return file.getvalue()


@pytest.fixture(scope="module")
def moto(places):
    """moto's server."""
    moto = Moto(places.folder())
    yield moto
    moto.close()


@pytest.fixture
def server(make_server, moto):
    """Bascule before it."""
    users = users_toml({"reader": READER, "nobody": ("AKIANOBODY0000000000", "n" * 40)}, {"reader": POLICY})
    return make_server(config=settings(moto.url, ALLOWED), variables=variables(), users=users)


def test_reads_are_forwarded_and_what_is_ours_is_not(server, moto):
    ec2 = client(server, "ec2")
    answer = ec2.describe_regions()
    assert "eu-west-1" in [region["RegionName"] for region in answer["Regions"]]
    # moto has a default VPC; ours are ours alone.
    assert ec2.describe_vpcs()["Vpcs"] == []
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    assert [row["VpcId"] for row in ec2.describe_vpcs()["Vpcs"]] == [vpc]
    assert ec2.describe_internet_gateways()["InternetGateways"] == []
    direct = boto3.client(
        "ec2", endpoint_url=moto.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    assert vpc not in [row["VpcId"] for row in direct.describe_vpcs()["Vpcs"]]
    assert client(server, "iam").list_roles()["Roles"] == []
    assert client(server, "iam").get_user()["User"]["Arn"] == "arn:aws:iam::000000000000:root"
    assert client(server, "s3").list_buckets()["Buckets"] == []
    # The upstream's own errors pass as they are.
    assert fails(client(server, "ssm").get_parameter, Name="none")[:2] == ("ParameterNotFound", 400)
    line = find(server, own_id(answer))
    assert (line["eventSource"], line["eventName"]) == ("ec2.amazonaws.com", "DescribeRegions")
    forwarded = line["forwarded"]
    assert (forwarded["httpStatus"], forwarded["method"]) == (200, "POST")
    assert forwarded["upstream"] == moto.url.split("//")[1]
    assert forwarded["accessKeyId"] == variables()["BASCULE_UPSTREAM_ACCESS_KEY_ID"]
    assert line["userIdentity"]["accessKeyId"] == server.root_key[0]


def test_writes_pass_where_they_are_allowed(server):
    iam, functions = client(server, "iam"), client(server, "lambda")
    trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
    trust += '"Principal":{"Service":"lambda.amazonaws.com"}}]}'
    role = iam.create_role(RoleName="connect", AssumeRolePolicyDocument=trust)["Role"]
    name = "AWSClientVPN-connect"
    made = functions.create_function(
        FunctionName=name, Runtime="python3.12", Role=role["Arn"], Handler="handler.handler", Code={"ZipFile": package()}
    )
    assert functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"] == made["FunctionArn"]
    assert [row["FunctionName"] for row in functions.list_functions()["Functions"]] == [name]
    functions.delete_function(FunctionName=name)
    assert fails(functions.get_function, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    iam.delete_role(RoleName="connect")

    code, status, message = fails(client(server, "ssm").put_parameter, Name="a", Value="b", Type="String")
    assert (code, status) == ("AccessDeniedException", 400)
    assert "[upstream]" in message and "ssm" in message
    code, status, message = fails(client(server, "ec2").create_internet_gateway)
    assert (code, status) == ("UnauthorizedOperation", 403) and "ec2" in message
    code, status, message = fails(client(server, "sns").create_topic, Name="a")
    assert (code, status) == ("AccessDenied", 403) and "sns" in message


def test_bodies_and_headers_pass_untouched(server):
    s3 = client(server, "s3", signature_version="s3v4")
    content = bytes(range(256)) * 4096
    s3.create_bucket(Bucket="vpn-profiles")
    try:
        put = s3.put_object(Bucket="vpn-profiles", Key="a b/ü+%.bin", Body=content, Metadata={"team": "net"})
        got = s3.get_object(Bucket="vpn-profiles", Key="a b/ü+%.bin")
        assert (got["Body"].read(), got["Metadata"], got["ETag"]) == (content, {"team": "net"}, put["ETag"])
        head = s3.head_object(Bucket="vpn-profiles", Key="a b/ü+%.bin")
        assert head["ContentLength"] == len(content)
        part = s3.get_object(Bucket="vpn-profiles", Key="a b/ü+%.bin", Range="bytes=10-19")
        assert part["Body"].read() == content[10:20]
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            s3.head_object(Bucket="vpn-profiles", Key="none")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        url = s3.generate_presigned_url("get_object", Params={"Bucket": "vpn-profiles", "Key": "a b/ü+%.bin"})
        assert urllib.request.urlopen(url, timeout=30).read() == content
        s3.delete_object(Bucket="vpn-profiles", Key="a b/ü+%.bin")
    finally:
        s3.delete_bucket(Bucket="vpn-profiles")
    # Larger than a request may be.
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        s3.put_object(Bucket="vpn-profiles", Key="large", Body=b"x" * (4 * 1024 * 1024 + 1))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    # CBOR, as boto3 speaks with CloudWatch.
    alarms = client(server, "cloudwatch")
    alarms.put_metric_alarm(
        AlarmName="vpn", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1.0,
        MetricName="ActiveConnectionsCount", Namespace="AWS/ClientVPN", Period=60, Statistic="Sum",
    )
    assert [row["AlarmName"] for row in alarms.describe_alarms()["MetricAlarms"]] == ["vpn"]
    alarms.delete_alarms(AlarmNames=["vpn"])


def test_the_caller_needs_the_permission_here(server, moto):
    functions = client(server, "lambda", READER)
    assert fails(functions.get_function, FunctionName="none")[:2] == ("ResourceNotFoundException", 404)
    for call, parameters in ((functions.list_functions, {}), (functions.delete_function, {"FunctionName": "none"})):
        before = len(moto.log.read_text(errors="replace").splitlines())
        assert fails(call, **parameters)[:2] == ("AccessDeniedException", 400)
        assert len(moto.log.read_text(errors="replace").splitlines()) == before, "it never went there"
    assert client(server, "ec2", READER).describe_regions()["Regions"]
    nobody = client(server, "ec2", ("AKIANOBODY0000000000", "n" * 40))
    assert fails(nobody.describe_regions)[:2] == ("UnauthorizedOperation", 403)
    stranger = client(server, "s3", ("AKIASTRANGER00000000", "s" * 40))
    assert fails(stranger.list_buckets)[:2] == ("InvalidAccessKeyId", 403)
    reader = client(server, "s3", (READER[0], "w" * 40))
    assert fails(reader.list_buckets)[:2] == ("SignatureDoesNotMatch", 403)


def test_the_upstream_checks_our_signature(places, make_server):
    """moto made to check signatures and permissions after the three calls that make its user."""
    moto = Moto(places.folder(), INITIAL_NO_AUTH_ACTION_COUNT="3")
    try:
        iam = boto3.client(
            "iam", endpoint_url=moto.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        iam.create_user(UserName="bascule")
        document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="bascule", PolicyName="all", PolicyDocument=document)
        key = iam.create_access_key(UserName="bascule")["AccessKey"]
        right = variables(key["AccessKeyId"], key["SecretAccessKey"])
        good = make_server(config=settings(moto.url), variables=right)
        assert client(good, "ec2").describe_regions()["Regions"]
        assert client(good, "s3").list_buckets()["Buckets"] == []
        assert client(good, "ssm").describe_parameters()["Parameters"] == []
        for wrong in (variables(key["AccessKeyId"], "w" * 40), variables("AKIAWRONG00000000000", "w" * 40)):
            bad = make_server(config=settings(moto.url), variables=wrong)
            # moto's words, as they came.
            code, status, _ = fails(client(bad, "ec2").describe_regions)
            assert status in (401, 403) and code in ("AuthFailure", "SignatureDoesNotMatch", "InvalidClientTokenId")
            (line,) = [line for line in lines(bad) if line.get("eventName") == "DescribeRegions"]
            assert line["forwarded"]["httpStatus"] == status
            assert line["forwarded"]["accessKeyId"] == wrong["BASCULE_UPSTREAM_ACCESS_KEY_ID"]
            bad.close()
    finally:
        moto.close()


GARBLED = (b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", b"")


@pytest.mark.parametrize("answer", [None, *GARBLED, "dead"])
def test_an_upstream_that_fails_is_the_services_own_error(make_server, answer):
    broken = Broken(b"" if answer == "dead" else answer)
    if answer == "dead":
        broken.close()
    server = make_server(config=settings(broken.url, more="timeout-seconds = 1"), variables=variables())
    for service, operation, code in (
        ("ec2", "describe_regions", "Unavailable"),
        ("sns", "list_topics", "ServiceUnavailable"),
        ("ssm", "describe_parameters", "ServiceUnavailableException"),
        ("lambda", "list_functions", "ServiceUnavailableException"),
        ("s3", "list_buckets", "ServiceUnavailable"),
        ("cloudwatch", "describe_alarms", "ServiceUnavailableException"),
    ):
        started = time.monotonic()
        found, status, message = fails(getattr(client(server, service), operation))
        assert (found, status) == (code, 503), service
        assert "upstream" in message
        assert time.monotonic() - started < 15, "never a hang"
    # What is ours goes on.
    assert Caller(server).ec2("DescribeVpcs")["Vpcs"] == []
    assert 'bascule_upstream_requests_total{status="none"}' in metrics(server)
    if answer != "dead":
        broken.close()


def metrics(server):
    """Its metrics."""
    return urllib.request.urlopen(f"{server.url}/metrics", timeout=30).read().decode()


def test_no_secret_is_written_down(make_server, moto):
    server = make_server(config=settings(moto.url), variables={**variables(), "RUST_LOG": "trace"})
    client(server, "ec2").describe_regions()
    fails(client(server, "ssm").get_parameter, Name="none")
    server.stop()
    texts = [server.errors(), *(path.read_text(errors="replace") for path in (server.data / "audit").iterdir())]
    assert any("DescribeRegions" in text for text in texts)
    assert not any(SECRET in text for text in texts)


def test_no_loop(make_server, moto):
    last = make_server(config=settings(moto.url), variables=variables())
    key, secret = last.root_key
    first = make_server(config=settings(last.url), variables=variables(key, secret))
    # What the second server has, the first gets from it; it sends nothing further.
    assert fails(client(first, "ec2").describe_regions)[0] == "UnsupportedOperation"
    assert client(last, "ec2").describe_regions()["Regions"]


def test_what_is_there_is_listed(server):
    listed = json.loads(urllib.request.urlopen(f"{server.url}/coverage", timeout=30).read())
    services = {row["service"]: row for row in listed["services"]}
    assert set(services) == {"ec2", "acm", "sts", "iam", "logs"}
    assert "CreateClientVpnEndpoint" in services["ec2"]["actions"]
    assert "DescribeRegions" not in services["ec2"]["actions"]
    assert services["ec2"]["version"] == "2016-11-15"


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--upstream", "http://127.0.0.1:9"], {}, "BASCULE_UPSTREAM_ACCESS_KEY_ID"),
        (["--upstream", "http://127.0.0.1:9"], {"BASCULE_UPSTREAM_ACCESS_KEY_ID": "x"}, "one of them is missing"),
        (["--upstream", "ftp://127.0.0.1"], variables(), "upstream"),
        (["--upstream", "http://127.0.0.1:9", "--dev-open"], variables(), "dev-open"),
    ],
)
def test_settings_are_checked(make_server, arguments, environment, words):
    server = make_server(*arguments, variables=environment, start=False)
    server.launch()
    assert server.process.wait(30) == 2
    assert words in server.errors()


def test_credentials_come_from_a_file_too(make_server, moto, places):
    folder = places.folder()
    path = folder / "upstream-credentials"
    path.write_text("[default]\naws_access_key_id = AKIAFROMFILE00000000\naws_secret_access_key = of-a-file\n")
    path.chmod(0o644)
    server = make_server(config=settings(moto.url, more=f'credentials-file = "{path}"'))
    answer = client(server, "ec2").describe_regions()
    assert find(server, own_id(answer))["forwarded"]["accessKeyId"] == "AKIAFROMFILE00000000"
