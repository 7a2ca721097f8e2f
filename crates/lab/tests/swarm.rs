//! `bascule client` and its library against a real server: crowds, expectations and their exit codes, comebacks, dialects.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::people;
use anyhow::{Context, Result, ensure};
use lab::{Echo, OpenVpn, Scene, SceneOptions, TARGETS, eventually};
use swarm::{Dialect, Group, Profile, Setup, Swarm};

/// The echo service behind the tunnel.
const PORT: u16 = 7;
/// How long a crowd may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Lab {
    scene: Scene,
    endpoint: String,
    subnet: String,
    association: String,
    _echoes: Vec<Echo>,
}

impl Lab {
    /// Both targets answer; a rule covers the first only.
    fn new() -> Result<Self> {
        let scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let association = scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.1.0/24")?;
        let echoes =
            scene.targets.iter().map(|target| Echo::start(&target.net, PORT)).collect::<Result<_>>()?;
        Ok(Self { scene, endpoint, subnet, association, _echoes: echoes })
    }

    /// `bascule client` in the client's namespace, without any capability: neither root's powers nor a device.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.scene.clients[0].net.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]);
        command.arg(lab::binary()).arg("client").args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Runs it to its end; the exit code must be as expected.
    fn ends(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}\n{text}", output.status);
        Ok(text)
    }

    /// Clients of the library, on threads in the client's namespace.
    fn swarm(&self, groups: &[Group], per_second: f64) -> Result<Swarm> {
        Ok(self.scene.clients[0].net.run(|| Swarm::start(groups, per_second))?)
    }
}

fn group(profile: &Path, dialect: Dialect, count: usize) -> Result<Group> {
    let setup = Arc::new(Setup::new(Profile::load(profile)?, dialect)?);
    Ok(Group { label: dialect.name().to_owned(), setup, count })
}

#[test]
fn a_crowd_holds_its_expectations_and_exit_codes_tell() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let profile = lab.scene.profile(&lab.endpoint)?.display().to_string();
        let file = |name: &str| lab.scene.dir().join(name).display().to_string();
        let (junit, json) = (file("report.xml"), file("report.json"));
        let started = Instant::now();
        let text = lab.ends(
            0,
            &[
                &profile,
                "--count",
                "200",
                "--rate",
                "50",
                "--probe-clients",
                "20",
                "--expect",
                "reach 10.77.1.10:7 echo",
                "--expect",
                "reach 10.77.1.10:7/udp echo",
                "--expect",
                "ping 10.77.1.10",
                "--expect",
                "deny 10.77.2.0/24 at 10.77.2.10",
                "--junit",
                &junit,
                "--json",
                &json,
            ],
        )?;
        ensure!(text.contains("80 of 80 expectations held"), "{text}");
        let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
        ensure!(report["counts"]["started"] == 200 && report["counts"]["ups"] == 200, "{report}");
        ensure!(report["expectations"].as_array().is_some_and(|cases| cases.len() == 80), "{report}");
        ensure!(report["failures"].as_object().is_some_and(serde_json::Map::is_empty), "{report}");
        let document = std::fs::read_to_string(&junit)?;
        let document = roxmltree::Document::parse(&document)?;
        let root = document.root_element();
        ensure!((root.attribute("tests"), root.attribute("failures")) == (Some("81"), Some("0")), "{text}");
        println!("200 clients after {:?}: {}", started.elapsed(), text.lines().last().unwrap_or_default());

        // What is denied cannot be reached, and what can be reached is not denied.
        let text = lab.ends(1, &[&profile, "--expect", "reach 10.77.2.10:7 within 1s", "--junit", &junit])?;
        ensure!(text.contains("NOT HELD") && text.contains("1 of 1 expectations did not hold"), "{text}");
        let document = std::fs::read_to_string(&junit)?;
        ensure!(roxmltree::Document::parse(&document)?.root_element().attribute("failures") == Some("1"));
        for open in ["deny 10.77.1.10", "deny 10.77.1.10:7", "deny 10.77.1.10:8", "deny 10.77.1.10:7/udp"] {
            let text = lab.ends(1, &[&profile, "--expect", open])?;
            ensure!(text.contains("NOT HELD"), "{open}: {text}");
        }
        let text = lab.ends(2, &[&profile, "--expect", "reach nowhere"])?;
        ensure!(text.contains("nowhere"), "{text}");

        // A rule for the other target, and both turn round.
        lab.scene.authorize(&lab.endpoint, "10.77.2.0/24")?;
        lab.ends(0, &[&profile, "--expect", "reach 10.77.2.10:7", "--expect", "ping 10.77.2.10"])?;
        lab.ends(1, &[&profile, "--expect", "deny 10.77.2.10"])?;

        // A stranger gets no tunnel, and no expectation holds for it, not even a denial.
        let stranger = lab.scene.foreign_profile(&lab.endpoint)?.display().to_string();
        let text = lab.ends(1, &[&stranger, "--connect-within", "3", "--expect", "deny 10.77.1.10"])?;
        ensure!(text.contains("no tunnel"), "{text}");
        Ok(())
    })
}

