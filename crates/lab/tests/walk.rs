//! The first walk: an unmodified client through resources made over the API, and what each call does to packets.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Echo, Scene, SceneOptions, TARGETS, eventually, wait_until};

/// The echo service behind the tunnel.
const PORT: u16 = 7;

#[test]
fn a_client_reaches_what_rules_allow_and_nothing_else() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 4, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.1.0/24")?;
        let profile = scene.profile(&endpoint)?;
        // TLS 1.3 with exporter keys, TLS 1.2, keys of the PRF, and AES-128.
        let kinds: [(&str, &[&str]); 4] = [
            ("tls13", &[]),
            ("tls12", &["--tls-version-max", "1.2"]),
            ("prf", &["--compat-mode", "2.5.0"]),
            ("aes128", &["--data-ciphers", "AES-128-GCM"]),
        ];
        let mut clients = Vec::new();
        for (number, (label, arguments)) in kinds.into_iter().enumerate() {
            clients.push(scene.connect(number, &profile, label, arguments)?);
            assert!(scene.reaches(number, TARGETS[0]), "{label}: {}", scene.server().log());
        }
        assert!(clients[0].log().contains("TLSv1.3"), "{}", clients[0].log());
        assert!(clients[1].log().contains("TLSv1.2"), "{}", clients[1].log());
        assert!(clients[3].log().contains("AES-128-GCM"), "{}", clients[3].log());
        // Sessions of both workers: peer ids are spread over them.
        let metrics = scene.server_net.run(|| scene.server().client().get("/metrics"))?;
        assert!(metrics.contains("bascule_connections 4"), "{metrics}");
        // No rule covers the other subnet, the server itself is not reachable from a tunnel.
        for (number, client) in scene.clients.iter().enumerate() {
            assert!(client.net.pings(TARGETS[0]), "client {number} before");
            assert!(!client.net.pings(TARGETS[1]), "client {number} reaches what no rule allows");
        }
        Ok(())
    })
}

#[test]
fn a_revoked_rule_ends_a_running_flow_both_ways() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        let _echo = Echo::start(&scene.targets[0].net, PORT)?;
        assert!(scene.reaches(0, TARGETS[0]));
        let parameters = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("TargetNetworkCidr", "10.77.0.0/16"),
            ("RevokeAllGroups", "true"),
        ];
        scene.ec2("RevokeClientVpnIngress", &parameters)?;
        assert!(!scene.clients[0].net.pings(TARGETS[0]));
        scene.authorize(&endpoint, "10.77.1.10/32")?;
        assert!(scene.reaches(0, TARGETS[0]));
        assert_eq!(client.times_up(), 1, "the session went on");
        assert!(client.wait_end(Duration::ZERO).is_none());
        Ok(())
    })
}

#[test]
fn split_tunnel_pushes_the_routes_of_the_association() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[("SplitTunnel", "true"), ("DnsServers.1", "10.77.0.2")])?;
        scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        let push = client.wait_for("PUSH_REPLY", 0, Duration::from_secs(1))?;
        assert!(push.contains("route 10.77.0.0 255.255.0.0"), "{push}");
        assert!(push.contains("dhcp-option DNS 10.77.0.2"), "{push}");
        assert!(!push.contains("redirect-gateway"), "{push}");
        assert!(scene.reaches(0, TARGETS[0]));
        // A new route reaches the running client by a polite reconnect.
        let before = client.times_up();
        let parameters = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("DestinationCidrBlock", "10.78.0.0/16"),
            ("TargetVpcSubnetId", subnet.as_str()),
        ];
        scene.ec2("CreateClientVpnRoute", &parameters)?;
        client.wait_up(before + 1, Duration::from_secs(15))?;
        let routes = scene.clients[0].net.ip(&["route"])?;
        assert!(routes.contains("10.78.0.0/16"), "{routes}");
        Ok(())
    })
}

#[test]
fn an_exit_is_seen_at_once_and_a_certificate_of_another_authority_refused() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.associate(&endpoint, &subnet)?;
        let profile = scene.profile(&endpoint)?;
        for arguments in [&[][..], &["--compat-mode", "2.5.0", "--explicit-exit-notify", "1"]] {
            let client = scene.connect(0, &profile, "client", arguments)?;
            let started = Instant::now();
            client.stop();
            eventually("its end", Duration::from_secs(3), || {
                let answer =
                    scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)]).ok()?;
                let rows = answer.rows("connections");
                let over =
                    rows.iter().all(|row| row.text("status/code").is_ok_and(|code| code == "terminated"));
                (over && !rows.is_empty()).then_some(())
            })?;
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        let other = scene.foreign_profile(&endpoint)?;
        let mut refused = lab::OpenVpn::start(&scene.clients[0].net, &other, "foreign", &[])?;
        let said = refused.wait_for("alert", 0, Duration::from_secs(10))?;
        assert!(!wait_until(Duration::from_secs(2), || refused.times_up() > 0), "{said}");
        Ok(())
    })
}

#[test]
fn sigterm_drains_and_sends_clients_away_politely() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::new(SceneOptions::default())?;
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        let said = client.log().len();
        let started = Instant::now();
        let status = scene.take_server().stop()?;
        assert!(status.success(), "{status}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        client.wait_for("Connection reset command was pushed by server", said, Duration::from_secs(3))?;
        scene.nothing_left()?;
        // The next start serves the same client, which comes back by itself.
        scene.start_server()?;
        client.wait_up(2, Duration::from_secs(30))?;
        assert!(scene.reaches(0, TARGETS[0]), "{}", scene.server().log());
        Ok(())
    })
}
