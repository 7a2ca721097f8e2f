//! Authorization policies with real clients: who is let in, who is cut when the policy changes, and that shadow mode cuts
//! nobody.

mod common;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use common::people::{lost, pki, profile};
use lab::{OpenVpn, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, wait_until};

const PORT: u16 = 7779;
const SECOND: Duration = Duration::from_secs(1);

struct Lab {
    scene: Scene,
    endpoint: String,
}

impl Lab {
    /// An endpoint that is open; certificates of client1, bob and carol.
    fn new() -> Result<Self> {
        let scene = Scene::new(SceneOptions { clients: 3, ..SceneOptions::default() })?;
        for name in ["bob", "carol"] {
            pki(&scene, &["issue-client", name])?;
        }
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        Ok(Self { scene, endpoint })
    }

    /// Changes the policy; the status that is answered.
    fn modify(&self, changes: &[(&str, &str)]) -> Result<String> {
        let mut parameters = vec![("ClientVpnEndpointId", self.endpoint.as_str())];
        parameters.extend(changes);
        self.scene.ec2("ModifyClientVpnEndpointAuthorizationPolicy", &parameters)?.text("status")
    }

    /// Waits until the policy is in force.
    fn active(&self) -> Result<()> {
        let parameters = [("ClientVpnEndpointId", self.endpoint.as_str())];
        let get = || self.scene.ec2("GetClientVpnEndpointAuthorizationPolicy", &parameters).ok();
        eventually("active", SECOND, || get()?.text("status").ok().filter(|status| status == "active"))?;
        Ok(())
    }

    /// Permits these common names only.
    fn permit(&self, names: &[&str]) -> Result<String> {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        let condition =
            format!("[{}].contains(context[\"mutual-authentication\"].commonName)", names.join(", "));
        self.modify(&[(
            "PolicyDocument",
            &format!("permit(principal, action, resource) when {{ {condition} }};"),
        )])
    }

    fn connect(&self, client: usize, name: &str) -> Result<OpenVpn> {
        self.scene.connect(client, &profile(&self.scene, &self.endpoint, name)?, name, &[])
    }

    fn refused(&self, client: usize, name: &str) -> Result<()> {
        let profile = profile(&self.scene, &self.endpoint, name)?;
        let net = &self.scene.clients[client].net;
        let mut openvpn = OpenVpn::start(net, &profile, &format!("{name}-refused"), &[])?;
        ensure!(openvpn.wait_up(1, Duration::from_secs(6)).is_err(), "{name} was let in: {}", openvpn.log());
        let reason = "AUTH_FAILED,Denied by the authorization policy";
        ensure!(openvpn.log().contains(reason), "{name} is told why: {}", openvpn.log());
        Ok(())
    }

    /// What the gateway counts under a name.
    fn counted(&self, what: &str) -> Result<u64> {
        let scene = &self.scene;
        let text: String = scene.server_net.run(|| scene.server().client().get("/metrics"))?;
        let name = format!("bascule_gateway_events_total{{event=\"{what}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .with_context(|| format!("{what}: {text}"))?;
        Ok(line.parse()?)
    }

    /// A field of the live connection of a common name.
    fn row(&self, common_name: &str, field: &str) -> Result<Option<String>> {
        let parameters = [("ClientVpnEndpointId", self.endpoint.as_str())];
        let answer = self.scene.ec2("DescribeClientVpnConnections", &parameters)?;
        let row = answer.rows("connections").into_iter().find(|row| {
            row.text("commonName").is_ok_and(|name| name == common_name)
                && row.text("status/code").is_ok_and(|code| code == "active")
        });
        Ok(row.and_then(|row| row.text(field).ok()))
    }
}

fn heard(sink: &Sink, tags: &[u8]) -> Result<()> {
    let count = |tag: u8| sink.arrived().into_iter().filter(|stamped| stamped.tag == tag).count();
    ensure!(wait_until(Duration::from_secs(3), || tags.iter().all(|tag| count(*tag) > 20)), "all are heard");
    Ok(())
}

#[test]
fn a_policy_lets_in_whom_it_permits_and_cuts_whom_it_denies() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let scene = &lab.scene;
        ensure!(lab.permit(&["client1"])? == "creating");
        lab.active()?;
        let alice = lab.connect(0, "client1")?;
        ensure!(scene.reaches(0, TARGETS[0]));
        lab.refused(1, "bob")?;
        ensure!(lab.counted("policy-refused")? >= 1 && lab.counted("policy-permit")? >= 1);
        ensure!(lab.row("bob", "connectionId")?.is_none(), "one who is refused has no connection");
        let evaluated = lab.row("client1", "authorizationPolicyLastEvaluatedTime")?.context("evaluated")?;

        // Let in, too: whoever is in stays, and was asked again.
        ensure!(lab.permit(&["client1", "bob"])? == "updating");
        lab.active()?;
        let mut bob = lab.connect(1, "bob")?;
        ensure!(scene.reaches(0, TARGETS[0]) && scene.reaches(1, TARGETS[0]));
        let again = lab.row("client1", "authorizationPolicyLastEvaluatedTime")?.context("evaluated again")?;
        ensure!(again >= evaluated, "{again} after {evaluated}");