#[test]
fn a_file_of_expectations_with_clients_of_their_own() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        people::pki(&lab.scene, &["issue-client", "bob"])?;
        people::profile(&lab.scene, &lab.endpoint, "client1")?;
        people::profile(&lab.scene, &lab.endpoint, "bob")?;
        let file = lab.scene.dir().join("expect.toml");
        std::fs::write(
            &file,
            "profile = \"client1.ovpn\"\n[[expectation]]\nname = \"the first target is open\"\n\
             expect = \"reach 10.77.1.10:7 echo\"\n[[expectation]]\nname = \"the second is not, for bob\"\n\
             expect = \"deny 10.77.2.10:7\"\nprofile = \"bob.ovpn\"\n",
        )?;
        let path = file.display().to_string();
        let text = lab.ends(0, &["--expect-file", &path])?;
        ensure!(text.contains("held") && text.contains("the second is not, for bob"), "{text}");
        ensure!(text.contains("summary   2 clients, 2 connected"), "{text}");
        lab.scene.authorize(&lab.endpoint, "10.77.0.0/16")?;
        let text = lab.ends(1, &["--expect-file", &path])?;
        ensure!(text.contains("NOT HELD  client 2"), "{text}");
        let text = lab.ends(2, &["--expect-file", "there-is-no-such-file"])?;
        ensure!(text.contains("there-is-no-such-file"), "{text}");
        Ok(())
    })
}

#[test]
fn all_are_told_to_come_back_and_do() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let profile = lab.scene.profile(&lab.endpoint)?;
        let swarm = lab.swarm(&[group(&profile, Dialect::V2_6, 200)?], 100.0)?;
        ensure!(swarm.all_up(PATIENCE), "{:?} {:?}", swarm.without_tunnel(), swarm.failures());
        lab.scene.disassociate(&lab.endpoint, &lab.association)?;
        eventually("pending-associate", Duration::from_secs(5), || {
            lab.scene.endpoint_status(&lab.endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        ensure!(
            swarm.wait_until(Duration::from_secs(3), |counts| counts.restarts == 200),
            "{:?}",
            swarm.counts()
        );
        ensure!(swarm.counts().up == 0 && swarm.counts().ups == 200, "nobody is in: {:?}", swarm.counts());
        ensure!(swarm.farewells().into_keys().eq(["RESTART".to_owned()]), "{:?}", swarm.farewells());
        lab.scene.associate(&lab.endpoint, &lab.subnet)?;
        ensure!(swarm.all_up(PATIENCE), "{:?} {:?}", swarm.counts(), swarm.failures());
        ensure!(swarm.counts().ups == 400 && swarm.counts().ended == 0, "{:?}", swarm.counts());
        println!("connect times: {:?}", swarm.connect_times());
        let expectations = ["reach 10.77.1.10:7 echo", "deny 10.77.2.10"];
        let expectations =
            expectations.map(|text| text.parse().map(Arc::new)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut broken = Vec::new();
        swarm.expect(
            &expectations,
            |number, _| number % 10 == 0,
            PATIENCE,
            |outcome| {
                if !outcome.verdict.held {
                    broken.push((outcome.client, outcome.expectation.text.clone(), outcome.verdict.detail));
                }
            },
        );
        ensure!(broken.is_empty(), "{broken:?}");
        swarm.stop();
        // They said goodbye: nobody waits for the server to miss them.
        eventually("their ends", Duration::from_secs(3), || {
            let parameters = [("ClientVpnEndpointId", lab.endpoint.as_str()), ("MaxResults", "1000")];
            let answer = lab.scene.ec2("DescribeClientVpnConnections", &parameters).ok()?;
            let rows = answer.rows("connections");
            let ended =
                rows.iter().filter(|row| row.text("status/code").is_ok_and(|code| code == "terminated"));
            (!rows.is_empty() && ended.count() == rows.len()).then_some(())
        })
    })
}

#[test]
fn every_dialect_connects_over_udp_and_tcp() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let over_tcp = lab.scene.make_endpoint(&[("TransportProtocol", "tcp")])?;
        lab.scene.associate(&over_tcp, &lab.subnet)?;
        lab.scene.authorize(&over_tcp, "10.77.1.0/24")?;
        let mut groups = Vec::new();
        for endpoint in [&lab.endpoint, &over_tcp] {
            let profile = lab.scene.profile(endpoint)?;
            for dialect in Dialect::ALL {
                let one = group(&profile, dialect, 1)?;
                let label = format!("{} {:?}", one.label, Profile::load(&profile)?.remotes[0].transport);
                groups.push(Group { label, ..one });
            }
        }
        let swarm = lab.swarm(&groups, 100.0)?;
        ensure!(swarm.all_up(PATIENCE), "{:?} {:?}", swarm.without_tunnel(), lab.scene.server_log());
        let texts = ["ping 10.77.1.10", "reach 10.77.1.10:7 echo", "deny 10.77.2.10"];
        let expectations =
            texts.map(|text| text.parse().map(Arc::new)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut count = 0;
        swarm.expect(
            &expectations,
            |_, _| true,
            PATIENCE,
            |outcome| {
                count += 1;
                assert!(
                    outcome.verdict.held,
                    "{} {}: {}",
                    outcome.label, outcome.expectation, outcome.verdict.detail
                );
            },
        );
        ensure!(count == 36, "{count}");
        ensure!(swarm.counts().ups == 12 && swarm.failures().is_empty(), "{:?}", swarm.failures());
        swarm.stop();
        Ok(())
    })
}

