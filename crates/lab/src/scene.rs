//! The usual scene: clients, a server, and two target networks of one VPC, each in a namespace.
//!
//! ```text
//!  client 10.99.0.10+n ── 10.99.0.1 server ── 10.77.1.1 ── 10.77.1.10 target a   (subnet 10.77.1.0/24, zone a)
//!                         10.99.0.2        └─ 10.77.2.1 ── 10.77.2.10 target b   (subnet 10.77.2.0/24, zone b)
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule::aws_client::{Answer, AwsError};
use tempfile::TempDir;

use crate::client::OpenVpn;
use crate::net::Net;
use crate::process::{eventually, wait_until};
use crate::server::{Server, ServerOptions, Started, bascule};

/// The targets' addresses.
pub const TARGETS: [&str; 2] = ["10.77.1.10", "10.77.2.10"];

/// How a scene is set up.
#[derive(Clone, Debug)]
pub struct SceneOptions {
    /// How many clients' namespaces.
    pub clients: usize,
    /// How the server is started.
    pub server: ServerOptions,
}

impl Default for SceneOptions {
    fn default() -> Self {
        let arguments =
            ["--workers", "2", "--gateway-address", "10.99.0.1,10.99.0.2"].map(str::to_owned).to_vec();
        Self { clients: 1, server: ServerOptions { arguments, ..ServerOptions::default() } }
    }
}

/// A namespace of a client.
pub struct ClientHost {
    /// The namespace.
    pub net: Net,
}

/// A namespace of a target.
pub struct TargetHost {
    /// The namespace.
    pub net: Net,
    /// Its address.
    pub address: &'static str,
}

/// An authority with one server and one client certificate, in files.
pub struct Certificates {
    /// Their folder.
    pub dir: PathBuf,
}

/// Everything of one test.
pub struct Scene {
    /// The running server; `None` while it is down.
    server: Option<Server>,
    /// The server's namespace.
    pub server_net: Net,
    /// The clients' namespaces.
    pub clients: Vec<ClientHost>,
    /// The targets.
    pub targets: Vec<TargetHost>,
    /// Authority and certificates.
    pub certificates: Certificates,
    options: SceneOptions,
    data: PathBuf,
    dir: TempDir,
}

impl Scene {
    /// Namespaces, cables, certificates, a server that is ready.
    pub fn new(options: SceneOptions) -> Result<Self> {
        let mut scene = Self::without_server(options)?;
        scene.start_server()?;
        Ok(scene)
    }

