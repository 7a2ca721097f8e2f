"""Certificate Manager, CloudWatch Logs and IAM against AWS's own service models: every member that is answered is one of
the model's, of its type, and those that the model requires are there; and a day of each service as boto3 lives it."""

import json
import time

import pytest

from support import model
from support.calls import Refused
from support.servers import eventually

TARGETS = {"acm": "CertificateManager", "logs": "Logs_20140328"}
TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "timestamp": (int, float),
    "list": list,
    "map": dict,
    "structure": dict,
}


def compare(value, shape, path, faults):
    """Notes everything in an answer that the model does not have, or has otherwise."""
    if not isinstance(value, TYPES[shape.type_name]) or (shape.type_name in ("integer", "long") and value is True):
        faults.append(f"{path}: {value!r} is no {shape.type_name}")
    elif shape.type_name == "structure":
        faults += [f"{path}: AWS has no {name}" for name in set(value) - set(shape.members)]
        faults += [f"{path}: {name} is required" for name in set(shape.required_members) - set(value)]
        for name in set(value) & set(shape.members):
            compare(value[name], shape.members[name], f"{path}.{name}", faults)
    elif shape.type_name == "list":
        for element in value:
            compare(element, shape.member, f"{path}[]", faults)
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        faults.append(f"{path}: {value!r} is none of {shape.enum}")


@pytest.fixture
def ask(world):
    """Makes a call of a JSON service; the answer, compared with the model."""

    def call(service, operation, **parameters):
        reply = world.root.json(f"{TARGETS[service]}.{operation}", json.dumps(parameters).encode(), service)
        if reply.status != 200:
            raise Refused(reply)
        shape = model.service(service).operation_model(operation).output_shape
        answer, faults = json.loads(reply.body), []
        if shape is None:
            assert answer == {}
        else:
            compare(answer, shape, operation, faults)
        assert not faults, "\n".join(faults)
        return answer

    return call


def code(call, *arguments, **parameters):
    """The error code of a call that must fail."""
    with pytest.raises(Refused) as caught:
        call(*arguments, **parameters)
    return caught.value.code


