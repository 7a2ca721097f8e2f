//! What an endpoint's options do to real clients: session timeout, login banner, connection logs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::logs::{GROUP, entries, make_group};
use crate::common::people::profile;
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, TARGETS, eventually};

const SOON: Duration = Duration::from_secs(5);
/// A client that is told to come back waits a moment before it does.
const RETURN: Duration = Duration::from_secs(15);

/// An entry of a connection log.
type Row = BTreeMap<String, String>;

/// A scene whose server runs with these environment variables; it has one endpoint, associated and open to all.
fn scene(environment: &[(&str, &str)], options: &[(&str, &str)]) -> Result<(Scene, String)> {
    let mut with = SceneOptions::default();
    with.server.environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let scene = Scene::new(with)?;
    let (_, [subnet, _]) = scene.make_vpc()?;
    let endpoint = scene.make_endpoint(options)?;
    scene.associate(&endpoint, &subnet)?;
    scene.authorize(&endpoint, "10.77.0.0/16")?;
    Ok((scene, endpoint))
}

#[test]
fn a_session_ends_when_its_time_is_over() -> Result<()> {
    lab::or_skip(|| {
        // An hour of a second: the shortest timeout lasts eight.
        let hour = [("BASCULE_SESSION_HOUR_SECONDS", "1")];
        let (scene, endpoint) = scene(&hour, &[("SessionTimeoutHours", "8")])?;
        let connect = |label: &str| scene.connect(0, &profile(&scene, &endpoint, "client1")?, label, &[]);
        let mut client = connect("stops")?;
        let since = Instant::now();
        ensure!(scene.reaches(0, TARGETS[0]));
        client.wait_for("AUTH_FAILED,SESSION", 0, RETURN)?;
        let lasted = since.elapsed();
        ensure!((6..=10).contains(&lasted.as_secs()), "{lasted:?}");
        ensure!(client.wait_end(RETURN).is_some(), "it has to log in anew, so a stock client ends");

        // Those that may come back by themselves do, and their time begins anew.
        let modify = |name: &str, value: &str| {
            let parameters = [("ClientVpnEndpointId", endpoint.as_str()), (name, value)];
            scene.ec2("ModifyClientVpnEndpoint", &parameters)
        };
        modify("DisconnectOnSessionTimeout", "false")?;
        let mut client = connect("returns")?;
        client.wait_up(2, RETURN)?;
        ensure!(client.log().contains("server-pushed-connection-reset"), "{}", client.log());
        client.wait_up(3, RETURN)?;
        // A higher limit holds for the session that is there.
        modify("SessionTimeoutHours", "24")?;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(10) {
            ensure!(client.times_up() == 3 && scene.reaches(0, TARGETS[0]), "{}", client.log());
        }
        // A lower one ends what is older at once.
        modify("SessionTimeoutHours", "8")?;
        client.wait_up(4, RETURN)?;
        client.stop();
        Ok(())
    })
}

/// Lets a client go that waits for its management socket; every `>ECHO:` there until it is connected.
fn told(socket: &Path) -> Result<Vec<String>> {
    let mut stream = eventually("the socket", SOON, || UnixStream::connect(socket).ok())?;
    stream.set_read_timeout(Some(RETURN))?;
    stream.write_all(b"echo on\nstate on\nhold release\n")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        // A time stands before each.
        if let Some(text) = line.strip_prefix(">ECHO:").and_then(|line| line.split_once(',')) {
            lines.push(text.1.trim_end().to_owned());
        }
        if line.starts_with(">STATE:") && line.contains(",CONNECTED,") {
            return Ok(lines);
        }
    }
    anyhow::bail!("the management socket was shut")
}

