"""A reference model of the Client VPN service, written from its specification alone: what every call must answer.

It knows one region. `Reference.expect` says what a call is answered: one of some faults, or an answer and the change
of state that comes with it. Where a call has several faults the service names one of them; which, nobody says.
Statuses are those after a change has taken effect.
"""

import ipaddress
import re

from .expected import Between, Fresh, Rows, Some, Status, Text, differ

ACCOUNT = "000000000000"
ENDPOINTS, VPCS, RULES, ROUTES, GROUPS, TAGS = 5, 5, 200, 100, 5, 50
TOKEN_CHARACTERS, DESCRIPTION_CHARACTERS, BANNER_CHARACTERS, GROUP_CHARACTERS = 64, 255, 1400, 255
KEY_CHARACTERS, VALUE_CHARACTERS = 128, 256
DRY_RUN = "Request would have succeeded, but DryRun flag is set."
PORTAL = "https://self-service.clientvpn.amazonaws.com/endpoints/"
DEFAULT_ROUTE = "Default route cannot be deleted; disassociate the target network"

CERTIFICATE, DIRECTORY, FEDERATED = (
    "certificate-authentication",
    "directory-service-authentication",
    "federated-authentication",
)
ADDRESS_TYPES = ("ipv4", "ipv6", "dual-stack")
PAGE = range(5, 1001)
PAGE_SIZE = "Value ( {} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
KINDS = {"cvpn-endpoint": "client-vpn-endpoint", "vpc": "vpc", "subnet": "subnet", "sg": "security-group"}
NUMBERS = re.compile(r"\.\d+(?=\.|$)")
IPV6 = re.compile(r"[0-9a-f:]*:[0-9a-f:]*/\d+")
# What can be switched on, and what it then needs.
SWITCHED = {
    "ClientLoginBannerOptions": "BannerText",
    "ClientConnectOptions": "LambdaFunctionArn",
    "ConnectionLogOptions": "CloudwatchLogGroup",
}


_LOG = {f"ConnectionLogOptions.{name}": "text" for name in ("CloudwatchLogGroup", "CloudwatchLogStream")}
_OPTIONS = {
    "ConnectionLogOptions.Enabled": "bool",
    **_LOG,
    "VpnPort": "int",
    "Description": "text",
    "SplitTunnel": "bool",
    "SecurityGroupId.N": "text",
    "VpcId": "text",
    "SelfServicePortal": ("enabled", "disabled"),
    "ClientConnectOptions.Enabled": "bool",
    "ClientConnectOptions.LambdaFunctionArn": "text",
    "SessionTimeoutHours": "int",
    "ClientLoginBannerOptions.Enabled": "bool",
    "ClientLoginBannerOptions.BannerText": "text",
    "ClientRouteEnforcementOptions.Enforced": "bool",
    "DisconnectOnSessionTimeout": "bool",
    "TransitGatewayConfiguration.TransitGatewayId": "text",
    "TransitGatewayConfiguration.AvailabilityZone.N": "text",
    "TransitGatewayConfiguration.AvailabilityZoneId.N": "text",
}
_ON = {"ClientVpnEndpointId": "text!"}
_DESCRIBE = {"MaxResults": "page", "NextToken": "text", "Filter.N.Name": "text", "Filter.N.Value.N": "text"}
_TAG_SPECIFICATION = {
    "TagSpecification.N.ResourceType": "text",
    "TagSpecification.N.Tag.N.Key": "text",
    "TagSpecification.N.Tag.N.Value": "text",
}
_ATTACHMENT = {"TransitGatewayAttachmentId": "text!"}

# The parameters of each action, DryRun apart: their types, and `!` for what is required.
PARAMETERS = {
    "AcceptTransitGatewayClientVpnAttachment": _ATTACHMENT,
    "ApplySecurityGroupsToClientVpnTargetNetwork": {**_ON, "VpcId": "text!", "SecurityGroupId.N": "text!"},
    "AssociateClientVpnTargetNetwork": {
        **_ON,
        "SubnetId": "text",
        "ClientToken": "text",
        "AvailabilityZone": "text",
        "AvailabilityZoneId": "text",
    },
    "AuthorizeClientVpnIngress": {
        **_ON,
        "TargetNetworkCidr": "text!",
        "AccessGroupId": "text",
        "AuthorizeAllGroups": "bool",
        "Description": "text",
        "ClientToken": "text",
    },
    "CreateClientVpnEndpoint": {
        "ClientCidrBlock": "text",
        "ServerCertificateArn": "text!",
        "Authentication.N.Type": (CERTIFICATE, DIRECTORY, FEDERATED),
        "Authentication.N.ActiveDirectory.DirectoryId": "text",
        "Authentication.N.MutualAuthentication.ClientRootCertificateChainArn": "text",
        "Authentication.N.FederatedAuthentication.SAMLProviderArn": "text",
        "Authentication.N.FederatedAuthentication.SelfServiceSAMLProviderArn": "text",
        "DnsServers.N": "text",
        "TransportProtocol": ("tcp", "udp"),
        "ClientToken": "text",
        **_TAG_SPECIFICATION,
        **_OPTIONS,
        "EndpointIpAddressType": ADDRESS_TYPES,
        "TrafficIpAddressType": ADDRESS_TYPES,
    },
    "CreateClientVpnRoute": {
        **_ON,
        "DestinationCidrBlock": "text!",
        "TargetVpcSubnetId": "text",
        "Description": "text",
        "ClientToken": "text",
    },
    "CreateSecurityGroup": {"GroupName": "text!", "GroupDescription": "text!", "VpcId": "text"},
    "CreateSubnet": {"VpcId": "text!", "CidrBlock": "text", "AvailabilityZone": "text"},
    "CreateTags": {"ResourceId.N": "text!", "Tag.N.Key": "text", "Tag.N.Value": "text"},
    "CreateVpc": {"CidrBlock": "text"},
    "DeleteClientVpnEndpoint": _ON,
    "DeleteClientVpnRoute": {**_ON, "TargetVpcSubnetId": "text", "DestinationCidrBlock": "text!"},
    "DeleteTags": {"ResourceId.N": "text!", "Tag.N.Key": "text", "Tag.N.Value": "text"},
    "DeleteTransitGatewayClientVpnAttachment": _ATTACHMENT,
    "DescribeClientVpnAuthorizationRules": {**_ON, **_DESCRIBE},
    "DescribeClientVpnConnections": {**_ON, **_DESCRIBE},
    "DescribeClientVpnEndpoints": {"ClientVpnEndpointId.N": "text", **_DESCRIBE},
    "DescribeClientVpnRoutes": {**_ON, **_DESCRIBE},
    "DescribeClientVpnTargetNetworks": {
        **_ON,
        "AssociationIds.N": "text",
        "AssociationId.N": "text",
        **_DESCRIBE,
    },
    "DescribeSecurityGroups": {"GroupId.N": "text", **_DESCRIBE},
    "DescribeTags": _DESCRIBE,
    "DisassociateClientVpnTargetNetwork": {**_ON, "AssociationId": "text!"},
    "ExportClientVpnClientCertificateRevocationList": _ON,
    "ExportClientVpnClientConfiguration": _ON,
    "ImportClientVpnClientCertificateRevocationList": {**_ON, "CertificateRevocationList": "text!"},
    "ModifyClientVpnEndpoint": {
        **_ON,
        "ServerCertificateArn": "text",
        "DnsServers.CustomDnsServers.N": "text",
        "DnsServers.Enabled": "bool",
        **_OPTIONS,
    },
    "RejectTransitGatewayClientVpnAttachment": _ATTACHMENT,
    "RevokeClientVpnIngress": {
        **_ON,
        "TargetNetworkCidr": "text!",
        "AccessGroupId": "text",
        "RevokeAllGroups": "bool",
    },
    "TerminateClientVpnConnections": {**_ON, "ConnectionId": "text", "Username": "text"},
}
CLIENT_VPN = [name for name in PARAMETERS if "ClientVpn" in name]
TOKENS = {name for name, row in PARAMETERS.items() if "ClientToken" in row}
FILTERS = {
    "DescribeClientVpnEndpoints": ("endpoint-id", "transport-protocol", "tag-key"),
    "DescribeClientVpnTargetNetworks": ("association-id", "target-network-id", "vpc-id"),
    "DescribeClientVpnRoutes": ("destination-cidr", "origin", "target-subnet"),
    "DescribeClientVpnAuthorizationRules": ("description", "destination-cidr", "group-id"),
    "DescribeClientVpnConnections": ("connection-id", "username"),
    "DescribeTags": ("key", "value", "resource-id", "resource-type"),
}


