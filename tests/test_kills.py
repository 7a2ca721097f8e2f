"""`kill -9` at any moment: no acknowledged call is lost, and what was half done is finished after the next start."""

import http.client
import random
import threading

import pytest

from support import namespaces
from support.calls import Refused
from support.servers import eventually
from support.world import World

ROUNDS = 12
QUOTAS = "[quotas]\nendpoints_per_region = 1000\nvpcs_per_region = 1000\n"


class Ledger:
    """What the server has acknowledged so far, and what it was asked without an answer."""

    def __init__(self, world, dice, fabric):
        self.world, self.dice, self.fabric = world, dice, fabric
        self.vpcs, self.endpoints, self.rules, self.deleted = {}, set(), set(), set()
        self.networks, self.gone = {}, set()
        # Rules whose fate is unknown: the call was cut off.
        self.open_rules, self.open_networks = set(), set()
        self.acknowledged = 0

    def step(self):
        """One random call."""
        choices = [self.create_vpc, self.create_endpoint, self.authorize, self.authorize, self.revoke, self.delete]
        self.dice.choice([*choices, self.associate, self.associate, self.disassociate])()
        self.acknowledged += 1

    def create_vpc(self):
        number = len(self.vpcs)
        vpc = self.world.vpc()
        subnets = {}
        self.vpcs[vpc] = subnets
        for zone in "ab":
            subnets[zone] = self.world.subnet(vpc, f"10.0.{number % 100}.{0 if zone == 'a' else 128}/25", zone)

    def create_endpoint(self):
        self.endpoints.add(self.world.endpoint())

    def pick(self, things):
        return self.dice.choice(sorted(things)) if things else None

    def authorize(self):
        if endpoint := self.pick(self.endpoints):
            cidr = f"10.{self.dice.randrange(256)}.0.0/16"
            key = (endpoint, cidr)
            if key in self.rules or key in self.open_rules:
                return
            self.open_rules.add(key)
            self.world.ec2(
                "AuthorizeClientVpnIngress",
                ClientVpnEndpointId=endpoint,
                TargetNetworkCidr=cidr,
                AuthorizeAllGroups=True,
            )
            self.open_rules.discard(key)
            self.rules.add(key)

    def revoke(self):
        if key := self.pick(self.rules):
            self.open_rules.add(key)
            self.rules.discard(key)
            self.world.ec2(
                "RevokeClientVpnIngress", ClientVpnEndpointId=key[0], TargetNetworkCidr=key[1], RevokeAllGroups=True
            )
            self.open_rules.discard(key)

    def delete(self):
        busy = {endpoint for endpoint, _ in self.networks.values()} | {key[0] for key in self.open_networks}
        if endpoint := self.pick(self.endpoints - busy):
            self.endpoints.discard(endpoint)
            self.rules = {key for key in self.rules if key[0] != endpoint}
            try:
                self.world.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=endpoint)
            except Refused as error:
                # A cut off association, or one that is not quite gone yet.
                assert error.code == "ClientVpnEndpointAssociationExists", error
                self.endpoints.add(endpoint)
            else:
                self.deleted.add(endpoint)

    def associate(self):
        endpoint = self.pick(self.endpoints - {key[0] for key in self.open_networks})
        vpc = self.pick(vpc for vpc, subnets in self.vpcs.items() if len(subnets) == 2)
        if endpoint is None or vpc is None or any(found == endpoint for found, _ in self.networks.values()):
            return
        subnet = self.vpcs[vpc][self.dice.choice("ab")]
        key = (endpoint, subnet)
        self.open_networks.add(key)
        try:
            answer = self.world.ec2("AssociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, SubnetId=subnet)
        except Refused as error:
            # The endpoint is bound to another VPC, or its last association is not quite gone yet.
            assert error.code.startswith("InvalidClientVpn"), error
            self.open_networks.discard(key)
            return
        self.networks[answer["AssociationId"]] = key
        self.open_networks.discard(key)

    def disassociate(self):
        if association := self.pick(self.networks):
            endpoint, subnet = self.networks.pop(association)
            self.open_networks.add((endpoint, subnet))
            self.world.ec2(
                "DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association
            )
            self.open_networks.discard((endpoint, subnet))
            self.gone.add(association)

    def check(self):
        """All that was acknowledged is there, and nothing that was acknowledged as gone comes back."""
        world = self.world
        described = {
            row["ClientVpnEndpointId"]: row for row in world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]
        }
        assert self.endpoints <= set(described), "acknowledged endpoints are lost"
        assert {row["VpcId"] for row in world.ec2("DescribeVpcs")["Vpcs"]} >= set(self.vpcs)
        subnets = {row["SubnetId"] for row in world.ec2("DescribeSubnets")["Subnets"]}
        assert subnets >= {subnet for row in self.vpcs.values() for subnet in row.values()}
        eventually(
            lambda: (
                not self.deleted
                & {r["ClientVpnEndpointId"] for r in world.ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]}
            ),
            what="deleted endpoints are gone",
        )
        for endpoint in self.endpoints:
            self.check_endpoint(endpoint)

    def settled(self, endpoint):
        """The endpoint's associations, once none is in between; None before."""
        networks = self.world.networks(endpoint)
        codes = {row["Status"]["Code"] for row in networks.values()}
        return (networks,) if codes <= {"associated", "association-failed"} else None

    def check_endpoint(self, endpoint):
        world = self.world
        (networks,) = eventually(lambda: self.settled(endpoint), what="nothing stays half done")
        certain = {found for found, (on, _) in self.networks.items() if on == endpoint}
        assert certain <= set(networks), "acknowledged associations are lost"
        assert not self.gone & set(networks), "an association that was disassociated came back"
        rules = {key[0] for key in world.rules(endpoint)}
        mine = {cidr for on, cidr in self.rules if on == endpoint}
        unsure = {cidr for on, cidr in self.open_rules if on == endpoint}
        assert mine <= rules, "acknowledged rules are lost"
        assert rules <= mine | unsure, "rules that were revoked came back"
        if self.fabric:
            code = "available" if networks else "pending-associate"
            eventually(lambda: world.status(endpoint) == code, what=f"{endpoint} is {code}")
            targets = {row["TargetNetworkId"] for row in networks.values()}
            assert {target for _, target in world.routes(endpoint)} == targets
            assert {row["Status"]["Code"] for row in world.routes(endpoint).values()} <= {"active"}


