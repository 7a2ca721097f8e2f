"""Sequences of calls, played against a server beside the reference model.

A step names things by the step that made them, so that a sequence can be played again elsewhere, and with steps left
out.
"""

import base64
import json
import time

from .expected import differ
from .reference import Reference

VERSION = "2016-11-15"
# A mutating call waits for its effect for 250 ms. Faster ones have it, and nothing may be under way any more.
AT_ONCE_SECONDS = 0.2
SETTLED_SECONDS = 60
# What ids stand for nothing look like.
UNKNOWN = {
    "certificate": "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-0000-0000-000000000000",
    "vpc": "vpc-0123456789abcdef0",
    "subnet": "subnet-0123456789abcdef0",
    "group": "sg-0123456789abcdef0",
    "endpoint": "cvpn-endpoint-0123456789abcdef0",
    "association": "cvpn-assoc-0123456789abcdef0",
}
LISTS = {
    "DescribeClientVpnEndpoints": "clientVpnEndpoint",
    "DescribeClientVpnTargetNetworks": "clientVpnTargetNetworks",
    "DescribeClientVpnRoutes": "routes",
    "DescribeClientVpnAuthorizationRules": "authorizationRule",
    "DescribeClientVpnConnections": "connections",
    "DescribeTags": "tagSet",
}


class Difference(AssertionError):
    """The server and the model disagree."""

    def __init__(self, number, text):
        super().__init__(text)
        self.number = number


class Made:
    """What a step made, by kind."""

    __slots__ = ("kind", "number")

    def __init__(self, kind, number):
        self.kind, self.number = kind, number

    def __repr__(self):
        return f"<{self.kind} of {self.number}>"


class Step:
    """A call: its number in the sequence as it was written, an action, parameters; `pages` if all pages are wanted."""

    __slots__ = ("number", "action", "pairs", "pages")

    def __init__(self, number, action, pairs, pages=False):
        self.number, self.action, self.pairs, self.pages = number, action, tuple(pairs), pages

    def __repr__(self):
        shown = " ".join(f"{name}={value!r}" for name, value in self.pairs)
        return f"{self.number:3} {self.action} {shown}" + (" (all pages)" if self.pages else "")