    /// The same, before the server is started.
    pub fn without_server(options: SceneOptions) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let server_net = Net::new("srv")?;
        // One switch port for all clients: a bridge in a namespace of its own would do the same.
        server_net.ip(&["link", "add", "outside", "type", "bridge"])?;
        server_net.ip(&["addr", "add", "10.99.0.1/24", "dev", "outside"])?;
        server_net.ip(&["addr", "add", "10.99.0.2/24", "dev", "outside"])?;
        server_net.ip(&["link", "set", "outside", "up"])?;
        let mut clients = Vec::new();
        for number in 0..options.clients {
            let net = Net::new("cli")?;
            let port = format!("port{number}");
            server_net.ip(&[
                "link",
                "add",
                &port,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                net.name(),
            ])?;
            server_net.ip(&["link", "set", &port, "master", "outside", "up"])?;
            net.ip(&["addr", "add", &format!("10.99.0.{}/24", 10 + number), "dev", "eth0"])?;
            net.ip(&["link", "set", "eth0", "up"])?;
            net.ip(&["route", "add", "default", "via", "10.99.0.1"])?;
            clients.push(ClientHost { net });
        }
        let mut targets = Vec::new();
        for (number, address) in (1_u8..).zip(TARGETS) {
            let net = Net::new("dst")?;
            let (near, far) = (format!("10.77.{number}.1/24"), format!("{address}/24"));
            server_net.cable(&format!("inside{number}"), &near, &net, "eth0", &far)?;
            targets.push(TargetHost { net, address });
        }
        let certificates = Certificates::new(&dir.path().join("pki"))?;
        let data = dir.path().join("data");
        Ok(Self { server: None, server_net, clients, targets, certificates, options, data, dir })
    }

    /// Starts the server on the same data directory.
    pub fn start_server(&mut self) -> Result<()> {
        let data = self.data_dir();
        self.server = Some(Server::start(&self.server_net, &data, &self.options.server)?);
        Ok(())
    }

    /// The same for a server that may be killed on its way; its exit status if it was.
    pub fn start_or_end(&mut self) -> Result<Option<ExitStatus>> {
        let data = self.data_dir();
        match Server::start_or_end(&self.server_net, &data, &self.options.server)? {
            Started::Ready(server) => {
                self.server = Some(*server);
                Ok(None)
            }
            Started::Ended(status) => Ok(Some(status)),
        }
    }

    /// The exit status of a server that has ended by itself within the limit.
    pub fn server_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.server.as_mut().and_then(|server| server.wait_end(limit))
    }

    /// Where the server keeps its state.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// Where it keeps its state from its next start on.
    pub fn use_data_dir(&mut self, dir: PathBuf) {
        self.data = dir;
    }

    /// A folder for a test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How the server is started from now on.
    pub fn server_options(&mut self) -> &mut ServerOptions {
        &mut self.options.server
    }

    /// The running server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("invariant: the test has started the server")
    }

    /// What the server has said, or the last one that was ready.
    pub fn server_log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }

    /// Takes the running server, to end it.
    pub fn take_server(&mut self) -> Server {
        self.server.take().expect("invariant: the test has started the server")
    }

    /// An EC2 call that must succeed.
    pub fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer> {
        self.try_ec2(action, parameters).with_context(|| format!("{action} {parameters:?}"))
    }

    /// An EC2 call.
    pub fn try_ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer, AwsError> {
        self.server().ec2(&self.server_net, action, parameters)
    }

    /// Imports a certificate of the authority; its ARN.
    pub fn import_certificate(&self, name: &str) -> Result<String> {
        let read = |file: String| std::fs::read(self.certificates.dir.join(file));
        let (certificate, key, chain) =
            (read(format!("{name}.crt"))?, read(format!("{name}.key"))?, read("ca.crt".into())?);
        let client = self.server().client();
        let arn = self.server_net.run(|| client.import_certificate(&certificate, &key, &chain))?;
        Ok(arn)
    }

    /// VPC 10.77.0.0/16 with the two subnets; (VPC, [subnet a, subnet b]).
    pub fn make_vpc(&self) -> Result<(String, [String; 2])> {
        let vpc = self.ec2("CreateVpc", &[("CidrBlock", "10.77.0.0/16")])?.text("vpc/vpcId")?;
        let subnet = |cidr: &str, zone: &str| -> Result<String> {
            let parameters = [("VpcId", vpc.as_str()), ("CidrBlock", cidr), ("AvailabilityZone", zone)];
            self.ec2("CreateSubnet", &parameters)?.text("subnet/subnetId")
        };
        let subnets = [subnet("10.77.1.0/24", "us-east-1a")?, subnet("10.77.2.0/24", "us-east-1b")?];
        Ok((vpc, subnets))
    }

    /// An endpoint with mutual authentication; its id.
    pub fn make_endpoint(&self, more: &[(&str, &str)]) -> Result<String> {
        let arn = self.import_certificate("vpn.example.com")?;
        let mut parameters = vec![
            ("ClientCidrBlock", "10.88.0.0/22"),
            ("ServerCertificateArn", arn.as_str()),
            ("Authentication.1.Type", "certificate-authentication"),
            ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", arn.as_str()),
            ("ConnectionLogOptions.Enabled", "false"),
        ];
        parameters.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        parameters.extend(more);
        // An empty value takes what is given otherwise away.
        parameters.retain(|(_, value)| !value.is_empty());
        self.ec2("CreateClientVpnEndpoint", &parameters)?.text("clientVpnEndpointId")
    }

    /// Associates a subnet and waits until it is `associated`; the association's id.
    pub fn associate(&self, endpoint: &str, subnet: &str) -> Result<String> {
        let parameters = [("ClientVpnEndpointId", endpoint), ("SubnetId", subnet)];
        let id = self.ec2("AssociateClientVpnTargetNetwork", &parameters)?.text("associationId")?;
        eventually("the association", Duration::from_secs(5), || {
            self.association_status(endpoint, &id).ok().flatten().filter(|status| status == "associated")
        })
        .with_context(|| self.server().log())?;
        Ok(id)
    }

    /// An association's status, `None` when it is gone.
    pub fn association_status(&self, endpoint: &str, id: &str) -> Result<Option<String>> {
        let answer = self.ec2("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", endpoint)])?;
        let rows = answer.rows("clientVpnTargetNetworks");
        rows.into_iter()
            .find(|row| row.text("associationId").is_ok_and(|own| own == id))
            .map(|row| row.text("status/code"))
            .transpose()
    }

    /// An endpoint's status.
    pub fn endpoint_status(&self, endpoint: &str) -> Result<String> {
        self.ec2("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", endpoint)])?
            .text("clientVpnEndpoint/item/status/code")
    }

    /// Authorizes everyone for a network.
    pub fn authorize(&self, endpoint: &str, cidr: &str) -> Result<()> {
        let parameters =
            [("ClientVpnEndpointId", endpoint), ("TargetNetworkCidr", cidr), ("AuthorizeAllGroups", "true")];
        self.ec2("AuthorizeClientVpnIngress", &parameters)?;
        Ok(())
    }

    /// The usual beginning: a VPC, an endpoint with the first subnet, everyone authorized for a network; the endpoint's id.
    pub fn open(&self, more: &[(&str, &str)], cidr: &str) -> Result<String> {
        let (_, [subnet, _]) = self.make_vpc()?;
        let endpoint = self.make_endpoint(more)?;
        self.associate(&endpoint, &subnet)?;
        self.authorize(&endpoint, cidr)?;
        Ok(endpoint)
    }

    /// Starts the disassociation.
    pub fn disassociate(&self, endpoint: &str, association: &str) -> Result<Answer> {
        let parameters = [("ClientVpnEndpointId", endpoint), ("AssociationId", association)];
        self.ec2("DisassociateClientVpnTargetNetwork", &parameters)
    }

    /// The exported profile with the client certificate, as a file.
    pub fn profile(&self, endpoint: &str) -> Result<PathBuf> {
        self.profile_with(endpoint, &self.certificates.dir, &format!("{endpoint}.ovpn"))
    }

    /// The same with a client certificate of another authority.
    pub fn foreign_profile(&self, endpoint: &str) -> Result<PathBuf> {
        let other = Certificates::new(&self.dir.path().join("other-pki"))?;
        self.profile_with(endpoint, &other.dir, "foreign.ovpn")
    }

    fn profile_with(&self, endpoint: &str, certificates: &Path, name: &str) -> Result<PathBuf> {
        let answer = self.ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", endpoint)])?;
        let read = |name: &str| std::fs::read_to_string(certificates.join(name));
        let text = format!(
            "{}\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
            answer.text("clientConfiguration")?,
            read("client1.crt")?,
            read("client1.key")?
        );
        let path = self.dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// That no device, rule, route, filter or tracked connection of ours is left in the server's namespace.
    pub fn nothing_left(&self) -> Result<()> {
        let net = &self.server_net;
        let links = net.ip(&["-o", "link"])?;
        ensure!(!links.contains(": bsc"), "links are left:\n{links}");
        for family in ["-4", "-6"] {
            let rules = net.ip(&[family, "rule"])?;
            ensure!(!rules.contains("fwmark"), "rules are left:\n{rules}");
            let routes = net.ip(&[family, "route", "show", "table", "all"])?;
            ensure!(!routes.contains("unreachable default"), "routes are left:\n{routes}");
        }
        let filters = net.output("nft", &["list", "ruleset"])?;
        ensure!(filters.trim().is_empty(), "filters are left:\n{filters}");
        if crate::find_program("conntrack").is_some() {
            let tracked = net.output("conntrack", &["-L"])?;
            ensure!(
                !tracked.lines().any(|line| line.contains("src=10.88.")),
                "tracked connections are left:\n{tracked}"
            );
        }
        Ok(())
    }

    /// A client that is connected.
    pub fn connect(&self, client: usize, profile: &Path, label: &str, arguments: &[&str]) -> Result<OpenVpn> {
        let host = self.clients.get(client).context("no such client")?;
        let mut openvpn = OpenVpn::start(&host.net, profile, label, arguments)?;
        openvpn
            .wait_up(1, Duration::from_secs(15))
            .with_context(|| format!("the server said:\n{}", self.server().log()))?;
        Ok(openvpn)
    }

    /// Waits until a client's pings reach a target; panics on a way that stays shut.
    pub fn reaches(&self, client: usize, address: &str) -> bool {
        let Some(host) = self.clients.get(client) else { return false };
        wait_until(Duration::from_secs(5), || host.net.pings(address))
    }
}

impl Certificates {
    fn new(dir: &Path) -> Result<Self> {
        let folder = dir.to_string_lossy().into_owned();
        bascule(&["pki", "init-ca", "--dir", &folder])?;
        bascule(&["pki", "issue-server", "vpn.example.com", "--dir", &folder])?;
        bascule(&["pki", "issue-client", "client1", "--dir", &folder])?;
        Ok(Self { dir: dir.to_owned() })
    }
}
