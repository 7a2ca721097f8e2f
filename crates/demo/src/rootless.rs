//! The demonstration for ordinary users: no namespace, no device, no privilege. The clients are our own, and the target is
//! a service at this host's own address, which the server is told that clients may reach.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::{Answer, AwsClient, AwsError, Credentials, eventually};
use swarm::{Dialect, Expectation, Group, Profile, Setup, Swarm};

use crate::Story;

/// How long the client may take to connect, or to notice that it is no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The disassociation must have had its effect by then.
const SEED_LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn tell(story: &mut Story) -> Result<()> {
    let own = netio::host_addresses().into_iter().find(IpAddr::is_ipv4);
    let own = own.context("this host has no IPv4 address but loopback, which no tunnel leads to")?;
    let service = TcpListener::bind((own, 0)).context("the service that clients are to reach")?;
    let target = service.local_addr()?;
    std::thread::spawn(move || echo(&service));
    let dir = tempfile::tempdir()?;

    story.command(&format!("bascule serve --fabric userspace --userspace-host {own}"));
    let server = story.step("the service is ready, without any capability", || {
        let server = Server::start(dir.path(), own)?;
        let seen = server.client.url().to_owned();
        Ok((server, seen))
    })?;
    let (endpoint, subnet, association) = build(story, &server, dir.path())?;
    open(story, &server, &endpoint, &subnet, own)?;
    let swarm = connect(story, &server, &endpoint, dir.path())?;
    let asks = |text: String| -> Result<String> { expect(&swarm, &text) };
    story.step("bytes go to the target and back", || Ok(((), asks(format!("reach {target} echo"))?)))?;
    story.step("other ports of this host stay out of reach", || {
        let port = server.port()?;
        Ok(((), asks(format!("deny {own}:{port} within 1s"))?))
    })?;

    let rule = format!("{own}/32");
    let parameters = [
        ("ClientVpnEndpointId", endpoint.as_str()),
        ("TargetNetworkCidr", rule.as_str()),
        ("RevokeAllGroups", "true"),
    ];
    story.command(&format!("aws ec2 revoke-client-vpn-ingress --client-vpn-endpoint-id {endpoint} --target-network-cidr {rule} --revoke-all-groups"));
    story.step("the rule is revoked, and the target no longer answers", || {
        server.ec2("RevokeClientVpnIngress", &parameters)?;
        let denied = asks(format!("deny {target} within 1s"))?;
        let stopped = server.figure("bascule_dropped_packets_total{reason=\"no-rule\"} ")?;
        ensure!(stopped > 0, "no packet reached the policy");
        Ok(((), format!("{denied}; the policy stopped {stopped} packets")))
    })?;
    disassociate(story, &server, &endpoint, &association, &swarm)
}

fn echo(service: &TcpListener) {
    for stream in service.incoming().flatten() {
        std::thread::spawn(move || {
            let mut reader = &stream;
            let mut buffer = [0; 16_384];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let Some(bytes) = buffer.get(..length) else { return };
                if (&stream).write_all(bytes).is_err() {
                    return;
                }
            }
        });
    }
}

