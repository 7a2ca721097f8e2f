"""Client tokens: the same call again answers as its first did; another call with the token is refused (spec §2.0.3)."""

import concurrent.futures

import pytest

from support.calls import Caller
from support.servers import FABRIC_MISSING
from support.world import World

END = ("associated",) if FABRIC_MISSING is None else ("association-failed",)
THREADS = 16


class Case:
    """An action with a token: its parameters, one changed, and what it made."""

    def __init__(self, action, parameters, change, made):
        self.action, self.parameters, self.change, self.made = action, parameters, change, made


def create_endpoint(world):
    parameters = {
        "ClientCidrBlock": "10.8.0.0/22",
        "ServerCertificateArn": world.arn,
        "Authentication.1.Type": "certificate-authentication",
        "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": world.arn,
        "ConnectionLogOptions.Enabled": "false",
    }
    made = lambda: {row["ClientVpnEndpointId"] for row in world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]}
    return Case("CreateClientVpnEndpoint", parameters, {"Description": "another"}, made)


def associate(world):
    vpc, endpoint = world.vpc(), world.endpoint()
    first, second = (world.subnet(vpc, zone=zone) for zone in "ab")
    parameters = {"ClientVpnEndpointId": endpoint, "SubnetId": first}
    return Case(
        "AssociateClientVpnTargetNetwork", parameters, {"SubnetId": second}, lambda: set(world.networks(endpoint))
    )


def authorize(world):
    endpoint = world.endpoint()
    parameters = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}
    change = {"TargetNetworkCidr": "10.1.0.0/16"}
    return Case("AuthorizeClientVpnIngress", parameters, change, lambda: set(world.rules(endpoint)))


def create_route(world):
    endpoint, _, subnet, _ = world.associated()
    parameters = {"ClientVpnEndpointId": endpoint, "DestinationCidrBlock": "0.0.0.0/0", "TargetVpcSubnetId": subnet}
    added = lambda: {key for key, row in world.routes(endpoint).items() if row["Origin"] == "add-route"}
    return Case("CreateClientVpnRoute", parameters, {"DestinationCidrBlock": "172.16.0.0/12"}, added)


def modify_policy(world):
    endpoint = world.endpoint()
    parameters = {"ClientVpnEndpointId": endpoint, "PolicyDocument": "permit(principal, action, resource);"}
    change = {"PolicyDocument": "forbid(principal, action, resource);"}
    made = lambda: {row["PolicyDocument"] for row in [world.policy(endpoint)] if row}
    return Case("ModifyClientVpnEndpointAuthorizationPolicy", parameters, change, made)


cases = pytest.mark.parametrize(
    "case", [create_endpoint, associate, authorize, modify_policy, pytest.param(create_route, marks=pytest.mark.fabric)]
)


def without_id(reply):
    return reply.text.replace(reply.request_id, "")


@cases
def test_a_replay_answers_as_the_first_and_does_nothing(world, case):
    case = case(world)
    given = {**case.parameters, "ClientToken": "a-token"}
    first = world.root.ec2_raw(case.action, given)
    assert first.status == 200, first.text
    after = case.made()
    assert len(after) == 1
    for _ in range(3):
        again = world.root.ec2_raw(case.action, dict(reversed(given.items())))
        assert (again.status, without_id(again)) == (200, without_id(first))
        assert again.request_id != first.request_id
    assert case.made() == after
    # Case counts; without a token it is a call of its own, which all but two of the actions refuse.
    for other in ({"ClientToken": "A-TOKEN"}, {}, {"ClientToken": ""}):
        reply = world.root.ec2_raw(case.action, {**case.parameters, **other})
        again = ("CreateClientVpnEndpoint", "ModifyClientVpnEndpointAuthorizationPolicy")
        assert (reply.status == 200) == (case.action in again), reply.text


@cases
def test_a_token_with_other_parameters_is_refused(world, case):
    case = case(world)
    given = {**case.parameters, "ClientToken": "t" * 64}
    assert world.root.ec2_raw(case.action, given).status == 200
    after = case.made()
    changed = [
        {**given, **case.change},
        {**given, "Description": ""} if case.action != "AssociateClientVpnTargetNetwork" else {**given, **case.change},
    ]
    for parameters in changed:
        reply = world.root.ec2_raw(case.action, parameters)
        assert (reply.status, reply.code) == (400, "IdempotentParameterMismatch"), reply.text
    # A dry run neither uses nor is answered by a token.
    assert world.root.ec2_raw(case.action, {**given, **case.change, "DryRun": "true"}).code == "DryRunOperation"
    assert case.made() == after


@cases
def test_sixteen_at_once_do_it_once(world, case):
    case = case(world)
    given = {**case.parameters, "ClientToken": "at-once"}

    def call(_):
        return Caller(world.server, region=world.region).ec2_raw(case.action, given)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        replies = list(pool.map(call, range(THREADS)))
    done = [reply for reply in replies if reply.status == 200]
    assert done and len({without_id(reply) for reply in done}) == 1
    assert len({reply.request_id for reply in replies}) == THREADS
    for reply in replies:
        # At most ten associations are under way at a time (spec §6).
        assert reply.status == 200 or reply.code == "ConcurrentMutationLimitExceeded", reply.text
    if case.action != "AssociateClientVpnTargetNetwork":
        assert len(done) == THREADS
    assert len(case.made()) == 1


def test_a_call_that_failed_leaves_its_token_free(world):
    endpoint = world.endpoint()
    given = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}
    assert world.root.ec2_raw("AuthorizeClientVpnIngress", given).status == 200
    again = {**given, "ClientToken": "free"}
    assert world.root.ec2_raw("AuthorizeClientVpnIngress", again).code == "InvalidClientVpnDuplicateAuthorizationRule"
    other = {**again, "TargetNetworkCidr": "10.1.0.0/16"}
    assert world.root.ec2_raw("AuthorizeClientVpnIngress", other).status == 200


def test_a_token_is_of_its_action_and_region(world):
    elsewhere = World(world.server, world.certificates)
    ids = set()
    for place in (world, elsewhere):
        case = create_endpoint(place)
        reply = place.root.ec2_raw(case.action, {**case.parameters, "ClientToken": "same"})
        assert reply.status == 200
        ids |= case.made()
    assert len(ids) == 2
    (endpoint,) = create_endpoint(world).made()
    rule = {"ClientVpnEndpointId": endpoint, "TargetNetworkCidr": "10.0.0.0/16", "AuthorizeAllGroups": "true"}
    assert world.root.ec2_raw("AuthorizeClientVpnIngress", {**rule, "ClientToken": "same"}).status == 200


def test_a_replay_is_the_first_answer_even_when_its_effect_is_gone(world):
    endpoint, subnet = world.endpoint(), world.subnet(world.vpc())
    given = {"ClientVpnEndpointId": endpoint, "SubnetId": subnet, "ClientToken": "once"}
    first = world.root.ec2_raw("AssociateClientVpnTargetNetwork", given)
    association = first.root.findtext("{*}associationId")
    world.disassociate(endpoint, association)
    again = world.root.ec2_raw("AssociateClientVpnTargetNetwork", given)
    assert (again.status, without_id(again)) == (200, without_id(first))
    assert world.networks(endpoint) == {}
