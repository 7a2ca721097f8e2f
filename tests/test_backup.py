"""`bascule backup` of a running server, and `bascule restore` elsewhere: equal, whole, and without the key."""

import os
import shutil
import subprocess
import threading

from support import shell
from support.calls import Caller
from support.servers import NOBODY, bascule, eventually
from support.world import World

# Another account than the root's.
TWO = ("AKIATWOTWOTWOTWOTWO2", "the other account's secret, of 40 letters")
USERS = f"""
[[policy]]
name = "everything"
document = '''{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*"}}]}}'''
[[user]]
name = "two"
account = "222222222222"
access_key_id = "{TWO[0]}"
secret_access_key = "{TWO[1]}"
policies = ["everything"]
"""


def described(world, endpoint):
    """All that can be asked for: of the root's account, and of the other's."""
    rows = {"one": world.everything(), "tags": world.ec2("DescribeTags")["Tags"]}
    on = {"ClientVpnEndpointId": endpoint}
    rows["revoked"] = world.ec2("ExportClientVpnClientCertificateRevocationList", **on)["CertificateRevocationList"]
    rows["logs"] = world.root.call("logs", "DescribeLogGroups")["logGroups"]
    rows["streams"] = world.root.call("logs", "DescribeLogStreams", logGroupName="/vpn")["logStreams"]
    rows["two"] = other_account(world).ec2("DescribeVpcs")["Vpcs"]
    return rows


def other_account(world):
    caller = Caller(world.root.server, region=world.region)
    caller.key = TWO
    return caller


def test_a_backup_under_load_is_restored_elsewhere_equal(make_server, certificates):
    server = make_server("--fabric", "userspace", users=USERS)
    world = World(server, certificates)
    world.root.call("logs", "CreateLogGroup", logGroupName="/vpn")
    world.root.call("logs", "CreateLogStream", logGroupName="/vpn", logStreamName="one")
    endpoint, _, _, vpc = world.associated(TagSpecifications=[
        {"ResourceType": "client-vpn-endpoint", "Tags": [{"Key": "name", "Value": "kept"}]}
    ])
    certificates.run("crl")
    revoked = certificates.pem("crl.pem").decode()
    world.ec2("ImportClientVpnClientCertificateRevocationList", ClientVpnEndpointId=endpoint,
              CertificateRevocationList=revoked)
    other_account(world).ec2("CreateVpc", CidrBlock="10.22.0.0/16")
    for third in range(8):
        world.ec2("AuthorizeClientVpnIngress", ClientVpnEndpointId=endpoint,
                  TargetNetworkCidr=f"10.0.{third}.0/24", AuthorizeAllGroups=True)
    # Each writer counts up in a tag of its own; what was answered must be in a backup that begins after.
    tagged = Caller(server, region="elsewhere").ec2("CreateVpc", CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    writing = threading.Event()
    writing.set()
    asked, answered = [0] * 3, [0] * 3

    def write(me):
        caller = Caller(server, region="elsewhere")
        while writing.is_set():
            asked[me] += 1
            caller.ec2("CreateTags", Resources=[tagged], Tags=[{"Key": str(me), "Value": str(asked[me])}])
            answered[me] = asked[me]

    writers = [threading.Thread(target=write, args=(me,)) for me in range(3)]
    for writer in writers:
        writer.start()
    eventually(lambda: min(answered) > 5, what="writes go on")
    before = list(answered)
    file = server.folder / "store.backup"
    done = bascule("backup", "--data-dir", server.data, file)
    after = list(asked)
    writing.clear()
    for writer in writers:
        writer.join()
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout and "records of revision" in done.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    # Neither the master key nor any secret in the clear.
    _, secret = server.root_key
    assert secret.encode() not in content
    assert (server.data / "master.key").read_bytes().strip() not in content
    assert b"PRIVATE KEY" not in content
    here = described(world, endpoint)
    server.stop()

    other = make_server("--fabric", "userspace", start=False)
    other.data.rmdir()
    # The operator brings the key and the users, which are kept elsewhere, and types what the page says.
    kept = server.folder / "kept"
    kept.mkdir(mode=0o700)
    for name in ("master.key", "users.toml"):
        shutil.copy(server.data / name, kept / name)
    user, group = (NOBODY, NOBODY) if server.as_nobody else (os.geteuid(), os.getegid())
    (block,) = [block for block in shell.blocks("docs/backup.md", "A cold stand-by") if "bascule restore" in block]
    text = shell.run(shell.as_owner(block, user, group), server.folder, DIR=other.data, FILE=file, KEPT=kept)
    assert "master key" in text
    other.start()
    # The same keys, and everything the backup's revision had.
    assert other.root_key == server.root_key
    there = World(other, certificates, region=world.region)
    eventually(lambda: there.status(endpoint) == "available", what="the endpoint is available")
    assert described(there, endpoint) == here
    (row,) = Caller(other, region="elsewhere").ec2("DescribeVpcs")["Vpcs"]
    counts = {tag["Key"]: int(tag["Value"]) for tag in row["Tags"]}
    for me in range(3):
        assert before[me] <= counts[str(me)] <= after[me], (before, counts, after)
    # It goes on as a store of its own, with its secrets.
    assert there.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]
    subnet = there.subnet(vpc, cidr="10.0.77.0/24", zone="b")
    there.associate(endpoint, subnet, until=("associated",))