#[test]
fn the_banner_is_shown() -> Result<()> {
    lab::or_skip(|| {
        let text = "Authorised use only, \"please\".\nÇa va bien: 100 % \\ #1; it's logged";
        let options =
            [("ClientLoginBannerOptions.Enabled", "true"), ("ClientLoginBannerOptions.BannerText", text)];
        let (scene, endpoint) = scene(&[], &options)?;
        let socket = scene.dir().join("management");
        let socket_path = socket.to_str().context("a plain path")?;
        let arguments = ["--management", socket_path, "unix", "--management-hold"];
        let profile = profile(&scene, &endpoint, "client1")?;
        let client = OpenVpn::start(&scene.clients[0].net, &profile, "client", &arguments)?;
        let shown = told(&socket)?;
        let expected = [
            "msg Authorised use only\u{201a} \"please\".",
            "msg Ça va bien: 100 % \\ #1; it's logged",
            "msg-window Message of the network",
        ];
        ensure!(shown == expected, "{shown:?}");
        // Changing it interrupts nobody; switched off, the next connection shows nothing.
        let off = [("ClientVpnEndpointId", endpoint.as_str()), ("ClientLoginBannerOptions.Enabled", "false")];
        scene.ec2("ModifyClientVpnEndpoint", &off)?;
        ensure!(scene.reaches(0, TARGETS[0]) && client.times_up() == 1, "{}", client.log());
        client.stop();
        let client = OpenVpn::start(&scene.clients[0].net, &profile, "again", &arguments)?;
        let shown = told(&socket)?;
        ensure!(shown.is_empty(), "{shown:?}");
        client.stop();
        Ok(())
    })
}

#[test]
fn route_enforcement_is_told_to_who_looks_after_it() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint) = scene(&[], &[("ClientRouteEnforcementOptions.Enforced", "true")])?;
        let (script, said) = (scene.dir().join("enforce"), scene.dir().join("said"));
        let text = format!("#!/bin/sh\necho \"$OPENVPN_ROUTE_ENFORCEMENT\" >> {}\n", said.display());
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let script = script.to_str().context("a plain path")?;
        let scripted = ["--script-security", "2", "--up", script];
        // As docs/clients.md has it.
        let enforces = ["--setenv", "UV_ROUTE_ENFORCEMENT", "1", "--push-peer-info"];
        let profile = profile(&scene, &endpoint, "client1")?;
        let heard = || std::fs::read_to_string(&said).unwrap_or_default();
        let plain = scene.connect(0, &profile, "plain", &scripted)?;
        ensure!(heard() == "\n", "{:?}", heard());
        plain.stop();
        let mut client = scene.connect(0, &profile, "client", &[&scripted[..], &enforces[..]].concat())?;
        ensure!(heard() == "\n1\n", "{:?}", heard());
        let off =
            [("ClientVpnEndpointId", endpoint.as_str()), ("ClientRouteEnforcementOptions.Enforced", "false")];
        scene.ec2("ModifyClientVpnEndpoint", &off)?;
        client.wait_up(2, RETURN)?;
        ensure!(heard() == "\n1\n0\n", "{:?}", heard());
        ensure!(scene.reaches(0, TARGETS[0]), "{}", client.log());
        client.stop();
        Ok(())
    })
}

