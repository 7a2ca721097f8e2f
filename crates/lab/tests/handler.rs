//! Connect handlers with real clients: one that allows, denies, hangs, lies, fails, dies, is a Lambda-compatible server, or
//! a program (spec: aws-client-vpn §4.5).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::logs;
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, TARGETS, eventually, wait_until};
use serde_json::{Value, json};

const STREAM: &str = "handler";
const FAILED: &str = "Error establishing connection. Please contact your administrator.";

/// What was asked: path and body.
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

/// A server whose answer depends on the path.
fn handler(listener: TcpListener) -> Heard {
    let heard = Heard::default();
    let keep = Arc::clone(&heard);
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(stream, &keep);
        }
    });
    heard
}

fn serve(mut stream: TcpStream, heard: &Heard) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).context("a path")?.to_owned();
    heard
        .lock()
        .unwrap_or_else(|held| held.into_inner())
        .push((path.clone(), serde_json::from_slice(&body)?));
    let said = |allow: bool, message: &str| {
        json!({"allow": allow, "error-msg-on-denied-connection": message,
               "posture-compliance-statuses": ["compliant"], "schema-version": "v2"})
        .to_string()
    };
    let (head, body) = match path.as_str() {
        "/allow" => ("200 OK", said(true, "")),
        "/deny" => ("200 OK", said(false, "Ask the front desk")),
        "/lie" => ("200 OK", json!({"allow": true}).to_string()),
        "/fail" => ("500 Internal Server Error", String::new()),
        "/busy" => ("429 Too Many Requests", String::new()),
        "/elsewhere" => ("302 Found\r\nlocation: /allow", String::new()),
        "/2015-03-31/functions/AWSClientVPN-lambda/invocations?Qualifier=live" => ("200 OK", said(true, "")),
        "/2015-03-31/functions/AWSClientVPN-lambda/invocations" => {
            ("200 OK\r\nx-amz-function-error: Unhandled", said(true, ""))
        }
        "/hang" => {
            // Open for as long as this process lives, and nothing said.
            std::mem::forget(stream);
            return Ok(());
        }
        // It hangs up.
        _ => return Ok(()),
    };
    write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
    Ok(())
}

fn arn(name: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-{name}")
}

