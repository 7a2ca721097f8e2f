"""What the tests stand on: something to reach, and the team's Terraform configuration applied to a server."""

import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def office():
    """A web server at an address of this host, in the place of the office's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))  # sends nothing
        except OSError:
            pytest.skip("this host has no address but loopback")
        address = probe.getsockname()[0]
    server = http.server.ThreadingHTTPServer((address, 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def bascule_arguments(office):
    """This host's own addresses are out of clients' reach unless they are named."""
    return ["--userspace-host", office[0]]


@pytest.fixture(scope="session")
def applied(bascule, office, tmp_path_factory):
    """`terraform apply`; the outputs."""
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copy(HERE / "main.tf", folder)
    server = bascule.certificates.server("vpn.example.com")
    files = {"certificate": server.certificate, "key": server.key, "authority": bascule.certificates.authority}
    variables = {
        "server": {name: str(path) for name, path in files.items()},
        "office": f"{office[0]}/32",
        "office_port": office[1],
    }
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))

    def terraform(*arguments):
        command = ["terraform", *arguments]
        done = subprocess.run(command, cwd=folder, env=bascule.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    terraform("init", "-input=false", "-no-color")
    terraform("apply", "-auto-approve", "-input=false", "-no-color")
    return {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}


@pytest.fixture(scope="session")
def associated(bascule, applied, office):
    """The same with its target network, and the route that leads to the office. Terraform's provider would wait four
    minutes for the association, which takes less than a second: so this makes it."""
    ec2 = bascule.client("ec2")
    endpoint = {"ClientVpnEndpointId": applied["endpoint"]}
    ec2.associate_client_vpn_target_network(SubnetId=applied["subnet"], **endpoint)
    ec2.create_client_vpn_route(
        DestinationCidrBlock=f"{office[0]}/32", TargetVpcSubnetId=applied["subnet"], **endpoint
    )
    return applied


@pytest.fixture(scope="session")
def ready(bascule, associated):
    """All of it in force, kept, so that each test can have it as it was."""
    return associated, bascule.save()


@pytest.fixture
def vpn(bascule, ready):
    """The endpoint as it was applied, whatever an earlier test has done to it."""
    outputs, state = ready
    bascule.load(state)
    return outputs["endpoint"]


@pytest.fixture
def alice(bascule, vpn):
    """A client's profile."""
    return bascule.profile(vpn, bascule.certificates.client("alice"))
