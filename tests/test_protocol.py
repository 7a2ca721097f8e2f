"""The protocol around the actions: signatures, order of evaluation, envelopes of the three services (spec §2.0)."""

import contextlib
import datetime
import http.client
import json
import uuid

import pytest

from conftest import USERS
from support.calls import FORM, Refused, form, now, signing_time
from support.servers import eventually

NOBODY = ("AKIANOBODY0000000000", "nobody-nobody-nobody-nobody-nobody-nobody")
UNKNOWN = {"ClientVpnEndpointId": "cvpn-endpoint-0123456789abcdef0"}
STS = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]


def wrong_secret(caller):
    key, secret = caller.server.root_key
    return caller.with_key((key, secret[::-1]))


def ec2(caller, **more):
    return caller.ec2_raw("DescribeVpcs", **more)


def sts(caller):
    return caller.query(STS, service="sts")


def acm(caller):
    return caller.json("CertificateManager.ListCertificates")


# --- Signatures: what is wrong, and what each service says to it (spec §2.0.1).


def without_signature(caller, service):
    if service == "acm":
        head = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "CertificateManager.ListCertificates"}
        return caller.send("POST", "/", b"{}", head, "acm")
    pairs = STS if service == "sts" else [("Action", "DescribeVpcs"), ("Version", "2016-11-15")]
    return caller.send("POST", "/", form(pairs).encode(), {"Content-Type": FORM}, service)


CALLS = {"ec2": ec2, "sts": sts, "acm": acm}
SIGNATURES = [
    ("nobody's key", "ec2", 401, "AuthFailure"),
    ("nobody's key", "sts", 403, "InvalidClientTokenId"),
    ("nobody's key", "acm", 400, "UnrecognizedClientException"),
    ("wrong secret", "ec2", 401, "AuthFailure"),
    ("wrong secret", "sts", 403, "SignatureDoesNotMatch"),
    ("wrong secret", "acm", 400, "InvalidSignatureException"),
    ("none", "ec2", 403, "MissingAuthenticationToken"),
    ("none", "sts", 403, "MissingAuthenticationToken"),
    ("none", "acm", 400, "MissingAuthenticationTokenException"),
]


@pytest.mark.parametrize(("what", "service", "status", "code"), SIGNATURES)
def test_signatures(caller, what, service, status, code):
    if what == "none":
        reply = without_signature(caller, service)
    else:
        reply = CALLS[service](caller.with_key(NOBODY) if what == "nobody's key" else wrong_secret(caller))
    assert (reply.status, reply.code) == (status, code), reply.text
    if service == "ec2" and code == "AuthFailure":
        assert reply.message == "AWS was not able to validate the provided access credentials"


def test_an_unknown_key_and_a_wrong_secret_look_the_same_to_ec2(caller):
    texts = set()
    for other in (caller.with_key(NOBODY), wrong_secret(caller)):
        reply = ec2(other)
        texts.add(reply.text.replace(reply.request_id, ""))
    assert len(texts) == 1


def altered(caller, alter, method="POST", query="", body=None):
    """A signed DescribeVpcs whose headers are altered after signing."""
    body = form([("Action", "DescribeVpcs")]).encode() if body is None else body
    target, headers = caller.signed(method, query, body, {"Content-Type": FORM}, "ec2")
    return alter(caller, method, target, body, headers)


def with_headers(change):
    def alter(caller, method, target, body, headers):
        headers = {**headers, **change(headers)}
        return caller.send(method, target, body, {k: v for k, v in headers.items() if v is not None})

    return alter


def authorization(old, new):
    return with_headers(lambda head: {"Authorization": head["Authorization"].replace(old, new)})