fn build(story: &mut Story, server: &Server, dir: &Path) -> Result<(String, String, String)> {
    story.command(
        "bascule pki init-ca; bascule pki issue-server vpn.example.com; bascule pki issue-client alice",
    );
    let pki = dir.join("pki");
    let folder = pki.to_string_lossy().into_owned();
    story.step("certificates", || {
        for arguments in [&["init-ca"][..], &["issue-server", "vpn.example.com"], &["issue-client", "alice"]]
        {
            run(&[&["pki"], arguments, &["--dir", &folder]].concat())?;
        }
        Ok(((), "of an authority of our own".to_owned()))
    })?;
    let arn = {
        let read = |name: &str| std::fs::read(pki.join(name));
        let (certificate, key, chain) =
            (read("vpn.example.com.crt")?, read("vpn.example.com.key")?, read("ca.crt")?);
        server.client.import_certificate(&certificate, &key, &chain)?
    };
    let subnet = story.step("a VPC and its subnet", || {
        let vpc = server.ec2("CreateVpc", &[("CidrBlock", "10.77.0.0/16")])?.text("vpc/vpcId")?;
        let parameters = [("VpcId", vpc.as_str()), ("CidrBlock", "10.77.1.0/24")];
        let subnet = server.ec2("CreateSubnet", &parameters)?.text("subnet/subnetId")?;
        Ok((subnet.clone(), format!("{vpc}, {subnet}")))
    })?;
    let endpoint = story.step("an endpoint that waits for a target network", || {
        let parameters = [
            ("ClientCidrBlock", "10.88.0.0/22"),
            ("ServerCertificateArn", arn.as_str()),
            ("Authentication.1.Type", "certificate-authentication"),
            ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", arn.as_str()),
            ("ConnectionLogOptions.Enabled", "false"),
        ];
        let endpoint = server.ec2("CreateClientVpnEndpoint", &parameters)?.text("clientVpnEndpointId")?;
        let status = server.status(&endpoint)?;
        ensure!(status == "pending-associate", "it is {status}");
        Ok((endpoint.clone(), format!("{endpoint} is {status}")))
    })?;
    story.command(&format!(
        "aws ec2 associate-client-vpn-target-network --client-vpn-endpoint-id {endpoint} --subnet-id {subnet}"
    ));
    let association = story.step("the association opens it", || {
        let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("SubnetId", subnet.as_str())];
        let association =
            server.ec2("AssociateClientVpnTargetNetwork", &parameters)?.text("associationId")?;
        eventually("available", PATIENCE, || {
            server.status(&endpoint).ok().filter(|status| status == "available")
        })?;
        Ok((association.clone(), format!("{association} is associated, the endpoint available")))
    })?;
    Ok((endpoint, subnet, association))
}

/// A route and a rule to the target, which is in no VPC.
fn open(story: &mut Story, server: &Server, endpoint: &str, subnet: &str, own: IpAddr) -> Result<()> {
    let block = format!("{own}/32");
    story.command(&format!("aws ec2 create-client-vpn-route --destination-cidr-block {block} …; aws ec2 authorize-client-vpn-ingress --target-network-cidr {block} …"));
    story.step("a route and a rule lead to this host's own address", || {
        let route = [
            ("ClientVpnEndpointId", endpoint),
            ("DestinationCidrBlock", block.as_str()),
            ("TargetVpcSubnetId", subnet),
        ];
        server.ec2("CreateClientVpnRoute", &route)?;
        let rule = [
            ("ClientVpnEndpointId", endpoint),
            ("TargetNetworkCidr", block.as_str()),
            ("AuthorizeAllGroups", "true"),
        ];
        server.ec2("AuthorizeClientVpnIngress", &rule)?;
        Ok(((), block.clone()))
    })
}

fn connect(story: &mut Story, server: &Server, endpoint: &str, dir: &Path) -> Result<Swarm> {
    story.command(&format!(
        "bascule profile --endpoint {endpoint} --cert pki/alice.crt --key pki/alice.key > alice.ovpn"
    ));
    let profile = story.step("the client profile", || {
        let answer =
            server.ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", endpoint)])?;
        let read = |name: &str| std::fs::read_to_string(dir.join("pki").join(name));
        let (certificate, key) = (read("alice.crt")?, read("alice.key")?);
        let configuration = answer.text("clientConfiguration")?;
        let remote = configuration.lines().find(|line| line.starts_with("remote ")).unwrap_or_default();
        let seen = remote.to_owned();
        let path = dir.join("alice.ovpn");
        std::fs::write(
            &path,
            format!("{configuration}\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n"),
        )?;
        Ok((path, seen))
    })?;
    story.command("bascule client alice.ovpn");
    story.step("our own client connects, without a device", || {
        let setup = Arc::new(Setup::new(Profile::load(&profile)?, Dialect::V2_6)?);
        let group = Group { label: "alice".to_owned(), setup, count: 1 };
        let swarm = Swarm::start(&[group], 1.0)?;
        ensure!(swarm.all_up(PATIENCE), "no tunnel: {:?}", swarm.failures());
        let tunnel = swarm.clients().next().and_then(|client| client.status().tunnel().cloned());
        let seen = tunnel.and_then(|tunnel| tunnel.ipv4).map_or_else(String::new, |net| net.to_string());
        Ok((swarm, seen))
    })
}