def run(make_server, certificates, seed, fabric):
    dice = random.Random(seed)
    arguments = ["--gateway-address", namespaces.POOL] if fabric else []
    server = make_server(*arguments, privileged=fabric, config=QUOTAS)
    world = World(server, certificates)
    ledger = Ledger(world, dice, fabric)
    assert world.arn
    for _ in range(3):
        ledger.create_vpc()
        ledger.create_endpoint()
    for number in range(ROUNDS):
        kill_between = number % 3 == 0
        if kill_between:
            for _ in range(dice.randrange(1, 8)):
                ledger.step()
            server.kill()
        else:
            # In the middle of a call, wherever that is.
            timer = threading.Timer(dice.uniform(0.01, 0.3), server.process.kill)
            timer.start()
            try:
                while True:
                    ledger.step()
            except (OSError, http.client.HTTPException):
                pass
            timer.join()
            server.kill()
        server.start()
        ledger.check()
        # What the check has seen settles what was unknown.
        for key in list(ledger.open_rules):
            endpoint, cidr = key
            if endpoint in ledger.endpoints and (cidr, "") in world.rules(endpoint):
                ledger.rules.add(key)
        ledger.open_rules.clear()
        for endpoint, _ in list(ledger.open_networks):
            if endpoint in ledger.endpoints:
                for found, row in world.networks(endpoint).items():
                    ledger.networks[found] = (endpoint, row["TargetNetworkId"])
        ledger.open_networks.clear()
    assert ledger.acknowledged > ROUNDS
    assert server.stop() == 0
    server.start()
    ledger.check()


@pytest.mark.fabric
def test_kills_with_the_kernel_fabric(own_namespace, make_server, certificates):
    run(make_server, certificates, 1, fabric=True)


def test_kills_without_the_kernel_fabric(make_server, certificates):
    run(make_server, certificates, 2, fabric=False)


def test_the_ledger_notices_a_loss(make_server, certificates):
    server = make_server(config=QUOTAS)
    ledger = Ledger(World(server, certificates), random.Random(3), fabric=False)
    assert ledger.world.arn
    ledger.create_endpoint()
    assert server.stop() == 0
    store = server.data / "store.redb"
    old = store.read_bytes()
    server.start()
    ledger.authorize()
    ledger.check()
    assert server.stop() == 0
    store.write_bytes(old)
    server.start()
    with pytest.raises(AssertionError, match="acknowledged rules are lost"):
        ledger.check()


def test_a_token_is_remembered_over_a_kill(make_server, certificates):
    server = make_server()
    world = World(server, certificates)
    given = world.endpoint_parameters(ClientToken="once")
    first = world.ec2("CreateClientVpnEndpoint", **given)
    server.kill()
    server.start()
    assert world.ec2("CreateClientVpnEndpoint", **given) == first
    changed = world.refused("CreateClientVpnEndpoint", **{**given, "Description": "other"})
    assert changed.code == "IdempotentParameterMismatch"


def test_a_start_on_anothers_data_directory_is_refused(make_server):
    server = make_server()
    other = make_server("--data-dir", server.data, start=False)
    other.arguments = ["--data-dir", server.data, "--listen", "127.0.0.1:0"]
    other.launch()
    assert other.process.wait(30) == 1
    assert str(server.data) in other.errors()
    assert server.is_alive()
