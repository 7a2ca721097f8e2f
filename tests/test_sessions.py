"""Temporary credentials as botocore asks for them and uses them."""

import datetime
import itertools
import json

import botocore.client
import botocore.exceptions
import botocore.session
import pytest

from conftest import role_toml, users_toml
from support.calls import Caller, form
from support.servers import Server, bascule, eventually

KEY = ("AKIASESSIONS00000000", "sessions-sessions-sessions-sessions-sess")
ROLE = "arn:aws:iam::000000000000:role/reader"
_sessions = itertools.count(1)


def document(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


READER = document(Action="ec2:Describe*", Resource="*")
TRUST = document(Action="sts:AssumeRole", Principal={"AWS": "arn:aws:iam::000000000000:root"})
USERS = users_toml({"sessions": KEY}, {"sessions": document(Action="*", Resource="*"), "reader": READER}) + role_toml(
    "reader", TRUST, ["reader"], max_session_seconds=7200
)


def client(server, service, *credentials):
    """A client of botocore."""
    config = botocore.client.Config(retries={"total_max_attempts": 1})
    return botocore.session.Session().create_client(
        service, "us-east-1", None, True, None, server.url, *credentials, config=config
    )


def assume(server, **more):
    """Credentials of the role: id, secret, token."""
    name = f"session-{next(_sessions)}"
    answer = client(server, "sts", *KEY).assume_role(RoleArn=ROLE, RoleSessionName=name, **more)
    return tuple(answer["Credentials"][part] for part in ("AccessKeyId", "SecretAccessKey", "SessionToken"))


def code(call, **parameters):
    """The code of a call that must fail."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def served(places):
    server = Server(places, users=USERS).start()
    yield server
    server.close()


def test_a_role_is_assumed_and_used(served):
    sts = client(served, "sts", *KEY)
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="day", DurationSeconds=900, Policy=READER)
    user = answer["AssumedRoleUser"]
    assert user["Arn"] == "arn:aws:sts::000000000000:assumed-role/reader/day"
    assert user["AssumedRoleId"].startswith("AROA") and user["AssumedRoleId"].endswith(":day")
    assert 0 < answer["PackedPolicySize"] <= 100
    found = answer["Credentials"]
    assert found["AccessKeyId"].startswith("ASIA")
    left = found["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert 600 < left.total_seconds() <= 900
    key = found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]
    ec2 = client(served, "ec2", *key)
    assert ec2.describe_vpcs()["Vpcs"] == []
    assert code(ec2.create_vpc, CidrBlock="10.0.0.0/16") == "UnauthorizedOperation"
    who = client(served, "sts", *key).get_caller_identity()
    assert (who["Arn"], who["UserId"]) == (user["Arn"], user["AssumedRoleId"])
    # A pager, and a service of another protocol.
    assert list(ec2.get_paginator("describe_client_vpn_endpoints").paginate())
    assert code(client(served, "acm", *key).list_certificates) == "AccessDeniedException"


def test_a_session_of_the_users_own(served):
    answer = client(served, "sts", *KEY).get_session_token(DurationSeconds=900)["Credentials"]
    key = answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]
    assert client(served, "sts", *key).get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:user/sessions"
    assert client(served, "ec2", *key).describe_vpcs()["Vpcs"] == []
    assert code(client(served, "sts", *key).get_session_token) == "AccessDenied"
    assert code(client(served, "iam", *key).get_user) == "InvalidClientTokenId"
    root = client(served, "sts", *served.root_key).get_session_token()["Credentials"]
    key = root["AccessKeyId"], root["SecretAccessKey"], root["SessionToken"]
    assert client(served, "sts", *key).get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:root"


def test_who_may_not(served):
    sts = client(served, "sts", *served.root_key)
    assert code(sts.assume_role, RoleArn=ROLE, RoleSessionName="root") == "AccessDenied"
    sts = client(served, "sts", *KEY)
    absent = "arn:aws:iam::000000000000:role/absent"
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        sts.assume_role(RoleArn=absent, RoleSessionName="absent")
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("AccessDenied", 403)
    user = "arn:aws:iam::000000000000:user/sessions"
    assert error["Error"]["Message"] == f"User: {user} is not authorized to perform: sts:AssumeRole on resource: {absent}"
    assert code(sts.assume_role, RoleArn=ROLE, RoleSessionName="xx", DurationSeconds=7201) == "ValidationError"
    assert code(sts.assume_role, RoleArn=ROLE, RoleSessionName="xx", TokenCode="123456") == "ValidationError"


def test_only_the_whole_of_it_is_taken(served):
    key, secret, token = assume(served)
    _, other_secret, other_token = assume(served)
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    # Credentials, and what EC2, STS and ACM answer.
    rows = [
        ((key, secret, changed), "InvalidClientTokenId"),
        ((key, secret, other_token), "InvalidClientTokenId"),
        ((key, secret, token[:-4]), "InvalidClientTokenId"),
        ((key, secret), "InvalidClientTokenId"),
        ((*KEY, token), "InvalidClientTokenId"),
        ((key, other_secret, token), "SignatureDoesNotMatch"),
    ]
    for credentials, of_sts in rows:
        of_acm = "UnrecognizedClientException" if of_sts == "InvalidClientTokenId" else "InvalidSignatureException"
        assert code(client(served, "ec2", *credentials).describe_vpcs) == "AuthFailure"
        assert code(client(served, "sts", *credentials).get_caller_identity) == of_sts
        assert code(client(served, "acm", *credentials).list_certificates) == of_acm


def test_presigned(served):
    caller = Caller(served, assume(served))
    target = caller.presigned(form([("Action", "DescribeVpcs")]))
    assert "X-Amz-Security-Token=" in target
    assert caller.send("GET", target).check_form().status == 200
    spoilt = target.replace("X-Amz-Security-Token=", "X-Amz-Security-Token=A")
    assert caller.send("GET", spoilt).check_form().code == "AuthFailure"


def test_sessions_outlive_a_kill_and_end_with_their_key(make_server):
    server = make_server(users=USERS)
    key = assume(server)
    server.kill()
    server.start()
    assert client(server, "ec2", *key).describe_vpcs()["Vpcs"] == []
    # The role is taken away, and comes back.
    server.write_users(USERS.split("[[role]]")[0])
    call = client(server, "ec2", *key).describe_vpcs

    def refused():
        try:
            call()
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return None

    eventually(lambda: refused() == "AuthFailure", what="the role is gone")
    server.write_users(USERS)
    eventually(lambda: refused() is None, what="the role is back")
    # The user's key is another now.
    server.write_users(USERS.replace(KEY[0], "AKIAOTHER00000000000"))
    eventually(lambda: refused() == "AuthFailure", what="the key is gone")
    assert code(client(server, "sts", *key).get_caller_identity) == "InvalidClientTokenId"


def test_a_session_ends_with_the_roots_key(make_server):
    server = make_server()
    answer = client(server, "sts", *server.root_key).get_session_token()["Credentials"]
    key = answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]
    old = server.root_key
    assert client(server, "ec2", *key).describe_vpcs()["Vpcs"] == []
    for arguments in (("rotate",), ("disable", old[0])):
        done = bascule("keys", "--data-dir", server.data, *arguments)
        assert done.returncode == 0, done.stderr
    eventually(lambda: Caller(server, old).ec2_raw("DescribeVpcs").status == 401, what="the old key is off")
    assert code(client(server, "ec2", *key).describe_vpcs) == "AuthFailure"


def test_nothing_secret_is_written_down(make_server):
    server = make_server(users=USERS, variables={"RUST_LOG": "trace"})
    key, secret, token = assume(server, ExternalId="x-1")
    own = client(server, "sts", *KEY).get_session_token()["Credentials"]
    client(server, "ec2", key, secret, token).describe_vpcs()
    caller = Caller(server, (key, secret, token))
    caller.send("GET", caller.presigned(form([("Action", "DescribeVpcs")])))
    lines = [
        json.loads(line)
        for path in (server.data / "audit").iterdir()
        for line in path.read_text().splitlines()
    ]

    def named():
        texts = [path.read_text() for path in (server.data / "audit").iterdir()]
        return sum(text.count(key) for text in texts) >= 2

    eventually(named, what="the audit trail has both calls")
    server.stop()
    written = [path.read_bytes() for path in server.data.rglob("*") if path.is_file()]
    written.append(server.errors().encode())
    for hidden in (secret, token, own["SecretAccessKey"], own["SessionToken"], token[20:60]):
        assert all(hidden.encode() not in text for text in written)
    assert all("sessionContext" in line["userIdentity"] for line in lines if line["userIdentity"]["accessKeyId"] == key)