/// Tries one expectation; what was seen.
fn expect(swarm: &Swarm, text: &str) -> Result<String> {
    let expectation: Expectation = text.parse()?;
    let mut seen = None;
    swarm.expect(&[Arc::new(expectation)], |_, _| true, PATIENCE, |outcome| seen = Some(outcome.verdict));
    let verdict = seen.context("the client did not try")?;
    ensure!(verdict.held, "{text}: {}", verdict.detail);
    Ok(format!("{text}: {}", verdict.detail))
}

fn disassociate(
    story: &mut Story,
    server: &Server,
    endpoint: &str,
    association: &str,
    swarm: &Swarm,
) -> Result<()> {
    story.command(&format!("aws ec2 disassociate-client-vpn-target-network --client-vpn-endpoint-id {endpoint} --association-id {association}"));
    let called = Instant::now();
    story.step("the last target network is disassociated, and the endpoint is pending-associate", || {
        let parameters = [("ClientVpnEndpointId", endpoint), ("AssociationId", association)];
        server.ec2("DisassociateClientVpnTargetNetwork", &parameters)?;
        eventually("pending-associate", SEED_LIMIT, || {
            server.status(endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        Ok(((), format!("{} ms after the call", called.elapsed().as_millis())))
    })?;
    story.step("the client was told, and does not get in again", || {
        ensure!(swarm.wait_until(PATIENCE, |counts| counts.up == 0), "it is still up");
        let said = swarm.farewells().into_keys().next().context("it was told nothing")?;
        let ups = swarm.counts().ups;
        ensure!(!swarm.wait_until(Duration::from_secs(3), |counts| counts.ups > ups), "it got in");
        Ok(((), said))
    })
}

/// `bascule serve`, ended with this value.
struct Server {
    child: Child,
    client: AwsClient,
}

impl Server {
    fn start(dir: &Path, own: IpAddr) -> Result<Self> {
        let data = dir.join("data");
        let own = own.to_string();
        let log = std::fs::File::create(dir.join("serve.log"))?;
        let mut child = Command::new(lab::binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--fabric", "userspace", "--userspace-host", &own])
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start bascule serve")?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let ready =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
        let Some(url) = ready else {
            let _ = child.wait();
            bail!("it ended: {}", std::fs::read_to_string(dir.join("serve.log")).unwrap_or_default());
        };
        let credentials = Credentials::from_file(&data.join("credentials"))?;
        Ok(Self { child, client: AwsClient::new(&url, "us-east-1", credentials)? })
    }

    fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer, AwsError> {
        self.client.ec2(action, parameters)
    }

    fn status(&self, endpoint: &str) -> Result<String> {
        self.ec2("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", endpoint)])?
            .text("clientVpnEndpoint/item/status/code")
    }

    /// The API's port.
    fn port(&self) -> Result<u16> {
        Ok(self.client.url().rsplit(':').next().unwrap_or_default().trim_end_matches('/').parse()?)
    }

    fn figure(&self, name: &str) -> Result<u64> {
        let text: String = self.client.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
        Ok(line.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `bascule` with arguments.
fn run(arguments: &[&str]) -> Result<()> {
    let output = Command::new(lab::binary()).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