class Player:
    """One sequence on a server, in a region of its own."""

    make_model = Reference

    def __init__(self, line, region, reachable, materials):
        self.line, self.region, self.materials = line, region, materials
        self.model = self.make_model(region, reachable, materials.revocation_lists)
        # Ids by what made them, and the other way round.
        self.ids, self.names = {}, {}
        self.calls = 0

    # --- Names

    def _note(self, kind, number, name):
        self.ids[kind, number] = name
        self.names[name] = Made(kind, number)

    def symbolic(self, number, action, pairs, pages=False):
        """A step of parameters with ids."""
        return Step(number, action, [(name, self.names.get(value, value)) for name, value in pairs], pages)

    def _concrete(self, pairs):
        found = {}
        for name, value in pairs:
            if isinstance(value, Made):
                value = self.ids.get((value.kind, value.number), UNKNOWN[value.kind])
            found[name] = value
        return found

    # --- Playing

    def send(self, action, given):
        """Sends an action; a subclass may do so again."""
        self.calls += 1
        pairs = [("Action", action), ("Version", VERSION), *given.items()]
        return self.line.ec2(self.region, pairs)

    def play(self, step):
        """Plays a step; raises Difference."""
        given = self._concrete(step.pairs)
        if step.action == "ImportCertificate":
            self._import(step, given["name"])
            return
        if step.pages:
            self._pages(step, given)
            return
        outcome = self.model.expect(step.action, given)
        answer = self.send(step.action, given)
        if fault := outcome.differs(answer, self.model.seen):
            raise Difference(step.number, f"{step!r}: {fault}")
        if outcome.faults or outcome.commit is None:
            return
        outcome.commit(answer.tree)
        self._learn(step, answer.tree)
        if answer.seconds >= AT_ONCE_SECONDS and not step.action.startswith("Describe"):
            self.settle(step.number)

    def _import(self, step, name):
        self.calls += 1
        answer = self.line.acm(self.region, "ImportCertificate", self.materials.certificates[name])
        fault = answer.code or differ(self.model.expect_import(), answer.tree)
        arn = answer.tree and answer.tree["CertificateArn"]
        if fault or arn in self.model.seen:
            raise Difference(step.number, f"{step!r}: {fault or arn}")
        self.model.certificate(arn, has_domain=name == "server")
        self._note("certificate", step.number, arn)

    def _learn(self, step, tree):
        number = step.number
        match step.action:
            case "CreateVpc":
                vpc = tree["vpc"]["vpcId"]
                self._note("vpc", number, vpc)
                rows = self.send("DescribeSecurityGroups", {"Filter.1.Name": "vpc-id", "Filter.1.Value.1": vpc})
                groups = rows.tree["securityGroupInfo"] if rows.status == 200 else rows
                if not isinstance(groups, list) or [row["groupName"] for row in groups] != ["default"]:
                    raise Difference(number, f"{step!r}: a VPC has its default group, not {groups!r}")
                self.model.default_group(vpc, groups[0]["groupId"])
                self._note("group", number, groups[0]["groupId"])
            case "CreateSubnet":
                self._note("subnet", number, tree["subnet"]["subnetId"])
            case "CreateSecurityGroup":
                self._note("group", number, tree["groupId"])
            case "CreateClientVpnEndpoint":
                endpoint = tree["clientVpnEndpointId"]
                if tree["dnsName"] != endpoint + self.model.domain():
                    raise Difference(number, f"{step!r}: {endpoint} is not what {tree['dnsName']} begins with")
                self._note("endpoint", number, endpoint)
            case "AssociateClientVpnTargetNetwork":
                self._note("association", number, tree["associationId"])

    def _pages(self, step, given):
        """All pages together are the whole, and each but the last is full."""
        member, size = LISTS[step.action], int(given["MaxResults"])
        outcome = self.model.expect(step.action, given)
        rows, token = [], None
        while True:
            answer = self.send(step.action, {**given, "NextToken": token} if token else given)
            if outcome.faults or answer.status != 200:
                fault = outcome.differs(answer, self.model.seen)
                break
            page = answer.tree.pop(member) or []
            token = answer.tree.pop("nextToken", None)
            rows += page
            full = len(page) == size if token else len(page) <= size
            if answer.tree or not full or len(rows) > 10_000:
                fault = f"a page of {len(page)} rows, {answer.tree}"
                break
            if not token:
                fault = differ(outcome.answer, {member: rows}, self.model.seen)
                break
        if fault:
            raise Difference(step.number, f"{step!r}: {fault}")

    # --- The whole state

    def describes(self):
        """Calls that together show the whole state."""
        model = self.model
        yield "DescribeClientVpnEndpoints", {}
        for name, endpoint in model.endpoints.items():
            on = {"ClientVpnEndpointId": name}
            # Of one endpoint everything, of the others what they have.
            whole = name == next(reversed(model.endpoints))
            if whole or endpoint.associations:
                yield "DescribeClientVpnTargetNetworks", on
                yield "DescribeClientVpnRoutes", on
            if whole or endpoint.rules:
                yield "DescribeClientVpnAuthorizationRules", on
            if whole:
                yield "DescribeClientVpnConnections", on
            if endpoint.crl:
                yield "ExportClientVpnClientCertificateRevocationList", on
        yield "DescribeTags", {}
        if model.gone:
            name = model.gone[-1]
            if name.startswith("cvpn-endpoint"):
                yield "DescribeClientVpnEndpoints", {"ClientVpnEndpointId.1": name}

    def compare(self, number=None):
        """Compares the whole state."""
        for action, given in self.describes():
            if fault := self.model.expect(action, given).differs(self.send(action, given), self.model.seen):
                raise Difference(number, f"at the end, {action} {given}: {fault}")

    def settle(self, number):
        """Waits until nothing is under way; what is seen meanwhile must be on its way there."""
        deadline = time.monotonic() + SETTLED_SECONDS
        calls, pause = list(self.describes()), 0.002
        while calls:
            action, given = calls[0]
            outcome, answer = self.model.expect(action, given), self.send(action, given)
            if outcome.differs(answer, self.model.seen) is None:
                calls.pop(0)
                continue
            if outcome.faults:
                # Of an endpoint that goes: listed until it is gone.
                rows = answer.tree and answer.tree.get("clientVpnEndpoint")
                fault = None if rows and rows[0]["status"]["code"] == "deleting" else repr(answer)
            else:
                fault = answer.code or differ(outcome.answer, answer.tree, self.model.seen, underway=True)
            if fault is None and time.monotonic() > deadline:
                fault = f"did not settle within {SETTLED_SECONDS} s: {answer!r}"
            if fault:
                raise Difference(number, f"while it settles, {action} {given}: {fault}")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def clean(self):
        """Takes the endpoints away, so that they cost those after them nothing."""
        model = self.model
        for name in list(model.endpoints):
            on = {"ClientVpnEndpointId": name}
            for association in list(model.endpoints[name].associations):
                self._must("DisassociateClientVpnTargetNetwork", {**on, "AssociationId": association})
            self._must("DeleteClientVpnEndpoint", on)

    def _must(self, action, given):
        outcome, answer = self.model.expect(action, given), self.send(action, given)
        if fault := outcome.differs(answer, self.model.seen):
            raise Difference(None, f"at the end, {action} {given}: {fault}")
        outcome.commit(answer.tree)
        if answer.seconds >= AT_ONCE_SECONDS:
            self.settle(None)


def material(certificates, name):
    """The body of ImportCertificate."""
    blobs = {member: base64.b64encode(value).decode() for member, value in certificates.material(name).items()}
    return json.dumps(blobs)


class Materials:
    """Certificates and revocation lists to import, ready as text."""

    def __init__(self, certificates):
        self.certificates = {
            "server": material(certificates, "vpn.example.com"),
            "alice": material(certificates, "alice"),
        }
        certificates.run("crl")
        self.revocation_lists = [certificates.pem("crl.pem").decode()]
        certificate = certificates.pem("ca.crt").decode()
        self.no_revocation_lists = ["", "x", certificate, self.revocation_lists[0].replace("MII", "MIJ", 1)]
