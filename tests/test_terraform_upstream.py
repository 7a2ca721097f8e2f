"""The acceptance scenarios of Terraform's AWS provider, with the provider unchanged: one run for each configuration, in
which all its scenarios stand side by side; then each row of `support.upstream` against what was seen.

The provider sleeps four minutes around each association it makes or ends: those rows are slow, to run beside others.
"""

import dataclasses
import os

import pytest

from support import upstream
from support.calls import Caller, Refused
from support.servers import FABRIC_MISSING, ROOT, eventually
from support.terraform import TERRAFORM, Terraform, left, server_of_its_own
from support.upstream import ASSOCIATION, ENDPOINT, IMPORTED, ROUTE, RULE, SCENARIOS, case

PAGE = ROOT / "docs/terraform.md"
BEGIN, END = "<!-- generated from tests/support/upstream.py: begin -->", "<!-- generated: end -->"
# AWS gives fewer.
QUOTAS = "[quotas]\nendpoints_per_region = 50\n"
UPSTREAM = {"endpoint": 17, "authorization rule": 5, "network association": 3, "route": 3}

needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="no program terraform: upstream's scenarios did not run")


@dataclasses.dataclass
class Seen:
    """What was seen of a configuration, from the first apply to the end."""

    # After each step: attributes by address, and what a second plan would do.
    steps: list = dataclasses.field(default_factory=list)
    changes: list = dataclasses.field(default_factory=list)
    # What was imported into another state: attributes there, and what a plan would do with them.
    imported: dict = dataclasses.field(default_factory=dict)
    changes_imported: dict = dataclasses.field(default_factory=dict)
    # Codes of deletions in the wrong order, and what a plan would do after them.
    refused: dict = dataclasses.field(default_factory=dict)
    # What a plan makes anew of what was removed behind Terraform's back.
    anew: dict = dataclasses.field(default_factory=dict)
    left: dict = dataclasses.field(default_factory=dict)


class Run:
    """A life of a configuration."""

    def __init__(self, one):
        self.one, self.seen, self.caller = one, Seen(), Caller(one.server)

    def step(self, stage):
        """Applies a step, and plans again."""
        self.one.apply(stage=stage)
        self.seen.steps.append(self.one.everything())
        self.seen.changes.append(self.one.changes())

    def imports(self):
        """Goes on in another folder, with a state into which all that can be imported was imported."""
        known = self.seen.steps[-1]
        names = {address: name(known[address]) for address in known if (name := IMPORTED.get(address.split(".")[0]))}
        self.one = self.one.copy()
        self.one.forget(*names)
        blocks = [f'import {{\n  to = {address}\n  id = "{name}"\n}}\n' for address, name in names.items()]
        (self.one.folder / "imports.tf").write_text("\n".join(blocks))
        self.one.apply()
        (self.one.folder / "imports.tf").unlink()
        summary = f"Resources: {len(names)} imported, 0 added, 0 changed, 0 destroyed."
        assert summary in self.one.said, self.one.said
        found = self.one.everything()
        self.seen.imported = {address: found[address] for address in names}
        self.seen.changes_imported = self.one.changes()

    def wrong_order(self, *deletions):
        """Deletes what is in use, as nobody should be able to."""
        for service, operation, parameters in deletions:
            try:
                self.caller.call(service, operation, **parameters)
                self.seen.refused[operation] = None
            except Refused as error:
                self.seen.refused[operation] = error.code

    def id(self, address, path="id"):
        """An id of something that stands."""
        return self.seen.steps[-1][address][path]

    def end(self):
        """Destroys everything."""
        self.one.destroy()
        self.seen.left = left(self.caller)
        return self.seen