def test_certificates(world, ask):
    arn = world.import_certificate()
    of = {"CertificateArn": arn}
    detail = ask("acm", "DescribeCertificate", **of)["Certificate"]
    assert (detail["Status"], detail["Type"], detail["DomainName"]) == ("ISSUED", "IMPORTED", "vpn.example.com")
    assert ask("acm", "GetCertificate", **of) == {
        "Certificate": world.certificates.pem("vpn.example.com.crt").decode(),
        "CertificateChain": world.certificates.pem("ca.crt").decode(),
    }
    ask("acm", "AddTagsToCertificate", **of, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    ask("acm", "RemoveTagsFromCertificate", **of, Tags=[{"Key": "a"}])
    assert ask("acm", "ListTagsForCertificate", **of)["Tags"] == [{"Key": "b", "Value": ""}]
    (row,) = ask("acm", "ListCertificates")["CertificateSummaryList"]
    assert row["InUse"] is False
    # Rotation: another certificate under the same ARN.
    again = world.root.acm("ImportCertificate", CertificateArn=arn, **world.certificates.material("vpn.example.com"))
    assert again == of
    assert ask("acm", "ListTagsForCertificate", **of)["Tags"] == [{"Key": "b", "Value": ""}]
    endpoint = world.endpoint(ServerCertificateArn=arn)
    assert ask("acm", "DescribeCertificate", **of)["Certificate"]["InUseBy"][0].endswith(endpoint)
    assert code(ask, "acm", "DeleteCertificate", **of) == "ResourceInUseException"
    other = world.import_certificate()
    ask("acm", "DeleteCertificate", CertificateArn=other)
    assert code(ask, "acm", "DescribeCertificate", CertificateArn=other) == "ResourceNotFoundException"


def test_logs(ask):
    group, stream = {"logGroupName": "/vpn"}, {"logGroupName": "/vpn", "logStreamName": "s"}
    ask("logs", "CreateLogGroup", **group, tags={"a": "1"})
    ask("logs", "PutRetentionPolicy", **group, retentionInDays=7)
    (row,) = ask("logs", "DescribeLogGroups", logGroupNamePrefix="/vpn")["logGroups"]
    assert (row["retentionInDays"], row["logGroupClass"]) == (7, "STANDARD")
    arn = row["logGroupArn"]
    assert row["arn"] == f"{arn}:*"
    ask("logs", "TagResource", resourceArn=arn, tags={"b": "2"})
    ask("logs", "UntagResource", resourceArn=arn, tagKeys=["a"])
    assert ask("logs", "ListTagsForResource", resourceArn=arn)["tags"] == {"b": "2"}
    ask("logs", "TagLogGroup", **group, tags={"c": "3"})
    ask("logs", "UntagLogGroup", **group, tags=["b"])
    assert ask("logs", "ListTagsLogGroup", **group)["tags"] == {"c": "3"}
    ask("logs", "CreateLogStream", **stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + at, "message": f"event {at}"} for at in range(5)]
    put = ask("logs", "PutLogEvents", **stream, logEvents=[{"timestamp": now - 8 * 86_400_000, "message": "old"}])
    assert put["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    ask("logs", "PutLogEvents", **stream, logEvents=events)
    (row,) = ask("logs", "DescribeLogStreams", **group, logStreamNamePrefix="s")["logStreams"]
    assert (row["firstEventTimestamp"], row["lastEventTimestamp"]) == (now, now + 4)
    page = ask("logs", "GetLogEvents", **stream, startFromHead=True, limit=3)
    assert [event["message"] for event in page["events"]] == ["event 0", "event 1", "event 2"]
    page = ask("logs", "GetLogEvents", **stream, nextToken=page["nextForwardToken"])
    assert [event["message"] for event in page["events"]] == ["event 3", "event 4"]
    found = ask("logs", "FilterLogEvents", **group, filterPattern='"event 3"')
    assert [event["message"] for event in found["events"]] == ["event 3"]
    ask("logs", "DeleteRetentionPolicy", **group)
    ask("logs", "DeleteLogStream", **stream)
    assert code(ask, "logs", "GetLogEvents", **stream) == "ResourceNotFoundException"
    ask("logs", "DeleteLogGroup", **group)
    assert ask("logs", "DescribeLogGroups") == {"logGroups": []}


def test_saml_providers(world):
    def iam(operation, **parameters):
        return world.root.call("iam", operation, **parameters)

    assert iam("GetUser")["User"]["Arn"] == "arn:aws:iam::000000000000:root"
    document = (
        '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="idp">'
        f"<!--{'x' * 1000}--><IDPSSODescriptor/></EntityDescriptor>"
    )
    # It has no regions, so a name of its own.
    name = f"idp-{world.region}"
    made = iam("CreateSAMLProvider", Name=name, SAMLMetadataDocument=document, Tags=[{"Key": "a", "Value": "1"}])
    arn = made["SAMLProviderArn"]
    assert made["Tags"] == [{"Key": "a", "Value": "1"}]
    shown = iam("GetSAMLProvider", SAMLProviderArn=arn)
    assert (shown["SAMLMetadataDocument"], shown["Tags"]) == (document, made["Tags"])
    assert shown["ValidUntil"] > shown["CreateDate"]
    assert arn in [row["Arn"] for row in iam("ListSAMLProviders")["SAMLProviderList"]]
    iam("TagSAMLProvider", SAMLProviderArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    iam("UntagSAMLProvider", SAMLProviderArn=arn, TagKeys=["a"])
    assert iam("ListSAMLProviderTags", SAMLProviderArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    changed = document.replace("idp", "other")
    iam("UpdateSAMLProvider", SAMLProviderArn=arn, SAMLMetadataDocument=changed)
    assert iam("GetSAMLProvider", SAMLProviderArn=arn)["SAMLMetadataDocument"] == changed
    iam("DeleteSAMLProvider", SAMLProviderArn=arn)
    assert code(iam, "GetSAMLProvider", SAMLProviderArn=arn) == "NoSuchEntity"


def test_the_comparison_finds_what_differs():
    shape = model.service("logs").operation_model("DescribeLogGroups").output_shape
    for wrong in ({"groups": []}, {"logGroups": {}}, {"logGroups": [{"logGroupName": 1}]}, {"nextToken": True}):
        faults = []
        compare(wrong, shape, "x", faults)
        assert faults, wrong


def test_what_goes_though_an_endpoint_uses_it(world):
    """AWS refuses neither; the endpoint stays as it was, and can be changed, and deleted."""
    document = f'<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="i"><!--{"x" * 1000}-->'
    document += "<IDPSSODescriptor/></EntityDescriptor>"
    saml = {"Name": f"used-{world.region}", "SAMLMetadataDocument": document}
    arn = world.root.call("iam", "CreateSAMLProvider", **saml)["SAMLProviderArn"]
    world.root.call("logs", "CreateLogGroup", logGroupName="used")
    way = {"Type": "federated-authentication", "FederatedAuthentication": {"SAMLProviderArn": arn}}
    endpoint = world.endpoint(
        AuthenticationOptions=[way],
        ConnectionLogOptions={"Enabled": True, "CloudwatchLogGroup": "used"},
    )
    before = world.describe(endpoint)
    world.root.call("iam", "DeleteSAMLProvider", SAMLProviderArn=arn)
    world.root.call("logs", "DeleteLogGroup", logGroupName="used")
    assert world.describe(endpoint) == before
    world.ec2("ModifyClientVpnEndpoint", ClientVpnEndpointId=endpoint, Description="still there")
    assert world.describe(endpoint) == {**before, "Description": "still there"}
    world.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
    eventually(lambda: world.describe(endpoint) is None, what="the endpoint is gone")
