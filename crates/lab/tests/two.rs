//! Two of a kind: associations of one endpoint, endpoints with one client CIDR, and endpoints on one address.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Scene, SceneOptions, TARGETS};

/// The subnet whose association carries each client: the one whose target it reaches without leaving the tunnel's own way.
fn carried_by(scene: &Scene, endpoint: &str, common: usize) -> Result<Vec<String>> {
    let answer = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", endpoint)])?;
    let rows = answer.rows("connections");
    ensure!(rows.len() >= common, "{rows:?}");
    rows.iter().map(|row| row.text("connectionId")).collect()
}

#[test]
fn ending_one_association_loses_the_others_client_nothing() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [a, b]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let first = scene.associate(&endpoint, &a)?;
        let profile = scene.profile(&endpoint)?;
        // The first client is on the only association; the second goes to the one with fewer sessions.
        let mut one = scene.connect(0, &profile, "one", &[])?;
        let second = scene.associate(&endpoint, &b)?;
        let two = scene.connect(1, &profile, "two", &[])?;
        assert!(scene.reaches(0, TARGETS[0]) && scene.reaches(1, TARGETS[1]), "{}", scene.server().log());
        carried_by(&scene, &endpoint, 2)?;
        let mut ping = scene.clients[1].net.command("ping");
        let ping = ping
            .args(["-n", "-i", "0.01", "-c", "300", "-W", "1", TARGETS[1]])
            .stdout(Stdio::piped())
            .spawn()
            .context("ping")?;
        let said = one.log().len();
        scene.disassociate(&endpoint, &first)?;
        one.wait_for("Connection reset command was pushed by server", said, Duration::from_secs(3))?;
        let output = String::from_utf8(ping.wait_with_output()?.stdout)?;
        assert!(output.contains("300 packets transmitted, 300 received"), "{output}");
        assert_eq!(two.times_up(), 1, "the same session");
        assert_eq!(scene.endpoint_status(&endpoint)?, "available");
        let routes = scene.ec2("DescribeClientVpnRoutes", &[("ClientVpnEndpointId", &endpoint)])?;
        let targets: Vec<String> =
            routes.rows("routes").iter().map(|row| row.text("targetSubnet")).collect::<Result<_>>()?;
        assert_eq!(targets, [b.as_str()], "only the other's automatic route is left");
        // Its client comes back by itself, on the association that is left.
        one.wait_up(2, Duration::from_secs(30))?;
        assert!(scene.reaches(0, TARGETS[0]));
        scene.disassociate(&endpoint, &second)?;
        lab::eventually("pending-associate", Duration::from_secs(2), || {
            scene.endpoint_status(&endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        scene.nothing_left()
    })
}

#[test]
fn two_endpoints_may_have_the_same_client_cidr() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [a, b]) = scene.make_vpc()?;
        let (first, second) = (scene.make_endpoint(&[])?, scene.make_endpoint(&[])?);
        for (endpoint, subnet) in [(&first, &a), (&second, &b)] {
            scene.authorize(endpoint, "10.77.0.0/16")?;
            scene.associate(endpoint, subnet)?;
        }
        let one = scene.connect(0, &scene.profile(&first)?, "one", &[])?;
        let two = scene.connect(1, &scene.profile(&second)?, "two", &[])?;
        let address = |scene: &Scene, client: usize| -> Result<String> {
            let text = scene.clients[client].net.ip(&["-4", "-o", "addr", "show", "dev", "tun0"])?;
            Ok(text.split_whitespace().nth(3).unwrap_or_default().to_owned())
        };
        assert_eq!(address(&scene, 0)?, address(&scene, 1)?, "the same inner address, twice");
        for _ in 0..5 {
            for client in 0..2 {
                assert!(scene.reaches(client, TARGETS[0]), "client {client}: {}", scene.server().log());
                assert!(scene.reaches(client, TARGETS[1]), "client {client}: {}", scene.server().log());
            }
        }
        drop((one, two));
        Ok(())
    })
}

#[test]
fn endpoints_share_an_address_by_ports_until_there_is_none() -> Result<()> {
    lab::or_skip(|| {
        let mut options = SceneOptions { clients: 2, ..SceneOptions::default() };
        options.server.arguments =
            ["--workers", "2", "--gateway-address", "10.99.0.1", "--gateway-ports", "20001-20002"]
                .map(str::to_owned)
                .to_vec();
        let scene = Scene::new(options)?;
        let (_, [a, b]) = scene.make_vpc()?;
        let (first, second) = (scene.make_endpoint(&[])?, scene.make_endpoint(&[])?);
        let mut clients = Vec::new();
        for (number, (endpoint, subnet)) in [(&first, &a), (&second, &b)].into_iter().enumerate() {
            scene.authorize(endpoint, "10.77.0.0/16")?;
            scene.associate(endpoint, subnet)?;
            let profile = scene.profile(endpoint)?;
            let text = std::fs::read_to_string(&profile)?;
            ensure!(text.contains(&format!("remote 10.99.0.1 {}\n", 20_001 + number)), "{text}");
            clients.push(scene.connect(number, &profile, &format!("client{number}"), &[])?);
            ensure!(scene.reaches(number, TARGETS[number]), "{}", scene.server().log());
        }
        // A third one finds no port, says so, and disturbs nobody.
        let third = scene.make_endpoint(&[])?;
        let parameters = [("ClientVpnEndpointId", third.as_str()), ("SubnetId", a.as_str())];
        scene.ec2("AssociateClientVpnTargetNetwork", &parameters)?;
        let message = lab::eventually("association-failed", Duration::from_secs(5), || {
            let asked = [("ClientVpnEndpointId", third.as_str())];
            let answer = scene.ec2("DescribeClientVpnTargetNetworks", &asked).ok()?;
            let row = answer.rows("clientVpnTargetNetworks").into_iter().next()?;
            let failed = row.text("status/code").is_ok_and(|code| code == "association-failed");
            failed.then(|| row.text("status/message").unwrap_or_default())
        })?;
        ensure!(
            message.contains("no free gateway address") && message.contains("gateway-ports"),
            "{message}"
        );
        // The port of one that is deleted is the next one's.
        drop(clients.pop());
        let answer = scene.ec2("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &second)])?;
        let held = answer.rows("clientVpnTargetNetworks")[0].text("associationId")?;
        scene.disassociate(&second, &held)?;
        lab::eventually("deleted", Duration::from_secs(5), || {
            scene.ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &second)]).ok()
        })?;
        let port = lab::eventually("the port", Duration::from_secs(5), || {
            let fourth = scene.make_endpoint(&[]).ok()?;
            let text = std::fs::read_to_string(scene.profile(&fourth).ok()?).ok()?;
            text.contains("remote 10.99.0.1 20002\n").then_some(fourth)
        })?;
        scene.associate(&port, &b)?;
        scene.authorize(&port, "10.77.0.0/16")?;
        let again = scene.connect(1, &scene.profile(&port)?, "again", &[])?;
        ensure!(scene.reaches(1, TARGETS[1]) && clients[0].times_up() == 1, "{}", again.log());
        Ok(())
    })
}
