//! Connection logs as they are read back.

use anyhow::{Context, Result, ensure};
use lab::Scene;
use serde_json::{Value, json};

/// The log group of endpoints that log.
pub const GROUP: &str = "/vpn/connections";

/// Makes the log group.
pub fn make_group(scene: &Scene) -> Result<()> {
    let body = json!({"logGroupName": GROUP}).to_string();
    let client = scene.server().client();
    let (status, text) =
        scene.server_net.run(|| client.json("logs", "Logs_20140328.CreateLogGroup", &body))?;
    ensure!(status == 200, "{text}");
    Ok(())
}

/// The entries of a stream by the Logs API, oldest first.
pub fn entries<T: serde::de::DeserializeOwned>(scene: &Scene, stream: &str) -> Result<Vec<T>> {
    let body = json!({"logGroupName": GROUP, "logStreamName": stream, "startFromHead": true});
    let (status, text) = scene
        .server_net
        .run(|| scene.server().client().json("logs", "Logs_20140328.GetLogEvents", &body.to_string()))?;
    if status == 400 {
        return Ok(Vec::new()); // there is no stream before the first entry
    }
    ensure!(status == 200, "{status} {text}");
    let answer: Value = serde_json::from_str(&text)?;
    let events = answer["events"].as_array().context("events")?;
    let messages = events.iter().map(|event| event["message"].as_str().context("a message"));
    messages.map(|message| Ok(serde_json::from_str(message?)?)).collect()
}

/// The entries of the file, oldest first.
pub fn lines<T: serde::de::DeserializeOwned>(scene: &Scene) -> Result<Vec<T>> {
    let path = scene.data_dir().join("connections/connections-000001.jsonl");
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
