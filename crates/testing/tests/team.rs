//! A team's own test, as `docs/testing.md` shows it: an endpoint that must let through what it should and nothing else.
//! Where this calls the API with a small client of Bascule's, a team uses the AWS SDK.

use std::io::Read as _;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bascule::aws_client::{AwsClient, Credentials};
use testing::{Error, Server};

/// The program, where cargo or the test run has built it.
fn binary() -> PathBuf {
    let built = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("bascule"))
    };
    std::env::var_os("BASCULE_BIN").map(PathBuf::from).or_else(built).expect("a folder of built programs")
}

/// An address of this machine that clients may be let to; asking for it sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.77:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Something to reach: takes connections at a port of the address until the test ends.
fn service(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || stream.read(&mut [0; 16]));
        }
    });
    Ok(port)
}

fn aws(server: &Server) -> Result<AwsClient> {
    let key = server.credentials();
    let key = Credentials::new(&key.access_key_id, &key.secret_access_key, None);
    AwsClient::new(server.endpoint_url(), "us-east-1", key)
}

/// An endpoint with one target network and a way to one address; the endpoint's id.
fn endpoint(server: &Server, aws: &AwsClient, to: IpAddr) -> Result<String> {
    let certificates = server.certificates()?;
    let pair = certificates.server("vpn.example.com")?;
    let file = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    let chain = file(&certificates.authority())?;
    let arn = aws.import_certificate(&file(&pair.certificate)?, &file(&pair.key)?, &chain)?;
    let vpc = aws.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")])?.text("vpc/vpcId")?;
    let subnet = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.1.0/24")];
    let subnet = aws.ec2("CreateSubnet", &subnet)?.text("subnet/subnetId")?;
    let made = aws.ec2(
        "CreateClientVpnEndpoint",
        &[
            ("ClientCidrBlock", "10.8.0.0/22"),
            ("ServerCertificateArn", &arn),
            ("Authentication.1.Type", "certificate-authentication"),
            ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", &arn),
            ("ConnectionLogOptions.Enabled", "false"),
        ],
    )?;
    let id = made.text("clientVpnEndpointId")?;
    let of = ("ClientVpnEndpointId", id.as_str());
    aws.ec2("AssociateClientVpnTargetNetwork", &[of, ("SubnetId", &subnet)])?;
    let block = format!("{to}/32");
    aws.ec2("CreateClientVpnRoute", &[of, ("DestinationCidrBlock", &block), ("TargetVpcSubnetId", &subnet)])?;
    aws.ec2(
        "AuthorizeClientVpnIngress",
        &[of, ("TargetNetworkCidr", &block), ("AuthorizeAllGroups", "true")],
    )?;
    Ok(id)
}

#[test]
fn clients_reach_what_the_rules_say_and_every_test_begins_anew() -> Result<()> {
    let Some(address) = own_address() else {
        println!("SKIP: this host has no address but loopback");
        return Ok(());
    };
    let port = service(address)?;
    let server = Server::builder()
        .binary(binary())
        .argument("--userspace-host")
        .argument(address.to_string())
        .start()?;
    let aws = aws(&server)?;
    let id = endpoint(&server, &aws, address)?;
    // Done and in force: whatever was on its way has arrived.
    let state = server.save()?;
    let profile = server.profile(&id, &server.certificates()?.client("alice")?)?;
    let reach = format!("reach {address}:{port}");
    server.expect(&profile, &[&reach, "deny 192.0.2.0/24 within 500ms"])?;

    let block = format!("{address}/32");
    let rule =
        [("ClientVpnEndpointId", id.as_str()), ("TargetNetworkCidr", &block), ("RevokeAllGroups", "true")];
    aws.ec2("RevokeClientVpnIngress", &rule)?;
    server.expect(&profile, &[&format!("deny {address}:{port} within 500ms")])?;
    match server.expect(&profile, &[&format!("{reach} within 500ms")]) {
        Err(Error::Failed { said, .. }) => ensure!(said.contains("NOT HELD"), "{said}"),
        other => anyhow::bail!("nobody may reach it: {other:?}"),
    }

    server.load(&state)?;
    server.expect(&profile, &[&reach])?;
    server.reset()?;
    let left = aws.ec2("DescribeClientVpnEndpoints", &[])?;
    ensure!(left.rows("clientVpnEndpoint").is_empty(), "{left:?}");
    server.load(&state)?;
    server.expect(&profile, &[&reach])?;
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let failed = Server::builder().binary(binary()).argument("--gateway-address").argument("nowhere").start();
    match failed {
        Err(Error::NotReady(log)) => assert!(log.contains("nowhere"), "{log}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_stops_with_its_value_and_leaves_nothing() -> Result<()> {
    let server = Server::builder().binary(binary()).start()?;
    let (folder, url) = (server.data_dir(), server.endpoint_url().to_owned());
    let address = url.trim_start_matches("http://").to_owned();
    ensure!(std::net::TcpStream::connect(&address).is_ok(), "it listens at {address}");
    drop(server);
    ensure!(std::net::TcpStream::connect(&address).is_err(), "somebody still listens");
    ensure!(!folder.exists(), "its folder is left");
    Ok(())
}
