#!/usr/bin/env python3
"""Records requests that botocore signed, as data for tests/sigv4.rs. Needs botocore only.

    python3 tests/record_vectors.py > tests/vectors/botocore.json

Nothing is sent: the signed request is caught before it leaves, and the clock stands still.
"""
import datetime
import json
import uuid
from unittest import mock
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

KEY = "AKIDEXAMPLE0000000001"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJ+token=="
NOW = datetime.datetime(2026, 11, 25, 20, 30, 59, tzinfo=datetime.timezone.utc)
ENDPOINT = "cvpn-endpoint-00c5d11fc4729f2a5"
ODD = "a b+c&d=e%f~g/h?i#j*k(l)'m\"n;o,p:q@r$s!t[u]\\v|w`x^y{z}<é€😀>\t\r\n"

VECTORS = []


def record(name, service, region, method, url, headers, body, token=None):
    parts = urlsplit(url)
    sent = [[key.lower(), value.decode() if isinstance(value, bytes) else str(value)] for key, value in headers]
    if not any(key == "host" for key, _ in sent):
        # As an HTTP client writes it: without the scheme's own port.
        default = {"http": ":80", "https": ":443"}[parts.scheme]
        sent.insert(0, ["host", parts.netloc.removesuffix(default)])
    VECTORS.append({
        "name": name,
        "service": service,
        "region": region,
        "access_key_id": KEY,
        "secret": SECRET,
        "token": token,
        "now": int(NOW.timestamp()),
        "method": method,
        "path": parts.path,
        "query": parts.query,
        "headers": sent,
        "body": body.decode() if isinstance(body, bytes) else (body or ""),
    })


def client(service, region, url, token=None):
    session = botocore.session.Session()
    session.set_credentials(KEY, SECRET, token)
    return session.create_client(
        service, region_name=region, endpoint_url=url,
        config=Config(retries={"max_attempts": 0}, user_agent="recorder"),
    )


class Caught(Exception):
    pass


def call(name, service, operation, region="eu-central-1", url="http://127.0.0.1:4566", token=None, **arguments):
    made = client(service, region, url, token)
    caught = []

    def catch(request, **_):
        caught.append(request)
        raise Caught

    made.meta.events.register("before-send", catch)
    try:
        getattr(made, operation)(**arguments)
    except Caught:
        pass
    request = caught[0]
    signing = made.meta.service_model.signing_name
    record(name, signing, region, request.method, request.url, request.headers.items(), request.body, token)


def presigned(name, service, operation, region="eu-central-1", url="http://127.0.0.1:4566", token=None,
              expires=3600, method="GET", **arguments):
    made = client(service, region, url, token)
    signed = made.generate_presigned_url(operation, Params=arguments, ExpiresIn=expires, HttpMethod=method)
    record(name, made.meta.service_model.signing_name, region, method, signed, [], b"", token)


def raw(name, method, url, headers=(), data=b"", auth=SigV4Auth, service="ec2", region="us-east-1", token=None,
        unsigned=False, **more):
    request = AWSRequest(method=method, url=url, data=data)
    for key, value in headers:
        request.headers.add_header(key, value)
    if unsigned:
        request.context["payload_signing_enabled"] = False
    auth(Credentials(KEY, SECRET, token), service, region, **more).add_auth(request)
    url, body = request.url, request.data or b""
    if auth is SigV4Auth:
        url = request.prepare().url
    record(name, service, region, method, url, request.headers.items(), body, token)


