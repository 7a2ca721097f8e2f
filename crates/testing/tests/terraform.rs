//! A team's own test of what its Terraform configuration makes: the same configuration as that of `examples/pytest`, applied
//! to a server of the test's own, and clients that must get where it lets them and nowhere else.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use testing::{Error, Server};

use crate::around::{aws, binary, own_address, service};

/// What the team ships.
const CONFIGURATION: &str = include_str!("../../../examples/pytest/main.tf");
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws";

/// The program, if it is there.
fn terraform() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("terraform")).find(|file| file.is_file())
}

/// A folder that holds the provider, if one does, so that it need not be fetched: where the Python tests look too.
fn mirror() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let mut places: Vec<PathBuf> = variable("BASCULE_TERRAFORM_MIRROR").into_iter().collect();
    places.extend(variable("HOME").map(|home| home.join(".terraform.d/plugins")));
    places.extend(["/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"].map(PathBuf::from));
    let mut others: Vec<PathBuf> =
        std::fs::read_dir("/opt").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.sort();
    places.extend(others);
    places.into_iter().find(|place| place.join(PROVIDER).is_dir())
}

/// Terraform's own settings: the provider from that folder.
fn settings() -> String {
    let places = match mirror() {
        Some(folder) => format!(
            "filesystem_mirror {{\n path = {folder:?}\n include = [{PROVIDER:?}]\n }}\n direct {{\n exclude = [{PROVIDER:?}]\n }}\n"
        ),
        None => "direct {}\n".to_owned(),
    };
    format!("provider_installation {{\n{places}}}\ndisable_checkpoint = true\n")
}

/// The team's configuration in a folder of its own, and the server it is applied to.
struct Applied<'a> {
    program: PathBuf,
    folder: TempDir,
    server: &'a Server,
}

impl<'a> Applied<'a> {
    /// `terraform apply`: certificate, network, security group, endpoint and authorization rule.
    fn apply(program: PathBuf, server: &'a Server, to: IpAddr, port: u16) -> Result<Self> {
        let certificates = server.certificates()?;
        let pair = certificates.server("vpn.example.com")?;
        let applied = Self { program, folder: tempfile::tempdir()?, server };
        let put = |name: &str, text: &str| std::fs::write(applied.at(name), text);
        put("main.tf", CONFIGURATION)?;
        put("settings", &settings())?;
        let (certificate, key, authority) = (&pair.certificate, &pair.key, certificates.authority());
        let files =
            format!(r#"{{"certificate": {certificate:?}, "key": {key:?}, "authority": {authority:?}}}"#);
        put(
            "terraform.tfvars.json",
            &format!(r#"{{"server": {files}, "office": "{to}/32", "office_port": {port}}}"#),
        )?;
        applied.run(&["init", "-input=false", "-no-color"])?;
        applied.run(&["apply", "-auto-approve", "-input=false", "-no-color"])?;
        Ok(applied)
    }

    /// One of its outputs.
    fn output(&self, name: &str) -> Result<String> {
        self.run(&["output", "-raw", name])
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder.path()).envs(self.server.environment());
        command.env("TF_CLI_CONFIG_FILE", self.at("settings")).env("HOME", self.folder.path());
        // The provider spends a third of its time collecting garbage otherwise.
        let done = command.env("GOGC", "400").output().context("terraform does not start")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            done.status.success(),
            "terraform {arguments:?}: {}{}",
            text(&done.stdout),
            text(&done.stderr)
        );
        Ok(text(&done.stdout))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn clients_of_what_terraform_made_reach_what_it_says_and_nothing_else() -> Result<()> {
    let Some(program) = terraform() else {
        println!("SKIP: no terraform here");
        return Ok(());
    };
    let Some(address) = own_address() else {
        println!("SKIP: this host has no address but loopback");
        return Ok(());
    };
    // Two services of the office, of which the security group names one.
    let (port, other) = (service(address)?, service(address)?);
    let server = Server::builder()
        .binary(binary())
        .argument("--userspace-host")
        .argument(address.to_string())
        .start()?;
    let applied = Applied::apply(program, &server, address, port)?;
    let (endpoint, subnet) = (applied.output("endpoint")?, applied.output("subnet")?);
    // Terraform's provider would wait four minutes for the association, which takes less than a second: so this makes it.
    let aws = aws(&server)?;
    let (of, block) = (("ClientVpnEndpointId", endpoint.as_str()), format!("{address}/32"));
    aws.ec2("AssociateClientVpnTargetNetwork", &[of, ("SubnetId", &subnet)])?;
    aws.ec2("CreateClientVpnRoute", &[of, ("DestinationCidrBlock", &block), ("TargetVpcSubnetId", &subnet)])?;
    // Done and in force: whatever was on its way has arrived.
    let state = server.save()?;
    let profile = server.profile(&endpoint, &server.certificates()?.client("alice")?)?;
    let (reach, closed) = (format!("reach {address}:{port}"), format!("deny {address}:{other} within 500ms"));
    let nobody = "deny 192.0.2.0/24 at 192.0.2.9 within 500ms";
    server.expect(&profile, &[&reach, &closed, nobody])?;

    // It is the group that closes the other port, and the rule that opens the office.
    let group = applied.output("group")?;
    let all = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    aws.ec2("AuthorizeSecurityGroupEgress", &all)?;
    server.expect(&profile, &[&format!("reach {address}:{other}")])?;
    let rule = [of, ("TargetNetworkCidr", &block), ("RevokeAllGroups", "true")];
    aws.ec2("RevokeClientVpnIngress", &rule)?;
    match server.expect(&profile, &[&format!("{reach} within 500ms")]) {
        Err(Error::Failed { said, .. }) => ensure!(said.contains("NOT HELD"), "{said}"),
        other => anyhow::bail!("nobody may reach it: {other:?}"),
    }

    // As it was applied, for the next test.
    server.load(&state)?;
    server.expect(&profile, &[&reach, &closed])?;
    Ok(())
}
