//! Changes under flows that run: clients that take PUSH_UPDATE are told and lose nothing, stock 2.6 comes back by itself where
//! it has to, and where nobody has to, nobody notices.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::people::{heard_for, nothing_lost, pki};
use anyhow::{Context, Result, ensure};
use lab::{Scene, SceneOptions, Sender, Sink, TARGETS, wait_until};
use swarm::{Dialect, Group, Profile, Pushed, Setup, Swarm};

/// Where the datagrams of the stock client go.
const SINK: u16 = 9_000;
/// Marks them.
const TAG: u8 = 1;
const PER_SECOND: u32 = 200;
/// How often the others ping.
const PING: Duration = Duration::from_millis(20);
/// A client that is told to come back waits a moment before it does.
const RETURN: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(5);
/// A while without a loss.
const WHILE: Duration = Duration::from_millis(300);

struct Lab {
    scene: Scene,
    endpoint: String,
    vpc: String,
    subnet: String,
}

impl Lab {
    fn call(&self, action: &str, more: &[(&str, &str)]) -> Result<()> {
        let mut parameters = vec![("ClientVpnEndpointId", self.endpoint.as_str())];
        parameters.extend(more);
        self.scene.ec2(action, &parameters).map(drop)
    }

    fn group(&self) -> Result<()> {
        let parameters = [("GroupName", "open"), ("GroupDescription", "lets all out"), ("VpcId", &self.vpc)];
        let group = self.scene.ec2("CreateSecurityGroup", &parameters)?.text("groupId")?;
        let parameters = [("VpcId", self.vpc.as_str()), ("SecurityGroupId.1", &group)];
        self.call("ApplySecurityGroupsToClientVpnTargetNetwork", &parameters)
    }

    fn certificate(&self) -> Result<()> {
        pki(&self.scene, &["issue-server", "other.example.com"])?;
        let arn = self.scene.import_certificate("other.example.com")?;
        self.call("ModifyClientVpnEndpoint", &[("ServerCertificateArn", &arn)])
    }
}

