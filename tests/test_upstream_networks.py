"""`--networks upstream`: VPCs, subnets, security groups and certificates of moto's server, by their own ids."""

import os
import re
import socket
import subprocess
import threading
import time
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest

from support import namespaces
from support.servers import environment, eventually
from support.upstreams import Front, Moto, authority, settings, variables
from test_audit import find
from test_upstream import client, fails, own_id

MOTO_ACCOUNT = "123456789012"
NETWORKS = ("--networks", "upstream", "--account", MOTO_ACCOUNT)
OPEN = "0.0.0.0/0"


def direct(url, service="ec2"):
    """A client of moto itself."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def metric(server, name):
    """The sum of a metric's rows."""
    text = urllib.request.urlopen(f"{server.url}/metrics", timeout=30).read().decode()
    return sum(float(row) for row in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.M))


class Vpc:
    """A VPC of the upstream with two subnets and a group that lets out one TCP port, and another to a prefix list."""

    def __init__(self, url):
        self.ec2 = ec2 = direct(url)
        self.id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        make = lambda cidr, zone: ec2.create_subnet(VpcId=self.id, CidrBlock=cidr, AvailabilityZone=zone)
        made = [make("10.0.1.0/24", "us-east-1a"), make("10.0.2.0/24", "us-east-1b")]
        self.subnets = [row["Subnet"]["SubnetId"] for row in made]
        self.group = ec2.create_security_group(GroupName="vpn", Description="for the VPN", VpcId=self.id)["GroupId"]
        every = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": OPEN}]}
        ec2.revoke_security_group_egress(GroupId=self.group, IpPermissions=[every])
        self.allow(7001)
        # Of the far end of the VPC at first.
        made = ec2.create_managed_prefix_list(
            PrefixListName="services", AddressFamily="IPv4", MaxEntries=5, Entries=[{"Cidr": "10.0.255.0/24"}]
        )
        self.list = made["PrefixList"]["PrefixListId"]
        to_list = [{"IpProtocol": "tcp", "FromPort": 7003, "ToPort": 7003, "PrefixListIds": [{"PrefixListId": self.list}]}]
        ec2.authorize_security_group_egress(GroupId=self.group, IpPermissions=to_list)

    def enlist(self, **change):
        """Changes the prefix list."""
        entries = {name: [{"Cidr": cidr}] for name, cidr in change.items()}
        self.ec2.modify_managed_prefix_list(PrefixListId=self.list, PrefixListName="services", **entries)

    @staticmethod
    def _port(port):
        return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]

    def allow(self, port):
        """The group lets out another port."""
        self.ec2.authorize_security_group_egress(GroupId=self.group, IpPermissions=self._port(port))

    def forbid(self, port):
        """And no longer."""
        self.ec2.revoke_security_group_egress(GroupId=self.group, IpPermissions=self._port(port))


def create(ec2, server_arn, root_arn, **more):
    """An endpoint; its id."""
    mutual = {"ClientRootCertificateChainArn": root_arn}
    return ec2.create_client_vpn_endpoint(
        ClientCidrBlock="10.8.0.0/22",
        ServerCertificateArn=server_arn,
        AuthenticationOptions=[{"Type": "certificate-authentication", "MutualAuthentication": mutual}],
        ConnectionLogOptions={"Enabled": False},
        **more,
    )["ClientVpnEndpointId"]


@pytest.fixture(scope="module")
def moto(places):
    """moto's server."""
    moto = Moto(places.folder())
    yield moto
    moto.close()


