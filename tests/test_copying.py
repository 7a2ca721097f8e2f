"""`bascule export terraform` and `bascule import aws`: what is there, written down or made again, equal but for ids."""

import contextlib
import ipaddress
import json
import re

import pytest

from support import namespaces
from support.calls import Caller, Refused
from support.servers import FABRIC_MISSING, Server, bascule, environment, eventually
from support.terraform import EMPTY, TERRAFORM
from support.world import World
from test_terraform import terraform  # noqa: F401: a fixture

needs_terraform = pytest.mark.skipif(TERRAFORM is None, reason="no program terraform")

MARK = "bascule:imported-from"
POLICY = 'permit(principal, action, resource) when { context.connection.endpointId like "cvpn-*" };'
# What changes with every endpoint, and what is compared by itself.
OWN = {"ClientVpnEndpointId", "CreationTime", "DnsName", "Status", "AssociatedTargetNetworks", "SelfServicePortalUrl"}


def tags(**more):
    return [{"Key": key, "Value": value} for key, value in more.items()]


class Built:
    """A region with one endpoint that has everything; `dual`: carrying IPv6 as well."""

    def __init__(self, world, associations, rules, routes, dual=False):
        self.world = world
        ec2 = world.ec2
        named = lambda kind, name: [{"ResourceType": kind, "Tags": tags(Name=name, Odd='${x} "q" \\ %{y}')}]  # noqa: E731
        self.vpc = world.vpc(TagSpecifications=named("vpc", "Main net"))
        ec2("ModifyVpcAttribute", VpcId=self.vpc, EnableDnsHostnames={"Value": True})
        ec2("AssociateVpcCidrBlock", VpcId=self.vpc, CidrBlock="10.1.0.0/16")
        # One block that is the operator's own, and one beside it.
        for third in (1, 2):
            block = f"2001:db8:{third}::/56"
            ec2("AssociateVpcCidrBlock", VpcId=self.vpc, Ipv6CidrBlock=block, Ipv6Pool="home")
        self.subnets = [
            world.subnet(
                self.vpc,
                f"10.{number % 2}.{number}.0/24",
                "abcdef"[number],
                Ipv6CidrBlock=f"2001:db8:{number % 2 + 1}:{number}::/64",
                TagSpecifications=named("subnet", f"subnet {number}"),
            )
            for number in range(max(associations, 1))
        ]
        for attribute in ("MapPublicIpOnLaunch", "AssignIpv6AddressOnCreation"):
            ec2("ModifySubnetAttribute", SubnetId=self.subnets[0], **{attribute: {"Value": True}})
        self.groups = []
        for name in ("web", "db"):
            made = ec2(
                "CreateSecurityGroup",
                GroupName=name,
                Description=f"for {name}",
                VpcId=self.vpc,
                TagSpecifications=named("security-group", name),
            )
            self.groups.append(made["GroupId"])
        web, db = self.groups
        https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
        peers = [{"CidrIp": "10.0.0.0/8", "Description": "in"}, {"CidrIp": "192.168.0.0/16"}]
        ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[{**https, "IpRanges": peers}])
        v6 = [{"CidrIpv6": "2001:db8:1::/48", "Description": "out"}]
        ec2("AuthorizeSecurityGroupEgress", GroupId=web, IpPermissions=[{**https, "Ipv6Ranges": v6}])
        from_web = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": web}]}
        ec2("AuthorizeSecurityGroupIngress", GroupId=db, IpPermissions=[from_web])
        everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2("RevokeSecurityGroupEgress", GroupId=db, IpPermissions=[everything])
        for body in (
            ("CreateLogGroup", {"logGroupName": "/vpn/all", "tags": {"team": "net"}}),
            ("PutRetentionPolicy", {"logGroupName": "/vpn/all", "retentionInDays": 30}),
            ("CreateLogStream", {"logGroupName": "/vpn/all", "logStreamName": "connections"}),
        ):
            self.logs(*body)
        self.endpoint = world.endpoint(
            Description="all of it",
            **({"TrafficIpAddressType": "dual-stack"} if dual else {}),
            VpcId=self.vpc,
            SecurityGroupIds=[web, db],
            DnsServers=["10.0.0.2", "10.0.0.3"],
            SplitTunnel=True,
            VpnPort=1194,
            SessionTimeoutHours=12,
            DisconnectOnSessionTimeout=True,
            ClientLoginBannerOptions={"Enabled": True, "BannerText": 'Be "kind"\nand ${careful}'},
            ConnectionLogOptions={
                "Enabled": True,
                "CloudwatchLogGroup": "/vpn/all",
                "CloudwatchLogStream": "connections",
            },
            TagSpecifications=named("client-vpn-endpoint", "The VPN"),
        )
        by_id = {"ClientVpnEndpointId": self.endpoint}
        for subnet in self.subnets[:associations]:
            world.associate(self.endpoint, subnet, until=("associated",))
        for number in range(rules):
            whom = {"AccessGroupId": f"group-{number}"} if number % 2 else {"AuthorizeAllGroups": True}
            if number % 3 == 0:
                whom["Description"] = f"rule {number}"
            cidr = f"10.{number // 200}.{number % 200}.0/24"
            ec2("AuthorizeClientVpnIngress", **by_id, TargetNetworkCidr=cidr, **whom)
        if dual:
            v6_rule = {"TargetNetworkCidr": "2001:db8::/32", "AccessGroupId": "six", "Description": "IPv6"}
            ec2("AuthorizeClientVpnIngress", **by_id, **v6_rule)
        for number in range(routes):
            cidr, subnet = f"172.16.{number}.0/24", self.subnets[number % associations]
            more = {"Description": f"route {number}"} if number % 2 else {}
            ec2("CreateClientVpnRoute", **by_id, DestinationCidrBlock=cidr, TargetVpcSubnetId=subnet, **more)

    def logs(self, action, body):
        reply = self.world.root.json(f"Logs_20140328.{action}", json.dumps(body).encode(), "logs")
        assert reply.status == 200, reply.text

    def destroy(self):
        """All of it but the certificate."""
        ec2, root = self.world.ec2, self.world.root
        for endpoint in ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]:
            found = endpoint["ClientVpnEndpointId"]
            for association in self.world.networks(found):
                ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=found, AssociationId=association)
            eventually(lambda found=found: not self.world.networks(found), what="no association is left")
            ec2("DeleteClientVpnEndpoint", ClientVpnEndpointId=found)
            eventually(lambda found=found: self.world.status(found) is None, what="the endpoint is gone")
        for subnet in ec2("DescribeSubnets")["Subnets"]:
            ec2("DeleteSubnet", SubnetId=subnet["SubnetId"])
        rules = ec2("DescribeSecurityGroupRules")["SecurityGroupRules"]
        for rule in rules:
            if "ReferencedGroupInfo" in rule and not rule["IsEgress"]:
                ec2(
                    "RevokeSecurityGroupIngress",
                    GroupId=rule["GroupId"],
                    SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]],
                )
        for group in ec2("DescribeSecurityGroups")["SecurityGroups"]:
            if group["GroupName"] != "default":
                ec2("DeleteSecurityGroup", GroupId=group["GroupId"])
        for vpc in ec2("DescribeVpcs")["Vpcs"]:
            ec2("DeleteVpc", VpcId=vpc["VpcId"])
        root.json("Logs_20140328.DeleteLogGroup", b'{"logGroupName": "/vpn/all"}', "logs")


