"""A day with boto3, as somebody who runs a VPN has it: built in the morning, changed, looked after, torn down at night.

Real boto3 clients of every service, and real OpenVPN clients, in one namespace with the server.
"""

import json
import subprocess

import boto3
import botocore.config
import botocore.exceptions
import pytest

from support.servers import Certificates, environment, eventually
from support.terraform import left
from support.world import World

GROUP, STREAM = "/vpn/office", "connections"
NETWORK, OFFICE = "10.0.0.0/16", "192.168.0.0/16"
CONNECT_SECONDS = 30


class Person:
    """Somebody with an OpenVPN client, without a device of its own."""

    def __init__(self, folder, name):
        self.folder, self.name, self.times, self.process = folder, name, 0, None

    def connect(self, profile, certificates):
        """Starts the client with an exported configuration."""
        self.times += 1
        certificate, key = (certificates.pem(f"{self.name}.{end}").decode() for end in ("crt", "key"))
        path = self.folder / f"{self.name}.{self.times}.ovpn"
        path.write_text(f"{profile}\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n")
        self.log = path.with_suffix(".log")
        options = ["--dev", "null", "--ifconfig-noexec", "--route-noexec", "--connect-retry", "1"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["openvpn", "--config", path, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment() | {"PATH": f"{environment()['PATH']}:/usr/sbin:/sbin"},
            )

    def said(self):
        """What the client has written."""
        return self.log.read_text()

    def waits_for(self, text):
        """Until the client says so."""
        eventually(lambda: text in self.said(), CONNECT_SECONDS, what=f"{self.name} says {text!r}: {self.said()}")

    def leaves(self):
        """As a user who closes the client."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


class Day:
    """The VPN, as boto3 sees it."""

    def __init__(self, shared, region):
        key, secret = shared.root_key
        session = boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
        settings = botocore.config.Config(retries={"total_max_attempts": 1})
        make = lambda service: session.client(service, endpoint_url=shared.url, config=settings)
        self.ec2, self.acm, self.logs = make("ec2"), make("acm"), make("logs")

    def build(self, certificates):
        """Networks, certificate, log group, endpoint, associations, rules, routes."""
        ec2 = self.ec2
        self.arn = self.acm.import_certificate(**certificates.material("vpn.example.com"))["CertificateArn"]
        self.vpc = ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
        zones = [row["ZoneName"] for row in ec2.describe_availability_zones()["AvailabilityZones"][:2]]
        subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]
            for number, zone in enumerate(zones, 1)
        ]
        self.subnets = [subnet["SubnetId"] for subnet in subnets]
        self.group = ec2.create_security_group(GroupName="vpn", Description="for the VPN", VpcId=self.vpc)["GroupId"]
        self.logs.create_log_group(logGroupName=GROUP)
        self.logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
        made = ec2.create_client_vpn_endpoint(
            Description="office",
            ClientCidrBlock="10.8.0.0/22",
            ServerCertificateArn=self.arn,
            AuthenticationOptions=[
                {
                    "Type": "certificate-authentication",
                    "MutualAuthentication": {"ClientRootCertificateChainArn": self.arn},
                }
            ],
            ConnectionLogOptions={"Enabled": True, "CloudwatchLogGroup": GROUP, "CloudwatchLogStream": STREAM},
            VpcId=self.vpc,
            SecurityGroupIds=[self.group],
            TagSpecifications=[
                {"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "Name", "Value": "office"}]},
            ],
        )
        self.endpoint = made["ClientVpnEndpointId"]
        self.on = {"ClientVpnEndpointId": self.endpoint}
        self.associations = [
            ec2.associate_client_vpn_target_network(**self.on, SubnetId=subnet)["AssociationId"]
            for subnet in self.subnets
        ]
        eventually(lambda: self.described()["Status"]["Code"] == "available", what="the endpoint is available")
        for cidr in (NETWORK, OFFICE):
            ec2.authorize_client_vpn_ingress(**self.on, TargetNetworkCidr=cidr, AuthorizeAllGroups=True)
        for subnet in self.subnets:
            ec2.create_client_vpn_route(**self.on, DestinationCidrBlock=OFFICE, TargetVpcSubnetId=subnet)
        eventually(lambda: {row["Status"]["Code"] for row in self.routes()} == {"active"}, what="routes are active")
        origins = sorted((row["DestinationCidr"], row["Origin"]) for row in self.routes())
        assert origins == [(NETWORK, "associate")] * 2 + [(OFFICE, "add-route")] * 2
        rules = self.paged("describe_client_vpn_authorization_rules", "AuthorizationRules")
        assert {row["DestinationCidr"]: row["AccessAll"] for row in rules} == {NETWORK: True, OFFICE: True}

    def paged(self, operation, member):
        """All rows, by botocore's paginator."""
        pages = self.ec2.get_paginator(operation).paginate(**self.on, PaginationConfig={"PageSize": 5})
        return pages.build_full_result().get(member, [])

    def routes(self):
        """The endpoint's routes."""
        return self.paged("describe_client_vpn_routes", "Routes")

    def described(self):
        """The endpoint."""
        (row,) = self.ec2.describe_client_vpn_endpoints(ClientVpnEndpointIds=[self.endpoint])["ClientVpnEndpoints"]
        return row

    def profile(self):
        """What clients are given."""
        return self.ec2.export_client_vpn_client_configuration(**self.on)["ClientConfiguration"]

    def connections(self, name, status="active"):
        """Somebody's connections."""
        rows = self.paged("describe_client_vpn_connections", "Connections")
        return [row for row in rows if (row["CommonName"], row["Status"]["Code"]) == (name, status)]

    def connected(self, person):
        """The person's connection, once there is one."""
        rows = eventually(
            lambda: self.connections(person.name),
            CONNECT_SECONDS,
            what=f"{person.name} is connected; the client said {person.said()}",
        )
        return rows[0]

    def log(self, name):
        """Entries of the connection log about somebody: kind, status, connection."""
        events = self.logs.get_log_events(logGroupName=GROUP, logStreamName=STREAM, startFromHead=True)["events"]
        entries = [json.loads(event["message"]) for event in events]
        return [
            (row["connection-log-type"], row["connection-attempt-status"], row["connection-id"])
            for row in entries
            if row["common-name"] == name
        ]

    def refused(self, operation, code, **parameters):
        """The operation must fail with this code."""
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            getattr(self.ec2, operation)(**parameters)
        assert caught.value.response["Error"]["Code"] == code


@pytest.fixture
def own(places):
    """An authority of the test's own, since somebody is revoked; with the certificate of tomorrow."""
    authority = Certificates(places.folder())
    authority.run("issue-server", "new.example.com")
    authority.run("issue-client", "bob")
    return authority


@pytest.fixture
def people(places):
    """Those with clients."""
    folder = places.folder()
    found = {name: Person(folder, name) for name in ("alice", "bob")}
    yield found
    for person in found.values():
        person.leaves()


@pytest.mark.fabric
def test_a_day(shared, certificates, own, people):
    world = World(shared, certificates)
    day = Day(shared, world.region)
    alice, bob = people["alice"], people["bob"]

    # Morning.
    day.build(own)
    alice.connect(day.profile(), own)
    first = day.connected(alice)
    assert first["ClientIp"].startswith("10.8.") and first["ClientVpnEndpointId"] == day.endpoint
    alice.waits_for("VERIFY OK: depth=0, CN=vpn.example.com")
    alice.waits_for("Initialization Sequence Completed")

    # Options change. Other name servers reach a stock client only as it comes back.
    day.ec2.modify_client_vpn_endpoint(
        **day.on,
        Description="the office",
        DnsServers={"Enabled": True, "CustomDnsServers": ["10.0.0.2"]},
        SessionTimeoutHours=8,
        ClientLoginBannerOptions={"Enabled": True, "BannerText": "Mind the gap"},
    )
    changed = day.described()
    assert (changed["Description"], changed["SessionTimeoutHours"], changed["DnsServers"]) == (
        *("the office", 8),
        ["10.0.0.2"],
    )
    back = lambda: [row for row in day.connections("alice") if row["ConnectionId"] != first["ConnectionId"]]
    (again,) = eventually(back, CONNECT_SECONDS, what=f"alice comes back: {alice.said()}")
    alice.waits_for("dhcp-option DNS 10.0.0.2")
    # The certificate is renewed under its own ARN, which interrupts nobody: for those who connect from now on.
    material = own.material("new.example.com")
    assert day.acm.import_certificate(CertificateArn=day.arn, **material)["CertificateArn"] == day.arn
    assert day.acm.describe_certificate(CertificateArn=day.arn)["Certificate"]["DomainName"] == "new.example.com"
    bob.connect(day.profile(), own)
    second = day.connected(bob)
    bob.waits_for("VERIFY OK: depth=0, CN=new.example.com")
    assert [row["ConnectionId"] for row in day.connections("alice")] == [again["ConnectionId"]]

    # Somebody is sent away, and comes back as another connection.
    day.ec2.terminate_client_vpn_connections(**day.on, ConnectionId=second["ConnectionId"])
    eventually(lambda: day.connections("bob", "terminated"), what="bob's connection is terminated")
    bob.leaves()
    bob.connect(day.profile(), own)
    assert day.connected(bob)["ConnectionId"] != second["ConnectionId"]

    # What the log says of it, by the Logs API.
    came = ("connection-attempt", "successful", first["ConnectionId"])
    eventually(lambda: came in day.log("alice"), what="the log has alice's connection")
    for name, gone in (("alice", first), ("bob", second)):
        went = ("connection-reset", "NA", gone["ConnectionId"])
        eventually(lambda: went in day.log(name), what=f"the log has the end of {name}'s first connection")
    found = day.logs.filter_log_events(logGroupName=GROUP, filterPattern='"connection-reset"')["events"]
    assert {json.loads(event["message"])["connection-id"] for event in found} >= {
        *(gone["ConnectionId"] for gone in (first, second)),
    }

    # Alice leaves the firm: her certificate is revoked, which ends her connection and admits her no more. Bob stays.
    own.run("revoke", "alice")
    own.run("crl")
    day.ec2.import_client_vpn_client_certificate_revocation_list(
        **day.on, CertificateRevocationList=own.pem("crl.pem").decode()
    )
    eventually(lambda: not day.connections("alice"), what="alice's connection has ended")
    alice.leaves()
    alice.connect(day.profile(), own)
    alice.waits_for("VERIFY OK: depth=0, CN=new.example.com")
    alice.waits_for("certificate revoked")
    assert not day.connections("alice") and day.connections("bob")

    # Night: in the wrong order nothing goes.
    day.refused("delete_client_vpn_endpoint", "ClientVpnEndpointAssociationExists", **day.on)
    day.refused("delete_vpc", "DependencyViolation", VpcId=day.vpc)
    with pytest.raises(day.acm.exceptions.ResourceInUseException):
        day.acm.delete_certificate(CertificateArn=day.arn)
    assert day.connections("bob")
    day.ec2.revoke_client_vpn_ingress(**day.on, TargetNetworkCidr=OFFICE, RevokeAllGroups=True)
    for subnet in day.subnets:
        day.ec2.delete_client_vpn_route(**day.on, DestinationCidrBlock=OFFICE, TargetVpcSubnetId=subnet)
    for association in day.associations:
        day.ec2.disassociate_client_vpn_target_network(**day.on, AssociationId=association)
    eventually(lambda: day.described()["Status"]["Code"] == "pending-associate", what="nothing is associated")
    assert not day.connections("bob") and not day.routes()
    day.ec2.delete_client_vpn_endpoint(**day.on)
    eventually(lambda: world.describe(day.endpoint) is None, what="the endpoint is gone")
    day.refused("describe_client_vpn_connections", "InvalidClientVpnEndpointId.NotFound", **day.on)
    day.acm.delete_certificate(CertificateArn=day.arn)
    day.logs.delete_log_group(logGroupName=GROUP)
    day.ec2.delete_security_group(GroupId=day.group)
    for subnet in day.subnets:
        day.ec2.delete_subnet(SubnetId=subnet)
    day.ec2.delete_vpc(VpcId=day.vpc)
    # SAML providers are of no region: others make some.
    assert set(left(world.root)) <= {"providers"}
