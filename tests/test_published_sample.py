"""The published sample of DisassociateClientVpnTargetNetwork: a presigned GET without Version, its answer byte for byte."""

import pytest

from support.calls import form
from support.servers import FABRIC_MISSING


def presigned(world, endpoint, association, **more):
    query = form(
        {
            "Action": "DisassociateClientVpnTargetNetwork",
            "ClientVpnEndpointId": endpoint,
            "AssociationId": association,
            **more,
        }
    )
    assert "Version" not in query
    return world.root.presigned(query)


def test_the_answer_byte_for_byte(world):
    endpoint, subnet = world.endpoint(), world.subnet(world.vpc())
    # Without the kernel fabric the association fails, and is disassociated all the same.
    state = "associated" if FABRIC_MISSING is None else "association-failed"
    association = world.associate(endpoint, subnet, until=(state,))
    reply = world.root.send("GET", presigned(world, endpoint, association))
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"] == "text/xml;charset=UTF-8"
    assert reply.text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<DisassociateClientVpnTargetNetworkResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{reply.request_id}</requestId>"
        "<status><code>disassociating</code></status>"
        f"<associationId>{association}</associationId>"
        "</DisassociateClientVpnTargetNetworkResponse>"
    )
    reply.check_form()


def test_the_error_byte_for_byte(world):
    endpoint = "cvpn-endpoint-0123456789abcdef0"
    reply = world.root.send("GET", presigned(world, endpoint, "cvpn-assoc-0123456789abcdef0"))
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "text/xml;charset=UTF-8"
    assert reply.text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Response><Errors><Error><Code>InvalidClientVpnEndpointId.NotFound</Code>"
        f"<Message>Endpoint {endpoint} does not exist</Message></Error></Errors>"
        f"<RequestID>{reply.request_id}</RequestID></Response>"
    )


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda target: target.replace("cvpn-assoc-0", "cvpn-assoc-1"), 401, "AuthFailure"),
        (lambda target: target.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), 401, "AuthFailure"),
        (lambda target: target + "&DryRun=true", 401, "AuthFailure"),
        (lambda target: target[:-1] + ("0" if target[-1] != "0" else "1"), 401, "AuthFailure"),
        (lambda target: target.replace("X-Amz-Expires=60&", ""), 400, "IncompleteSignature"),
        (lambda target: target.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"), 400, "IncompleteSignature"),
        (lambda target: target.split("&X-Amz-Signature")[0], 400, "IncompleteSignature"),
        (lambda target: target.split("&X-Amz-Algorithm")[0], 403, "MissingAuthenticationToken"),
    ],
)
def test_whatever_is_changed_in_it_fails(world, change, status, code):
    target = presigned(world, "cvpn-endpoint-0123456789abcdef0", "cvpn-assoc-0123456789abcdef0")
    assert change(target) != target
    reply = world.root.send("GET", change(target)).check_form()
    assert (reply.status, reply.code) == (status, code)