def plain_tags(row):
    """Tags without the one an import leaves."""
    return sorted((tag["Key"], tag["Value"]) for tag in row.get("Tags", []) if tag["Key"] != MARK)


def picture(world):
    """What a region has, with names in the place of ids."""
    ec2, names = world.ec2, {}
    vpcs, subnets, groups = (
        ec2("DescribeVpcs")["Vpcs"],
        ec2("DescribeSubnets")["Subnets"],
        ec2("DescribeSecurityGroups")["SecurityGroups"],
    )
    names |= {row["VpcId"]: row["CidrBlock"] for row in vpcs}
    names |= {row["SubnetId"]: row["CidrBlock"] for row in subnets}
    names |= {row["GroupId"]: row["GroupName"] for row in groups}
    for row in world.root.acm("ListCertificates")["CertificateSummaryList"]:
        names[row["CertificateArn"]] = row["DomainName"]

    def named(value):
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return names.get(value, value) if isinstance(value, str) else value

    found = {"vpcs": [], "subnets": [], "groups": [], "rules": [], "endpoints": []}
    for row in vpcs:
        blocks = sorted(block["CidrBlock"] for block in row["CidrBlockAssociationSet"])
        blocks += sorted((block["Ipv6CidrBlock"], block["Ipv6Pool"]) for block in row["Ipv6CidrBlockAssociationSet"])
        hostnames = ec2("DescribeVpcAttribute", VpcId=row["VpcId"], Attribute="enableDnsHostnames")
        found["vpcs"].append([blocks, hostnames["EnableDnsHostnames"], plain_tags(row)])
    for row in subnets:
        zone = row["AvailabilityZone"].removeprefix(world.region)
        blocks = [row["CidrBlock"]] + [block["Ipv6CidrBlock"] for block in row["Ipv6CidrBlockAssociationSet"]]
        addresses = row["MapPublicIpOnLaunch"], row["AssignIpv6AddressOnCreation"]
        found["subnets"].append([blocks, zone, addresses, plain_tags(row)])
    found["groups"] = [[row["GroupName"], row["Description"], plain_tags(row)] for row in groups]
    for row in ec2("DescribeSecurityGroupRules")["SecurityGroupRules"]:
        own = {"SecurityGroupRuleId", "SecurityGroupRuleArn", "Tags"}
        found["rules"].append(named({key: value for key, value in row.items() if key not in own}))
    for row in ec2("DescribeClientVpnEndpoints")["ClientVpnEndpoints"]:
        by_id = {"ClientVpnEndpointId": row["ClientVpnEndpointId"]}
        options = named({key: value for key, value in row.items() if key not in OWN | {"Tags"}})
        options["SecurityGroupIds"] = sorted(options["SecurityGroupIds"])
        networks = ec2("DescribeClientVpnTargetNetworks", **by_id)["ClientVpnTargetNetworks"]
        routes = ec2("DescribeClientVpnRoutes", **by_id, MaxResults=1000)["Routes"]
        rules = ec2("DescribeClientVpnAuthorizationRules", **by_id, MaxResults=1000)["AuthorizationRules"]
        found["endpoints"].append(
            [
                options,
                plain_tags(row),
                sorted(names[network["TargetNetworkId"]] for network in networks),
                sorted(
                    (route["DestinationCidr"], names[route["TargetSubnet"]], route["Origin"], route.get("Description"))
                    for route in routes
                ),
                sorted((rule["DestinationCidr"], rule.get("GroupId"), rule.get("Description")) for rule in rules),
                world.policy(row["ClientVpnEndpointId"]),
            ]
        )
    return {kind: sorted(rows, key=repr) for kind, rows in found.items()}