        let sink = Sink::start(&scene.targets[0].net, PORT)?;
        let senders = [
            Sender::send(&scene.clients[0].net, (TARGETS[0], PORT), 1, 200)?,
            Sender::send(&scene.clients[1].net, (TARGETS[0], PORT), 2, 200)?,
        ];
        heard(&sink, &[1, 2])?;
        let (called, called_at) = (Instant::now(), SystemTime::now());
        ensure!(lab.permit(&["client1", "carol"])? == "updating");
        let answered = called.elapsed();
        lab.active()?;
        bob.wait_for("Halt command was pushed by server", 0, Duration::from_secs(5))?;
        let told = called.elapsed();
        ensure!(bob.wait_end(Duration::from_secs(5)).is_some(), "HALT stops a stock client: {}", bob.log());
        ensure!(told < SECOND, "bob was told after {told:?}");

        // On packets: bob's have stopped, alice's have not missed one.
        std::thread::sleep(Duration::from_millis(1_500));
        let last =
            sink.arrived().into_iter().filter(|s| s.tag == 2).map(|s| s.at).max().context("bob's packets")?;
        let late = last.duration_since(called_at).unwrap_or_default();
        ensure!(late < SECOND, "a packet of bob's came {late:?} after the call");
        drop(senders);
        std::thread::sleep(Duration::from_millis(200));
        ensure!(lost(&sink, 1)? == 0, "{} of alice's packets are missing", lost(&sink, 1)?);
        ensure!(alice.times_up() == 1, "alice's session is the same: {}", alice.log());
        ensure!(lab.counted("policy-terminated")? == 1 && lab.row("bob", "connectionId")?.is_none());
        println!("answered after {answered:?}, bob told after {told:?}, his last packet after {late:?}");
        lab.refused(1, "bob")?;
        let carol = lab.connect(2, "carol")?;
        ensure!(scene.reaches(2, TARGETS[0]));

        // Without a policy everybody gets in as before, and nobody was cut for it.
        let parameters = [("ClientVpnEndpointId", lab.endpoint.as_str())];
        let gone = scene.ec2("DeleteClientVpnEndpointAuthorizationPolicy", &parameters)?;
        ensure!(gone.text("status")? == "deleting");
        eventually("gone", SECOND, || {
            let error = scene.try_ec2("GetClientVpnEndpointAuthorizationPolicy", &parameters).err()?;
            error.code().filter(|code| code.ends_with("NotFound")).map(str::to_owned)
        })?;
        let bob = lab.connect(1, "bob")?;
        ensure!((0..3).all(|client| scene.reaches(client, TARGETS[0])));
        ensure!(alice.times_up() == 1 && carol.times_up() == 1);
        drop((alice, bob, carol));
        Ok(())
    })
}

#[test]
fn shadow_mode_cuts_nobody() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let scene = &lab.scene;
        let mut alice = lab.connect(0, "client1")?;
        let bob = lab.connect(1, "bob")?;
        ensure!(scene.reaches(0, TARGETS[0]) && scene.reaches(1, TARGETS[0]));
        ensure!(
            lab.row("client1", "authorizationPolicyLastEvaluatedTime")?.is_none(),
            "nothing to evaluate yet"
        );
        let sink = Sink::start(&scene.targets[0].net, PORT)?;
        let senders = [
            Sender::send(&scene.clients[0].net, (TARGETS[0], PORT), 1, 200)?,
            Sender::send(&scene.clients[1].net, (TARGETS[0], PORT), 2, 200)?,
        ];
        heard(&sink, &[1, 2])?;
        // Permits bob; of a device signal that nobody has, nothing can be said.
        let document = r#"permit(principal, action, resource) when { context["mutual-authentication"].commonName == "bob" };
                          permit(principal, action, resource) when { context.crowdstrike.assessment.overall > 50 };"#;
        ensure!(lab.modify(&[("PolicyDocument", document), ("ShadowMode", "enabled")])? == "creating");
        lab.active()?;
        let carol = lab.connect(2, "carol")?;
        ensure!(scene.reaches(2, TARGETS[0]));
        std::thread::sleep(Duration::from_millis(1_500));
        drop(senders);
        std::thread::sleep(Duration::from_millis(200));
        ensure!(lost(&sink, 1)? == 0 && lost(&sink, 2)? == 0, "packets are missing");
        ensure!(alice.times_up() == 1 && bob.times_up() == 1 && carol.times_up() == 1);
        // It was asked all the same: bob permitted, of the others nothing can be said.
        ensure!(lab.counted("policy-permit")? == 1 && lab.counted("policy-error")? == 2);
        ensure!(lab.counted("policy-refused")? == 0 && lab.counted("policy-terminated")? == 0);
        ensure!(lab.row("client1", "authorizationPolicyLastEvaluatedTime")?.is_some());
        ensure!(scene.server().log().contains("authorization policy"), "the log has it");

        // In earnest.
        let called = Instant::now();
        ensure!(lab.modify(&[("ShadowMode", "disabled")])? == "updating");
        alice.wait_for("Halt command was pushed by server", 0, Duration::from_secs(5))?;
        let told = called.elapsed();
        ensure!(alice.wait_end(Duration::from_secs(5)).is_some(), "alice is cut: {}", alice.log());
        ensure!(told < SECOND, "alice was told after {told:?}");
        ensure!(scene.reaches(1, TARGETS[0]) && bob.times_up() == 1, "bob stays");
        drop((bob, carol));
        Ok(())
    })
}