/// A scene whose server knows all of them; what they heard.
fn scene() -> Result<(Scene, Heard)> {
    let mut scene = Scene::without_server(SceneOptions::default())?;
    let listener = scene.server_net.run(|| TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    let mut text = String::new();
    for name in ["allow", "deny", "lie", "fail", "busy", "elsewhere", "die", "hang"] {
        text += &format!(
            "[[connect-handler]]\nfunction = \"AWSClientVPN-{name}\"\nurl = \"http://127.0.0.1:{port}/{name}\"\n"
        );
    }
    text += &format!(
        "[[connect-handler]]\nfunction = \"AWSClientVPN-lambda\"\nlambda = \"http://127.0.0.1:{port}\"\n"
    );
    text += "[[connect-handler]]\nfunction = \"AWSClientVPN-away\"\nurl = \"http://127.0.0.1:1/\"\n";
    let path = scene.dir().join("bascule.toml");
    std::fs::write(&path, text)?;
    scene.server_options().arguments.extend(["--config".to_owned(), path.to_string_lossy().into_owned()]);
    scene.start_server()?;
    Ok((scene, handler(listener)))
}

/// An endpoint that logs, associated, and its profile.
fn logged_endpoint(scene: &Scene) -> Result<(String, PathBuf)> {
    logs::make_group(scene)?;
    let endpoint = scene.open(
        &[
            ("ConnectionLogOptions.Enabled", "true"),
            ("ConnectionLogOptions.CloudwatchLogGroup", logs::GROUP),
            ("ConnectionLogOptions.CloudwatchLogStream", STREAM),
        ],
        "10.77.0.0/16",
    )?;
    let profile = scene.profile(&endpoint)?;
    Ok((endpoint, profile))
}

/// The entries of failed attempts, once there are so many.
fn logged_failures(scene: &Scene, count: usize) -> Result<Vec<Value>> {
    eventually("the log", Duration::from_secs(10), || {
        let entries: Vec<Value> = logs::entries(scene, STREAM).ok()?;
        let failed =
            entries.into_iter().filter(|entry| entry["connection-attempt-status"] == json!("failed"));
        let failed: Vec<Value> = failed.collect();
        (failed.len() >= count).then_some(failed)
    })
}

/// Makes another function the endpoint's handler, and waits until it is in force.
fn ask_from_now(scene: &Scene, endpoint: &str, function: &str) -> Result<()> {
    let change = [
        ("ClientVpnEndpointId", endpoint),
        ("ClientConnectOptions.Enabled", "true"),
        ("ClientConnectOptions.LambdaFunctionArn", function),
    ];
    scene.ec2("ModifyClientVpnEndpoint", &change)?;
    let one = [("ClientVpnEndpointId.1", endpoint)];
    eventually("applied", Duration::from_secs(5), || {
        let row = scene.ec2("DescribeClientVpnEndpoints", &one).ok()?;
        let code = row.text("clientVpnEndpoint/item/clientConnectOptions/status/code").ok()?;
        (code == "applied").then_some(())
    })
}

#[test]
fn each_way_of_a_handler_is_told_to_the_client_and_to_the_log() -> Result<()> {
    lab::or_skip(|| {
        let (scene, heard) = scene()?;
        let (endpoint, profile) = logged_endpoint(&scene)?;
        let refusals = [
            ("deny", "Ask the front desk", "client-connect-failed"),
            ("lie", FAILED, "client-connect-handler-invalid-response"),
            ("fail", FAILED, "client-connect-handler-other-execution-error"),
            ("busy", FAILED, "client-connect-handler-throttled"),
            ("elsewhere", FAILED, "client-connect-handler-service-error"),
            ("die", FAILED, "client-connect-handler-service-error"),
            ("away", FAILED, "client-connect-handler-service-error"),
            ("lambda", FAILED, "client-connect-handler-other-execution-error"),
            ("unknown", FAILED, "client-connect-handler-service-error"),
        ];
        for (name, told, _) in refusals {
            ask_from_now(&scene, &endpoint, &arn(name))?;
            let mut client = OpenVpn::start(&scene.clients[0].net, &profile, name, &[])?;
            client
                .wait_for(&format!("AUTH_FAILED,{told}"), 0, Duration::from_secs(10))
                .with_context(|| format!("{name}; the server said:\n{}", scene.server_log()))?;
            ensure!(client.times_up() == 0, "{name}");
            ensure!(client.wait_end(Duration::from_secs(5)).is_some(), "{name}: a refused client stops");
        }
        // Those that allow, one of them by Lambda's API with a qualifier.
        for name in ["allow", "lambda:live"] {
            ask_from_now(&scene, &endpoint, &arn(name))?;
            let client = scene.connect(0, &profile, &name.replace(':', "-"), &[])?;
            ensure!(scene.reaches(0, TARGETS[0]), "{name}");
            let rows = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
            let live = rows
                .rows("connections")
                .into_iter()
                .find(|row| row.text("status/code").is_ok_and(|code| code == "active"));
            let live = live.context("a live connection")?;
            ensure!(live.text("postureComplianceStatusSet/item")? == "compliant");
            ensure!(wait_until(Duration::from_secs(5), || client.times_up() == 1));
            client.stop();
        }
        // What they were asked: the documented form, and an id that the connection has too.
        let heard = heard.lock().unwrap_or_else(|held| held.into_inner()).clone();
        let expected = ["/deny", "/lie", "/fail", "/busy", "/elsewhere", "/die"].map(str::to_owned);
        ensure!(
            heard.iter().take(6).map(|(path, _)| path.clone()).eq(expected),
            "no redirect is followed: {heard:?}"
        );
        let asked = &heard[0].1;
        ensure!(
            asked["endpoint-id"] == json!(endpoint) && asked["common-name"] == json!("client1"),
            "{asked}"
        );
        ensure!(
            asked["public-ip"] == json!("10.99.0.10") && asked["schema-version"] == json!("v2"),
            "{asked}"
        );
        ensure!(asked["platform"] == json!("linux") && asked["username"] == json!(""), "{asked}");
        let failed = logged_failures(&scene, refusals.len())?;
        for ((name, _, reason), entry) in refusals.iter().zip(&failed) {
            ensure!(entry["connection-attempt-failure-reason"] == json!(reason), "{name}: {entry}");
        }
        ensure!(failed[0]["connection-id"] == asked["connection-id"], "{asked}");
        ensure!(failed[0]["posture-compliance-statuses"] == json!("compliant"), "{}", failed[0]);
        Ok(())
    })
}

/// Handlers have thirty seconds; meanwhile nobody is let in, and others are not kept waiting.
#[test]
fn one_that_hangs_denies_in_time() -> Result<()> {
    lab::or_skip(|| {
        let (scene, _) = scene()?;
        let (endpoint, profile) = logged_endpoint(&scene)?;
        ask_from_now(&scene, &endpoint, &arn("hang"))?;
        let began = Instant::now();
        let mut client = OpenVpn::start(&scene.clients[0].net, &profile, "hang", &[])?;
        client
            .wait_for(&format!("AUTH_FAILED,{FAILED}"), 0, Duration::from_secs(45))
            .with_context(|| scene.server_log())?;
        let took = began.elapsed();
        ensure!((Duration::from_secs(29)..Duration::from_secs(40)).contains(&took), "{took:?}");
        ensure!(client.times_up() == 0);
        let failed = logged_failures(&scene, 1)?;
        let reason = &failed[0]["connection-attempt-failure-reason"];
        ensure!(*reason == json!("client-connect-handler-timed-out"), "{failed:?}");
        Ok(())
    })
}

const GOOD: &str = r#"{"allow":true,"error-msg-on-denied-connection":"","posture-compliance-statuses":["compliant"],"schema-version":"v2"}"#;

/// Handlers that are programs: name, script, what the client is told and the log says, if it is not let in.
const PROGRAMS: [(&str, &str, Option<(&str, &str)>); 6] = [
    // It tells by its refusal who it is, and what it was asked.
    (
        "deny",
        r#"request=$(cat)
case $request in *'"common-name":"client1"'*'"schema-version":"v2"'*) asked=well;; esac
me="$(id -u) $(id -g) $(id -G) $(grep -c '^CapEff:.0000000000000000$' /proc/self/status) $(grep NoNewPrivs /proc/self/status | tr -cd 0-9)"
printf '{"allow":false,"error-msg-on-denied-connection":"%s %s","posture-compliance-statuses":[],"schema-version":"v2"}' "$me" "$asked""#,
        Some(("65534 65534 65534 1 1 well", "client-connect-failed")),
    ),
    ("lie", "echo '{\"allow\":true}'", Some((FAILED, "client-connect-handler-invalid-response"))),
    ("huge", "cat /dev/zero", Some((FAILED, "client-connect-handler-invalid-response"))),
    ("die", "exit 1", Some((FAILED, "client-connect-handler-other-execution-error"))),
    ("missing", "", Some((FAILED, "client-connect-handler-service-error"))),
    ("allow", "cat > /dev/null; echo \"$1\"", None),
];