/// A change: its name, what makes it, whether stock 2.6 has to come back, how many of the others are told, and what they
/// know afterwards.
type Row = (&'static str, fn(&Lab) -> Result<()>, bool, u64, fn(&Pushed) -> bool);

/// All that take updates, and those that keep their device open for one.
const ALL: u64 = 4;
const OPEN_VPN_3: u64 = 2;

const FAR: [u8; 4] = [10, 78, 0, 1];

fn leads_far(pushed: &Pushed) -> bool {
    pushed.leads_to(IpAddr::from(FAR))
}

fn has(pushed: &Pushed, option: &str) -> bool {
    pushed.options.iter().any(|held| held == option)
}

const ROWS: [Row; 8] = [
    ("a rule", |lab| lab.scene.authorize(&lab.endpoint, "10.78.0.0/16"), false, 0, |_| true),
    ("a security group", Lab::group, false, 0, |_| true),
    ("a server certificate", Lab::certificate, false, 0, |_| true),
    (
        "a banner",
        |lab| {
            let banner = [
                ("ClientLoginBannerOptions.Enabled", "true"),
                ("ClientLoginBannerOptions.BannerText", "hello"),
            ];
            lab.call("ModifyClientVpnEndpoint", &banner)
        },
        false,
        OPEN_VPN_3,
        |_| true,
    ),
    (
        "a route",
        |lab| {
            let route = [("DestinationCidrBlock", "10.78.0.0/16"), ("TargetVpcSubnetId", &lab.subnet)];
            lab.call("CreateClientVpnRoute", &route)
        },
        true,
        ALL,
        // And the banner of before, whoever did not hear of it then.
        |pushed| leads_far(pushed) && has(pushed, "echo msg \"hello\""),
    ),
    (
        "a route less",
        |lab| {
            let route = [("DestinationCidrBlock", "10.78.0.0/16"), ("TargetVpcSubnetId", &lab.subnet)];
            lab.call("DeleteClientVpnRoute", &route)
        },
        true,
        ALL,
        |pushed| !leads_far(pushed) && pushed.leads_to(IpAddr::from([10, 77, 1, 10])),
    ),
    (
        "DNS",
        |lab| lab.call("ModifyClientVpnEndpoint", &[("DnsServers.CustomDnsServers.1", "10.77.1.53")]),
        true,
        ALL,
        |pushed| has(pushed, "dhcp-option DNS 10.77.1.53"),
    ),
    (
        "full tunnel",
        |lab| lab.call("ModifyClientVpnEndpoint", &[("SplitTunnel", "false")]),
        true,
        ALL,
        |pushed| pushed.all_ipv4 && has(pushed, "dhcp-option DNS 10.77.1.53") && pushed.routes.is_empty(),
    ),
];

/// The destinations of the stock client's own routes.
fn stock_routes(lab: &Lab) -> Result<String> {
    lab.scene.clients[0].net.ip(&["route", "show", "dev", "tun0"])
}

#[test]
fn each_live_change_under_a_flow() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (vpc, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[("SplitTunnel", "true"), ("VpcId", &vpc)])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let lab = Lab { scene, endpoint, vpc, subnet };
        let scene = &lab.scene;
        let profile = scene.profile(&lab.endpoint)?;
        let sink = Sink::start(&scene.targets[0].net, SINK)?;
        // A renewed certificate names itself otherwise: the stock client must not look at the name when it comes back.
        let nameless = profile.with_file_name("nameless.ovpn");
        let text = std::fs::read_to_string(&profile)?;
        let lines = text.lines().filter(|line| !line.starts_with("verify-x509-name"));
        std::fs::write(&nameless, lines.map(|line| format!("{line}\n")).collect::<String>())?;
        let mut stock = scene.connect(0, &nameless, "stock", &[])?;
        let sender = Sender::send(&scene.clients[0].net, (TARGETS[0], SINK), TAG, PER_SECOND)?;
        heard_for(&sink, TAG, WHILE)?;
        let group = |dialect: Dialect| -> Result<Group> {
            let setup = Setup::new(Profile::load(&profile)?, dialect)?.pinging(TARGETS[0].parse()?, PING);
            Ok(Group { label: dialect.name().to_owned(), setup: Arc::new(setup), count: 2 })
        };
        let groups = [group(Dialect::V2_7)?, group(Dialect::OpenVpn3)?];
        let swarm = scene.clients[1].net.run(|| Swarm::start(&groups, 100.0))?;
        ensure!(swarm.all_up(RETURN), "{:?}", swarm.without_tunnel());
        let (mut updates, mut ups) = (0, 1);
        sink.clear();
        for (name, change, returns, told, knows) in ROWS {
            change(&lab).context(name)?;
            updates += told;
            ups += usize::from(returns);
            let settled = || {
                swarm.counts().updates == updates
                    && swarm.clients().all(|client| client.status().tunnel().is_some_and(|of| knows(of)))
            };
            ensure!(wait_until(SOON, settled), "{name}: {:?}", swarm.counts());
            if returns {
                stock.wait_up(ups, RETURN).with_context(|| name)?;
                heard_for(&sink, TAG, WHILE).with_context(|| format!("{name}: {}", stock.log()))?;
            } else {
                heard_for(&sink, TAG, WHILE).context(name)?;
                nothing_lost(&sink, TAG, &sender).with_context(|| format!("{name}: {}", stock.log()))?;
            }
            sink.clear();
            heard_for(&sink, TAG, Duration::ZERO).context(name)?;
            ensure!(stock.times_up() == ups, "{name}: {}", stock.log());
            // Those that were told have lost no packet since they came, and are in the tunnel they had.
            let none_lost = || {
                let counts = swarm.counts();
                counts.pings_sent == counts.pings_answered
            };
            ensure!(wait_until(SOON, none_lost), "{name}: {:?}", swarm.counts());
            let counts = swarm.counts();
            ensure!((counts.ups, counts.restarts, counts.failures) == (4, 0, 0), "{name}: {counts:?}");
            if name == "a route" {
                ensure!(stock_routes(&lab)?.contains("10.78.0.0/16"), "{}", stock_routes(&lab)?);
            }
            if name == "a route less" {
                ensure!(!stock_routes(&lab)?.contains("10.78.0.0/16"), "{}", stock_routes(&lab)?);
            }
        }
        ensure!(swarm.counts().pings_sent > 100, "{:?}", swarm.counts());
        ensure!(stock.log().contains("server-pushed-connection-reset"), "{}", stock.log());
        let metrics = scene.server_net.run(|| scene.server().client().get("/metrics"))?;
        let line = "bascule_gateway_events_total{event=\"push-updates\"}";
        let counted = metrics.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
        ensure!(counted == Some(updates.to_string().as_str()), "{counted:?}");
        swarm.stop();
        drop(stock);
        Ok(())
    })
}