class Fault:
    """An error: its code; its text where that is documented; a text that it must name otherwise."""

    __slots__ = ("code", "message", "names")

    def __init__(self, code, message=None, names=None):
        self.code, self.message, self.names = code, message, names

    def fits(self, answer):
        """Whether an answer is this error."""
        if answer.code != self.code or answer.status != (412 if self.code == "DryRunOperation" else 400):
            return False
        if self.message is not None and answer.message != self.message:
            return False
        return self.names is None or self.names in answer.message

    def __repr__(self):
        return f"{self.code}({self.message or self.names or ''})"


class Outcome:
    """What a call comes to: any of these faults; else an answer, and what changes with it, given that answer."""

    __slots__ = ("faults", "answer", "commit")

    def __init__(self, faults=(), answer=None, commit=None):
        self.faults, self.answer, self.commit = list(faults), answer, commit

    def differs(self, answer, seen):
        """How an answer differs from this; None if it does not."""
        if self.faults:
            if any(fault.fits(answer) for fault in self.faults):
                return None
            return f"{answer!r} instead of {self.faults}"
        if answer.status != 200:
            return f"{answer!r} instead of {self.answer!r}"
        return differ(self.answer, answer.tree, seen)


def invalid(names=None, message=None):
    """InvalidParameterValue."""
    return Fault("InvalidParameterValue", message, names)


def missing(name):
    """MissingParameter."""
    return Fault("MissingParameter", f"The request must contain the parameter {name}")


def network(text):
    """An IPv4 network in network address form; None if the text is none."""
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}", text):
        return None
    try:
        return ipaddress.IPv4Network(text)
    except ValueError:
        return None


def truth(text):
    """A boolean parameter."""
    return text.lower() == "true"


def flag(value):
    """A boolean in an answer."""
    return "true" if value else "false"


def listed(given, name):
    """The texts of a list, by their numbers."""
    before, numbered = name + ".", []
    for key, value in given.items():
        if key.startswith(before) and key[len(before) :].isdecimal():
            numbered.append((int(key[len(before) :]), value))
    return [value for _, value in sorted(numbered)]


def structures(given, name):
    """The structures of a list, by their numbers: their members by name."""
    before, made = name + ".", {}
    for key, value in given.items():
        if key.startswith(before):
            number, _, member = key[len(before) :].partition(".")
            if member and number.isdecimal():
                made.setdefault(int(number), {})[member] = value
    return [made[number] for number in sorted(made)]


def wildcard(pattern):
    """A filter's value as a regular expression: `*` and `?`, and a backslash before what is meant as it is."""
    made, rest = "", iter(pattern)
    for character in rest:
        if character == "\\":
            made += re.escape(next(rest, "\\"))
        else:
            made += {"*": ".*", "?": "."}.get(character) or re.escape(character)
    return re.compile(made, re.DOTALL)


class Association:
    """A target network: its subnet, and the status it ends in."""

    def __init__(self, subnet, code):
        self.subnet, self.code = subnet, code


class Endpoint:
    """A Client VPN endpoint."""

    def __init__(self):
        self.vpc, self.groups, self.crl = None, [], None
        self.associations, self.routes, self.rules = {}, {}, {}
        self.dns, self.description, self.handler, self.banner, self.log = [], None, None, None, None
        self.split, self.enforced, self.disconnect, self.portal = False, False, True, True
        self.port, self.hours = "443", "24"
        # Known once it was seen, and the same ever after.
        self.created = None

    def active(self):
        """Whether a target network is associated."""
        return any(found.code == "associated" for found in self.associations.values())

    def networks(self):
        """The target networks that are associated, and all of them."""
        rows = [({"networkId": a.subnet, "networkType": "vpc"}, a.code) for a in self.associations.values()]
        return [row for row, code in rows if code == "associated"], [row for row, _ in rows]

    def code(self):
        """The status."""
        return "available" if self.active() else "pending-associate"


class Vpc:
    """A VPC: its block, its groups."""

    def __init__(self, block):
        self.block, self.groups, self.default = block, [], None


class Subnet:
    """A subnet: its VPC's id, its block, its zone."""

    def __init__(self, vpc, block, zone):
        self.vpc, self.block, self.zone = vpc, block, zone