ALTERED = {
    "body changed": (lambda c, m, t, b, h: c.send(m, t, b + b"&MaxResults=5", h), 401, "AuthFailure"),
    "query added": (lambda c, m, t, b, h: c.send(m, t + "?DryRun=true", b, h), 401, "AuthFailure"),
    "date changed": (
        with_headers(
            lambda head: {"X-Amz-Date": head["X-Amz-Date"][:-2] + ("0Z" if head["X-Amz-Date"][-2] != "0" else "1Z")}
        ),
        401,
        "AuthFailure",
    ),
    "content type changed": (with_headers(lambda head: {"Content-Type": "text/plain"}), 401, "AuthFailure"),
    "signature changed": (
        lambda c, m, t, b, h: authorization(
            h["Authorization"][-4:], "0000" if h["Authorization"][-4:] != "0000" else "1111"
        )(c, m, t, b, h),
        401,
        "AuthFailure",
    ),
    "another algorithm": (authorization("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), 400, "IncompleteSignature"),
    "no credential": (authorization("Credential=", "Creds="), 400, "IncompleteSignature"),
    "no signed headers": (authorization("SignedHeaders=", "Headers="), 400, "IncompleteSignature"),
    "no signature in it": (authorization("Signature=", "Sig="), 400, "IncompleteSignature"),
    "host not signed": (authorization(";host", ""), 400, "IncompleteSignature"),
    "date not signed": (authorization(";x-amz-date", ""), 400, "IncompleteSignature"),
    "an unsigned x-amz header": (with_headers(lambda head: {"X-Amz-Extra": "1"}), 400, "IncompleteSignature"),
    "no date": (with_headers(lambda head: {"X-Amz-Date": None}), 400, "IncompleteSignature"),
    "no date worth the name": (with_headers(lambda head: {"X-Amz-Date": "yesterday"}), 400, "IncompleteSignature"),
    "basic authentication": (with_headers(lambda head: {"Authorization": "Basic YTpi"}), 400, "IncompleteSignature"),
    "empty": (with_headers(lambda head: {"Authorization": ""}), 403, "MissingAuthenticationToken"),
    "a very long one": (
        with_headers(lambda head: {"Authorization": "AWS4-HMAC-SHA256 " + "x" * 20000}),
        400,
        "IncompleteSignature",
    ),
    "both ways at once": (
        lambda c, m, t, b, h: c.send(m, t + "?X-Amz-Algorithm=AWS4-HMAC-SHA256", b, h),
        400,
        "IncompleteSignature",
    ),
    "version 2": (
        lambda c, m, t, b, h: c.send("GET", "/?Action=DescribeVpcs&AWSAccessKeyId=x&SignatureVersion=2&Signature=x"),
        400,
        "IncompleteSignature",
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_altered_requests(caller, what):
    alter, status, code = ALTERED[what]
    reply = altered(caller, alter).check_form()
    assert (reply.status, reply.code) == (status, code), reply.text


def test_the_unaltered_one_is_done(caller):
    assert altered(caller, with_headers(lambda head: {})).check_form().status == 200


@pytest.mark.parametrize(
    ("minutes", "status"), [(-16, 400), (-14, 200), (0, 200), (14, 200), (16, 400), (-60 * 24 * 365, 400)]
)
def test_the_clock_may_be_fifteen_minutes_off(caller, minutes, status):
    with signing_time(now() + datetime.timedelta(minutes=minutes)):
        reply = ec2(caller)
        for other in (sts(caller), acm(caller)):
            assert (other.status == 200) == (status == 200)
    assert reply.status == status
    if status != 200:
        assert reply.code == "RequestExpired"


def test_a_presigned_request_lives_as_long_as_it_says(caller):
    query = form([("Action", "DescribeVpcs")])
    with signing_time(now() - datetime.timedelta(minutes=20)):
        short, long = caller.presigned(query, expires=60), caller.presigned(query, expires=3600)
    reply = caller.send("GET", short).check_form()
    assert (reply.status, reply.code) == (400, "RequestExpired")
    assert caller.send("GET", long).check_form().status == 200


def test_a_signature_is_for_one_service_and_one_method(caller):
    # Signed for another service: the scope says which one is meant.
    reply = caller.query([("Action", "DescribeVpcs"), ("Version", "2016-11-15")], service="sts")
    assert (reply.status, reply.code) == (400, "NoSuchVersion")
    reply = caller.query([("Action", "DescribeVpcs")], service="sts")
    assert (reply.status, reply.code) == (400, "InvalidAction")
    reply = caller.json("CertificateManager.ListCertificates", service="ec2")
    assert (reply.status, reply.code) == (400, "InvalidSignatureException")
    reply = caller.query([("Action", "DescribeVpcs")], service="sns")
    assert reply.status == 400 and reply.code == "InvalidAction"
    target = caller.presigned(form([("Action", "DescribeVpcs")]))
    assert caller.send("POST", target).check_form().code == "AuthFailure"


def test_a_session_token_nobody_gave_is_refused(caller):
    reply = ec2(caller, headers={"X-Amz-Security-Token": "token"})
    assert (reply.status, reply.code) == (401, "AuthFailure")


@pytest.mark.parametrize("region", ["US", "a_b", "us-east-1.", "-" * 65])
def test_a_region_has_a_regions_name(caller, region):
    reply = ec2(caller.in_region(region))
    assert reply.status in (400, 401) and reply.code in ("AuthFailure", "IncompleteSignature")


# --- Order of evaluation (spec §2.0.1): each row has two faults, the first named is answered.

ORDER = [
    ("signature before action", "secret", "Nonsense", {}, 401, "AuthFailure"),
    ("signature before parameters", "secret", "DescribeVpcs", {"Nonsense": "1"}, 401, "AuthFailure"),
    ("signature before version", "secret", "DescribeVpcs", {"Version": "1"}, 401, "AuthFailure"),
    ("version before action", "root", "Nonsense", {"Version": "1"}, 400, "NoSuchVersion"),
    ("action before permission", "nothing", "Nonsense", {}, 400, "InvalidAction"),
    ("not built before permission", "nothing", "CreateNatGateway", {}, 400, "UnsupportedOperation"),
    ("parameters before permission", "nothing", "DescribeClientVpnRoutes", {}, 400, "MissingParameter"),
    ("parameters before DryRun", "root", "DescribeClientVpnRoutes", {"DryRun": "true"}, 400, "MissingParameter"),
    ("unknown parameters before DryRun", "root", "DescribeVpcs", {"DryRun": "true", "X": "1"}, 400, "UnknownParameter"),
    ("permission before DryRun", "nothing", "DescribeVpcs", {"DryRun": "true"}, 403, "UnauthorizedOperation"),
    ("permission before existence", "nothing", "DescribeClientVpnRoutes", UNKNOWN, 403, "UnauthorizedOperation"),
    (
        "DryRun before existence",
        "root",
        "DescribeClientVpnRoutes",
        {**UNKNOWN, "DryRun": "true"},
        412,
        "DryRunOperation",
    ),
    ("existence last", "root", "DescribeClientVpnRoutes", UNKNOWN, 400, "InvalidClientVpnEndpointId.NotFound"),
    ("members in order", "root", "CreateClientVpnRoute", {"X": "1"}, 400, "MissingParameter"),
]


@pytest.mark.parametrize(
    ("what", "who", "action", "parameters", "status", "code"), ORDER, ids=[row[0] for row in ORDER]
)
def test_order_of_evaluation(caller, what, who, action, parameters, status, code):
    callers = {"root": caller, "secret": wrong_secret(caller), "nothing": caller.with_key(USERS["nothing"])}
    parameters = {"Version": "2016-11-15", **parameters}
    reply = callers[who].ec2_raw(action, parameters, version=None)
    assert (reply.status, reply.code) == (status, code), what


def test_of_several_faults_the_first_member_is_named(caller):
    reply = caller.ec2_raw("CreateClientVpnRoute", {"Description": "d" * 256})
    assert reply.message == "The request must contain the parameter ClientVpnEndpointId"


# --- Forms

FORMS = [
    ("no name", "Action=DescribeVpcs&=x", 400, "MalformedQueryString"),
    ("half an escape", "Action=DescribeVpcs&MaxResults=%4", 400, "MalformedQueryString"),
    ("no escape", "Action=DescribeVpcs&MaxResults=%zz", 400, "MalformedQueryString"),
    ("not UTF-8", "Action=DescribeVpcs&NextToken=%ff", 400, "MalformedQueryString"),
    ("a control character", "Action=DescribeVpcs&NextToken=%00", 400, "InvalidCharacter"),
    ("an action that is not XML", "Action=%1b", 400, "InvalidCharacter"),
    ("twice the action", "Action=DescribeVpcs&Action=DescribeVpcs", 400, "InvalidQueryParameter"),
    ("a name too long", "Action=DescribeVpcs&" + "n" * 257 + "=1", 400, "InvalidQueryParameter"),
    (
        "too many",
        "Action=DescribeVpcs&" + "&".join(f"VpcId.{n}=x" for n in range(1, 5001)),
        400,
        "MalformedQueryString",
    ),
    (
        "a list too long",
        "Action=DescribeVpcs&" + "&".join(f"VpcId.{n}=x" for n in range(1, 1002)),
        400,
        "InvalidParameterValue",
    ),
    ("index zero", "Action=DescribeVpcs&VpcId.0=x", 400, "UnknownParameter"),
    ("index with a zero before it", "Action=DescribeVpcs&VpcId.01=x", 400, "UnknownParameter"),
    ("index far away", "Action=DescribeVpcs&VpcId.99999999999=x", 400, "UnknownParameter"),
    ("list without index", "Action=DescribeVpcs&VpcId=x", 400, "UnknownParameter"),
    ("value without a sign", "Action=DescribeVpcs&MaxResults", 400, "InvalidParameterValue"),
    ("ampersands", "&&Action=DescribeVpcs&&", 200, None),
    ("a plus sign is a space", "Action=Describe+Vpcs", 400, "InvalidAction"),
    ("gaps in a list", "Action=DescribeVpcs&Filter.7.Name=vpc-id&Filter.7.Value.3=x", 200, None),
]


@pytest.mark.parametrize(("what", "text", "status", "code"), FORMS, ids=[row[0] for row in FORMS])
def test_forms(caller, what, text, status, code):
    reply = caller.query(text).check_form()
    assert reply.status == status, reply.text
    assert status == 200 or reply.code == code
    # Where the canonical form of a query string is beyond doubt, and a request line may be as long.
    if len(text) < 8000 and "&&" not in text and "+" not in text:
        again = caller.query(text, "GET").check_form()
        assert again.status == status and (status == 200 or again.code == code)


def test_a_body_has_a_size(caller):
    body = b"Action=DescribeVpcs&NextToken=" + b"x" * (4 << 20)
    target, headers = caller.signed("POST", "", body, {"Content-Type": FORM}, "ec2")
    for chunked in (False, True):
        connection = caller.connection()
        # It may answer and hang up while the body is still being sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", target, iter([body]) if chunked else body, headers, encode_chunked=chunked)
        with contextlib.suppress(ConnectionResetError, http.client.RemoteDisconnected):
            assert connection.getresponse().status == 413
        connection.close()
    assert ec2(caller).status == 200
    # One that just fits is read.
    assert caller.query(body[: 4 << 20]).check_form().code == "InvalidPaginationToken"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
        ("POST", "/x", 404),
        ("GET", "/x", 404),
        ("HEAD", "/", 405),
        ("OPTIONS", "/", 405),
        ("POST", "/health", 404),
        ("GET", "//", 404),
    ],
)
def test_other_methods_and_paths(caller, method, path, status):
    reply = caller.send(method, path)
    assert reply.status == status
    if method != "HEAD":
        assert reply.check_form().code == "InvalidRequest"


def test_request_ids_are_never_the_same(caller):
    ids = [ec2(caller).request_id for _ in range(50)] + [sts(caller).request_id, acm(caller).request_id]
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(found).version == 4 for found in ids)


# --- STS


def test_sts_says_who_calls(caller):
    reply = sts(caller)
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/xml"
    space = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    root = reply.root
    assert root.tag == f"{space}GetCallerIdentityResponse"
    assert [child.tag for child in root] == [f"{space}GetCallerIdentityResult", f"{space}ResponseMetadata"]
    assert root.findtext(f"{space}ResponseMetadata/{space}RequestId") == reply.request_id
    assert caller.call("sts", "GetCallerIdentity") == {
        "Arn": "arn:aws:iam::000000000000:root",
        "UserId": "000000000000",
        "Account": "000000000000",
    }
    # Nobody needs a permission for it.
    answer = caller.with_key(USERS["nothing"]).call("sts", "GetCallerIdentity")
    assert answer["Arn"] == "arn:aws:iam::000000000000:user/nothing"
    assert answer["UserId"].startswith("AIDA") and answer["Account"] == "000000000000"


@pytest.mark.parametrize(
    ("pairs", "status", "code"),
    [
        ([("Action", "Nonsense"), ("Version", "2011-06-15")], 400, "InvalidAction"),
        ([("Action", "AssumeRoleWithSAML"), ("Version", "2011-06-15")], 400, "InvalidAction"),
        ([("Version", "2011-06-15")], 400, "MissingAction"),
        ([("Action", "GetCallerIdentity"), ("Version", "2016-11-15")], 400, "NoSuchVersion"),
        ([*STS, ("X", "1")], 400, "UnknownParameter"),
    ],
)
def test_errors_of_sts(caller, pairs, status, code):
    reply = caller.query(pairs, service="sts")
    assert (reply.status, reply.code) == (status, code)
    root = reply.root
    assert [element.tag.split("}")[-1] for element in root.iter()] == [
        "ErrorResponse",
        "Error",
        "Type",
        "Code",
        "Message",
        "RequestId",
    ]
    assert root.findtext(".//{*}Type") == "Sender"
    assert root.findtext("{*}RequestId") == reply.request_id


# --- ACM


def test_acm_keeps_certificates(world, certificates):
    arn = world.import_certificate()
    assert arn.startswith(f"arn:aws:acm:{world.region}:000000000000:certificate/")
    described = world.root.acm("DescribeCertificate", CertificateArn=arn)["Certificate"]
    assert described["CertificateArn"] == arn
    assert (described["DomainName"], described["Status"], described["Type"]) == (
        "vpn.example.com",
        "ISSUED",
        "IMPORTED",
    )
    assert described["InUseBy"] == [] and described["NotAfter"] > described["NotBefore"]
    (row,) = world.root.acm("ListCertificates")["CertificateSummaryList"]
    assert row["CertificateArn"] == arn
    # Another one under the same ARN.
    again = world.root.acm("ImportCertificate", CertificateArn=arn, **certificates.material("alice"))
    assert again == {"CertificateArn": arn}
    assert world.root.acm("DescribeCertificate", CertificateArn=arn)["Certificate"]["DomainName"] == "alice"
    world.root.acm("ImportCertificate", CertificateArn=arn, **certificates.material("vpn.example.com"))
    endpoint = world.endpoint(ServerCertificateArn=arn)
    (user,) = world.root.acm("DescribeCertificate", CertificateArn=arn)["Certificate"]["InUseBy"]
    assert user.endswith(f"client-vpn-endpoint/{endpoint}")


def test_acm_lists_in_pages(world):
    arns = {world.import_certificate() for _ in range(5)}
    found, token = [], None
    while True:
        more = {"NextToken": token} if token else {}
        page = world.root.acm("ListCertificates", MaxItems=2, **more)
        found += [row["CertificateArn"] for row in page["CertificateSummaryList"]]
        assert len(page["CertificateSummaryList"]) <= 2
        if (token := page.get("NextToken")) is None:
            break
    assert len(found) == 5 and set(found) == arns


def refused(caller, operation, **parameters):
    with pytest.raises(Refused) as error:
        caller.acm(operation, **parameters)
    return error.value


def test_what_acm_does_not_take(world, certificates):
    good = certificates.material("vpn.example.com")
    rows = [
        ({"PrivateKey": certificates.pem("alice.key")}, "does not match"),
        ({"PrivateKey": b"key"}, "private key"),
        ({"PrivateKey": b"\xff\xfe"}, "private key"),
        ({"Certificate": b""}, ""),
        ({"Certificate": good["Certificate"] + certificates.pem("ca.crt")}, "more than one"),
        ({"Certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, ""),
        ({"CertificateChain": b"chain"}, "chain"),
        ({"Certificate": b"x" * 40000}, "longer"),
    ]
    for change, text in rows:
        error = refused(world.root, "ImportCertificate", **{**good, **change})
        assert (error.status, error.code) == (400, "ValidationException")
        assert text in error.message
    unknown = f"arn:aws:acm:{world.region}:000000000000:certificate/none"
    for operation, more in (("DescribeCertificate", {}), ("ImportCertificate", good)):
        error = refused(world.root, operation, CertificateArn=unknown, **more)
        assert error.code == "ResourceNotFoundException" and unknown in error.message
    assert refused(world.root, "DescribeCertificate", CertificateArn="x").code == "InvalidArnException"
    assert world.root.acm("ListCertificates")["CertificateSummaryList"] == []


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        ("CertificateManager.Nonsense", b"{}", "UnknownOperationException"),
        ("CertificateManager.RequestCertificate", b"{}", "UnknownOperationException"),
        ("CertificateManager.", b"{}", "UnknownOperationException"),
        ("CertificateManager.ListCertificates", b"{", "SerializationException"),
        ("CertificateManager.ListCertificates", b"\xff", "SerializationException"),
        ("CertificateManager.ListCertificates", b'{"MaxItems": "x"}', "ValidationException"),
        ("CertificateManager.ListCertificates", b'{"MaxItems": 1001}', "ValidationException"),
        ("CertificateManager.DescribeCertificate", b"{}", "ValidationException"),
        ("CertificateManager.DescribeCertificate", b"[]", "ValidationException"),
        ("CertificateManager.ListCertificates", b'{"NextToken": "x"}', "InvalidPaginationToken"),
    ],
)
def test_errors_of_acm(caller, target, body, code):
    reply = caller.json(target, body)
    assert reply.status == 400 and reply.headers["Content-Type"] == "application/x-amz-json-1.1"
    document = json.loads(reply.body)
    assert set(document) == {"__type", "message"}
    assert document["__type"] == code
    uuid.UUID(reply.request_id)


def test_acm_and_permissions(caller):
    for operation in ("ListCertificates", "DescribeCertificate"):
        body = json.dumps(
            {"CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/x"} if operation[0] == "D" else {}
        )
        reply = caller.with_key(USERS["nothing"]).json(f"CertificateManager.{operation}", body.encode())
        assert (reply.status, reply.code) == (400, "AccessDeniedException")


def test_other_services_are_said_not_to_be_there(caller):
    reply = caller.json("AmazonSSM.GetParameter", service="ssm")
    assert (reply.status, reply.code) == (400, "UnknownOperationException")
    reply = caller.query([("Action", "ListTopics"), ("Version", "2010-03-31")], service="sns")
    assert (reply.status, reply.code) == (400, "InvalidAction")


def test_health(caller):
    reply = caller.get("/health")
    assert (reply.status, reply.text) == (200, "ok\n")


def test_metrics_count_calls(caller):
    def counted(status):
        lines = caller.get("/metrics").text.splitlines()
        of = [
            line
            for line in lines
            if line.startswith("bascule_api_requests_total")
            and f'status="{status}"' in line
            and 'service="ec2"' in line
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in of)

    before = counted(200), counted(412)
    ec2(caller)
    caller.ec2_raw("DescribeVpcs", {"DryRun": "true"})
    eventually(lambda: (counted(200), counted(412)) == (before[0] + 1, before[1] + 1), what="both are counted")
