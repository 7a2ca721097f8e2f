//! A team's own test, as `docs/testing.md` shows it: an endpoint that must let through what it should and nothing else.
//! Where this calls the API with a small client of Bascule's, a team uses the AWS SDK.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bascule::aws_client::AwsClient;
use testing::{Error, Server};

use crate::around::{aws, binary, own_address, service};

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