#[test]
fn connections_are_logged_key_by_key() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint) = scene(&[("BASCULE_CONNECTION_LOG_SECONDS", "2")], &[])?;
        make_group(&scene)?;
        let modify = |stream: Option<&str>| {
            let enabled = if stream.is_some() { "true" } else { "false" };
            let mut parameters =
                vec![("ClientVpnEndpointId", endpoint.as_str()), ("ConnectionLogOptions.Enabled", enabled)];
            if let Some(stream) = stream {
                parameters.push(("ConnectionLogOptions.CloudwatchLogGroup", GROUP));
                parameters.push(("ConnectionLogOptions.CloudwatchLogStream", stream));
            }
            scene.ec2("ModifyClientVpnEndpoint", &parameters)
        };
        modify(Some("one"))?;
        let ovpn = profile(&scene, &endpoint, "client1")?;
        let running = scene.connect(0, &ovpn, "client", &[])?;
        ensure!(scene.reaches(0, TARGETS[0]));
        let reset = |rows: &Vec<Row>| rows.iter().any(|row| row["connection-log-type"] == "connection-reset");
        // Beginning, and an update with counters.
        eventually("an update", RETURN, || {
            entries::<Row>(&scene, "one")
                .ok()
                .filter(|rows| rows.len() > 1 && rows.last().is_some_and(|row| row["ingress-packets"] != "0"))
        })?;
        running.stop();
        let rows = eventually("the end", RETURN, || entries(&scene, "one").ok().filter(reset))?;
        let (first, last) = (&rows[0], rows.last().context("a row")?);
        let fixed = [
            ("connection-log-type", "connection-attempt", "connection-reset"),
            ("connection-attempt-status", "successful", "NA"),
            ("connection-reset-status", "NA", "NA"),
            ("connection-attempt-failure-reason", "NA", "NA"),
            ("client-vpn-endpoint-id", &endpoint, &endpoint),
            ("transport-protocol", "udp", "udp"),
            ("client-ip-v6", "NA", "NA"),
            ("common-name", "client1", "client1"),
            ("device-type", "linux", "linux"),
            ("device-ip", "10.99.0.10", "10.99.0.10"),
        ];
        for (key, beginning, end) in fixed {
            ensure!((first[key].as_str(), last[key].as_str()) == (beginning, end), "{key}: {rows:?}");
        }
        ensure!(
            first["connection-id"] == last["connection-id"]
                && first["connection-id"].starts_with("cvpn-connection-")
        );
        ensure!(first["client-ip"].starts_with("10.88.0.") && first["client-ip"] == last["client-ip"]);
        ensure!(first["connection-start-time"] == last["connection-start-time"]);
        ensure!(
            (
                first["ingress-bytes"].as_str(),
                first["connection-end-time"].as_str(),
                first["connection-duration-seconds"].as_str()
            ) == ("0", "NA", "0")
        );
        for key in ["ingress-bytes", "egress-bytes", "ingress-packets", "egress-packets", "port"] {
            ensure!(last[key].parse::<u64>()? > 0, "{key}: {last:?}");
        }
        ensure!(
            last["connection-end-time"] == last["connection-last-update-time"]
                && last["connection-end-time"].len() == 19
        );
        let mut keys: Vec<&str> = fixed.iter().map(|(key, ..)| *key).collect();
        keys.extend([
            "connection-id",
            "client-ip",
            "connection-start-time",
            "connection-last-update-time",
            "port",
        ]);
        keys.extend(["ingress-bytes", "egress-bytes", "ingress-packets", "egress-packets"]);
        keys.extend(["connection-end-time", "connection-duration-seconds"]);
        keys.sort_unstable();
        ensure!(first.keys().map(String::as_str).collect::<Vec<_>>() == keys, "{first:?}");
        // The API's row says the same.
        let shown = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
        ensure!(shown.text("connections/item/connectionId")? == first["connection-id"]);

        // So does the file, which has all of them.
        let path = scene.data_dir().join("connections/connections-000001.jsonl");
        let lines = std::fs::read_to_string(path)?;
        ensure!(lines.lines().count() == rows.len(), "{lines}");
        let parsed: Row = serde_json::from_str(lines.lines().next().context("a line")?)?;
        ensure!(parsed == *first, "{lines}");

        // A stranger is not logged; nor is anybody once logging is off; what was logged stays.
        let strange = scene.foreign_profile(&endpoint)?;
        let mut stranger = OpenVpn::start(&scene.clients[0].net, &strange, "stranger", &[])?;
        ensure!(stranger.wait_end(RETURN).is_some() || stranger.times_up() == 0);
        drop(stranger);
        modify(None)?;
        scene.connect(0, &ovpn, "unlogged", &[])?.stop();
        modify(Some("two"))?;
        scene.connect(0, &ovpn, "logged", &[])?.stop();
        let others = eventually("the other stream", RETURN, || entries(&scene, "two").ok().filter(reset))?;
        ensure!(others[0]["connection-id"] != first["connection-id"]);
        let now = entries::<Row>(&scene, "one")?;
        ensure!(now.iter().all(|row| row["connection-id"] == first["connection-id"]), "{now:?}");
        Ok(())
    })
}
