"""A region with things in it: what a test starts from."""

import itertools

from .calls import Caller, Refused
from .servers import eventually

_regions = itertools.count(1)


class World:
    """A region nobody else uses, on a server; calls of the root key, and the usual things made on demand."""

    def __init__(self, server, certificates, region=None):
        self.region = region or f"test-{next(_regions)}"
        self.server, self.certificates = server, certificates
        self.root = Caller(server, region=self.region)
        self._arn = None
        self._blocks = itertools.count(1)

    def ec2(self, operation, **parameters):
        """An EC2 operation by root."""
        return self.root.ec2(operation, **parameters)

    def refused(self, operation, **parameters):
        """The error of an EC2 operation by root that must fail."""
        try:
            answer = self.ec2(operation, **parameters)
        except Refused as error:
            return error
        raise AssertionError(f"{operation} was done: {answer}")

    def import_certificate(self, name="vpn.example.com"):
        """Imports a certificate; its ARN."""
        return self.root.acm("ImportCertificate", **self.certificates.material(name))["CertificateArn"]

    @property
    def arn(self):
        """The server certificate, imported once."""
        if self._arn is None:
            self._arn = self.import_certificate()
        return self._arn

    def vpc(self, cidr="10.0.0.0/16", **more):
        """A VPC; its id."""
        return self.ec2("CreateVpc", CidrBlock=cidr, **more)["Vpc"]["VpcId"]

    def subnet(self, vpc, cidr=None, zone=None, **more):
        """A subnet; its id. Its block is the next free /24 of 10.0.0.0/16 unless given."""
        cidr = cidr or f"10.0.{next(self._blocks)}.0/24"
        if zone:
            more["AvailabilityZone"] = self.region + zone
        return self.ec2("CreateSubnet", VpcId=vpc, CidrBlock=cidr, **more)["Subnet"]["SubnetId"]

    def endpoint_parameters(self, **more):
        """What CreateClientVpnEndpoint needs."""
        mutual = {"ClientRootCertificateChainArn": self.arn}
        return {
            "ClientCidrBlock": "10.8.0.0/22",
            "ServerCertificateArn": self.arn,
            "AuthenticationOptions": [{"Type": "certificate-authentication", "MutualAuthentication": mutual}],
            "ConnectionLogOptions": {"Enabled": False},
            **more,
        }

    def endpoint(self, **more):
        """A Client VPN endpoint; its id."""
        return self.ec2("CreateClientVpnEndpoint", **self.endpoint_parameters(**more))["ClientVpnEndpointId"]

    def describe(self, endpoint):
        """The endpoint as described; None when it is gone."""
        try:
            (row,) = self.ec2("DescribeClientVpnEndpoints", ClientVpnEndpointIds=[endpoint])["ClientVpnEndpoints"]
        except Refused as error:
            assert error.code == "InvalidClientVpnEndpointId.NotFound", error
            return None
        return row

    def status(self, endpoint):
        """Its status code; None when it is gone."""
        row = self.describe(endpoint)
        return row and row["Status"]["Code"]

    def networks(self, endpoint, **more):
        """Its associations by id."""
        answer = self.ec2("DescribeClientVpnTargetNetworks", ClientVpnEndpointId=endpoint, **more)
        return {row["AssociationId"]: row for row in answer["ClientVpnTargetNetworks"]}

    def routes(self, endpoint):
        """Its routes by destination and target."""
        rows = self.ec2("DescribeClientVpnRoutes", ClientVpnEndpointId=endpoint)["Routes"]
        return {(row["DestinationCidr"], row["TargetSubnet"]): row for row in rows}

    def rules(self, endpoint):
        """Its authorization rules by destination and group."""
        rows = self.ec2("DescribeClientVpnAuthorizationRules", ClientVpnEndpointId=endpoint)["AuthorizationRules"]
        return {(row["DestinationCidr"], row["GroupId"]): row for row in rows}

    def policy(self, endpoint):
        """Its authorization policy; None if it has none."""
        try:
            row = self.ec2("GetClientVpnEndpointAuthorizationPolicy", ClientVpnEndpointId=endpoint)
        except Refused as error:
            assert error.code == "InvalidClientVpnEndpointAuthorizationPolicyNotFound", error
            return None
        assert row.pop("ClientVpnEndpointId") == endpoint
        return row

    def associate(self, endpoint, subnet, until=("associated", "association-failed")):
        """Associates a subnet and waits for an end of that; the association's id."""
        answer = self.ec2("AssociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, SubnetId=subnet)
        assert answer["Status"] == {"Code": "associating"}
        found = answer["AssociationId"]
        eventually(
            lambda: self.networks(endpoint).get(found, {}).get("Status", {}).get("Code") in until,
            what=f"{found} is one of {until}",
        )
        return found

    def disassociate(self, endpoint, association):
        """Disassociates and waits until it is gone."""
        answer = self.ec2("DisassociateClientVpnTargetNetwork", ClientVpnEndpointId=endpoint, AssociationId=association)
        assert answer == {"AssociationId": association, "Status": {"Code": "disassociating"}}
        eventually(lambda: association not in self.networks(endpoint), what=f"{association} is gone")

    def associated(self, zone="a", **more):
        """An endpoint with one association, which must be associated: endpoint, association, subnet, VPC."""
        vpc = self.vpc()
        subnet = self.subnet(vpc, zone=zone)
        endpoint = self.endpoint(**more)
        association = self.associate(endpoint, subnet, until=("associated",))
        return endpoint, association, subnet, vpc

    def everything(self):
        """All that the Describes say of the region, without what changes by itself."""
        found = {
            name: self.ec2(name)
            for name in ("DescribeVpcs", "DescribeSubnets", "DescribeSecurityGroups", "DescribeClientVpnEndpoints")
        }
        for row in found["DescribeClientVpnEndpoints"]["ClientVpnEndpoints"]:
            endpoint = row["ClientVpnEndpointId"]
            parts = (self.networks, self.routes, self.rules, self.policy)
            found[endpoint] = tuple(part(endpoint) for part in parts)
        found["certificates"] = self.root.acm("ListCertificates")
        return found
