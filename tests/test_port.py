"""The API's port: TLS, what is refused without it, open development servers, health, metrics, settings, the stop."""

import contextlib
import http.client
import socket
import ssl
import time

import pytest

from support import namespaces
from support.calls import Caller, insecure_tls, form
from support.servers import Certificates, Server, bascule, environment, eventually
from support.world import World

NOBODY = ("AKIANOBODY0000000000", "nobody-nobody-nobody-nobody-nobody-nobody")


# --- Wrong settings: exit code 2, and a line that names key and value.

WRONG = {
    "open without TLS": (["--listen", "0.0.0.0:0"], {}, ["listen = 0.0.0.0:0", "tls-cert"]),
    "open without TLS, IPv6": (["--listen", "[::]:0"], {}, ["listen = [::]:0"]),
    "one address without TLS": (["--listen", "192.0.2.1:0"], {}, ["listen = 192.0.2.1:0"]),
    "by the environment": ([], {"BASCULE_LISTEN": "0.0.0.0:0"}, ["listen = 0.0.0.0:0"]),
    "dev-open for everyone": (
        ["--listen", "0.0.0.0:0", "--insecure-http", "--dev-open"],
        {},
        ["dev-open", "listen = 0.0.0.0:0"],
    ),
    "dev-open for everyone, with TLS": (
        ["--listen", "0.0.0.0:0", "--tls-cert", "c", "--tls-key", "k", "--dev-open"],
        {},
        ["dev-open", "listen = 0.0.0.0:0"],
    ),
    "a certificate without a key": (["--tls-cert", "c"], {}, ["tls-key"]),
    "a key without a certificate": (["--tls-key", "k"], {}, ["tls-cert"]),
    "no address": (["--listen", "nowhere"], {}, ["--listen", "nowhere"]),
    "no region": (["--region", "US_EAST"], {}, ["region = US_EAST"]),
    "no account": (["--account", "12"], {}, ["account = 12"]),
    "no gateway": (["--gateway-address", "10.0.0.9-10.0.0.1"], {}, ["gateway-address = 10.0.0.9-10.0.0.1"]),
    "no advertisement": (["--advertise", "a b"], {}, ["advertise = a b"]),
    "no domain": (["--domain", "a b"], {}, ["domain = a b"]),
    "no workers": (["--workers", "0"], {}, ["workers"]),
    "unknown flag": (["--nonsense"], {}, ["--nonsense"]),
    "no file": (["--config", "/nonexistent/x.toml"], {}, ["config = /nonexistent/x.toml"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings(places, what):
    arguments, variables, texts = WRONG[what]
    data = places.folder() / "data"
    if not any("--listen" in argument for argument in arguments) and "BASCULE_LISTEN" not in variables:
        arguments = [*arguments, "--listen", "127.0.0.1:0"]
    done = bascule("serve", "--data-dir", data, *arguments, env=environment(**variables))
    assert done.returncode == 2, done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr
    assert "ready" not in done.stdout
    assert not (data / "credentials").exists(), "a wrong setting leaves nothing behind"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('listem = "127.0.0.1:1"\n', "listem"),
        ('\nworkers = "x"\n', "line 2"),
        ("[quotas]\nunicorns = 1\n", "unicorns"),
        ("=", "line 1"),
    ],
)
def test_a_wrong_file(places, text, said):
    path = places.folder() / "bascule.toml"
    path.write_text(text)
    done = bascule("serve", "--data-dir", path.parent / "data", "--config", path)
    assert done.returncode == 2 and str(path) in done.stderr and said in done.stderr, done.stderr


def test_a_port_that_is_taken(make_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = make_server(start=False)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server.arguments[3] = address
        server.launch()
        assert server.process.wait(30) == 1
        assert address in server.errors()


def test_settings_from_file_environment_and_flags(make_server, certificates):
    server = make_server(
        "--region",
        "us-east-1",
        config='account = "123456789012"\nregion = ["eu-west-1"]\ndomain = "example.org"\n[quotas]\nvpcs_per_region = 1\n',
        variables={"BASCULE_DOMAIN": "vpn.example.com", "BASCULE_ADVERTISE": "192.0.2.77:1194"},
    )
    world = World(server, certificates, "us-east-1")
    assert world.root.call("sts", "GetCallerIdentity")["Account"] == "123456789012"
    endpoint = world.endpoint()
    name = f"{endpoint}.prod.clientvpn.us-east-1.vpn.example.com"
    assert world.describe(endpoint)["DnsName"] == f"*.{name}"
    text = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=endpoint)["ClientConfiguration"]
    # With a domain the profile uses the name.
    assert f"remote {name} 1194\nremote-random-hostname\n" in text
    world.vpc()
    assert world.refused("CreateVpc", CidrBlock="10.1.0.0/16").code == "VpcLimitExceeded"
    # The flag's list replaces the file's; other regions are not served.
    for region, status in (("us-east-1", 200), ("eu-west-1", 401)):
        assert world.root.in_region(region).ec2_raw("DescribeVpcs").status == status


def test_without_a_domain_the_profile_names_the_address(make_server, certificates):
    server = make_server("--advertise", "vpn.example.net")
    world = World(server, certificates, "us-east-1")
    text = world.ec2("ExportClientVpnClientConfiguration", ClientVpnEndpointId=world.endpoint(VpnPort=1194))
    assert "remote vpn.example.net 1194\n" in text["ClientConfiguration"]
    assert "remote-random-hostname" not in text["ClientConfiguration"]


# --- TLS


def serial(server):
    """The serial number of the certificate the server shows."""
    with socket.create_connection(server.address, timeout=10) as plain:
        with insecure_tls().wrap_socket(plain) as secured:
            return secured.getpeercert(binary_form=True)


def test_tls(make_server, certificates, places):
    folder = places.folder()
    certificate, key = folder / "api.crt", folder / "api.key"
    own = Certificates(folder)
    own.run("issue-server", "localhost.example.com")

    def put(name):
        for path, source in ((key, f"{name}.key"), (certificate, f"{name}.crt")):
            new = path.with_suffix(".new")
            new.write_bytes(own.pem(source))
            new.chmod(0o644)
            new.rename(path)

    put("vpn.example.com")
    server = make_server("--tls-cert", certificate, "--tls-key", key)
    assert server.url.startswith("https://")
    tls = ssl.create_default_context(cafile=own.path("ca.crt"))
    tls.check_hostname = False
    caller = Caller(server, tls=tls)
    assert caller.ec2_raw("DescribeVpcs").status == 200
    assert caller.get("/health").status == 200
    first = serial(server)
    # Plain HTTP is no way in.
    plain = http.client.HTTPConnection(*server.address, timeout=10)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.request("GET", "/health")
        plain.getresponse()
    plain.close()
    # Old versions are not spoken.
    old = insecure_tls()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(server.address, timeout=10) as raw, old.wrap_socket(raw) as secured:
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    put("localhost.example.com")
    eventually(lambda: serial(server) != first, what="the new certificate is shown")
    assert caller.ec2_raw("DescribeVpcs").status == 200
    second = serial(server)
    # A broken file keeps the old one in force, and the log says so.
    certificate.write_text("broken")
    eventually(lambda: "keeps its old certificate" in server.errors(), what="the log says so")
    assert serial(server) == second
    assert "BEGIN" not in server.errors()


@pytest.mark.fabric
def test_an_open_port_with_tls(own_namespace, make_server, certificates, places):
    folder = places.folder()
    for name in ("crt", "key"):
        (folder / name).write_bytes(certificates.pem(f"vpn.example.com.{name}"))
        (folder / name).chmod(0o644)
    server = make_server("--tls-cert", folder / "crt", "--tls-key", folder / "key", start=False)
    server.arguments[3] = f"{namespaces.ADDRESSES[0]}:0"
    server.start()
    caller = Caller(server, tls=insecure_tls())
    assert caller.ec2_raw("DescribeVpcs").status == 200
    assert caller.get("/health").status == 200
    # Metrics are for callers of this host's loopback only.
    assert caller.get("/metrics").status == 404


@pytest.mark.fabric
def test_an_open_port_without_tls_must_be_asked_for(own_namespace, make_server):
    server = make_server("--insecure-http", start=False)
    server.arguments[3] = f"{namespaces.ADDRESSES[0]}:0"
    server.start()
    caller = Caller(server)
    assert caller.ec2_raw("DescribeVpcs").status == 200
    assert caller.get("/metrics").status == 404
    # A body that is not signed is believed over TLS or from this host only.
    body = form([("Action", "DescribeVpcs")]).encode()
    head = {"Content-Type": "application/x-www-form-urlencoded", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    target, headers = caller.signed("POST", "", body, head, "ec2")
    assert caller.send("POST", target, body, headers).status == 401


def test_metrics_of_their_own_port(make_server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = make_server("--metrics-listen", address)
    connection = http.client.HTTPConnection(address, timeout=10)
    for path, status in (("/metrics", 200), ("/", 404), ("/health", 404)):
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == status
        if path == "/metrics":
            assert "bascule_connections 0\n" in text
        connection.close()
    assert Caller(server).get("/metrics").status == 200


# --- Open development servers


@pytest.fixture(scope="module")
def open_server(places):
    server = Server(places, "--dev-open").start()
    yield server
    server.close()


def test_an_open_server_takes_any_credentials(open_server):
    caller = Caller(open_server, NOBODY)
    assert caller.ec2_raw("DescribeVpcs").status == 200
    assert caller.call("sts", "GetCallerIdentity")["Arn"] == "arn:aws:iam::000000000000:root"
    assert "WARN" in open_server.errors() and "any credentials are accepted" in open_server.errors()
    # The signature is still read.
    assert caller.send("POST", "/", b"Action=DescribeVpcs").check_form().code == "MissingAuthenticationToken"
    reply = caller.send("POST", "/", b"Action=DescribeVpcs", {"Authorization": "AWS4-HMAC-SHA256 x"})
    assert reply.check_form().code == "IncompleteSignature"


PAGES = [
    ({"Host": "127.0.0.1"}, True),
    ({"Host": "localhost:1"}, True),
    ({"Host": "LOCALHOST"}, True),
    ({"Host": "[::1]:8585"}, True),
    ({"Host": "127.9.9.9"}, True),
    ({"Host": "evil.example"}, False),
    ({"Host": "127.0.0.1.evil.example"}, False),
    ({"Host": "localhost.evil.example:8585"}, False),
    ({"Host": "192.0.2.1"}, False),
    ({"Host": ""}, False),
    ({"Host": "localhost", "Origin": "http://localhost"}, False),
    ({"Host": "localhost", "Origin": "null"}, False),
    ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, False),
    ({"Host": "localhost", "Sec-Fetch-Site": "same-site"}, False),
    ({"Host": "localhost", "Sec-Fetch-Site": "none"}, True),
]


@pytest.mark.parametrize(("headers", "taken"), PAGES, ids=lambda value: str(value)[:60])
def test_what_a_web_page_could_send_is_refused(open_server, headers, taken):
    caller = Caller(open_server, NOBODY)
    presigned = caller.presigned(form([("Action", "DescribeVpcs")]))
    replies = [caller.send("GET", presigned, headers=headers)]
    target, signed = caller.signed("POST", "", b"Action=DescribeVpcs", {}, "ec2")
    replies.append(caller.send("POST", target, b"Action=DescribeVpcs", {**signed, **headers}))
    json_target, signed = caller.signed(
        "POST", "", b"{}", {"X-Amz-Target": "CertificateManager.ListCertificates"}, "acm"
    )
    replies.append(caller.send("POST", json_target, b"{}", {**signed, **headers}, "acm"))
    for reply in replies:
        assert reply.status == (200 if taken else 403), reply.text
        assert taken or reply.code == "OperationNotPermitted"


def test_a_closed_server_does_not_mind_web_headers(caller):
    assert caller.ec2_raw("DescribeVpcs", headers={"Origin": "http://evil.example"}).status == 200


# --- Start and stop


def test_ready_means_ready(make_server):
    server = make_server()
    assert server.output.count(b"ready ") == 1
    assert Caller(server).get("/health").status == 200
    assert (server.data / "api-url").read_text() == f"{server.url}\n"


def test_a_stop_lets_calls_end_and_is_clean(make_server):
    server = make_server()
    kept = [Caller(server) for _ in range(8)]
    for caller in kept:
        assert caller.query([("Action", "DescribeVpcs")], keep=True).status == 200
    # A client that has begun and says no more.
    with socket.create_connection(server.address, timeout=10) as idle:
        idle.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
    for caller in kept:
        caller.__exit__()


WRONG_HTTP = {
    "nothing": b"",
    "an empty line": b"\r\n\r\n",
    "a method": b"GET\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "a long line": b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
    "no end": b"A" * 200000,
}


@pytest.mark.parametrize("what", WRONG_HTTP)
def test_wrong_http(shared, what):
    answer = b""
    with socket.create_connection(shared.address, timeout=20) as connection:
        # It may hang up at any moment.
        with contextlib.suppress(OSError):
            connection.sendall(WRONG_HTTP[what])
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
    assert b" 5" not in answer[:12], answer[:100]
    assert Caller(shared).get("/health").status == 200


def test_many_connections_at_once(shared):
    idle = [socket.create_connection(shared.address, timeout=20) for _ in range(300)]
    try:
        assert Caller(shared).ec2_raw("DescribeVpcs").status == 200
    finally:
        for connection in idle:
            connection.close()


def test_version_and_help():
    assert bascule("version").stdout.startswith("bascule ")
    done = bascule("help")
    assert done.returncode == 0 and "serve" in done.stdout and "profile" in done.stdout
    for arguments in ([], ["nonsense"], ["profile"]):
        assert bascule(*arguments).returncode == 2