class Reference:
    """One region. `reachable`: whether there is a kernel fabric, so that associations come up."""

    def __init__(self, region, reachable, revocation_lists):
        self.region, self.reachable = region, reachable
        # The texts that are revocation lists, of the certificate authority in use.
        self.revocation_lists = revocation_lists
        self.vpcs, self.subnets, self.groups = {}, {}, {}
        # ARNs, and whether the certificate has a domain.
        self.certificates = {}
        self.endpoints, self.tags, self.tokens = {}, {}, {}
        # Every id ever given, and those that are gone.
        self.seen, self.gone = set(), []

    # --- The frame around the actions

    def expect(self, action, given):
        """The outcome of a call: an action and its parameters, without Action and Version."""
        faults = [*self._form(action, given), *self._values(action, given)]
        if faults:
            return Outcome(faults)
        if truth(given.get("DryRun", "false")):
            return Outcome([Fault("DryRunOperation", DRY_RUN)])
        token = given.get("ClientToken") if action in TOKENS else None
        bare = {name: value for name, value in given.items() if name not in ("ClientToken", "DryRun")}
        if token and (action, token) in self.tokens:
            first, answer = self.tokens[action, token]
            return Outcome((), answer) if first == bare else Outcome([Fault("IdempotentParameterMismatch")])
        outcome = getattr(self, f"_{action}")(bare)
        if "NextToken" in given:
            outcome.faults.append(Fault("InvalidPaginationToken"))
        if token and not outcome.faults:
            commit = outcome.commit

            def remember(answer):
                commit(answer)
                self.tokens[action, token] = (bare, answer)

            outcome.commit = remember
        return outcome

    def _form(self, action, given):
        """Faults of the form alone: names, types, enumerations, what is required."""
        table, faults, there = PARAMETERS[action], [], set()
        for name, value in given.items():
            general = name if name in table else NUMBERS.sub(".N", name)
            kind = "bool" if name == "DryRun" else table.get(general)
            there.add(general)
            if kind is None:
                faults.append(Fault("UnknownParameter", names=name))
            elif kind == "bool":
                if value.lower() not in ("true", "false"):
                    faults.append(invalid())
            elif kind == "int":
                if not re.fullmatch(r"-?\d{1,9}", value):
                    faults.append(invalid())
            elif kind == "page":
                if not re.fullmatch(r"-?\d{1,9}", value):
                    faults.append(invalid())
                elif int(value) not in PAGE:
                    faults.append(invalid(message=PAGE_SIZE.format(value)))
            elif isinstance(kind, tuple) and value not in kind:
                faults.append(invalid())
        for name, kind in table.items():
            if kind == "text!" and name not in there:
                faults.append(missing(name.removesuffix(".N")) if "." not in name else Fault("MissingParameter"))
        token = given.get("ClientToken", "") if action in TOKENS else ""
        if len(token) > TOKEN_CHARACTERS or not token.isascii():
            faults.append(Fault("InvalidClientToken"))
        if action == "CreateClientVpnEndpoint":
            if not any(name.startswith("Authentication.") for name in given):
                faults.append(Fault("MissingParameter", names="Authentication"))
            if not any(name.startswith("ConnectionLogOptions.") for name in given):
                faults.append(Fault("MissingParameter", names="ConnectionLogOptions"))
        return faults

    def _values(self, action, given):
        """Faults of values, whatever the region holds."""
        check = getattr(self, f"_values_{action}", None)
        faults = check(given) if check else []
        if len(given.get("Description", "")) > DESCRIPTION_CHARACTERS:
            faults.append(invalid())
        if action in FILTERS:
            faults += self._values_of_filters(action, given)
        return faults

    # --- Certificates

    def certificate(self, arn, has_domain):
        """A certificate was imported."""
        self.certificates[arn] = has_domain
        self.seen.add(arn)

    def expect_import(self):
        """The answer of ImportCertificate."""
        return {"CertificateArn": Text(rf"arn:aws:acm:{self.region}:{ACCOUNT}:certificate/[0-9a-f-]{{36}}")}

    # --- Networks, of which only what a Client VPN looks at is compared

    def _values_CreateVpc(self, given):
        if "CidrBlock" not in given:
            return [missing("CidrBlock")]
        block = network(given["CidrBlock"])
        if block is None:
            return [invalid()]
        return [] if 16 <= block.prefixlen <= 28 else [Fault("InvalidVpc.Range", names=given["CidrBlock"])]

    def _CreateVpc(self, given):
        block, faults = network(given["CidrBlock"]), []
        if len(self.vpcs) >= VPCS:
            faults.append(Fault("VpcLimitExceeded"))

        def commit(answer):
            made = answer["vpc"]["vpcId"]
            self.seen.add(made)
            self.vpcs[made] = Vpc(block)

        return Outcome(faults, Some({"vpc": Some({"vpcId": Fresh("vpc-"), "cidrBlock": str(block)})}), commit)

    def default_group(self, vpc, group):
        """The id of a VPC's default group is known now."""
        self.vpcs[vpc].default = group
        self.vpcs[vpc].groups.append(group)
        self.groups[group] = vpc
        self.seen.add(group)

    def _values_CreateSubnet(self, given):
        return [] if "CidrBlock" in given else [missing("CidrBlock")]

    def _CreateSubnet(self, given):
        faults = []
        vpc = self.vpcs.get(given["VpcId"])
        if vpc is None:
            faults.append(Fault("InvalidVpcID.NotFound", names=given["VpcId"]))
        block = network(given["CidrBlock"])
        if block is None:
            faults.append(invalid())
        elif not 16 <= block.prefixlen <= 28:
            faults.append(Fault("InvalidSubnet.Range"))
        elif vpc and not block.subnet_of(vpc.block):
            faults.append(Fault("InvalidSubnet.Range"))
        elif vpc:
            others = [other.block for other in self.subnets.values() if other.vpc == given["VpcId"]]
            if any(block.overlaps(other) for other in others):
                faults.append(Fault("InvalidSubnet.Conflict"))
        zone = given.get("AvailabilityZone")
        if zone is not None and zone not in [self.region + letter for letter in "abcdef"]:
            faults.append(invalid(zone))

        def commit(answer):
            row = answer["subnet"]
            self.seen.add(row["subnetId"])
            self.subnets[row["subnetId"]] = Subnet(given["VpcId"], block, row["availabilityZone"])

        shown = {"subnetId": Fresh("subnet-"), "vpcId": given["VpcId"], "cidrBlock": str(block)}
        shown["availabilityZone"] = zone or Text(re.escape(self.region) + "[a-f]")
        return Outcome(faults, Some({"subnet": Some(shown)}), commit)

    def _CreateSecurityGroup(self, given):
        vpc = given.get("VpcId")
        if vpc is None:
            return Outcome([Fault("VPCIdNotSpecified")])
        if vpc not in self.vpcs:
            return Outcome([Fault("InvalidVpcID.NotFound", names=vpc)])

        def commit(answer):
            made = answer["groupId"]
            self.seen.add(made)
            self.groups[made] = vpc
            self.vpcs[vpc].groups.append(made)

        return Outcome((), Some({"groupId": Fresh("sg-")}), commit)

    def _DescribeSecurityGroups(self, given):
        groups = listed(given, "GroupId")
        unknown = [group for group in groups if group not in self.groups]
        if unknown:
            return Outcome([Fault("InvalidGroup.NotFound", names=group) for group in unknown])
        wanted = groups or list(self.groups)
        rows = [Some({"groupId": group, "vpcId": self.groups[group]}) for group in dict.fromkeys(wanted)]
        return Outcome((), Some({"securityGroupInfo": Rows(rows)}))

    # --- Endpoints

    def _values_of_options(self, given):
        """Faults of what Create and Modify have in common."""
        faults = []
        if given.get("VpnPort", "443") not in ("443", "1194"):
            faults.append(invalid("443"))
        if given.get("SessionTimeoutHours", "24") not in ("8", "10", "12", "24"):
            faults.append(invalid("8, 10, 12, 24"))
        if len(given.get("ClientLoginBannerOptions.BannerText", "")) > BANNER_CHARACTERS:
            faults.append(invalid("1400"))
        function = given.get("ClientConnectOptions.LambdaFunctionArn")
        if self._on_or_off(given, "ClientConnectOptions") and function is not None and not self._is_handler(function):
            faults.append(invalid(function))
        servers = [*listed(given, "DnsServers"), *listed(given, "DnsServers.CustomDnsServers")]
        if len(servers) > 2:
            faults.append(invalid())
        for server in servers:
            try:
                ipaddress.ip_address(server)
            except ValueError:
                faults.append(invalid(server))
        if len(listed(given, "SecurityGroupId")) > GROUPS:
            faults.append(invalid())
        return faults

    def _on_or_off(self, given, structure):
        return truth(given.get(f"{structure}.Enabled", "false"))

    def _is_handler(self, function):
        form = rf"arn:aws:lambda:{re.escape(self.region)}:{ACCOUNT}:function:AWSClientVPN-[^:]+(:[^:]+)?"
        return re.fullmatch(form, function) is not None

    def _values_CreateClientVpnEndpoint(self, given):
        faults = self._values_of_options(given)
        for structure, member in SWITCHED.items():
            if self._on_or_off(given, structure) and f"{structure}.{member}" not in given:
                faults.append(missing(f"{structure}.{member}"))
        logs = [name for name in given if name.startswith("ConnectionLogOptions.")]
        if logs and "ConnectionLogOptions.Enabled" not in given:
            faults.append(missing("ConnectionLogOptions.Enabled"))
        block = given.get("ClientCidrBlock")
        if given.get("TrafficIpAddressType") == "ipv6":
            if block is not None:
                faults.append(Fault("InvalidParameterCombination"))
        elif block is None:
            faults.append(missing("ClientCidrBlock"))
        if block is not None:
            parsed = network(block)
            if parsed is None or not 12 <= parsed.prefixlen <= 22:
                faults.append(invalid(block))
        if listed(given, "SecurityGroupId") and "VpcId" not in given:
            faults.append(invalid(message="Security Groups cannot be specified without a VPC ID"))
        ways = structures(given, "Authentication")
        kinds = [way.get("Type") for way in ways]
        if len(ways) > 2:
            faults.append(invalid())
        needed = {
            CERTIFICATE: "MutualAuthentication.ClientRootCertificateChainArn",
            DIRECTORY: "ActiveDirectory.DirectoryId",
            FEDERATED: "FederatedAuthentication.SAMLProviderArn",
        }
        for way, kind in zip(ways, kinds):
            if kind is None:
                faults.append(Fault("MissingParameter", names="Type"))
            elif kind in needed and needed[kind] not in way:
                faults.append(Fault("MissingParameter", names=needed[kind].rsplit(".", 1)[1]))
        if len(ways) > 1 and (kinds.count(CERTIFICATE) != 1 or len(set(kinds)) != len(kinds)):
            # Two of one kind have no code of their own.
            faults += [Fault("InvalidParameterCombination"), *([invalid()] if len(set(kinds)) == 1 else [])]
        faults += self._values_of_tags(structures(given, "TagSpecification"))
        gateway = [name for name in given if name.startswith("TransitGatewayConfiguration.")]
        if gateway and ("VpcId" in given or listed(given, "SecurityGroupId")):
            faults.append(Fault("InvalidParameterCombination"))
        if gateway and "TransitGatewayConfiguration.TransitGatewayId" not in given:
            faults.append(Fault("MissingParameter"))
        return faults

    def _values_of_tags(self, specifications):
        faults = []
        for specification in specifications:
            kind = specification.get("ResourceType")
            if kind is None:
                faults.append(Fault("MissingParameter"))
            elif kind != "client-vpn-endpoint":
                faults.append(invalid(kind))
            faults += self._faults_of_tags(structures(specification, "Tag"))
        return faults

    def _faults_of_tags(self, tags):
        keys = [tag.get("Key") for tag in tags]
        faults = [] if len(set(keys)) == len(keys) else [invalid()]
        for tag in tags:
            key, value = tag.get("Key"), tag.get("Value", "")
            if not key:
                # Nobody says what an empty key is.
                faults += [Fault("MissingParameter"), invalid()]
            elif not 1 <= len(key) <= KEY_CHARACTERS or key.lower().startswith("aws:") or len(value) > VALUE_CHARACTERS:
                faults.append(invalid())
        return faults

    def _CreateClientVpnEndpoint(self, given):
        faults = self._faults_of_certificate(given["ServerCertificateArn"])
        for way in structures(given, "Authentication"):
            root = way.get("MutualAuthentication.ClientRootCertificateChainArn")
            if root is not None and root not in self.certificates:
                faults.append(invalid(root))
        faults += self._faults_of_network(given)
        if "TransitGatewayConfiguration.TransitGatewayId" in given:
            # No sequence makes one.
            faults.append(Fault("InvalidTransitGatewayID.NotFound"))
        if len(self.endpoints) >= ENDPOINTS:
            faults.append(Fault("ClientVpnEndpointLimitExceeded"))
        made = Endpoint()
        made.block = network(given["ClientCidrBlock"]) if "ClientCidrBlock" in given else None
        made.transport = given.get("TransportProtocol", "udp")
        made.types = [given.get(f"{which}IpAddressType", "ipv4") for which in ("Endpoint", "Traffic")]
        made.ways = structures(given, "Authentication")
        made.dns = listed(given, "DnsServers")
        tags = {
            tag["Key"]: tag.get("Value", "")
            for specification in structures(given, "TagSpecification")
            for tag in structures(specification, "Tag")
            if "Key" in tag
        }
        if not faults:
            self._set_options(made, given)
            self._set_network(made, given)

        def commit(answer):
            endpoint = answer["clientVpnEndpointId"]
            self.seen.add(endpoint)
            self.endpoints[endpoint] = made
            self.tags[endpoint] = tags

        answer = {
            "clientVpnEndpointId": Fresh("cvpn-endpoint-"),
            "status": Status("pending-associate"),
            "dnsName": Text(rf"cvpn-endpoint-[0-9a-f]{{17}}{re.escape(self.domain())}"),
        }
        return Outcome(faults, answer, commit)

    def domain(self):
        """What follows an endpoint's id in its name."""
        return f".prod.clientvpn.{self.region}.amazonaws.com"

    def _faults_of_certificate(self, arn):
        if arn not in self.certificates:
            return [invalid(arn)]
        if not self.certificates[arn]:
            return [invalid(message=f"Certificate {arn} does not have a domain")]
        return []

    def _faults_of_network(self, given):
        """Faults of VpcId and SecurityGroupId."""
        if "VpcId" not in given:
            return []
        faults = []
        if given["VpcId"] not in self.vpcs:
            faults.append(Fault("InvalidVpcID.NotFound", names=given["VpcId"]))
        for group in listed(given, "SecurityGroupId"):
            if self.groups.get(group) != given["VpcId"]:
                faults.append(Fault("InvalidGroup.NotFound", names=group))
        return faults

    def _set_network(self, endpoint, given):
        if "VpcId" in given:
            endpoint.vpc = given["VpcId"]
            endpoint.groups = listed(given, "SecurityGroupId") or [self.vpcs[given["VpcId"]].default]

    def _set_options(self, endpoint, given):
        """What Create and Modify set, absent ones unchanged."""
        endpoint.certificate = given.get("ServerCertificateArn") or endpoint.certificate
        endpoint.port = given.get("VpnPort", endpoint.port)
        endpoint.hours = given.get("SessionTimeoutHours", endpoint.hours)
        endpoint.description = given.get("Description", endpoint.description)
        for name, member in (
            ("SplitTunnel", "split"),
            ("ClientRouteEnforcementOptions.Enforced", "enforced"),
            ("DisconnectOnSessionTimeout", "disconnect"),
        ):
            if name in given:
                setattr(endpoint, member, truth(given[name]))
        if "SelfServicePortal" in given:
            endpoint.portal = given["SelfServicePortal"] == "enabled"
        if "ClientConnectOptions.Enabled" in given:
            on, function = self._on_or_off(given, "ClientConnectOptions"), "ClientConnectOptions.LambdaFunctionArn"
            endpoint.handler = given.get(function, endpoint.handler) if on else None
        if "ClientLoginBannerOptions.Enabled" in given:
            on, text = self._on_or_off(given, "ClientLoginBannerOptions"), "ClientLoginBannerOptions.BannerText"
            endpoint.banner = given.get(text, endpoint.banner) if on else None
        if "ConnectionLogOptions.Enabled" in given:
            on, names = self._on_or_off(given, "ConnectionLogOptions"), ("CloudwatchLogGroup", "CloudwatchLogStream")
            group, stream = [given.get(f"ConnectionLogOptions.{name}") for name in names]
            kept, there = endpoint.log or (None, None)
            # A stream is of its group: with another group and no stream there is a new one, made up.
            there = there if group in (None, kept) else None
            endpoint.log = (group or kept, stream or there) if on else None

    def endpoint_row(self, name):
        """An endpoint as it is described."""
        found = self.endpoints[name]
        row = {
            "clientVpnEndpointId": name,
            "status": Status(found.code()),
            "creationTime": found.created or Text(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d"),
            "dnsName": f"*.{name}{self.domain()}",
            "dnsServer": found.dns,
            "splitTunnel": flag(found.split),
            "vpnProtocol": "openvpn",
            "transportProtocol": found.transport,
            "vpnPort": found.port,
            # Nobody may depend on this list: of a network whose association failed it may say what it likes.
            "associatedTargetNetwork": Between(*found.networks()),
            "serverCertificateArn": found.certificate,
            "authenticationOptions": Rows([self._way(way) for way in found.ways]),
            "connectionLogOptions": {"Enabled": flag(found.log)},
            "tagSet": self._tag_rows(name),
            "securityGroupIdSet": Rows(found.groups),
            "clientConnectOptions": {"enabled": flag(found.handler), "status": Status("applied")},
            "sessionTimeoutHours": found.hours,
            "clientLoginBannerOptions": {"enabled": flag(found.banner is not None)},
            "clientRouteEnforcementOptions": {"enforced": flag(found.enforced)},
            "disconnectOnSessionTimeout": flag(found.disconnect),
            "endpointIpAddressType": found.types[0],
            "trafficIpAddressType": found.types[1],
        }
        if found.log:
            group, stream = found.log
            made = rf"{name}-{self.region}-20\d\d/\d\d/\d\d-[0-9A-Za-z]{{12}}"
            row["connectionLogOptions"] |= {"CloudwatchLogGroup": group, "CloudwatchLogStream": stream or Text(made)}
        if found.handler:
            row["clientConnectOptions"]["lambdaFunctionArn"] = found.handler
        if found.banner is not None:
            row["clientLoginBannerOptions"]["bannerText"] = found.banner
        if found.description is not None:
            row["description"] = found.description
        if found.block is not None:
            row["clientCidrBlock"] = str(found.block)
        if found.vpc is not None:
            row["vpcId"] = found.vpc
        if found.portal:
            row["selfServicePortalUrl"] = PORTAL + name
        return row

    def _way(self, way):
        row = {"type": way["Type"]}
        if way["Type"] == CERTIFICATE:
            root = way["MutualAuthentication.ClientRootCertificateChainArn"]
            row["mutualAuthentication"] = {"clientRootCertificateChain": root}
        elif way["Type"] == DIRECTORY:
            row["activeDirectory"] = {"directoryId": way["ActiveDirectory.DirectoryId"]}
        else:
            members = {"samlProviderArn": way["FederatedAuthentication.SAMLProviderArn"]}
            if own := way.get("FederatedAuthentication.SelfServiceSAMLProviderArn"):
                members["selfServiceSamlProviderArn"] = own
            row["federatedAuthentication"] = members
        return row

    def _tag_rows(self, resource):
        return Rows([{"key": key, "value": value} for key, value in self.tags.get(resource, {}).items()])

    def _DescribeClientVpnEndpoints(self, given):
        wanted = listed(given, "ClientVpnEndpointId")
        unknown = [name for name in wanted if name not in self.endpoints]
        if unknown:
            return Outcome([self._no_endpoint(name) for name in unknown])
        rows = []
        for name, found in self.endpoints.items():
            tags = self.tags.get(name, {})
            values = {"endpoint-id": name, "transport-protocol": found.transport, "tag-key": list(tags)}
            values |= {f"tag:{key}": value for key, value in tags.items()}
            if (not wanted or name in wanted) and self._passes(given, values):
                rows.append(self.endpoint_row(name))

        def learn(answer):
            for row in answer["clientVpnEndpoint"]:
                found = self.endpoints[row["clientVpnEndpointId"]]
                found.created = row["creationTime"]
                if found.log:
                    found.log = (found.log[0], row["connectionLogOptions"]["CloudwatchLogStream"])

        return Outcome((), {"clientVpnEndpoint": Rows(rows)}, learn)

    def _no_endpoint(self, name):
        return Fault("InvalidClientVpnEndpointId.NotFound", f"Endpoint {name} does not exist")

    def _values_ModifyClientVpnEndpoint(self, given):
        faults = self._values_of_options(given)
        if listed(given, "SecurityGroupId") and "VpcId" not in given:
            faults.append(invalid(message="Security Groups cannot be modified without specifying Vpc Id"))
        if any(name.startswith("TransitGatewayConfiguration.") for name in given):
            faults.append(Fault("UnsupportedOperation"))
        return faults

    def _ModifyClientVpnEndpoint(self, given):
        endpoint = self.endpoints.get(given["ClientVpnEndpointId"])
        faults = [] if endpoint else [self._no_endpoint(given["ClientVpnEndpointId"])]
        if "ServerCertificateArn" in given:
            faults += self._faults_of_certificate(given["ServerCertificateArn"])
        faults += self._faults_of_network(given)
        stored = endpoint and dict(zip(SWITCHED, (endpoint.banner, endpoint.handler, endpoint.log)))
        for structure, member in SWITCHED.items():
            # What is absent stays. The specification is silent about details of what is off: the server wants the switch.
            if f"{structure}.Enabled" not in given and any(name.startswith(f"{structure}.") for name in given):
                if endpoint and stored[structure] is not None:
                    given = {**given, f"{structure}.Enabled": "true"}
                    function = given.get("ClientConnectOptions.LambdaFunctionArn")
                    if structure == "ClientConnectOptions" and not self._is_handler(function):
                        faults.append(invalid(function))
                else:
                    faults.append(missing(f"{structure}.Enabled"))
            on = self._on_or_off(given, structure)
            if endpoint and on and f"{structure}.{member}" not in given and stored[structure] is None:
                faults.append(missing(f"{structure}.{member}"))
        if endpoint and endpoint.associations and given.get("VpcId", endpoint.vpc) != endpoint.vpc:
            faults += [Fault("ClientVpnEndpointAssociationExists"), Fault("InvalidParameterCombination")]

        def commit(_):
            self._set_options(endpoint, given)
            self._set_network(endpoint, given)
            servers = listed(given, "DnsServers.CustomDnsServers")
            if not truth(given.get("DnsServers.Enabled", "true")):
                endpoint.dns = []
            elif servers:
                endpoint.dns = servers

        return Outcome(faults, {"return": "true"}, commit)

    def _DeleteClientVpnEndpoint(self, given):
        name = given["ClientVpnEndpointId"]
        if name not in self.endpoints:
            return Outcome([self._no_endpoint(name)])
        if associations := self.endpoints[name].associations:
            if len(associations) == 1:
                text = f"The endpoint that you're trying to delete has associations {next(iter(associations))}"
                return Outcome([Fault("ClientVpnEndpointAssociationExists", text)])
            return Outcome([Fault("ClientVpnEndpointAssociationExists", names=next(iter(associations)))])

        def commit(_):
            del self.endpoints[name], self.tags[name]
            self.gone.append(name)

        return Outcome((), {"status": {"code": "deleting"}}, commit)

    # --- Target networks

    def _on(self, given):
        """The endpoint of a call and the fault that there is none."""
        name = given["ClientVpnEndpointId"]
        found = self.endpoints.get(name)
        return found, [] if found else [self._no_endpoint(name)]

    def _values_AssociateClientVpnTargetNetwork(self, given):
        faults = []
        named = {"SubnetId", "AvailabilityZone", "AvailabilityZoneId"} & given.keys()
        if len(named) > 1:
            faults.append(Fault("InvalidParameterCombination"))
        elif not named:
            faults.append(missing("SubnetId"))
        return faults + self._faults_of_subnet_id(given.get("SubnetId"))

    def _faults_of_subnet_id(self, subnet):
        if subnet is None or re.fullmatch(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})", subnet):
            return []
        return [Fault("InvalidSubnetID.Malformed")]

    def _AssociateClientVpnTargetNetwork(self, given):
        endpoint, faults = self._on(given)
        if "SubnetId" not in given:
            # Zones are for endpoints with a transit gateway.
            return Outcome([*faults, *([Fault("InvalidParameterCombination")] if endpoint else [])])
        name = given["SubnetId"]
        subnet = self.subnets.get(name)
        if subnet is None or (endpoint and endpoint.vpc not in (None, subnet.vpc)):
            faults.append(Fault("InvalidClientVpnSubnetId.NotFound", names=name))
        if subnet and endpoint:
            others = [found.subnet for found in endpoint.associations.values()]
            if name in others:
                faults.append(Fault("InvalidClientVpnDuplicateAssociationException", names=name))
            elif subnet.zone in [self.subnets[other].zone for other in others]:
                faults.append(Fault("InvalidClientVpnSubnetId.DuplicateAz"))
            blocks = (subnet.block, self.vpcs[subnet.vpc].block)
            if endpoint.block and any(block.overlaps(endpoint.block) for block in blocks):
                faults.append(Fault("InvalidClientVpnSubnetId.OverlappingCidr"))
            if subnet.block.prefixlen > 27:
                faults.append(invalid(name))

        def commit(answer):
            # Without a block for clients nobody can be let in: IPv6 alone is not in force.
            up = self.reachable and endpoint.block is not None
            code = "associated" if up else "association-failed"
            endpoint.associations[answer["associationId"]] = Association(name, code)
            self.seen.add(answer["associationId"])
            if endpoint.vpc is None:
                endpoint.vpc = subnet.vpc
            if not endpoint.groups:
                endpoint.groups = [self.vpcs[subnet.vpc].default]
            state = "active" if up else "failed"
            endpoint.routes[str(self.vpcs[subnet.vpc].block), name] = ("associate", "Default Route", state)

        return Outcome(faults, {"associationId": Fresh("cvpn-assoc-"), "status": {"code": "associating"}}, commit)

    def _DisassociateClientVpnTargetNetwork(self, given):
        endpoint, faults = self._on(given)
        name = given["AssociationId"]
        if endpoint and name not in endpoint.associations:
            faults.append(Fault("InvalidClientVpnAssociationIdNotFound", names=name))

        def commit(_):
            association = endpoint.associations.pop(name)
            self.gone.append(name)
            last = not endpoint.active()
            for destination, target in list(endpoint.routes):
                if target == association.subnet or (last and target == "local"):
                    del endpoint.routes[destination, target]

        return Outcome(faults, {"status": {"code": "disassociating"}, "associationId": name}, commit)

    def _DescribeClientVpnTargetNetworks(self, given):
        endpoint, faults = self._on(given)
        wanted = [*listed(given, "AssociationIds"), *listed(given, "AssociationId")]
        if endpoint:
            unknown = [name for name in wanted if name not in endpoint.associations]
            faults += [Fault("InvalidClientVpnAssociationIdNotFound", names=name) for name in unknown]
        if faults:
            return Outcome(faults)
        rows = []
        for name, found in endpoint.associations.items():
            values = {"association-id": name, "target-network-id": found.subnet, "vpc-id": endpoint.vpc}
            if (not wanted or name in wanted) and self._passes(given, values):
                rows.append(
                    {
                        "associationId": name,
                        "vpcId": endpoint.vpc,
                        "targetNetworkId": found.subnet,
                        "clientVpnEndpointId": given["ClientVpnEndpointId"],
                        "status": Status(found.code, said=found.code == "association-failed"),
                        "securityGroups": Rows(endpoint.groups),
                    }
                )
        return Outcome((), {"clientVpnTargetNetworks": Rows(rows)})

    def _values_ApplySecurityGroupsToClientVpnTargetNetwork(self, given):
        return [invalid()] if len(listed(given, "SecurityGroupId")) > GROUPS else []

    def _ApplySecurityGroupsToClientVpnTargetNetwork(self, given):
        endpoint, faults = self._on(given)
        faults += self._faults_of_network(given)
        if endpoint and not (endpoint.vpc == given["VpcId"] and endpoint.active()):
            faults.append(Fault("InvalidClientVpnActiveAssociationNotFound"))
        groups = listed(given, "SecurityGroupId")

        def commit(_):
            endpoint.groups = groups

        return Outcome(faults, {"securityGroupIds": Rows(groups)}, commit)

    # --- Routes

    def _values_of_network(self, text):
        return [] if text is None or network(text) is not None or IPV6.fullmatch(text) else [invalid()]

    def _faults_of_family(self, endpoint, text):
        """Each IP version is for endpoints of such traffic."""
        if not endpoint or endpoint.types[1] == "dual-stack":
            return []
        carried = "ipv4" if network(text) is not None else "ipv6"
        return [] if endpoint.types[1] == carried else [invalid("IPv4" if endpoint.types[1] == "ipv4" else "IPv6")]

    def _values_CreateClientVpnRoute(self, given):
        return self._values_of_network(given.get("DestinationCidrBlock")) + self._faults_of_target(given)

    def _faults_of_target(self, given):
        target = given.get("TargetVpcSubnetId")
        return [] if target == "local" else self._faults_of_subnet_id(target)

    def _CreateClientVpnRoute(self, given):
        endpoint, faults = self._on(given)
        if "TargetVpcSubnetId" not in given:
            # Without a transit gateway it is needed.
            return Outcome([*faults, *([missing("TargetVpcSubnetId")] if endpoint else [])])
        destination, target = network(given["DestinationCidrBlock"]), given["TargetVpcSubnetId"]
        key = (given["DestinationCidrBlock"], target)
        faults += self._faults_of_family(endpoint, given["DestinationCidrBlock"])
        if endpoint:
            subnets = [found.subnet for found in endpoint.associations.values()]
            if not endpoint.active():
                faults.append(Fault("InvalidClientVpnActiveAssociationNotFound"))
            if key in endpoint.routes:
                faults.append(Fault("InvalidClientVpnDuplicateRoute", "Route already exists"))
            if target == "local":
                if destination != endpoint.block:
                    faults.append(invalid())
            else:
                if target not in subnets:
                    faults.append(Fault("InvalidClientVpnSubnetId.NotFound", names=target))
                if endpoint.block and destination and destination.prefixlen and destination.overlaps(endpoint.block):
                    faults.append(invalid())
            if sum(other == target for _, other in endpoint.routes) >= ROUTES:
                faults.append(Fault("ClientVpnRouteLimitExceeded"))

        def commit(_):
            endpoint.routes[key] = ("add-route", given.get("Description"), "active")

        return Outcome(faults, {"status": {"code": "creating"}}, commit)

    def _values_DeleteClientVpnRoute(self, given):
        return self._values_of_network(given.get("DestinationCidrBlock")) + self._faults_of_target(given)

    def _DeleteClientVpnRoute(self, given):
        endpoint, faults = self._on(given)
        if not endpoint:
            return Outcome(faults)
        destination, target = given["DestinationCidrBlock"], given.get("TargetVpcSubnetId")
        found = [key for key in endpoint.routes if key[0] == destination and target in (None, key[1])]
        if not found:
            faults.append(Fault("InvalidClientVpnRouteNotFound"))
        elif len(found) > 1:
            faults.append(Fault("MissingParameter", names="TargetVpcSubnetId"))
        elif endpoint.routes[found[0]][0] == "associate":
            faults.append(Fault("OperationNotPermitted", DEFAULT_ROUTE))

        def commit(_):
            del endpoint.routes[found[0]]

        return Outcome(faults, {"status": {"code": "deleting"}}, commit)

    def _DescribeClientVpnRoutes(self, given):
        endpoint, faults = self._on(given)
        if faults:
            return Outcome(faults)
        rows = []
        for (destination, target), (origin, description, state) in endpoint.routes.items():
            values = {"destination-cidr": destination, "origin": origin, "target-subnet": target}
            if self._passes(given, values):
                row = {
                    "clientVpnEndpointId": given["ClientVpnEndpointId"],
                    "destinationCidr": destination,
                    "targetSubnet": target,
                    "type": "Local" if target == "local" else "Nat",
                    "origin": origin,
                    "status": Status(state, said=state == "failed"),
                }
                rows.append(row if description is None else {**row, "description": description})
        return Outcome((), {"routes": Rows(rows)})

    # --- Authorization rules

    def _values_AuthorizeClientVpnIngress(self, given):
        faults = self._values_of_network(given.get("TargetNetworkCidr"))
        everyone, group = truth(given.get("AuthorizeAllGroups", "false")), given.get("AccessGroupId")
        if everyone and group is not None:
            faults.append(Fault("InvalidParameterCombination"))
        elif not everyone and group is None:
            faults.append(Fault("MissingParameter"))
        if group is not None and not 1 <= len(group) <= GROUP_CHARACTERS:
            faults.append(invalid())
        return faults

    def _AuthorizeClientVpnIngress(self, given):
        endpoint, faults = self._on(given)
        faults += self._faults_of_family(endpoint, given["TargetNetworkCidr"])
        key = (given["TargetNetworkCidr"], given.get("AccessGroupId", ""))
        if endpoint and key in endpoint.rules:
            faults.append(Fault("InvalidClientVpnDuplicateAuthorizationRule"))
        if endpoint and len(endpoint.rules) >= RULES:
            faults.append(Fault("ClientVpnAuthorizationRuleLimitExceeded"))

        def commit(_):
            endpoint.rules[key] = given.get("Description")

        return Outcome(faults, {"status": {"code": "authorizing"}}, commit)

    def _values_RevokeClientVpnIngress(self, given):
        faults = self._values_of_network(given.get("TargetNetworkCidr"))
        everyone, group = truth(given.get("RevokeAllGroups", "false")), given.get("AccessGroupId")
        if not everyone and group is None:
            faults.append(Fault("MissingParameter"))
        elif everyone and group is not None:
            # Nobody says what both are: the server takes it as Authorize's.
            faults.append(Fault("InvalidParameterCombination"))
        return faults

    def _RevokeClientVpnIngress(self, given):
        endpoint, faults = self._on(given)
        key = (given["TargetNetworkCidr"], given.get("AccessGroupId", ""))
        if endpoint and key not in endpoint.rules:
            faults.append(Fault("InvalidClientVpnEndpointAuthorizationRuleNotFound"))

        def commit(_):
            del endpoint.rules[key]

        return Outcome(faults, {"status": {"code": "revoking"}}, commit)

    def _DescribeClientVpnAuthorizationRules(self, given):
        endpoint, faults = self._on(given)
        if faults:
            return Outcome(faults)
        rows = []
        for (destination, group), description in endpoint.rules.items():
            values = {"destination-cidr": destination, "group-id": group, "description": description}
            if self._passes(given, values):
                row = {
                    "clientVpnEndpointId": given["ClientVpnEndpointId"],
                    "groupId": group,
                    "accessAll": flag(group == ""),
                    "destinationCidr": destination,
                    "status": Status("active"),
                }
                rows.append(row if description is None else {**row, "description": description})
        return Outcome((), {"authorizationRule": Rows(rows)})

    # --- Connections, of which there are none

    def _DescribeClientVpnConnections(self, given):
        _, faults = self._on(given)
        return Outcome(faults, {"connections": []})

    def _values_TerminateClientVpnConnections(self, given):
        both = {"ConnectionId", "Username"} & given.keys()
        if len(both) == 2:
            return [Fault("InvalidParameterCombination")]
        return [] if both else [Fault("MissingParameter")]

    def _TerminateClientVpnConnections(self, given):
        _, faults = self._on(given)
        if faults:
            return Outcome(faults)
        if "ConnectionId" in given:
            return Outcome([Fault("InvalidClientVpnConnection.IdNotFound", names=given["ConnectionId"])])
        return Outcome([Fault("InvalidClientVpnConnection.UserNotFound", names=given["Username"])])

    # --- Revocation list, client configuration, attachments

    def _ImportClientVpnClientCertificateRevocationList(self, given):
        endpoint, faults = self._on(given)
        text = given["CertificateRevocationList"]
        # Where nobody shows a certificate there is no authority, so that every issuer is a wrong one.
        mutual = endpoint and any(way["Type"] == CERTIFICATE for way in endpoint.ways)
        if text not in self.revocation_lists or (endpoint and not mutual):
            faults.append(invalid())

        def commit(_):
            endpoint.crl = text

        return Outcome(faults, {"return": "true"}, commit)

    def _ExportClientVpnClientCertificateRevocationList(self, given):
        endpoint, faults = self._on(given)
        if faults or endpoint.crl is None:
            return Outcome(faults, {})
        return Outcome((), {"certificateRevocationList": endpoint.crl, "status": Status("active")})

    def _ExportClientVpnClientConfiguration(self, given):
        endpoint, faults = self._on(given)
        if faults:
            return Outcome(faults)
        lines = rf"(?sm)client\n.*^proto {endpoint.transport}\n.*^remote \S+ {endpoint.port}\n.*^<ca>\n.*^</ca>\n.*"
        return Outcome((), {"clientConfiguration": Text(lines)})

    def _attachment(self, given):
        name = given["TransitGatewayAttachmentId"]
        return Outcome([Fault("InvalidTransitGatewayAttachmentID.NotFound", names=name)])

    _AcceptTransitGatewayClientVpnAttachment = _attachment
    _RejectTransitGatewayClientVpnAttachment = _attachment
    _DeleteTransitGatewayClientVpnAttachment = _attachment

    # --- Tags

    def _values_CreateTags(self, given):
        tags = structures(given, "Tag")
        # More than a resource may have at all shows in the request alone.
        many = [Fault("TagLimitExceeded")] if len(tags) > TAGS else []
        return [*self._faults_of_tags(tags), *many] if tags else [Fault("MissingParameter")]

    def _faults_of_resources(self, given):
        faults = []
        for name in listed(given, "ResourceId"):
            if not any(name in things for things in (self.endpoints, self.vpcs, self.subnets, self.groups)):
                # The list of codes has InvalidID for CreateTags, and the endpoint's own for everything on an endpoint.
                faults.append(Fault("InvalidID", names=name))
                if name.startswith("cvpn-endpoint-"):
                    faults.append(self._no_endpoint(name))
        return faults

    def _CreateTags(self, given):
        faults = self._faults_of_resources(given)
        tags = {tag["Key"]: tag.get("Value", "") for tag in structures(given, "Tag")}
        names = listed(given, "ResourceId")
        if any(len({**self.tags.get(name, {}), **tags}) > TAGS for name in names):
            faults.append(Fault("TagLimitExceeded"))

        def commit(_):
            for name in names:
                self.tags.setdefault(name, {}).update(tags)

        return Outcome(faults, {"return": "true"}, commit)

    def _values_DeleteTags(self, given):
        tags = structures(given, "Tag")
        faults = [Fault("MissingParameter") for tag in tags if not tag.get("Key")]
        # Of reserved keys only CreateTags is told; the server refuses them here as well.
        return faults + [invalid("aws:") for tag in tags if tag.get("Key", "").startswith("aws:")]

    def _DeleteTags(self, given):
        faults = self._faults_of_resources(given)
        wanted, names = structures(given, "Tag"), listed(given, "ResourceId")

        def commit(_):
            for name in names:
                tags = self.tags.get(name, {})
                for tag in wanted or [{"Key": key} for key in list(tags)]:
                    if tag.get("Value", tags.get(tag["Key"])) == tags.get(tag["Key"]):
                        tags.pop(tag["Key"], None)

        return Outcome(faults, {"return": "true"}, commit)

    def _DescribeTags(self, given):
        rows = []
        for name, tags in self.tags.items():
            kind = KINDS[name.rsplit("-", 1)[0]]
            for key, value in tags.items():
                values = {"key": key, "value": value, "resource-id": name, "resource-type": kind}
                if self._passes(given, values):
                    rows.append({"resourceId": name, "resourceType": kind, "key": key, "value": value})
        return Outcome((), {"tagSet": Rows(rows)})

    # --- Filters

    def _values_of_filters(self, action, given):
        faults = []
        known = FILTERS.get(action)
        for wanted in structures(given, "Filter"):
            name = wanted.get("Name")
            if name is None:
                faults.append(Fault("MissingParameter"))
            elif known and name not in known and not (action.endswith("Endpoints") and name.startswith("tag:")):
                faults.append(invalid(message=f"The filter '{name}' is invalid"))
        return faults

    def _passes(self, given, values):
        """Whether an object with these values passes all filters."""
        for wanted in structures(given, "Filter"):
            own = values.get(wanted["Name"])
            texts = own if isinstance(own, list) else [] if own is None else [own]
            patterns = [wildcard(pattern) for pattern in listed(wanted, "Value")]
            if not any(pattern.fullmatch(text) for pattern in patterns for text in texts):
                return False
        return True