#[test]
fn a_stock_server_takes_our_clients_too() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::without_server(SceneOptions::default())?;
        let dir = scene.certificates.dir.display().to_string();
        for proto in ["udp", "tcp"] {
            let config = scene.dir().join(format!("stock-{proto}.conf"));
            let (server, client) = if proto == "udp" { ("udp", "udp") } else { ("tcp-server", "tcp-client") };
            std::fs::write(
                &config,
                format!(
                    "dev tun\nproto {server}\nport 1195\nserver 10.66.0.0 255.255.255.0\ntopology subnet\n\
                     ca {dir}/ca.crt\ncert {dir}/vpn.example.com.crt\nkey {dir}/vpn.example.com.key\ndh none\n\
                     keepalive 1 20\nduplicate-cn\n"
                ),
            )?;
            let mut stock = OpenVpn::start(&scene.server_net, &config, &format!("stock-{proto}"), &[])?;
            stock.wait_up(1, PATIENCE)?;
            let profile = scene.dir().join(format!("for-stock-{proto}.ovpn"));
            std::fs::write(
                &profile,
                format!(
                    "client\ndev tun\nproto {client}\nremote 10.99.0.1 1195\nremote-cert-tls server\n\
                     ca pki/ca.crt\ncert pki/client1.crt\nkey pki/client1.key\n"
                ),
            )?;
            // The AWS client's key exchange is not for stock servers.
            let dialects = Dialect::ALL.into_iter().filter(|dialect| *dialect != Dialect::Aws);
            let groups = dialects.map(|dialect| group(&profile, dialect, 1)).collect::<Result<Vec<_>>>()?;
            let swarm = scene.clients[0].net.run(|| Swarm::start(&groups, 100.0))?;
            ensure!(swarm.all_up(PATIENCE), "{:?}\n{}", swarm.without_tunnel(), stock.log());
            swarm.expect(
                &[Arc::new("ping 10.66.0.1".parse()?)],
                |_, _| true,
                PATIENCE,
                |outcome| {
                    assert!(outcome.verdict.held, "{proto} {}: {}", outcome.label, outcome.verdict.detail);
                },
            );
            ensure!(swarm.failures().is_empty(), "{:?}", swarm.failures());
            swarm.stop();
        }
        Ok(())
    })
}

/// Ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        status.lines().find(|line| line.starts_with("VmRSS:"))?.split_whitespace().nth(1)?.parse().ok()
    }
}

#[test]
fn one_process_holds_a_thousand() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let profile = lab.scene.profile(&lab.endpoint)?.display().to_string();
        let json = lab.scene.dir().join("report.json");
        let path = json.display().to_string();
        let arguments = [
            profile.as_str(),
            "--count",
            "1000",
            "--rate",
            "200",
            "--duration",
            "600",
            "--probe-clients",
            "5",
            "--expect",
            "ping 10.77.1.10",
            "--json",
            &path,
        ];
        let mut running = Running(self::stdio(&mut lab.command(&arguments)).spawn()?);
        let up = || -> Option<f64> {
            let text = lab.scene.server_net.run(|| lab.scene.server().client().get("/metrics")).ok()?;
            let line = text.lines().find(|line| line.starts_with("bascule_connections "))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        eventually("a thousand tunnels", PATIENCE, || up().filter(|up| *up >= 1000.0))
            .with_context(|| format!("{:?} are up", up()))?;
        let resident = running.resident_kib().context("it has ended")?;
        ensure!(resident < 300 * 1024, "{resident} KiB for 1,000 clients");
        // SIGTERM ends it early; the report is written all the same.
        let id = rustix::process::Pid::from_raw(i32::try_from(running.0.id())?).context("its id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = eventually("its end", Duration::from_secs(10), || running.0.try_wait().ok().flatten())?;
        let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
        println!("{status}; {resident} KiB; {}", report["connect"]);
        ensure!(report["counts"]["ups"] == 1000 && report["never_connected"] == 0, "{report}");
        ensure!(report["expectations"].as_array().is_some_and(|cases| cases.len() == 5), "{report}");
        ensure!(status.success(), "{status}: {report}");
        Ok(())
    })
}

fn stdio(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// The constants of the lab and of the expectations above must go together.
#[test]
fn the_expectations_mean_the_targets() {
    assert_eq!(TARGETS, ["10.77.1.10", "10.77.2.10"]);
}