def test_without_a_server_the_store_itself_is_read(make_server, certificates):
    server = make_server()
    world = World(server, certificates)
    world.vpc()
    running = bascule("backup", "--data-dir", server.data, "-", text=False)
    server.stop()
    stopped = bascule("backup", "--data-dir", server.data, "-", text=False)
    assert running.returncode == stopped.returncode == 0
    # One format, whoever wrote it; a stop may have changed soft records.
    assert running.stdout[:17] == stopped.stdout[:17] == b"bascule backup 1\n"
    folder = server.folder / "restored"
    done = bascule("restore", "--data-dir", folder, "-", input=stopped.stdout, text=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"store.redb", "root-keys.toml"}


def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(make_server, places):
    server = make_server()
    folder = places.folder()
    file = folder / "backup"
    assert bascule("backup", "--data-dir", server.data, file).returncode == 0
    good = file.read_bytes()

    def refused(code, *arguments):
        done = bascule(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    assert "there is no store" in refused(2, "backup", "--data-dir", folder / "nothing", file)
    assert "No such file" in refused(2, "restore", "--data-dir", folder / "new", folder / "nothing")
    # Never over what is there.
    assert "is there already" in refused(1, "restore", "--data-dir", server.data, file)
    new = folder / "new"
    for bad, word in ((good[:-1], "cut off"), (good[:40] + b"\xff" + good[41:], ""), (b"PK\3\4" * 20, "does not begin")):
        file.write_bytes(bad)
        assert word in refused(1, "restore", "--data-dir", new, file)
        assert not any(new.iterdir())
    file.write_bytes(good)
    # A folder that cannot be written.
    assert "is not written" in refused(1, "backup", "--data-dir", server.data, folder / "no/such/file")
    # The last good backup stays if the next one fails.
    assert file.read_bytes() == good


def test_another_user_gets_none(make_server, places):
    server = make_server()
    if not server.as_nobody:
        return
    other = ["setpriv", f"--reuid={NOBODY - 1}", f"--regid={NOBODY - 1}", "--clear-groups"]
    command = [*other, server.binary, "backup", "--data-dir", server.data, "-"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode != 0 and done.stdout == b""
    # Even where the folder were open to all.
    server.data.chmod(0o755)
    (server.data / "backup.sock").chmod(0o666)
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode != 0 and done.stdout == b"", done.stderr
    eventually(lambda: "asked for one" in server.errors(), what="the log tells it")