def life_of_options(one):
    """Endpoints with every option, four steps."""
    run = Run(one)
    run.step(1)
    tags = [{"Key": "Ignored", "Value": "by somebody else"}]
    run.caller.ec2("CreateTags", Resources=[run.id(case("basic"))], Tags=tags)
    run.imports()
    # Killed, and started again on what it has stored.
    one.server.kill()
    one.server.start()
    for stage in (2, 3):
        run.step(stage)
    vpc, group = run.id("aws_vpc.main"), run.id('aws_security_group.own["two"]')
    certificate = run.id('aws_acm_certificate.server["vpn"]', "arn")
    run.wrong_order(
        ("ec2", "DeleteVpc", {"VpcId": vpc}),
        ("ec2", "DeleteSecurityGroup", {"GroupId": group}),
        ("acm", "DeleteCertificate", {"CertificateArn": certificate}),
    )
    run.step(4)
    for gone in ("disappears", "rulesDisappearsEndpoint"):
        run.caller.ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=run.id(case(gone)))
    on = {"ClientVpnEndpointId": run.id(case("rules"))}
    run.caller.ec2("RevokeClientVpnIngress", **on, TargetNetworkCidr="10.4.0.0/24", RevokeAllGroups=True)
    run.seen.anew = run.one.changes()
    run.one.apply()
    assert run.one.changes() == {}
    return run.end()


def life_of_associations(one):
    """Associations and routes: all of them come in one apply and go in one destroy."""
    run = Run(one)
    run.step(1)
    run.imports()
    one.server.kill()
    one.server.start()
    on = {"ClientVpnEndpointId": run.id(case("basic"))}
    run.wrong_order(
        ("ec2", "DeleteVpc", {"VpcId": run.id("aws_vpc.main")}),
        ("ec2", "DeleteSubnet", {"SubnetId": run.id('aws_subnet.zone["a"]')}),
        ("ec2", "DeleteClientVpnEndpoint", on),
    )
    run.step(2)
    association = case("disappears-a", ASSOCIATION)
    on = {"ClientVpnEndpointId": run.id(association, "client_vpn_endpoint_id")}
    run.caller.ec2("DisassociateClientVpnTargetNetwork", **on, AssociationId=run.id(association))
    route = f"{ROUTE}.disappears"
    run.caller.ec2(
        "DeleteClientVpnRoute",
        ClientVpnEndpointId=run.id(route, "client_vpn_endpoint_id"),
        DestinationCidrBlock=run.id(route, "destination_cidr_block"),
        TargetVpcSubnetId=run.id(route, "target_vpc_subnet_id"),
    )
    eventually(
        lambda: not run.caller.ec2("DescribeClientVpnTargetNetworks", **on)["ClientVpnTargetNetworks"],
        what="the association is gone",
    )
    run.seen.anew = run.one.changes()
    return run.end()


LIVES = {"options": life_of_options, "associations": life_of_associations}


@pytest.fixture(scope="module")
def seen_of(places, certificates, outside):
    """What was seen of a configuration; each is run once."""
    kept = {}

    def seen(configuration):
        if configuration not in kept:
            # A failure is kept as well: nobody waits for it twice.
            try:
                with server_of_its_own(places, certificates, config=QUOTAS) as server:
                    one = Terraform(places, server, certificates.folder, outside, configuration)
                    kept[configuration] = LIVES[configuration](one)
            except AssertionError as error:
                kept[configuration] = error
        if isinstance(kept[configuration], AssertionError):
            raise AssertionError(f"the run of {configuration} failed") from kept[configuration]
        return kept[configuration]

    return seen


def rows():
    """Each scenario; those with associations wait for minutes and need the fabric."""
    for row in SCENARIOS:
        marks = [pytest.mark.slow, pytest.mark.fabric] if row.configuration == "associations" else []
        yield pytest.param(row, id=f"{row.area}-{row.name}".replace(" ", "_"), marks=marks)