def real_clients():
    call("describe", "ec2", "describe_client_vpn_endpoints")
    call("describe-https", "ec2", "describe_client_vpn_endpoints", url="https://ec2.example.com")
    call("describe-port", "ec2", "describe_client_vpn_endpoints", url="https://ec2.example.com:8443")
    call("describe-default-port", "ec2", "describe_client_vpn_endpoints", url="http://ec2.example.com:80/")
    call("describe-ipv6", "ec2", "describe_client_vpn_endpoints", url="http://[::1]:4566")
    call("describe-token", "ec2", "describe_client_vpn_endpoints", token=TOKEN, MaxResults=5)
    call("describe-filters", "ec2", "describe_client_vpn_endpoints", ClientVpnEndpointIds=[ENDPOINT],
         Filters=[{"Name": "tag:" + ODD, "Values": [ODD, "", " "]}, {"Name": "transport-protocol", "Values": ["udp"]}])
    call("create", "ec2", "create_client_vpn_endpoint", ClientCidrBlock="10.0.0.0/22",
         ServerCertificateArn="arn:aws:acm:eu-central-1:111122223333:certificate/1a2b", ClientToken="t-1",
         AuthenticationOptions=[{"Type": "certificate-authentication", "MutualAuthentication": {
             "ClientRootCertificateChainArn": "arn:aws:acm:eu-central-1:111122223333:certificate/3c4d"}}],
         ConnectionLogOptions={"Enabled": False}, Description=ODD, SplitTunnel=True, DnsServers=["1.1.1.1"],
         TagSpecifications=[{"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "Name", "Value": ODD}]}])
    call("associate", "ec2", "associate_client_vpn_target_network", ClientVpnEndpointId=ENDPOINT,
         SubnetId="subnet-0123456789abcdef0", ClientToken="00000000-0000-4000-8000-000000000000")
    call("disassociate", "ec2", "disassociate_client_vpn_target_network", ClientVpnEndpointId=ENDPOINT,
         AssociationId="cvpn-assoc-0bc4bd8cec0123456")
    call("authorize", "ec2", "authorize_client_vpn_ingress", ClientVpnEndpointId=ENDPOINT, ClientToken="x",
         TargetNetworkCidr="0.0.0.0/0", AuthorizeAllGroups=True, Description="")
    call("route", "ec2", "create_client_vpn_route", ClientVpnEndpointId=ENDPOINT, DestinationCidrBlock="::/0",
         TargetVpcSubnetId="local", ClientToken="x", DryRun=True)
    call("import-crl", "ec2", "import_client_vpn_client_certificate_revocation_list", ClientVpnEndpointId=ENDPOINT,
         CertificateRevocationList="-----BEGIN X509 CRL-----\nMIIB+/==\r\n-----END X509 CRL-----\n")
    call("terminate-token", "ec2", "terminate_client_vpn_connections", token=TOKEN, ClientVpnEndpointId=ENDPOINT,
         Username="mary@example.com")
    call("caller", "sts", "get_caller_identity")
    call("caller-token", "sts", "get_caller_identity", token=TOKEN, region="us-east-1")
    call("caller-path", "sts", "get_caller_identity", url="http://127.0.0.1:4566/under/a~path")
    call("user", "iam", "get_user", region="us-east-1", UserName="mary")
    call("acm-list", "acm", "list_certificates")
    call("acm-tags", "acm", "list_tags_for_certificate", token=TOKEN,
         CertificateArn="arn:aws:acm:eu-central-1:111122223333:certificate/1a2b")
    call("log-groups", "logs", "describe_log_groups", logGroupNamePrefix="/vpn/é€")
    call("log-events", "logs", "get_log_events", logGroupName="g", logStreamName="a/b c*?", limit=10)
    call("lambda-path", "lambda", "get_function", FunctionName="AWSClientVPN-a:b/c d~é")

    presigned("presigned-describe", "ec2", "describe_client_vpn_endpoints")
    presigned("presigned-token", "ec2", "describe_client_vpn_endpoints", token=TOKEN, MaxResults=7)
    presigned("presigned-odd", "ec2", "describe_client_vpn_endpoints",
              Filters=[{"Name": "tag:" + ODD, "Values": [ODD, ""]}])
    presigned("presigned-second", "ec2", "export_client_vpn_client_configuration", expires=1,
              ClientVpnEndpointId=ENDPOINT)
    presigned("presigned-week", "ec2", "describe_client_vpn_endpoints", expires=604800)
    presigned("presigned-caller", "sts", "get_caller_identity", region="us-east-1", expires=60)
    presigned("presigned-caller-token", "sts", "get_caller_identity", url="https://sts.example.com", token=TOKEN)
    presigned("presigned-post", "ec2", "describe_client_vpn_endpoints", method="POST")


def raw_requests():
    base = "http://ec2.us-east-1.example.com"
    raw("get", "GET", base + "/?Action=DescribeRegions&Version=2016-11-15")
    raw("get-no-path", "GET", base)
    raw("get-empty-query", "GET", base + "/?")
    raw("get-order", "GET", base + "/?b=2&a=1&A=3&a-b=4&a.b=5&a_b=6&a~b=7")
    raw("get-same-name", "GET", base + "/?a=2&a=10&a=1")
    raw("get-no-value", "GET", base + "/?a&c=&b")
    raw("get-odd-query", "GET", base + "/?q=a%20b%2Bc%26d%3De%25f~g%2Fh%3Fi%2Aj%28k%29&%C3%A9=%E2%82%AC")
    raw("get-dots", "GET", base + "/a/./b/../../c/")
    raw("get-slashes", "GET", base + "//a///b//")
    raw("get-above-root", "GET", base + "/../../")
    raw("get-encoded-path", "GET", base + "/a%20b/%E1%88%B4/%2F%2f/c:d@e+f,g")
    raw("get-headers", "GET", base + "/", headers=[
        ("X-Custom", "  two   blanks\tand a tab  "), ("x-other", '"a   b"'), ("X-Empty", ""), ("Accept", "*/*")])
    raw("get-repeated-header", "GET", base + "/", headers=[("X-Many", "b"), ("X-Many", "  a "), ("X-Many", "c")])
    raw("get-date-header", "GET", base + "/", headers=[("Date", "replaced")])
    raw("get-token", "GET", base + "/", token=TOKEN)
    raw("get-host", "GET", base + "/", headers=[("Host", "other.example.com:1")])
    raw("post-body", "POST", base + "/", headers=[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")],
        data=b"Action=DescribeRegions")
    raw("post-query-and-body", "POST", base + "/?Version=2016-11-15", data=b"Action=DescribeRegions")
    raw("post-digest", "POST", base + "/", data=b"abc", headers=[
        ("X-Amz-Content-SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")])
    raw("post-unsigned-payload", "POST", "https" + base[4:] + "/", data=b"anything", unsigned=True)
    raw("post-target", "POST", base + "/", data=b"{}", service="acm", headers=[
        ("X-Amz-Target", "CertificateManager.ListCertificates"), ("Content-Type", "application/x-amz-json-1.1")])
    raw("put-unicode-body", "PUT", base + "/x", data="é€😀".encode())
    raw("presigned-headers", "GET", base + "/?Action=A", auth=SigV4QueryAuth, expires=900,
        headers=[("X-Amz-Meta", " a  b "), ("X-Id", "cluster")])
    raw("presigned-path", "GET", base + "/a/../b%20c//?z=1&y=%20", auth=SigV4QueryAuth)
    raw("presigned-s3", "GET", base + "/a/../b%20c//?z=1", auth=S3SigV4QueryAuth, service="s3")


def main():
    counter = iter(range(1, 1000))
    with mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None)), \
         mock.patch("uuid.uuid4", lambda: uuid.UUID(int=next(counter))):
        real_clients()
        raw_requests()
    print(json.dumps(VECTORS, indent=1, ensure_ascii=True))


main()
