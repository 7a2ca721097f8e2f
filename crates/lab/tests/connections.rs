//! What the API says of connections, and ending one.

use std::time::Duration;

use anyhow::Result;
use lab::{Answer, Scene, SceneOptions, TARGETS, eventually};

fn rows(scene: &Scene, endpoint: &str) -> Result<Answer> {
    scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", endpoint)])
}

fn looks_like_a_time(text: &str) -> bool {
    let digits = |text: &str, widths: &[usize], by: char| {
        let parts: Vec<&str> = text.split(by).collect();
        parts.len() == widths.len()
            && parts
                .iter()
                .zip(widths)
                .all(|(part, width)| part.len() == *width && part.bytes().all(|b| b.is_ascii_digit()))
    };
    text.split_once(' ')
        .is_some_and(|(date, time)| digits(date, &[4, 2, 2], '-') && digits(time, &[2, 2, 2], ':'))
}

#[test]
fn a_live_connection_is_listed_and_can_be_ended() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        assert!(scene.reaches(0, TARGETS[0]));
        let read = |field: &str| -> Result<String> {
            rows(&scene, &endpoint)?.text(&format!("connections/item/{field}"))
        };
        assert_eq!(read("commonName")?, "client1");
        assert_eq!(read("status/code")?, "active");
        assert_eq!(read("connectionEndTime")?, "-");
        assert!(read("clientIp")?.starts_with("10.88."), "{}", read("clientIp")?);
        assert!(
            looks_like_a_time(&read("connectionEstablishedTime")?) && looks_like_a_time(&read("timestamp")?)
        );
        let before: (u64, u64) = (read("ingressBytes")?.parse()?, read("egressPackets")?.parse()?);
        assert!(scene.reaches(0, TARGETS[0]));
        let after: (u64, u64) = (read("ingressBytes")?.parse()?, read("egressPackets")?.parse()?);
        assert!(after.0 >= before.0 + 84 && after.1 > before.1, "{before:?} {after:?}");

        let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("Username", "nobody")];
        let error = scene.try_ec2("TerminateClientVpnConnections", &parameters).err();
        assert_eq!(
            error.and_then(|error| error.code().map(str::to_owned)).as_deref(),
            Some("InvalidClientVpnConnection.UserNotFound")
        );

        let id = read("connectionId")?;
        let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("ConnectionId", id.as_str())];
        let answer = scene.ec2("TerminateClientVpnConnections", &parameters)?;
        assert_eq!(answer.text("connectionStatuses/item/previousStatus/code")?, "active");
        assert_eq!(answer.text("connectionStatuses/item/currentStatus/code")?, "terminating");
        assert!(
            client.wait_end(Duration::from_secs(5)).is_some(),
            "HALT stops a stock client: {}",
            client.log()
        );
        eventually("terminated", Duration::from_secs(2), || {
            read("status/code").ok().filter(|code| code == "terminated")
        })?;
        assert!(looks_like_a_time(&read("connectionEndTime")?));
        assert!(!scene.clients[0].net.pings(TARGETS[0]));
        // Ended is not banned.
        let again = scene.connect(0, &profile, "again", &[])?;
        assert!(scene.reaches(0, TARGETS[0]));
        drop(again);
        Ok(())
    })
}