@needs_terraform
@pytest.mark.parametrize("row", rows())
def test_scenario(seen_of, row):
    seen = seen_of(row.configuration)
    faults = []
    addresses = set().union(*row.steps)
    ids = {address: [] for address in addresses}
    for number, everything in enumerate(seen.steps):
        expected = row.steps[min(number, len(row.steps) - 1)]
        faults += [f"step {number + 1}: {text}" for text in upstream.faults(expected, everything)]
        todo = {address: action for address, action in seen.changes[number].items() if address in addresses}
        if todo:
            faults.append(f"step {number + 1} does not settle: {todo}")
        for address in addresses & everything.keys():
            ids[address].append(everything[address]["id"])
    for address, given in ids.items():
        # A route has no update: another description is another route, of the same name.
        kept = 1 if not row.replaced else len(seen.steps)
        if len(set(given)) not in (0, kept):
            faults.append(f"{address} was {given}")
    for address in addresses & seen.imported.keys():
        first, again = seen.steps[0][address], seen.imported[address]
        # How long to wait is the configuration's, not the server's; and an association taught the endpoint the others
        # after it was looked at.
        learned = {name for name in upstream.LEARNED if not first.get(name)}
        if differing := upstream.differing(first, again, {"timeouts", *learned}):
            faults.append(f"{address} imported differs: {differing}")
        if address in seen.changes_imported:
            faults.append(f"{address} imported does not settle: {seen.changes_imported[address]}")
    for address in row.anew:
        if seen.anew.get(address) != "create":
            faults.append(f"{address} is not made anew: {seen.anew}")
    for operation, code in row.refused:
        if seen.refused[operation] != code:
            faults.append(f"{operation}: {seen.refused[operation]} instead of {code}")
    assert not faults, "\n".join(faults)


@needs_terraform
@pytest.mark.parametrize(
    "configuration",
    ["options", pytest.param("associations", marks=[pytest.mark.slow, pytest.mark.fabric])],
)
def test_every_second_plan_is_empty_and_nothing_is_left(seen_of, configuration):
    seen = seen_of(configuration)
    assert seen.changes == [{}] * len(seen.steps)
    assert seen.changes_imported == {}
    assert {kind for kind in IMPORTED if any(address.startswith(f"{kind}.") for address in seen.imported)} >= {ENDPOINT}
    rows_here = [row for row in SCENARIOS if row.configuration == configuration]
    assert seen.anew == {address: "create" for row in rows_here for address in row.anew}
    assert set(seen.refused) == {operation for row in rows_here for operation, _ in row.refused}
    assert seen.left == {}


def test_every_scenario_upstream_has_a_row():
    found = {area: [row.name for row in SCENARIOS if row.area == area] for area in UPSTREAM}
    assert {area: len(set(names)) for area, names in found.items()} == UPSTREAM
    assert {row.configuration for row in SCENARIOS} == set(LIVES)


def test_the_rows_can_fail():
    """An expectation finds what differs."""
    everything = {"a.b": {"id": "1", "list": [{"x": "2"}, {"x": "1"}], "none": None}, "c.d": {"id": "2"}}
    good = {"id": "1", "list.*.x": ["1", "2"], "list.0.x": upstream.Of("c.d"), "none": []}
    assert upstream.faults({"a.b": good, "e.f": upstream.GONE}, everything) == []
    assert upstream.differing({"a": None, "b": [{"c": ""}], "d": 1}, {"a": [], "b": [{"c": None}], "d": 2}, "d") == {}
    assert upstream.differing({"a": False, "b": 1}, {"b": 2}) == {"a": (False, None), "b": (1, 2)}
    for path, wrong in {"id": "2", "list.*.x": ["1"], "list.0.x": upstream.Like("[ab]"), "none": False}.items():
        assert len(upstream.faults({"a.b": {path: wrong}}, everything)) == 1, path
    assert upstream.faults({"a.b": upstream.GONE, "e.f": {}}, everything) == ["a.b: there", "e.f: not there"]


def test_the_page_says_what_the_rows_say():
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    if "BASCULE_UPDATE" in os.environ:
        PAGE.write_text(f"{before}{BEGIN}\n{upstream.table()}\n{END}{after}")
    else:
        assert old.strip() == upstream.table().strip(), "docs/terraform.md is behind: BASCULE_UPDATE=1 and this test"
