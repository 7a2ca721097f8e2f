"""Random calls: what a sequence does next, knowing the state so far."""

from .players import LISTS, UNKNOWN
from .reference import CERTIFICATE, DIRECTORY, FEDERATED, FILTERS, GROUPS, TAGS, TOKENS

ELSEWHERE = ["0.0.0.0/0", "172.31.0.0/16", "192.168.100.0/24", "100.64.0.0/10", "203.0.113.0/24"]
NETWORKS = ["10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "172.16.0.0/12", "192.168.7.0/24", "10.9.8.7/32"]
IPV6_NETWORK = "2001:db8::/32"
WRONG_NETWORKS = ["10.0.0.1/16", "10.0.0.0/33", "x", "", "10.0.0.0", "10.0.0/16", "256.0.0.0/8", IPV6_NETWORK]
CLIENT_BLOCKS = ["10.8.0.0/22", "10.16.0.0/12", "172.20.0.0/16", "192.168.4.0/22", "10.0.0.0/20"]
WRONG_BLOCKS = ["10.8.0.0/23", "10.0.0.0/11", "10.8.0.1/22", "ten", "", "10.8.0.0"]
VPC_BLOCKS = ["10.0.0.0/16", "10.0.0.0/16", "10.1.0.0/16", "172.16.0.0/16", "192.168.0.0/20"]
GROUP_IDS = ["g-1", "g-2", "S-1-5-21-1", "All Staff"]
DESCRIPTIONS = ["", "one", "two words", 'ä <b> & "c"', "d" * 255]
TAG_KEYS = ["Name", "stage", "a b", "é"]
TAG_VALUES = ["", "1", "2", "a&b"]
TOKEN_VALUES = ["t-1", "t-2", "T-1", "t" * 64]
ADDRESSES = ["10.0.0.2", "8.8.8.8", "192.168.1.1"]

# How often each action is written, by what a sequence is about.
WEIGHTS = {
    "endpoints": {
        "CreateClientVpnEndpoint": 8,
        "ModifyClientVpnEndpoint": 8,
        "DeleteClientVpnEndpoint": 3,
        "DescribeClientVpnEndpoints": 4,
        "CreateTags": 1,
        "ExportClientVpnClientConfiguration": 1,
        "CreateVpc": 1,
        "CreateSecurityGroup": 1,
    },
    "crowd": {
        "CreateClientVpnEndpoint": 12,
        "DeleteClientVpnEndpoint": 1,
        "DescribeClientVpnEndpoints": 3,
        "CreateVpc": 3,
        "ModifyClientVpnEndpoint": 1,
    },
    "rules": {
        "AuthorizeClientVpnIngress": 12,
        "RevokeClientVpnIngress": 3,
        "DescribeClientVpnAuthorizationRules": 4,
        "CreateClientVpnEndpoint": 1,
        "DeleteClientVpnEndpoint": 1,
    },
    "tags": {
        "CreateTags": 6,
        "DeleteTags": 4,
        "DescribeTags": 3,
        "DescribeClientVpnEndpoints": 3,
        "CreateVpc": 1,
        "CreateClientVpnEndpoint": 2,
        "DeleteClientVpnEndpoint": 1,
    },
    "odds": {
        "ImportClientVpnClientCertificateRevocationList": 4,
        "ExportClientVpnClientCertificateRevocationList": 3,
        "ExportClientVpnClientConfiguration": 2,
        "DescribeClientVpnConnections": 3,
        "TerminateClientVpnConnections": 3,
        "AcceptTransitGatewayClientVpnAttachment": 1,
        "RejectTransitGatewayClientVpnAttachment": 1,
        "DeleteTransitGatewayClientVpnAttachment": 1,
        "CreateClientVpnEndpoint": 2,
        "DeleteClientVpnEndpoint": 1,
        "AuthorizeClientVpnIngress": 2,
    },
    "networks": {
        "AssociateClientVpnTargetNetwork": 8,
        "DisassociateClientVpnTargetNetwork": 4,
        "DescribeClientVpnTargetNetworks": 3,
        "CreateClientVpnRoute": 3,
        "DeleteClientVpnRoute": 2,
        "DescribeClientVpnRoutes": 2,
        "ApplySecurityGroupsToClientVpnTargetNetwork": 2,
        "ModifyClientVpnEndpoint": 2,
        "CreateSubnet": 2,
        "CreateVpc": 1,
        "CreateSecurityGroup": 1,
        "CreateClientVpnEndpoint": 1,
        "DeleteClientVpnEndpoint": 2,
        "AuthorizeClientVpnIngress": 1,
    },
    "routes": {
        "CreateClientVpnRoute": 10,
        "DeleteClientVpnRoute": 5,
        "DescribeClientVpnRoutes": 4,
        "AssociateClientVpnTargetNetwork": 2,
        "DisassociateClientVpnTargetNetwork": 1,
        "ApplySecurityGroupsToClientVpnTargetNetwork": 1,
        "CreateSubnet": 1,
    },
}
NEEDS_NETWORKS = {"networks", "routes"}
SPOILT_SHARE, DRY_SHARE, AGAIN_SHARE, TOKEN_SHARE = 0.22, 0.06, 0.08, 0.25


class Writer:
    """Writes the next call of a sequence, knowing the state so far."""

    def __init__(self, dice, player, about):
        self.dice, self.player, self.model, self.about = dice, player, player.model, about
        self.actions, self.weights = zip(*WEIGHTS[about].items())
        # Calls with a token, to make again.
        self.tokened = []

    def next(self):
        """An action, its parameters, and whether all pages are wanted."""
        dice, model = self.dice, self.model
        if not model.certificates:
            return "ImportCertificate", [("name", "server")], False
        if len(model.certificates) == 1 and dice.random() < 0.03:
            return "ImportCertificate", [("name", "alice")], False
        if self.about in NEEDS_NETWORKS and not model.vpcs:
            return "CreateVpc", [("CidrBlock", dice.choice(VPC_BLOCKS))], False
        if self.about in NEEDS_NETWORKS and len(model.subnets) < 2 and dice.random() < 0.8:
            return "CreateSubnet", self._CreateSubnet().items(), False
        if not model.endpoints and dice.random() < 0.85:
            return "CreateClientVpnEndpoint", self.endpoint().items(), False
        if self.about == "routes" and not any(e.active() for e in model.endpoints.values()) and dice.random() < 0.8:
            return "AssociateClientVpnTargetNetwork", self._AssociateClientVpnTargetNetwork().items(), False
        if self.tokened and dice.random() < AGAIN_SHARE:
            return *self._again(), False
        action = dice.choices(self.actions, self.weights)[0]
        given = getattr(self, f"_{action}")()
        if action in LISTS and dice.random() < 0.3:
            given["MaxResults"] = dice.choice(["5", "5", "6", "1000"])
            return action, self._filtered(action, given).items(), True
        if action in LISTS and dice.random() < 0.5:
            given = self._filtered(action, given)
        if action in TOKENS and dice.random() < TOKEN_SHARE:
            given["ClientToken"] = dice.choice(TOKEN_VALUES)
            self.tokened.append((action, dict(given)))
        if dice.random() < SPOILT_SHARE:
            given = self._spoilt(action, given)
        elif dice.random() < DRY_SHARE:
            given["DryRun"] = dice.choice(["true", "True", "false"])
        return action, given.items(), False

    def _again(self):
        """A call with its token once more: the same, in another order, or with something else in it."""
        action, given = self.dice.choice(self.tokened)
        match self.dice.randrange(5):
            case 0:
                return action, list(reversed(given.items()))
            case 1:
                other = {**given, "Description": "changed"} if action[0] != "A" or "Authorize" in action else given
                return action, other.items()
            case 2:
                return action, {**given, "DryRun": self.dice.choice(["true", "false"])}.items()
        return action, given.items()

    def _spoilt(self, action, given):
        """Something wrong with it."""
        dice, given = self.dice, dict(given)
        names = [name for name in given if name not in ("MaxResults",)]
        match dice.randrange(6):
            case 0 if names:
                del given[dice.choice(names)]
            case 1:
                given[dice.choice(["Nonsense", "clientVpnEndpointId", "DryRun.1", "Filter.1.Nonsense"])] = "1"
            case 2:
                given["DryRun"] = dice.choice(["true", "yes", "", "1"])
            case 3 if "ClientVpnEndpointId" in given:
                gone = [name for name in self.model.gone if name.startswith("cvpn-endpoint")]
                given["ClientVpnEndpointId"] = dice.choice([UNKNOWN["endpoint"], "cvpn-endpoint-x", "", "<&>", *gone])
            case 4 if action in LISTS:
                given["MaxResults"] = dice.choice(["4", "0", "1001", "-1", "five", ""])
            case 5 if action in LISTS:
                given |= dice.choice(
                    [
                        {"NextToken": dice.choice(["x", "AAAA", ""])},
                        {"Filter.1.Name": "nonsense", "Filter.1.Value.1": "x"},
                        {"Filter.7.Value.1": "x"},
                    ]
                )
            case _ if action in TOKENS:
                given["ClientToken"] = dice.choice(["x" * 65, "é"])
            case _:
                given["Nonsense"] = ""
        return given

    def _filtered(self, action, given):
        """With one or two filters, of values that are there or not."""
        dice, known = self.dice, FILTERS[action]
        for number in range(1, dice.choice([1, 1, 2]) + 1):
            name = dice.choice(known)
            if action == "DescribeClientVpnEndpoints" and dice.random() < 0.3:
                name = f"tag:{dice.choice(TAG_KEYS)}"
            given[f"Filter.{number}.Name"] = name
            for place in range(1, dice.choice([1, 1, 2, 3]) + 1):
                given[f"Filter.{number}.Value.{place}"] = self._filter_value(name)
        return given

    def _filter_value(self, name):
        dice, model = self.dice, self.model
        endpoints = list(model.endpoints.values())
        values = {
            "endpoint-id": [*model.endpoints, "cvpn-endpoint-*", UNKNOWN["endpoint"]],
            "transport-protocol": ["tcp", "udp", "UDP", "?cp"],
            "tag-key": [*TAG_KEYS, "*", "na*"],
            "association-id": [*(a for e in endpoints for a in e.associations), "cvpn-assoc-*", "x"],
            "target-network-id": [*model.subnets, "subnet-*"],
            "vpc-id": [*model.vpcs, "vpc-*", UNKNOWN["vpc"]],
            "destination-cidr": [*NETWORKS, "10.*", "*.0.0/16", "10.0.?.0/24"],
            "origin": ["associate", "add-route", "*-route", "Associate"],
            "target-subnet": [*model.subnets, "local", "subnet-*"],
            "description": [*DESCRIPTIONS, "two*", "Default Route", "\\*"],
            "group-id": [*GROUP_IDS, "g-?", "", "*"],
            "key": [*TAG_KEYS, "*a*", "name"],
            "value": [*TAG_VALUES, "?", "*"],
            "resource-id": [*model.endpoints, *model.vpcs, "cvpn-*", "x"],
            "resource-type": ["client-vpn-endpoint", "vpc", "security-group", "v*", "*"],
            "connection-id": ["cvpn-connection-*", "x"],
            "username": ["alice", "*"],
        }
        return dice.choice(values.get(name) or [*TAG_VALUES, "*", "?", "a?b"])

    # --- Things

    def _some(self, things, kind, unknown=0.05):
        """One of these, or one that is not there."""
        things = list(things)
        return self.dice.choice(things) if things and self.dice.random() >= unknown else UNKNOWN[kind]

    def _endpoint(self):
        return self._some(self.model.endpoints, "endpoint", unknown=0.02)

    def _on(self):
        name = self._endpoint()
        return self.model.endpoints.get(name), {"ClientVpnEndpointId": name}

    def _certificate(self):
        return self._some(self.model.certificates, "certificate", unknown=0.04)

    def _groups(self, vpc, count):
        found = self.model.vpcs[vpc].groups if vpc in self.model.vpcs else []
        others = [group for group in self.model.groups if group not in found]
        dice = self.dice
        chosen = [dice.choice((others if dice.random() < 0.08 else found) or [UNKNOWN["group"]]) for _ in range(count)]
        return {f"SecurityGroupId.{number}": group for number, group in enumerate(dict.fromkeys(chosen), 1)}

    def endpoint(self):
        """Parameters of CreateClientVpnEndpoint, all well formed."""
        arn = next(iter(self.model.certificates))
        return {
            "ClientCidrBlock": self.dice.choice(CLIENT_BLOCKS),
            "ServerCertificateArn": arn,
            "Authentication.1.Type": CERTIFICATE,
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn": arn,
            "ConnectionLogOptions.Enabled": "false",
        }

    def _options(self, given, share):
        """Some of what Create and Modify have in common."""
        dice = self.dice

        def often():
            return dice.random() < share

        if often():
            given["VpnPort"] = self._mostly(["443", "1194"], ["80", "0", "https", ""])
        if often():
            given["Description"] = self._mostly(DESCRIPTIONS, ["d" * 256])
        if often():
            given["SplitTunnel"] = self._mostly(["true", "false", "TRUE"], ["2", ""])
        if often():
            given["SelfServicePortal"] = self._mostly(["enabled", "disabled"], ["on", "Enabled"])
        if often():
            given["SessionTimeoutHours"] = self._mostly(["8", "10", "12", "24"], ["9", "x", "-8"])
        if often():
            given["DisconnectOnSessionTimeout"] = self._mostly(["true", "false"], ["x"])
        if often():
            given["ClientRouteEnforcementOptions.Enforced"] = self._mostly(["true", "false"], ["x"])
        if often():
            given["ClientLoginBannerOptions.Enabled"] = on = dice.choice(["true", "true", "false"])
            if on == "true" and dice.random() < 0.9:
                text = self._mostly(["hello", "é" * 1400, "a\nb <&>"], ["x" * 1401])
                given["ClientLoginBannerOptions.BannerText"] = text
        if often():
            given["ClientConnectOptions.Enabled"] = on = dice.choice(["true", "true", "false"])
            if on == "true" and dice.random() < 0.9:
                region = self._mostly([self.player.region], ["mars-1"])
                name = self._mostly(["AWSClientVPN-ask", "AWSClientVPN-ask:live"], ["ask"])
                function = f"arn:aws:lambda:{region}:000000000000:function:{name}"
                given["ClientConnectOptions.LambdaFunctionArn"] = function
        if often():
            given["ConnectionLogOptions.Enabled"] = on = self._mostly(["true", "true", "false"], ["maybe"])
            if on == "true" and dice.random() < 0.9:
                given["ConnectionLogOptions.CloudwatchLogGroup"] = dice.choice(["vpn", "other"])
            if on == "true" and dice.random() < 0.5:
                given["ConnectionLogOptions.CloudwatchLogStream"] = "one"
        if often() and (self.model.vpcs or dice.random() < 0.2):
            given["VpcId"] = vpc = self._some(self.model.vpcs, "vpc")
            given |= self._groups(vpc, dice.choice([0, 1, 1, 2, 2, 6]))
            if dice.random() < 0.08:
                del given["VpcId"]
        return given

    def _mostly(self, good, bad):
        """One of the good ones; seldom a bad one."""
        return self.dice.choice(bad if self.dice.random() < 0.05 else good)

    def _CreateClientVpnEndpoint(self):
        dice = self.dice
        if self.about == "crowd" and dice.random() < 0.8:
            return self.endpoint()
        given = self._options(self.endpoint(), 0.2)
        given["ServerCertificateArn"] = self._certificate()
        given["ClientCidrBlock"] = self._mostly(CLIENT_BLOCKS, WRONG_BLOCKS)
        if dice.random() < 0.25:
            given["TransportProtocol"] = self._mostly(["tcp", "tcp", "udp"], ["UDP"])
        for number in range(1, dice.choice([0, 0, 0, 0, 1, 1, 2, 2, 2, 3]) + 1):
            given[f"DnsServers.{number}"] = self._mostly(ADDRESSES, ["dns.example.com"])
        match dice.randrange(20):
            case 0 | 1:
                given["Authentication.2.Type"] = DIRECTORY
                if dice.random() < 0.8:
                    given["Authentication.2.ActiveDirectory.DirectoryId"] = "d-0123456789"
            case 2:
                given["Authentication.2.Type"] = dice.choice([CERTIFICATE, "password"])
                given["Authentication.2.MutualAuthentication.ClientRootCertificateChainArn"] = self._certificate()
            case 3:
                del given["Authentication.1.MutualAuthentication.ClientRootCertificateChainArn"]
                given["Authentication.1.Type"] = DIRECTORY
                given["Authentication.1.ActiveDirectory.DirectoryId"] = "d-0123456789"
                if dice.random() < 0.4:
                    provider = "arn:aws:iam::000000000000:saml-provider/p"
                    given["Authentication.2.Type"] = FEDERATED
                    given["Authentication.2.FederatedAuthentication.SAMLProviderArn"] = provider
            case 4:
                given["Authentication.1.MutualAuthentication.ClientRootCertificateChainArn"] = self._certificate()
            case 5:
                given["TrafficIpAddressType"] = kind = dice.choice(["ipv4", "ipv6", "dual-stack", "ipv5"])
                if dice.random() < (0.7 if kind == "ipv6" else 0.1):
                    del given["ClientCidrBlock"]
            case 6:
                given["EndpointIpAddressType"] = dice.choice(["ipv4", "dual-stack", "IPv4"])
        if dice.random() < 0.2:
            kind = "client-vpn-endpoint" if dice.random() < 0.9 else "vpc"
            given["TagSpecification.1.ResourceType"] = kind
            given |= {f"TagSpecification.1.{name}": value for name, value in self._tags(dice.choice([1, 2])).items()}
        return given

    def _tags(self, count, valueless=0.0):
        dice, given = self.dice, {}
        keys = [*dice.sample(TAG_KEYS, count)]
        if dice.random() < 0.06:
            keys[0] = dice.choice(["aws:x", "k" * 129, ""])
        for number, key in enumerate(keys, 1):
            given[f"Tag.{number}.Key"] = key
            if dice.random() >= valueless:
                given[f"Tag.{number}.Value"] = dice.choice(TAG_VALUES) if dice.random() < 0.97 else "v" * 257
        return given

    def _ModifyClientVpnEndpoint(self):
        dice = self.dice
        _, given = self._on()
        self._options(given, 0.25)
        if dice.random() < 0.15:
            given["ServerCertificateArn"] = self._certificate()
        match dice.randrange(6):
            case 0:
                given["DnsServers.Enabled"] = "false"
            case 1:
                for number in range(1, dice.choice([1, 1, 2, 2, 2, 3]) + 1):
                    given[f"DnsServers.CustomDnsServers.{number}"] = self._mostly(ADDRESSES, ["x"])
                if dice.random() < 0.6:
                    given["DnsServers.Enabled"] = dice.choice(["true", "true", "false"])
        if len(given) == 1:
            given["SplitTunnel"] = dice.choice(["true", "false"])
        return given

    def _DeleteClientVpnEndpoint(self):
        return self._on()[1]

    def _DescribeClientVpnEndpoints(self):
        names = [self._endpoint() for _ in range(self.dice.choice([0, 0, 1, 1, 2]))]
        return {f"ClientVpnEndpointId.{number}": name for number, name in enumerate(names, 1)}

    # --- Networks

    def _CreateVpc(self):
        if self.about == "crowd":
            return {"CidrBlock": f"10.{self.dice.randrange(256)}.0.0/16"}
        return {"CidrBlock": self.dice.choice([*VPC_BLOCKS, *VPC_BLOCKS, "10.0.0.0/15", "10.0.0.0/29", "x"])}

    def _CreateSubnet(self):
        dice, model = self.dice, self.model
        vpc = self._some(model.vpcs, "vpc", unknown=0.03)
        base = str(model.vpcs[vpc].block).split(".")[:2] if vpc in model.vpcs else ["10", "0"]
        mask = dice.choice(["24", "24", "24", "27", "28"])
        block = f"{'.'.join(base)}.{dice.randrange(8)}.0/{mask}"
        given = {"VpcId": vpc, "CidrBlock": block}
        if dice.random() < 0.9:
            given["AvailabilityZone"] = self.player.region + dice.choice("aabbc")
        return given

    def _CreateSecurityGroup(self):
        vpc = self._some(self.model.vpcs, "vpc", unknown=0.02)
        return {"GroupName": f"group-{len(self.model.groups)}", "GroupDescription": "a group", "VpcId": vpc}

    def _AssociateClientVpnTargetNetwork(self):
        dice = self.dice
        _, given = self._on()
        wrong = dice.random()
        if wrong < 0.04:
            return {**given, "SubnetId": dice.choice(["subnet", "", "subnet-xyz"])}
        if wrong < 0.07:
            return {**given, dice.choice(["AvailabilityZone", "AvailabilityZoneId"]): "x"}
        return {**given, "SubnetId": self._some(self.model.subnets, "subnet", unknown=0.03)}

    def _DisassociateClientVpnTargetNetwork(self):
        found, given = self._on()
        everywhere = [name for endpoint in self.model.endpoints.values() for name in endpoint.associations]
        gone = [name for name in self.model.gone if name.startswith("cvpn-assoc")]
        mine = list(found.associations) if found else []
        if not mine or self.dice.random() < 0.1:
            mine = [*everywhere, *gone, UNKNOWN["association"], "x"]
        return {**given, "AssociationId": self.dice.choice(mine)}

    def _DescribeClientVpnTargetNetworks(self):
        found, given = self._on()
        for number in range(1, self.dice.choice([0, 0, 1, 2]) + 1):
            given[f"AssociationIds.{number}"] = self._some(found.associations if found else [], "association", 0.1)
        return given

    def _ApplySecurityGroupsToClientVpnTargetNetwork(self):
        found, given = self._on()
        vpc = found.vpc if found and found.vpc and self.dice.random() < 0.8 else self._some(self.model.vpcs, "vpc")
        groups = self._groups(vpc, self.dice.choice([1, 1, 2, 3]))
        if self.dice.random() < 0.03:
            groups = {f"SecurityGroupId.{number}": UNKNOWN["group"] for number in range(1, GROUPS + 2)}
        return {**given, "VpcId": vpc, **groups}

    def _destination(self):
        return self.dice.choice(NETWORKS if self.dice.random() < 0.92 else WRONG_NETWORKS)

    def _target(self, found):
        dice = self.dice
        mine = [a.subnet for a in found.associations.values()] if found else []
        others = ["local", self._some(self.model.subnets, "subnet"), dice.choice(["x", ""])]
        return dice.choice(mine if mine and dice.random() < 0.6 else others)

    def _CreateClientVpnRoute(self):
        found, given = self._on()
        dice = self.dice
        given["DestinationCidrBlock"] = dice.choice(ELSEWHERE) if dice.random() < 0.5 else self._destination()
        if found and found.types[1] != "ipv4" and dice.random() < 0.3:
            given["DestinationCidrBlock"] = IPV6_NETWORK
        given["TargetVpcSubnetId"] = target = self._target(found)
        if found and found.block and dice.random() < (0.7 if target == "local" else 0.05):
            given["DestinationCidrBlock"] = str(found.block)
        if dice.random() < 0.3:
            given["Description"] = dice.choice(DESCRIPTIONS)
        return given

    def _DeleteClientVpnRoute(self):
        found, given = self._on()
        dice = self.dice
        if found and found.routes and dice.random() < 0.85:
            destination, target = dice.choice(list(found.routes))
        else:
            destination, target = self._destination(), self._target(found)
        given["DestinationCidrBlock"] = destination
        return given if dice.random() < 0.25 else {**given, "TargetVpcSubnetId": target}

    def _DescribeClientVpnRoutes(self):
        return self._on()[1]

    # --- Rules

    def _rule(self, word):
        given = {"TargetNetworkCidr": self._destination()}
        match self.dice.randrange(20):
            case 0:
                given |= self.dice.choice([{word: "true", "AccessGroupId": "g-1"}, {}])
            case 1:
                given |= {word: "false"}
            case 2:
                given |= {word: "false", "AccessGroupId": self.dice.choice(GROUP_IDS)}
            case 3:
                given |= {"AccessGroupId": self.dice.choice(["g" * 255, "g" * 256, ""] if word[0] == "A" else ["none"])}
            case n if n < 12:
                given |= {word: self.dice.choice(["true", "True"])}
            case _:
                given |= {"AccessGroupId": self.dice.choice(GROUP_IDS)}
        return given

    def _AuthorizeClientVpnIngress(self):
        found, given = self._on()
        if found and found.rules and self.dice.random() < 0.1:
            destination, group = self.dice.choice(list(found.rules))
            who = {"AccessGroupId": group} if group else {"AuthorizeAllGroups": "true"}
            given |= {"TargetNetworkCidr": destination, **who}
        else:
            given |= self._rule("AuthorizeAllGroups")
        if found and found.types[1] != "ipv4" and self.dice.random() < 0.3:
            given["TargetNetworkCidr"] = IPV6_NETWORK
        if self.dice.random() < 0.3:
            given["Description"] = self._mostly(DESCRIPTIONS, ["d" * 256])
        return given

    def _RevokeClientVpnIngress(self):
        found, given = self._on()
        if found and found.rules and self.dice.random() < 0.7:
            destination, group = self.dice.choice(list(found.rules))
            who = {"AccessGroupId": group} if group else {"RevokeAllGroups": "true"}
            return {**given, "TargetNetworkCidr": destination, **who}
        return {**given, **self._rule("RevokeAllGroups")}

    def _DescribeClientVpnAuthorizationRules(self):
        return self._on()[1]

    # --- The rest

    def _DescribeClientVpnConnections(self):
        return self._on()[1]

    def _TerminateClientVpnConnections(self):
        who = [{"ConnectionId": "cvpn-connection-0123456789abcdef0"}, {"Username": "alice"}, {"ConnectionId": "x"}]
        who += [{}, {"ConnectionId": "cvpn-connection-0123456789abcdef0", "Username": "alice"}]
        return {**self._on()[1], **self.dice.choice(who)}

    def _ImportClientVpnClientCertificateRevocationList(self):
        lists = self.player.materials.revocation_lists
        text = self.dice.choice([*lists, *lists, *self.player.materials.no_revocation_lists])
        return {**self._on()[1], "CertificateRevocationList": text}

    def _ExportClientVpnClientCertificateRevocationList(self):
        return self._on()[1]

    def _ExportClientVpnClientConfiguration(self):
        return self._on()[1]

    def _attachment(self):
        return {"TransitGatewayAttachmentId": self.dice.choice(["tgw-attach-0123456789abcdef0", "x"])}

    _AcceptTransitGatewayClientVpnAttachment = _attachment
    _RejectTransitGatewayClientVpnAttachment = _attachment
    _DeleteTransitGatewayClientVpnAttachment = _attachment

    def _resources(self):
        dice, model = self.dice, self.model
        names = [self._endpoint() for _ in range(dice.choice([1, 1, 1, 2]))]
        others = [*model.vpcs, *model.subnets, *model.groups]
        if others and dice.random() < 0.15:
            names.append(dice.choice(others))
        return {f"ResourceId.{number}": name for number, name in enumerate(dict.fromkeys(names), 1)}

    def _CreateTags(self):
        if self.dice.random() < 0.03:
            # As many as there may be, or one more.
            count = self.dice.choice([TAGS - 4, TAGS, TAGS + 1])
            return {**self._resources(), **{f"Tag.{number}.Key": f"k{number}" for number in range(1, count + 1)}}
        return {**self._resources(), **self._tags(self.dice.choice([1, 1, 2, 3]))}

    def _DeleteTags(self):
        count = self.dice.choice([0, 1, 1, 2])
        return {**self._resources(), **(self._tags(count, valueless=0.6) if count else {})}

    def _DescribeTags(self):
        return {}