def export(server, *arguments):
    """The exported text."""
    more = ["--data-dir", server.data, "--endpoint-url", server.url, "--provider", *arguments]
    done = bascule("export", "terraform", *more)
    assert done.returncode == 0, done.stderr
    assert server.root_key[1] not in done.stdout and "PRIVATE KEY" not in done.stdout
    return done.stdout


@needs_terraform
def test_an_export_makes_the_same_again(terraform, certificates):  # noqa: F811
    """Without associations, around which the provider sleeps."""
    world = World(terraform.server, certificates, "us-east-1")
    built = Built(world, 0, 24, 0)
    before, text = picture(world), export(world.server)
    built.destroy()
    assert picture(world)["endpoints"] == [] and picture(world)["vpcs"] == []
    one = terraform(text=text)
    one.take_in()
    after = picture(world)
    # A subnet nothing leads to is not referred to.
    assert before.pop("subnets") and after.pop("subnets") == []
    assert after == before
    one.settles()


@needs_terraform
@pytest.mark.fabric
def test_an_export_takes_over_what_stands(terraform, certificates):  # noqa: F811
    world = World(terraform.server, certificates, "us-east-1")
    built = Built(world, 3, 20, 10, dual=True)
    # A subnet of an IPv6 block that the service has chosen.
    chosen = world.ec2("AssociateVpcCidrBlock", VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    world.ec2("AssociateVpcCidrBlock", VpcId=built.vpc, Ipv6CidrBlock="2001:db8:3::/56", Ipv6Pool="home")
    block = ipaddress.ip_network(chosen["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"])
    part = list(block.subnets(new_prefix=64))[7]
    subnet = world.subnet(built.vpc, "10.0.77.0/24", "d", Ipv6CidrBlock=str(part))
    world.associate(built.endpoint, subnet, until=("associated",))
    before, text = picture(world), export(world.server, "--import-blocks")
    # What provider 5.100.0 does not know yet, and so does not look at either.
    newer = '  traffic_ip_address_type = "dual-stack"\n'
    assert text.count(newer) == 1 and ".ipv6_cidr_block, 8, 7)" in text
    one = terraform(text=text.replace(newer, ""))
    said = one.take_in()
    imported = text.count("\nimport {")
    assert imported > 45
    assert f"{imported} imported, 0 added, 0 changed, 0 destroyed" in said, said[-2000:]
    assert picture(world) == before
    code, text = one.plan()
    assert code == EMPTY, text


@needs_terraform
@pytest.mark.slow
@pytest.mark.fabric
def test_a_large_export_makes_the_same_again(terraform, certificates):  # noqa: F811
    world = World(terraform.server, certificates, "us-east-1")
    built = Built(world, 5, 100, 50)
    before, text = picture(world), export(world.server)
    built.destroy()
    one = terraform(text=text)
    one.take_in()
    assert picture(world) == before
    one.settles()


def test_an_export_of_nothing_and_of_one(make_server, certificates):
    server = make_server()
    world = World(server, certificates, "us-east-1")
    assert "resource" not in export(server)
    one = world.endpoint(Description="one")
    world.endpoint(Description="other")
    text = export(server, "--endpoint-id", one)
    assert 'resource "aws_ec2_client_vpn_endpoint" "one"' in text and text.count("\nresource ") == 1
    assert export(server).count("\nresource ") == 2
    done = bascule("export", "terraform", "--data-dir", server.data, "--endpoint-id", "cvpn-endpoint-0123456789abcdef0")
    assert done.returncode == 1 and "InvalidClientVpnEndpointId.NotFound" in done.stderr


@contextlib.contextmanager
def elsewhere(places, *arguments):
    """A server with its fabric in another namespace, and a port here that leads to it."""
    with namespaces.fresh():
        server = Server(places, *arguments, privileged=True).start()
        namespace = namespaces.current()
    door = namespaces.Doorway(server.address[1], namespace)
    server.url = door.url
    try:
        yield server
    finally:
        door.close()
        server.close()


@pytest.fixture
def two(places, make_server, own_namespace):
    """Two servers, each with its own kernel fabric."""
    pool = ["--gateway-address", namespaces.POOL]
    far = make_server(*pool, privileged=True)
    with elsewhere(places, *pool) as near:
        yield far, near


def bring(far, near, *arguments, profile="far"):
    """Imports from one server into the other."""
    file = near.folder / "shared-credentials"
    file.write_text("[default]\n[far]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*far.root_key))
    where = ["--profile", profile, "--region", "us-east-1", "--endpoint-url", far.url]
    done = bascule(
        *("import", "aws", *where, "--data-dir", near.data, "--to-url", near.url, *arguments),
        env=environment(AWS_SHARED_CREDENTIALS_FILE=str(file)),
        timeout=120,
    )
    for key in (far.root_key, near.root_key):
        assert key[1] not in done.stdout + done.stderr
    return done


@pytest.mark.fabric
def test_an_import_makes_the_same_and_a_second_changes_nothing(two, certificates):
    far, near = two
    there, here = World(far, certificates, "us-east-1"), World(near, certificates, "us-east-1")
    built = Built(there, 3, 40, 20, dual=True)
    there.ec2("ModifyClientVpnEndpointAuthorizationPolicy", ClientVpnEndpointId=built.endpoint, PolicyDocument=POLICY)
    # Which Terraform's provider 5.100.0 does not take.
    v6_route = {"DestinationCidrBlock": "2001:db8:9::/48", "TargetVpcSubnetId": built.subnets[0]}
    there.ec2("CreateClientVpnRoute", ClientVpnEndpointId=built.endpoint, **v6_route)
    # The private key is nobody's to copy: it is said what is lacking.
    done = bring(far, near)
    assert done.returncode == 1
    assert f"--certificate {there.arn}=ARN" in done.stdout and "vpn.example.com" in done.stdout
    assert picture(here)["endpoints"] == []
    # What was made stays, and the rest follows once there is a certificate.
    assert here.arn
    done = bring(far, near)
    assert done.returncode == 0, done.stdout + done.stderr
    dns = there.describe(built.endpoint)["DnsName"]
    assert f"profiles that name {dns} lead there" in done.stdout
    assert picture(here) == picture(there)
    before = here.everything()
    done = bring(far, near)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 made," in done.stdout and "made  " not in done.stdout and " 0 to do" in done.stdout, done.stdout
    assert here.everything() == before
    # What is new there comes; what differs here is left and said.
    there.ec2(
        "AuthorizeClientVpnIngress",
        ClientVpnEndpointId=built.endpoint,
        TargetNetworkCidr="10.99.0.0/16",
        AuthorizeAllGroups=True,
    )
    there.ec2("ModifyClientVpnEndpoint", ClientVpnEndpointId=built.endpoint, Description="changed there")
    # Clients' own IPv6 block is another one here.
    local = {"ClientVpnEndpointId": built.endpoint, "TargetVpcSubnetId": "local"}
    error = there.refused("CreateClientVpnRoute", **local, DestinationCidrBlock="2001:db8::/64")
    block = re.findall(r"[0-9a-f:]+::/64", error.message)[-1]
    there.ec2("CreateClientVpnRoute", **local, DestinationCidrBlock=block)
    done = bring(far, near, "--endpoint-id", built.endpoint)
    assert done.returncode == 0 and " 1 made," in done.stdout, done.stdout
    assert f"the route to {block} from client to client" in done.stdout
    assert "is left as it is: description" in done.stdout
    assert bring(far, near, profile="absent").returncode == 1


def test_wrong_usage_of_an_import(make_server):
    server = make_server()
    file = server.folder / "credentials"
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    variables = environment(AWS_SHARED_CREDENTIALS_FILE=str(file))
    base = ["import", "aws", "--region", "us-east-1", "--data-dir", server.data, "--endpoint-url", server.url]
    done = bascule(*base, env=variables)
    assert done.returncode == 2 and "both what is read and what is written" in done.stderr
    done = bascule(*base, "--certificate", "x", env=variables)
    assert done.returncode == 2 and "--certificate x" in done.stderr
    done = bascule(*base, "--to-region", "eu-west-1", env=variables)
    assert done.returncode == 1 and "AuthFailure" in done.stderr
    assert Caller(server).ec2("DescribeVpcs")["Vpcs"] == []
    with pytest.raises(Refused):
        Caller(server).ec2("DescribeVpcs", VpcIds=["vpc-0123456789abcdef0"])