def test_calls_about_networks_are_the_upstreams(make_server, moto, certificates):
    server = make_server(*NETWORKS, config=settings(moto.url, ["ec2"]), variables=variables())
    ec2, acm = client(server, "ec2"), client(server, "acm")
    # Made through Bascule, there.
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    there = direct(moto.url)
    assert there.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlock"] == "10.20.0.0/16"
    for operation, member in (("describe_vpcs", "Vpcs"), ("describe_subnets", "Subnets")):
        assert getattr(ec2, operation)()[member] == getattr(there, operation)()[member], "untouched, with its default ones"
    answer = ec2.describe_security_groups(GroupIds=[group])
    assert answer["SecurityGroups"] == there.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert find(server, own_id(answer))["forwarded"]["httpStatus"] == 200
    # A rule about a list that nobody has.
    nobodys = [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-0123456789abcdef0"}]}]
    there.authorize_security_group_egress(GroupId=group, IpPermissions=nobodys)
    # An endpoint here refers to them by their own ids.
    arn = acm.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
    endpoint = create(ec2, arn, arn, VpcId=vpc, SecurityGroupIds=[group])
    ec2.associate_client_vpn_target_network(ClientVpnEndpointId=endpoint, SubnetId=subnet)
    (row,) = ec2.describe_client_vpn_endpoints()["ClientVpnEndpoints"]
    assert (row["VpcId"], row["SecurityGroupIds"]) == (vpc, [group])
    assert "rules about pl-0123456789abcdef0 let nothing out" in server.errors()
    (row,) = ec2.describe_client_vpn_target_networks(ClientVpnEndpointId=endpoint)["ClientVpnTargetNetworks"]
    assert (row["TargetNetworkId"], row["VpcId"]) == (subnet, vpc)
    for parameters, code in (
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidClientVpnSubnetId.NotFound"),
        ({"SubnetId": subnet}, "InvalidClientVpnDuplicateAssociationException"),
    ):
        found = fails(ec2.associate_client_vpn_target_network, ClientVpnEndpointId=endpoint, **parameters)
        assert found[0] == code
    no_group = {"VpcId": vpc, "SecurityGroupIds": ["sg-0123456789abcdef0"]}
    assert fails(ec2.modify_client_vpn_endpoint, ClientVpnEndpointId=endpoint, **no_group)[0] == "InvalidGroup.NotFound"
    # Tags: each where the thing is.
    ec2.create_tags(Resources=[endpoint], Tags=[{"Key": "of", "Value": "ours"}])
    ec2.create_tags(Resources=[vpc, subnet], Tags=[{"Key": "of", "Value": "theirs"}])
    assert there.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"] == [{"Key": "of", "Value": "theirs"}]
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"] == [{"Key": "of", "Value": "theirs"}]
    assert ec2.describe_client_vpn_endpoints()["ClientVpnEndpoints"][0]["Tags"] == [{"Key": "of", "Value": "ours"}]
    by_id = [{"Name": "resource-id", "Values": [subnet]}]
    assert [row["Value"] for row in ec2.describe_tags(Filters=by_id)["Tags"]] == ["theirs"]
    mixed = {"Resources": [endpoint, vpc], "Tags": [{"Key": "a", "Value": "b"}]}
    assert fails(ec2.create_tags, **mixed)[0] == "InvalidParameterCombination"


def test_writes_to_networks_need_to_be_allowed(make_server, moto):
    server = make_server(*NETWORKS, config=settings(moto.url), variables=variables())
    ec2 = client(server, "ec2")
    assert ec2.describe_vpcs()["Vpcs"] == direct(moto.url).describe_vpcs()["Vpcs"]
    code, status, message = fails(ec2.create_vpc, CidrBlock="10.0.0.0/16")
    assert (code, status) == ("UnauthorizedOperation", 403) and "[upstream]" in message


def test_certificates_of_the_upstream(make_server, moto, certificates):
    server = make_server(*NETWORKS, config=settings(moto.url), variables=variables())
    ec2, acm, there = client(server, "ec2"), client(server, "acm"), direct(moto.url, "acm")
    imported = there.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
    exportable = there.request_certificate(DomainName="vpn.example.com", Options={"Export": "ENABLED"})["CertificateArn"]
    # A trust anchor needs no key; a server's certificate does, and only one that may be exported comes with it.
    endpoint = create(ec2, exportable, imported)
    (row,) = ec2.describe_client_vpn_endpoints(ClientVpnEndpointIds=[endpoint])["ClientVpnEndpoints"]
    assert row["ServerCertificateArn"] == exportable
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        create(ec2, imported, imported)
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidParameterValue" and "import-certificate" in error["Message"]
    # Asked for by ARN, it is the upstream's answer; listed, it stands among the others.
    shown = acm.describe_certificate(CertificateArn=imported)["Certificate"]
    assert shown == there.describe_certificate(CertificateArn=imported)["Certificate"]
    own = acm.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
    pages = acm.get_paginator("list_certificates").paginate().build_full_result()["CertificateSummaryList"]
    assert {own, imported, exportable} <= {row["CertificateArn"] for row in pages}
    # The key is given once, under the upstream's ARN.
    material = certificates.material("vpn.example.com")
    assert acm.import_certificate(CertificateArn=imported, **material)["CertificateArn"] == imported
    create(ec2, imported, imported)
    assert fails(acm.describe_certificate, CertificateArn=imported[:-1] + "x")[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("arguments", "config", "words"),
    [
        (["--networks", "upstream"], None, "networks = upstream"),
        (["--networks", "theirs"], None, "networks = theirs"),
        ([], "networks = 'upstream'\n", "networks = upstream"),
        ([], "[upstream]\nurl = 'http://x'\nrefresh-seconds = 0\n", "upstream.refresh-seconds = 0"),
    ],
)
def test_settings_are_checked(make_server, arguments, config, words):
    server = make_server(*arguments, config=config, variables=variables(), start=False)
    server.launch()
    assert server.process.wait(30) == 2
    assert words in server.errors()


def test_an_upstream_over_https(make_server, places, moto):
    folder = places.folder()
    ca, context = authority(folder)
    other = places.folder()
    other_ca, _ = authority(other)
    front = Front(moto.url, context)
    try:
        right = make_server(*NETWORKS, config=settings(front.url), variables={**variables(), "AWS_CA_BUNDLE": str(ca)})
        assert client(right, "ec2").describe_regions()["Regions"]
        assert client(right, "ec2").describe_vpcs()["Vpcs"] == direct(moto.url).describe_vpcs()["Vpcs"]
        before = front.count
        for more in ({}, {"AWS_CA_BUNDLE": str(other_ca)}):
            wrong = make_server(*NETWORKS, config=settings(front.url), variables={**variables(), **more})
            started = time.monotonic()
            code, status, message = fails(client(wrong, "ec2").describe_regions)
            assert (code, status) == ("Unavailable", 503) and "upstream" in message
            assert fails(client(wrong, "ssm").describe_parameters)[:2] == ("ServiceUnavailableException", 503)
            assert time.monotonic() - started < 10, "at once"
            assert "cannot be reached" in wrong.errors()
        assert front.count == before, "nothing was said to whom nobody knows"
    finally:
        front.close()


class Place:
    """A network namespace with a name, joined to this one by a cable."""

    count = 0

    def __init__(self, near, far):
        Place.count += 1
        number = Place.count
        self.name = f"bascule-{os.getpid()}-{number}"
        self.address = far.split("/")[0]
        ip = lambda *arguments: subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
        ip("netns", "add", self.name)
        self.inside("ip", "link", "set", "lo", "up")
        ip("link", "add", f"near{number}", "type", "veth", "peer", "name", "far", "netns", self.name)
        ip("addr", "add", near, "dev", f"near{number}")
        ip("link", "set", f"near{number}", "up")
        self.inside("ip", "addr", "add", far, "dev", "far")
        self.inside("ip", "link", "set", "far", "up")
        self.inside("ip", "route", "add", "default", "via", near.split("/")[0])

    def command(self, *command):
        """A command in it."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def inside(self, *command):
        """Runs a command in it to its end."""
        subprocess.run(self.command(*command), check=True, capture_output=True, text=True)

    def within(self, work):
        """The result of a function in it; sockets it made stay there."""
        result = []

        def run():
            with open(f"/run/netns/{self.name}", "rb") as namespace:
                namespaces.go_back(namespace.fileno())
            result.append(work())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return result[0]

    def remove(self):
        """Removes it."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


class OpenVpn:
    """A real client with a device, in a place."""

    def __init__(self, place, folder, profile):
        folder.mkdir(exist_ok=True)
        path, self.log = folder / "client.ovpn", folder / "client.log"
        path.write_text(profile)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                place.command("openvpn", "--config", path, "--connect-retry", "1"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment() | {"PATH": f"{environment()['PATH']}:/usr/sbin:/sbin"},
            )

    def said(self):
        """What it has written."""
        return self.log.read_text(errors="replace")

    def times_up(self):
        """How often it has connected."""
        return self.said().count("Initialization Sequence Completed")

    def up(self):
        """Waits until it is connected."""
        eventually(lambda: self.times_up(), 30, what=f"the client connects: {self.said()}")
        return self

    def close(self):
        """Ends it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


def passes(place, address, port):
    """Whether a TCP connection from the place comes about."""

    def work():
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    return place.within(work)


@pytest.fixture
def cables(own_namespace):
    """Namespaces of a client and of a target in the upstream's first subnet."""
    made = [Place("172.31.9.1/24", "172.31.9.10/24"), Place("10.0.1.1/24", "10.0.1.10/24")]
    listeners = []
    try:
        for port in (7001, 7002, 7003):
            listeners.append(made[1].within(lambda: socket.create_server(("10.0.1.10", port))))
        yield made
    finally:
        for listener in listeners:
            listener.close()
        for place in made:
            place.remove()


@pytest.mark.fabric
def test_packets_follow_an_upstreams_networks(places, make_server, certificates, cables):
    person, target = cables
    folder = places.folder()
    moto = Moto(folder)
    front = Front(moto.url)
    clients = []
    try:
        vpc = Vpc(moto.url)
        server = make_server(
            *NETWORKS,
            "--gateway-address",
            "172.31.9.1",
            privileged=True,
            config=settings(front.url, more="refresh-seconds = 1\ntimeout-seconds = 2"),
            variables=variables(),
        )
        ec2, acm = client(server, "ec2"), client(server, "acm")
        arn = acm.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
        endpoint = create(ec2, arn, arn, VpcId=vpc.id, SecurityGroupIds=[vpc.group])
        on = {"ClientVpnEndpointId": endpoint}

        def associations():
            rows = ec2.describe_client_vpn_target_networks(**on)["ClientVpnTargetNetworks"]
            return {row["TargetNetworkId"]: row["Status"]["Code"] for row in rows}

        for subnet in vpc.subnets:
            ec2.associate_client_vpn_target_network(**on, SubnetId=subnet)
        both = dict.fromkeys(vpc.subnets, "associated")
        eventually(lambda: associations() == both, what="both subnets are associated")
        ec2.authorize_client_vpn_ingress(**on, TargetNetworkCidr="10.0.0.0/16", AuthorizeAllGroups=True)
        # The other subnet first: a client that is on it comes back on the one with the target.
        vpc.ec2.delete_subnet(SubnetId=vpc.subnets[1])
        only = {vpc.subnets[0]: "associated"}
        eventually(lambda: associations() == only, what="the association of a subnet that is gone has ended")
        assert vpc.subnets[1] in server.errors(), "and the log says why"
        assert ec2.describe_client_vpn_endpoints()["ClientVpnEndpoints"][0]["Status"]["Code"] == "available"
        targets = {row["TargetSubnet"] for row in ec2.describe_client_vpn_routes(**on)["Routes"]}
        assert targets == {vpc.subnets[0]}

        exported = ec2.export_client_vpn_client_configuration(**on)["ClientConfiguration"]
        certificate, key = (certificates.pem(f"alice.{end}").decode() for end in ("crt", "key"))
        profile = f"{exported}\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n"
        first = OpenVpn(person, folder / "first", profile)
        clients.append(first)
        first.up()
        reaches = lambda port: passes(person, target.address, port)
        eventually(lambda: reaches(7001), what="what the group lets out passes")
        assert not reaches(7002) and not reaches(7003)
        # Within the refresh interval of a second.
        vpc.allow(7002)
        eventually(lambda: reaches(7002), what="what the group lets out by now passes")
        vpc.forbid(7001)
        eventually(lambda: not reaches(7001), what="what the group lets out no more does not pass")
        vpc.enlist(AddEntries="10.0.1.0/24")
        eventually(lambda: reaches(7003), what="what is on the prefix list by now passes")
        vpc.enlist(RemoveEntries="10.0.1.0/24")
        eventually(lambda: not reaches(7003), what="what is on the prefix list no more does not pass")
        vpc.enlist(AddEntries="10.0.1.10/32")
        eventually(lambda: reaches(7003), what="and again")

        good = metric(server, "bascule_networks_last_good_timestamp_seconds")
        assert abs(time.time() - good) < 10
        refreshes = 'bascule_networks_refreshes_total{result="failed"}'
        for mood in ("dead", "garbage", "page", "empty", "refusing", "slow"):
            before = metric(server, refreshes)
            front.mood = mood
            eventually(lambda: metric(server, refreshes) >= before + 2, 20, what=f"refreshes fail: {mood}")
            assert associations() == only, mood
            assert reaches(7002) and reaches(7003) and first.times_up() == 1, mood
        front.mood = "well"
        front.released.set()

        # Killed for good: sessions go on, new ones come, what is known stays in use.
        moto.process.kill()
        moto.process.wait(10)
        first.close()
        second = OpenVpn(person, folder / "second", profile)
        clients.append(second)
        second.up()
        eventually(lambda: reaches(7002), what="a new client reaches the target")
        assert reaches(7003) and not reaches(7001)
        code, status, _ = fails(ec2.describe_subnets)
        assert (code, status) == ("Unavailable", 503)
        found = fails(ec2.associate_client_vpn_target_network, **on, SubnetId=vpc.subnets[1])
        assert found[:2] == ("Unavailable", 503), "nobody knows"
        assert associations() == only

        # Another cloud in its place knows nothing of the subnet, and says so.
        moto = Moto(folder)
        front.target = moto.url
        status = lambda: ec2.describe_client_vpn_endpoints()["ClientVpnEndpoints"][0]["Status"]["Code"]
        eventually(lambda: status() == "pending-associate", what="the last association has ended")
        assert associations() == {}
        eventually(lambda: not reaches(7002), what="the client is cut")
        assert metric(server, "bascule_networks_associations_ended_total") == 2
    finally:
        for one in clients:
            one.close()
        front.close()
        moto.close()