#[test]
fn a_program_is_asked_as_nobody() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::without_server(SceneOptions::default())?;
        // Nobody has to get at them.
        let dir = tempfile::tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let mut text = String::new();
        for (name, script, _) in PROGRAMS {
            let path = dir.path().join(name);
            if name != "missing" {
                std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
            }
            let path = path.display();
            text += &format!(
                "[[connect-handler]]\nfunction = \"AWSClientVPN-{name}\"\ncommand = [\"{path}\", '{GOOD}']\n"
            );
        }
        let config = scene.dir().join("bascule.toml");
        std::fs::write(&config, &text)?;
        let arguments = &mut scene.server_options().arguments;
        arguments.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
        scene.start_server()?;
        let (endpoint, profile) = logged_endpoint(&scene)?;
        let mut reasons = Vec::new();
        for (name, _, refused) in PROGRAMS {
            ask_from_now(&scene, &endpoint, &arn(name))?;
            let mut client = OpenVpn::start(&scene.clients[0].net, &profile, name, &[])?;
            let Some((told, reason)) = refused else {
                client.wait_up(1, Duration::from_secs(10))?;
                ensure!(scene.reaches(0, TARGETS[0]), "{}", scene.server_log());
                continue;
            };
            client
                .wait_for(&format!("AUTH_FAILED,{told}"), 0, Duration::from_secs(10))
                .with_context(|| format!("{name}; the server said:\n{}", scene.server_log()))?;
            ensure!(client.times_up() == 0, "{name}");
            reasons.push(reason);
        }
        let failed = logged_failures(&scene, reasons.len())?;
        let said = failed.iter().map(|entry| &entry["connection-attempt-failure-reason"]);
        ensure!(said.eq(&reasons), "{failed:?}");
        ensure!(scene.server_log().contains("a connect handler cannot be started"), "{}", scene.server_log());
        Ok(())
    })
}
