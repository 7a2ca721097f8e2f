"""Stores that older versions have written: restored and served, they say what they said then.

`tests/stores` has a backup of each, its master key (nobody else's), and what its own version said of it.
`BASCULE_STORE=NAME` with an older version's binary in `BASCULE_BIN` adds one.
"""

import gzip
import json
import os
import shutil

import pytest

from support import namespaces
from support.servers import NOBODY, ROOT, bascule, eventually
from support.world import World

STORES = ROOT / "tests/stores"
REGION = "us-east-1"
# What the fabric and the time say, not the store.
LIVE = {"Status", "DnsName", "ResponseMetadata"}


def plain(value):
    """The same as JSON has it, without what lives."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items() if name not in LIVE}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def said(world):
    rows = {"everything": world.everything(), "tags": world.ec2("DescribeTags")["Tags"]}
    for row in rows["everything"]["DescribeClientVpnEndpoints"]["ClientVpnEndpoints"]:
        on = {"ClientVpnEndpointId": row["ClientVpnEndpointId"]}
        rows[on["ClientVpnEndpointId"]] = world.ec2("ExportClientVpnClientCertificateRevocationList", **on)
    rows["logs"] = world.root.call("logs", "DescribeLogGroups")["logGroups"]
    return plain(rows)


@pytest.mark.parametrize("store", sorted(path.name for path in STORES.iterdir()))
def test_it_says_what_it_said(make_server, certificates, store):
    folder = STORES / store
    server = make_server("--fabric", "userspace", start=False)
    server.data.rmdir()
    backup = server.folder / "store.backup"
    backup.write_bytes(gzip.decompress((folder / "store.backup.gz").read_bytes()))
    done = bascule("restore", "--data-dir", server.data, backup)
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "master.key", server.data / "master.key")
    (server.data / "master.key").chmod(0o600)
    if os.geteuid() == 0:
        for path in (server.data, *server.data.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    server.start()
    world = World(server, certificates, REGION)
    expected = json.loads((folder / "said.json").read_text())
    assert said(world) == expected
    # Its sealed keys open, its associations come up, and it goes on.
    (one,) = [row for row in expected["everything"]["DescribeClientVpnEndpoints"]["ClientVpnEndpoints"]
              if row.get("Description") == "of an older version"]
    endpoint = one["ClientVpnEndpointId"]
    eventually(lambda: world.status(endpoint) == "available", what="the endpoint is available")
    world.ec2("RevokeClientVpnIngress", ClientVpnEndpointId=endpoint, TargetNetworkCidr="10.0.0.0/16", RevokeAllGroups=True)
    assert "<ca>" in world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]


def make_one(make_server, certificates):
    server = make_server("--gateway-address", namespaces.POOL, privileged=True)
    world = World(server, certificates, REGION)
    world.root.call("logs", "CreateLogGroup", logGroupName="/vpn")
    world.root.call("logs", "CreateLogStream", logGroupName="/vpn", logStreamName="one")
    endpoint, _, subnet, _ = world.associated(
        TagSpecifications=[{"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "name", "Value": "kept"}]}],
        SplitTunnel=True,
        DnsServers=["10.0.0.2"],
        Description="of an older version",
        ClientLoginBannerOptions={"Enabled": True, "BannerText": "hello"},
        ConnectionLogOptions={"Enabled": True, "CloudwatchLogGroup": "/vpn", "CloudwatchLogStream": "one"},
    )
    on = {"ClientVpnEndpointId": endpoint}
    certificates.run("crl")
    revoked = certificates.pem("crl.pem").decode()
    world.ec2("ImportClientVpnClientCertificateRevocationList", **on, CertificateRevocationList=revoked)
    world.ec2("AuthorizeClientVpnIngress", **on, TargetNetworkCidr="10.0.0.0/16", AuthorizeAllGroups=True, Description="all")
    world.ec2("AuthorizeClientVpnIngress", **on, TargetNetworkCidr="10.1.0.0/16", AccessGroupId="staff")
    world.ec2("CreateClientVpnRoute", **on, DestinationCidrBlock="10.1.0.0/16", TargetVpcSubnetId=subnet)
    world.endpoint(TransportProtocol="tcp", TrafficIpAddressType="dual-stack")
    folder = STORES / os.environ["BASCULE_STORE"]
    folder.mkdir()
    (folder / "said.json").write_text(json.dumps(said(world), indent=1, sort_keys=True) + "\n")
    backup = server.folder / "store.backup"
    done = bascule("backup", "--data-dir", server.data, backup)
    assert done.returncode == 0, done.stderr
    (folder / "store.backup.gz").write_bytes(gzip.compress(backup.read_bytes(), mtime=0))
    shutil.copy(server.data / "master.key", folder / "master.key")


if "BASCULE_STORE" in os.environ:

    @pytest.mark.fabric
    def test_make_one(own_namespace, make_server, certificates):
        make_one(make_server, certificates)
