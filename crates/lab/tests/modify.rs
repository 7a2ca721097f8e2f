//! What `ModifyClientVpnEndpoint` and `ApplySecurityGroupsToClientVpnTargetNetwork` do to real clients and packets: every
//! field that is in force.

use std::time::{Duration, Instant};

use crate::common::people::{echoes, pki, profile};
use anyhow::{Context, Result, ensure};
use lab::{Answer, Echo, OpenVpn, Scene, SceneOptions, TARGETS, eventually, wait_until};

const PORT: u16 = 7778;
const SECOND: Duration = Duration::from_secs(1);
/// A client that is told to come back waits a moment before it does.
const RETURN: Duration = Duration::from_secs(15);

struct Lab {
    scene: Scene,
    endpoint: String,
    vpc: String,
    _echo: Echo,
}

impl Lab {
    fn new() -> Result<Self> {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (vpc, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let echo = Echo::start(&scene.targets[0].net, PORT)?;
        Ok(Self { scene, endpoint, vpc, _echo: echo })
    }

    fn call(&self, action: &str, changes: &[(&str, &str)]) -> Result<Answer> {
        let mut parameters = vec![("ClientVpnEndpointId", self.endpoint.as_str())];
        parameters.extend(changes);
        self.scene.ec2(action, &parameters)
    }

    fn modify(&self, changes: &[(&str, &str)]) -> Result<()> {
        let answer = self.call("ModifyClientVpnEndpoint", changes)?;
        ensure!(answer.text("return")? == "true");
        Ok(())
    }

    fn described(&self, path: &str) -> Result<String> {
        self.scene
            .ec2("DescribeClientVpnEndpoints", &[("ClientVpnEndpointId.1", &self.endpoint)])?
            .text(&format!("clientVpnEndpoint/item/{path}"))
    }

    fn connect(&self, label: &str) -> Result<OpenVpn> {
        self.connect_from(0, label)
    }

    fn connect_from(&self, host: usize, label: &str) -> Result<OpenVpn> {
        self.scene.connect(host, &profile(&self.scene, &self.endpoint, "client1")?, label, &[])
    }

    fn echoes(&self) -> bool {
        echoes(&self.scene.clients[0].net, TARGETS[0], PORT)
    }

    /// Waits until new flows get through, or no more; how long it took.
    fn until(&self, through: bool) -> Result<Duration> {
        let start = Instant::now();
        ensure!(wait_until(Duration::from_secs(3), || self.echoes() == through), "never {through}");
        Ok(start.elapsed())
    }

    fn routes(&self) -> Result<String> {
        self.scene.clients[0].net.ip(&["route"])
    }
}

/// The last push reply a client has had.
fn pushed(client: &OpenVpn) -> String {
    let log = client.log();
    log.lines().rfind(|line| line.contains("PUSH_REPLY,")).unwrap_or_default().to_owned()
}

#[test]
fn what_clients_are_told_changes_and_they_come_back_for_it() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let mut client = lab.connect("client")?;
        ensure!(lab.echoes() && lab.routes()?.contains("0.0.0.0/1"), "full tunnel: {}", lab.routes()?);

        // Fields that clients do not feel.
        lab.modify(&[("Description", "for the lab"), ("DisconnectOnSessionTimeout", "false")])?;
        ensure!(lab.described("description")? == "for the lab");
        lab.modify(&[
            ("ClientConnectOptions.Enabled", "true"),
            (
                "ClientConnectOptions.LambdaFunctionArn",
                "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-x",
            ),
        ])?;
        eventually("applied", SECOND, || {
            lab.described("clientConnectOptions/status/code").ok().filter(|code| code == "applied")
        })?;
        lab.modify(&[("ClientConnectOptions.Enabled", "false")])?;
        ensure!(lab.echoes() && client.times_up() == 1, "nobody was disturbed: {}", client.log());

        // DNS servers: pushed at the next connect, which comes by itself.
        lab.modify(&[("DnsServers.CustomDnsServers.1", "10.77.1.53")])?;
        client.wait_up(2, RETURN)?;
        ensure!(pushed(&client).contains("dhcp-option DNS 10.77.1.53"), "{}", pushed(&client));
        lab.modify(&[("DnsServers.Enabled", "false")])?;
        client.wait_up(3, RETURN)?;
        ensure!(!pushed(&client).contains("dhcp-option DNS 10"), "{}", pushed(&client));

        // Split tunnel: seen in the client's own route table.
        lab.modify(&[("SplitTunnel", "true")])?;
        client.wait_up(4, RETURN)?;
        ensure!(wait_until(SECOND, || lab.echoes()), "through the route that is pushed");
        let routes = lab.routes()?;
        ensure!(!routes.contains("0.0.0.0/1") && routes.contains("10.77.0.0/16"), "{routes}");
        lab.modify(&[("SplitTunnel", "false")])?;
        client.wait_up(5, RETURN)?;
        ensure!(lab.routes()?.contains("0.0.0.0/1"), "{}", lab.routes()?);
        client.stop();
        Ok(())
    })
}

