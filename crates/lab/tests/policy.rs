//! Authorization policies with real clients: who is let in, who is cut when the policy changes, and that shadow mode cuts
//! nobody.

use std::time::{Duration, Instant, SystemTime};

use crate::common::logs;
use crate::common::people::{heard_for, nothing_lost, pki, profile};
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, wait_until};
use serde_json::{Value, json};

const PORT: u16 = 7779;
const STREAM: &str = "policy";
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
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
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

    /// Changes the endpoint's log options: whether entries tell what the policy was evaluated with.
    fn log(&self, with_context: bool) -> Result<()> {
        let with_context = if with_context { "true" } else { "false" };
        let parameters = [
            ("ClientVpnEndpointId", self.endpoint.as_str()),
            ("ConnectionLogOptions.Enabled", "true"),
            ("ConnectionLogOptions.CloudwatchLogGroup", logs::GROUP),
            ("ConnectionLogOptions.CloudwatchLogStream", STREAM),
            ("ConnectionLogOptions.IncludeAuthorizationPolicyContext", with_context),
        ];
        self.scene.ec2("ModifyClientVpnEndpoint", &parameters)?;
        Ok(())
    }

    /// Waits for the log to have that many entries; the last one.
    fn entry(&self, number: usize) -> Result<Value> {
        let mut entries = eventually("an entry", 5 * SECOND, || {
            logs::entries::<Value>(&self.scene, STREAM).ok().filter(|entries| entries.len() >= number)
        })?;
        ensure!(entries.len() == number, "more than {number}: {entries:#?}");
        entries.pop().context("an entry")
    }

    /// What an entry tells a policy was evaluated with, for a client's connection.
    fn context(&self, client: usize, name: &str, connection: &Value) -> Result<Value> {
        let pem = std::fs::read_to_string(self.scene.certificates.dir.join(format!("{name}.crt")))?;
        let der = ::pki::certificates_from_pem(&pem)?;
        let serial = ::pki::facts(der.first().context("a certificate")?)?.serial.replace(':', "");
        let version = self.scene.clients[client].net.output("openvpn", &["--version"])?;
        Ok(json!({
            "connection": {
                "endpointId": self.endpoint,
                "connectionId": connection,
                "publicIp": format!("10.99.0.{}", 10 + client),
                "platform": "linux",
                "clientOpenVpnVersion": version.split_whitespace().nth(1).context("a version")?,
            },
            "mutual-authentication": {"commonName": name, "serialNumber": serial},
        }))
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
        heard_for(&sink, 1, Duration::from_millis(1_500))?;
        let last =
            sink.arrived().into_iter().filter(|s| s.tag == 2).map(|s| s.at).max().context("bob's packets")?;
        let late = last.duration_since(called_at).unwrap_or_default();
        ensure!(late < SECOND, "a packet of bob's came {late:?} after the call");
        nothing_lost(&sink, 1, &senders[0])?;
        drop(senders);
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
        for (tag, sender) in [(1, &senders[0]), (2, &senders[1])] {
            heard_for(&sink, tag, SECOND)?;
            nothing_lost(&sink, tag, sender)?;
        }
        drop(senders);
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

/// An entry as it is documented. `changes` is what differs from the entry of a client that has just connected.
fn documented(endpoint: &str, client: usize, name: &str, changes: &Value) -> Result<Value> {
    let mut entry = json!({
        "connection-log-type": "connection-attempt",
        "connection-attempt-status": "successful",
        "connection-reset-status": "NA",
        "connection-attempt-failure-reason": "NA",
        "client-vpn-endpoint-id": endpoint,
        "transport-protocol": "udp",
        "client-ip-v6": "NA",
        "common-name": name,
        "device-type": "linux",
        "device-ip": format!("10.99.0.{}", 10 + client),
        "connection-end-time": "NA",
    });
    let changes = changes.as_object().context("an object")?.clone();
    entry.as_object_mut().context("an object")?.extend(changes);
    Ok(entry)
}

/// That an entry is that, key by key; what `expected` does not have is measured, and must be among `measured`.
fn same(entry: &Value, mut expected: Value, measured: &[&str]) -> Result<()> {
    let into = expected.as_object_mut().context("an object")?;
    for key in measured {
        let value = entry[key].as_str().with_context(|| format!("{key}: {entry:#}"))?;
        ensure!(!value.is_empty() && value != "NA", "{key}: {entry:#}");
        into.insert((*key).to_owned(), json!(value));
    }
    ensure!(*entry == expected, "{entry:#}\nis not as documented:\n{expected:#}");
    Ok(())
}

/// One story: permitted, refused, with and without the context, in shadow mode, cut by a change.
#[test]
fn the_log_tells_every_decision_key_by_key() -> Result<()> {
    lab::or_skip(|| {
        let lab = Lab::new()?;
        let scene = &lab.scene;
        logs::make_group(scene)?;
        lab.log(false)?;
        lab.permit(&["client1"])?;
        lab.active()?;
        let counters = ["ingress-bytes", "egress-bytes", "ingress-packets", "egress-packets"];
        let times = ["connection-start-time", "connection-last-update-time", "connection-duration-seconds"];
        let mut measured = vec!["connection-id", "client-ip", "port"];
        measured.extend(counters);
        measured.extend(times);
        let documented = |client, name, changes| documented(&lab.endpoint, client, name, &changes);

        // Permitted.
        let mut alice = lab.connect(0, "client1")?;
        let told = json!({"result": "permit", "evaluation-type": "connection-attempt",
                          "shadow-mode": "disabled"});
        let first = lab.entry(1)?;
        let changes = json!({"authorization-policy-evaluation": told, "connection-duration-seconds": "0"});
        same(&first, documented(0, "client1", changes)?, &measured)?;
        ensure!(counters.iter().all(|key| first[key] == "0"), "{first:#}");
        let connection = first["connection-id"].clone();
        ensure!(lab.row("client1", "connectionId")?.map(Value::String) == Some(connection.clone()));
        ensure!(lab.row("client1", "clientIp")?.map(Value::String) == Some(first["client-ip"].clone()));

        // Refused: without the context, with it, and without it again. Nobody is cut by the option.
        let mut number = 1;
        for with_context in [false, true, false] {
            lab.log(with_context)?;
            lab.refused(1, "bob")?;
            number += 1;
            let entry = lab.entry(number)?;
            let mut told = json!({"result": "deny", "evaluation-type": "connection-attempt",
                                  "shadow-mode": "disabled", "reason": "policy-deny"});
            if with_context {
                told["context"] = lab.context(1, "bob", &entry["connection-id"])?;
            }
            let mut changes = json!({
                "connection-attempt-status": "failed",
                "connection-attempt-failure-reason": "authorization-policy-deny",
                "connection-start-time": "NA",
                "connection-duration-seconds": "NA",
                "client-ip": "NA",
                "authorization-policy-evaluation": told,
            });
            for key in counters {
                changes[key] = json!("0");
            }
            let measured = ["connection-id", "connection-last-update-time", "port"];
            same(&entry, documented(1, "bob", changes)?, &measured)?;
            ensure!(entry["connection-id"] != connection, "{entry:#}");
        }
        ensure!(scene.reaches(0, TARGETS[0]) && alice.times_up() == 1, "alice stays: {}", alice.log());

        // In shadow mode a policy that would end alice's session says so.
        lab.log(true)?;
        lab.modify(&[("ShadowMode", "enabled")])?;
        lab.permit(&["carol"])?;
        lab.active()?;
        number += 1;
        let entry = lab.entry(number)?;
        let context = lab.context(0, "client1", &connection)?;
        let told = |shadow: &str| {
            json!({"result": "deny", "evaluation-type": "periodic", "shadow-mode": shadow,
                   "reason": "policy-deny", "context": context})
        };
        let changes = json!({"authorization-policy-evaluation": told("enabled")});
        same(&entry, documented(0, "client1", changes)?, &measured)?;
        ensure!(entry["connection-id"] == connection, "{entry:#}");
        ensure!(scene.reaches(0, TARGETS[0]) && alice.times_up() == 1, "alice stays: {}", alice.log());

        // In earnest it ends it.
        lab.modify(&[("ShadowMode", "disabled")])?;
        ensure!(alice.wait_end(5 * SECOND).is_some(), "alice is cut: {}", alice.log());
        number += 1;
        let entry = lab.entry(number)?;
        let changes = json!({
            "connection-log-type": "connection-reset",
            "connection-attempt-status": "NA",
            "authorization-policy-evaluation": told("disabled"),
            "connection-end-time": entry["connection-last-update-time"],
        });
        same(&entry, documented(0, "client1", changes)?, &measured)?;
        for key in ["connection-id", "client-ip", "connection-start-time", "port"] {
            ensure!(entry[key] == first[key], "{key}: {entry:#}");
        }
        for key in counters {
            ensure!(entry[key].as_str().is_some_and(|count| count != "0"), "{key}: {entry:#}");
        }

        // The file has the same.
        let (api, file) = (logs::entries::<Value>(scene, STREAM)?, logs::lines::<Value>(scene)?);
        ensure!(api == file && api.len() == number, "{api:#?}\n{file:#?}");
        Ok(())
    })
}
