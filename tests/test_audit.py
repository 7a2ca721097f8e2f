"""The audit trail: a JSON line for each call, in bounded files that only their owner reads."""

import json
import stat

import pytest

from conftest import users_toml
from support.calls import Caller
from support.servers import eventually

USER = ("AKIAAUDITED000000000", "audited-audited-audited-audited-audited")
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Look", "Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:CreateVpc", "Resource": "*"},
        ],
    }
)


def lines(server, series="callers"):
    """All lines of a series, oldest first."""
    files = sorted((server.data / "audit").glob(f"{series}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def find(server, request_id, series="callers"):
    """The line of a call."""

    def found():
        # The last line may be half written as we look.
        try:
            return [line for line in lines(server, series) if line.get("requestID") == request_id]
        except json.JSONDecodeError:
            return None

    (line,) = eventually(found, what=f"a line of {request_id}")
    return line


def test_who_did_what_and_what_decided(make_server):
    server = make_server(users=users_toml({"eve": USER}, {"eve": POLICY}))
    eve = Caller(server, USER)
    reply = eve.query([("Action", "DescribeVpcs"), ("MaxResults", "5")], headers={"User-Agent": "audit-test/1"})
    line = find(server, reply.request_id)
    assert line["eventName"] == "DescribeVpcs" and line["eventSource"] == "ec2.amazonaws.com"
    assert line["userIdentity"]["arn"] == "arn:aws:iam::000000000000:user/eve"
    assert line["userIdentity"]["accessKeyId"] == USER[0]
    assert line["requestParameters"] == {"DescribeVpcsRequest": {"MaxResults": "5"}}
    assert line["sourceIPAddress"] == "127.0.0.1" and line["userAgent"] == "audit-test/1"
    assert line["decision"] == {"effect": "allow", "policy": "eve", "statement": "Look"}
    assert line["awsRegion"] == "us-east-1" and line["httpStatus"] == 200 and "errorCode" not in line
    denied = find(server, eve.ec2_raw("CreateVpc", {"CidrBlock": "10.0.0.0/16"}).request_id)
    assert denied["decision"] == {"effect": "explicit-deny", "policy": "eve", "statement": "1"}
    assert denied["errorCode"] == "UnauthorizedOperation"
    said = [text for text in server.errors().splitlines() if denied["requestID"] in text]
    assert any("explicit-deny" in text and "eve" in text for text in said), said
    stranger = Caller(server, ("AKIASTRANGER00000000", "x" * 40)).ec2_raw("DescribeVpcs")
    line = find(server, stranger.request_id, "strangers")
    assert line["errorCode"] == "AuthFailure" and "userIdentity" not in line
    assert not any(line["requestID"] == stranger.request_id for line in lines(server))
    folder = server.data / "audit"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_files_are_bounded_and_go_on_after_a_restart(make_server):
    server = make_server("--audit-file-bytes", "65536", "--audit-files", "2")
    with Caller(server) as root:
        name = "d" * 200
        for number in range(200):
            tag = {"TagSpecification.1.ResourceType": "vpc", "TagSpecification.1.Tag.1.Key": f"{name}"[:100]}
            reply = root.ec2_raw("CreateVpc", {"CidrBlock": f"10.{number}.0.0/16", "DryRun": "true", **tag}, keep=True)
        find(server, reply.request_id)
    files = sorted((server.data / "audit").glob("callers-*.jsonl"))
    assert len(files) == 2 and files[0].name != "callers-000001.jsonl"
    assert all(file.stat().st_size <= 65536 for file in files)
    newest = files[-1].name
    assert server.stop() == 0
    before = {line["requestID"] for line in lines(server)}
    server.start()
    find(server, Caller(server).ec2_raw("DescribeVpcs").request_id)
    # It goes on where it was: nothing is begun anew, nothing that was there is gone.
    assert max(file.name for file in (server.data / "audit").glob("callers-*.jsonl")) >= newest
    assert len(before & {line["requestID"] for line in lines(server)}) > len(before) // 3


def test_a_stop_loses_no_line(make_server):
    server = make_server()
    with Caller(server) as root:
        ids = {root.ec2_raw("DescribeVpcs", keep=True).request_id for _ in range(50)}
    assert server.stop() == 0
    assert ids <= {line["requestID"] for line in lines(server)}


@pytest.mark.parametrize("flag", ["--audit-file-bytes", "--audit-files"])
def test_limits_are_checked(make_server, flag):
    server = make_server(flag, "0", start=False)
    server.launch()
    assert server.process.wait(30) == 2
    assert flag[2:] in server.errors()