#[test]
fn another_server_certificate_is_for_new_handshakes() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let mut client = lab.connect("client")?;
        let old = std::fs::read(profile(&lab.scene, &lab.endpoint, "client1")?)?;
        pki(&lab.scene, &["issue-server", "other.example.com"])?;
        let arn = lab.scene.import_certificate("other.example.com")?;
        lab.modify(&[("ServerCertificateArn", &arn)])?;
        let again = lab.connect_from(1, "again")?;
        ensure!(again.log().contains("VERIFY X509NAME OK: CN=other.example.com"), "{}", again.log());
        ensure!(lab.echoes() && client.times_up() == 1, "the session goes on: {}", client.log());
        // Its next handshake meets the new certificate: the old profile expects another name, the new one this.
        let after = client.log().len();
        client.reconnect();
        client.wait_for("VERIFY X509NAME ERROR", after, RETURN)?;
        let new = std::fs::read(profile(&lab.scene, &lab.endpoint, "client1")?)?;
        ensure!(old != new);
        Ok(())
    })
}

#[test]
fn another_port_moves_the_listener() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let old_profile = profile(&lab.scene, &lab.endpoint, "client1")?;
        let old_profile = {
            let kept = old_profile.with_file_name("old.ovpn");
            std::fs::copy(&old_profile, &kept)?;
            kept
        };
        let client = lab.scene.connect(0, &old_profile, "client", &[])?;
        let listening = |port: u16| -> Result<bool> {
            let sockets = lab.scene.server_net.output("ss", &["-Hlun"])?;
            Ok(sockets.lines().any(|line| line.contains(&format!(".1:{port} "))))
        };
        let ss = lab::find_program("ss").is_some();
        ensure!(!ss || (listening(443)? && !listening(1194)?));
        lab.modify(&[("VpnPort", "1194")])?;
        ensure!(
            wait_until(SECOND, || client.log().contains("Connection reset")
                || client.log().contains("SIGUSR1")),
            "it is told to go: {}",
            client.log()
        );
        ensure!(
            !ss || wait_until(SECOND, || listening(1194).unwrap_or(false) && !listening(443).unwrap_or(true))
        );
        ensure!(!lab.echoes(), "what stood on the old port is gone");
        drop(client);
        let mut refused = OpenVpn::start(&lab.scene.clients[0].net, &old_profile, "old", &[])?;
        ensure!(refused.wait_up(1, Duration::from_secs(3)).is_err(), "the old port is shut");
        drop(refused);
        let again = lab.connect("again")?;
        ensure!(lab.echoes(), "the new profile works: {}", again.log());
        ensure!(lab.described("vpnPort")? == "1194");
        // The place is free for another endpoint.
        let second = lab.scene.make_endpoint(&[("ClientCidrBlock", "10.92.0.0/22")])?;
        let shown =
            lab.scene.ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", &second)])?;
        ensure!(shown.text("clientConfiguration")?.contains("remote 10.99.0.1 443"));
        Ok(())
    })
}

#[test]
fn security_groups_bite_at_once_by_either_action() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let parameters =
            [("GroupName", "shut"), ("GroupDescription", "lets nothing out"), ("VpcId", &lab.vpc)];
        let shut = lab.scene.ec2("CreateSecurityGroup", &parameters)?.text("groupId")?;
        let everything = [
            ("GroupId", shut.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ];
        lab.scene.ec2("RevokeSecurityGroupEgress", &everything)?;
        let open = lab.described("securityGroupIdSet/item")?;
        let client = lab.connect("client")?;
        lab.until(true).context("the default group lets out")?;
        let vpc = lab.vpc.as_str();
        let apply = "ApplySecurityGroupsToClientVpnTargetNetwork";
        let rows = [
            ("ModifyClientVpnEndpoint", &shut, false),
            ("ModifyClientVpnEndpoint", &open, true),
            (apply, &shut, false),
            (apply, &open, true),
        ];
        for (action, group, through) in rows {
            let called = Instant::now();
            let answer = lab.call(action, &[("VpcId", vpc), ("SecurityGroupId.1", group)])?;
            if action == apply {
                ensure!(answer.text("securityGroupIds/item")? == *group);
            }
            lab.until(through).with_context(|| format!("{action} {group}"))?;
            let took = called.elapsed();
            ensure!(took < SECOND, "{action} {group}: {took:?}");
            println!("{action} to {through}: {took:?}");
        }
        // One port of it.
        let some = [
            ("GroupId", shut.as_str()),
            ("IpPermissions.1.IpProtocol", "udp"),
            ("IpPermissions.1.FromPort", "7778"),
            ("IpPermissions.1.ToPort", "7778"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "10.77.1.0/24"),
        ];
        lab.call(apply, &[("VpcId", vpc), ("SecurityGroupId.1", &shut)])?;
        lab.until(false)?;
        lab.scene.ec2("AuthorizeSecurityGroupEgress", &some)?;
        lab.until(true)?;
        ensure!(!lab.scene.clients[0].net.pings(TARGETS[0]), "no rule lets ICMP out");
        ensure!(client.times_up() == 1, "no session was cut: {}", client.log());
        Ok(())
    })
}
