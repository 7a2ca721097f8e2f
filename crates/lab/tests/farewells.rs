//! What each farewell does to a real client, over UDP and TCP (spec: openvpn-protocol §9.5): terminated, revoked and timed
//! out it stops; disassociated, drained and left without a server it comes back by itself. Many do not come back at once.
//! That its endpoint was deleted no client can be told: an endpoint with an association is not deleted, and the end of the
//! last one has sent everybody away before.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::common::people::{pki, profile};
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, TARGETS, eventually};
use swarm::{Dialect, Group, Profile, Setup, Swarm};

/// How long a client may take to hear of its end, and to come back.
const HEARS: Duration = Duration::from_secs(4);
const RETURNS: Duration = Duration::from_secs(25);
const RESTART: &str = "Connection reset command was pushed by server";
/// Clients told to come back in the same second, at most.
const AT_ONCE: u64 = 256;

/// Two endpoints, UDP and TCP, with a client's place for each.
struct Both {
    scene: Scene,
    subnet: String,
    endpoints: Vec<String>,
    associations: Vec<String>,
}

impl Both {
    fn new(environment: &[(&str, &str)], more: &[(&str, &str)]) -> Result<Self> {
        let mut options = SceneOptions { clients: 2, ..SceneOptions::default() };
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        options.server.environment = environment.iter().map(own).collect();
        let scene = Scene::new(options)?;
        pki(&scene, &["issue-client", "bob"])?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let (mut endpoints, mut associations) = (Vec::new(), Vec::new());
        for transport in ["udp", "tcp"] {
            let endpoint = scene.make_endpoint(&[&[("TransportProtocol", transport)][..], more].concat())?;
            scene.authorize(&endpoint, "10.77.0.0/16")?;
            associations.push(scene.associate(&endpoint, &subnet)?);
            endpoints.push(endpoint);
        }
        Ok(Self { scene, subnet, endpoints, associations })
    }

    fn profiles(&self, name: &str) -> Result<Vec<PathBuf>> {
        let made = self.endpoints.iter().map(|endpoint| {
            let path = profile(&self.scene, endpoint, name)?;
            let own = path.with_file_name(format!("{name}-{endpoint}.ovpn"));
            std::fs::rename(&path, &own)?;
            Ok(own)
        });
        made.collect()
    }

    fn connect(&self, name: &str) -> Result<Vec<OpenVpn>> {
        let mut clients = Vec::new();
        for (number, profile) in self.profiles(name)?.iter().enumerate() {
            let label = format!("{name}-{number}");
            clients.push(self.scene.connect(number, profile, &label, &["--connect-retry", "1", "1"])?);
            ensure!(self.scene.reaches(number, TARGETS[0]));
        }
        Ok(clients)
    }

    /// Each client hears the words, and then its process ends.
    fn stops(&self, clients: Vec<OpenVpn>, words: &str, from: &[usize]) -> Result<()> {
        for (mut client, from) in clients.into_iter().zip(from) {
            client.wait_for(words, *from, HEARS)?;
            ensure!(client.wait_end(HEARS).is_some(), "{words}: it goes on: {}", client.log());
        }
        for client in &self.scene.clients {
            ensure!(!client.net.pings(TARGETS[0]));
        }
        Ok(())
    }

    /// Each client hears the words, and is up again by itself.
    fn return_(&self, clients: &mut [OpenVpn], times: usize) -> Result<()> {
        for (number, client) in clients.iter_mut().enumerate() {
            client.wait_up(times, RETURNS).with_context(|| self.scene.server_log())?;
            ensure!(self.scene.reaches(number, TARGETS[0]), "{}", self.scene.server_log());
        }
        Ok(())
    }
}

fn said(clients: &[OpenVpn]) -> Vec<usize> {
    clients.iter().map(|client| client.log().len()).collect()
}

fn hear(clients: &mut [OpenVpn], words: &str, from: &[usize]) -> Result<()> {
    clients.iter_mut().zip(from).try_for_each(|(client, from)| client.wait_for(words, *from, HEARS).map(drop))
}

#[test]
fn each_has_its_effect_over_udp_and_tcp() -> Result<()> {
    lab::or_skip(|| {
        let mut both = Both::new(&[], &[])?;
        let mut clients = both.connect("client1")?;

        // An endpoint that anybody could be at is not deleted.
        for endpoint in &both.endpoints {
            let refused = both.scene.try_ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", endpoint)]);
            let code = refused.err().and_then(|error| error.code().map(str::to_owned));
            ensure!(code.as_deref() == Some("ClientVpnEndpointAssociationExists"), "{code:?}");
        }
        ensure!(clients.iter().all(|client| client.times_up() == 1), "and nobody hears of it");

        // Disassociated: they come back when there is something to come back to.
        let before = said(&clients);
        for (endpoint, association) in both.endpoints.iter().zip(&both.associations) {
            both.scene.disassociate(endpoint, association)?;
        }
        hear(&mut clients, RESTART, &before)?;
        for (endpoint, client) in both.endpoints.iter().zip(&both.scene.clients) {
            eventually("pending-associate", HEARS, || {
                both.scene.endpoint_status(endpoint).ok().filter(|status| status == "pending-associate")
            })?;
            ensure!(!client.net.pings(TARGETS[0]));
        }
        for endpoint in &both.endpoints {
            both.scene.associate(endpoint, &both.subnet)?;
        }
        both.return_(&mut clients, 2)?;

        // Drained, and served by the next process.
        let before = said(&clients);
        let status = both.scene.take_server().stop()?;
        ensure!(status.success(), "{status}");
        hear(&mut clients, RESTART, &before)?;
        both.scene.start_server()?;
        both.return_(&mut clients, 3)?;

        // Killed: nothing is said. Over TCP it is seen at once; over UDP a client that is told to look does.
        both.scene.take_server().kill();
        both.scene.start_server()?;
        if let Some(udp) = clients.first() {
            udp.reconnect();
        }
        both.return_(&mut clients, 4)?;

        // Terminated.
        let before = said(&clients);
        for endpoint in &both.endpoints {
            let of = [("ClientVpnEndpointId", endpoint.as_str())];
            let answer = both.scene.ec2("DescribeClientVpnConnections", &of)?;
            let rows = answer.rows("connections");
            let live = rows.iter().filter(|row| row.text("status/code").is_ok_and(|code| code == "active"));
            for row in live {
                let id = row.text("connectionId")?;
                both.scene.ec2("TerminateClientVpnConnections", &[of[0], ("ConnectionId", &id)])?;
            }
        }
        both.stops(clients, "Halt command was pushed by server", &before)?;

        // Revoked.
        let clients = both.connect("bob")?;
        let before = said(&clients);
        pki(&both.scene, &["revoke", "bob"])?;
        pki(&both.scene, &["crl"])?;
        let list = std::fs::read_to_string(both.scene.certificates.dir.join("crl.pem"))?;
        for endpoint in &both.endpoints {
            let parameters =
                [("ClientVpnEndpointId", endpoint.as_str()), ("CertificateRevocationList", list.as_str())];
            both.scene.ec2("ImportClientVpnClientCertificateRevocationList", &parameters)?;
        }
        both.stops(clients, "AUTH_FAILED", &before)
    })
}

#[test]
fn those_whose_time_is_over_stop_over_udp_and_tcp() -> Result<()> {
    lab::or_skip(|| {
        // An hour of a second: the shortest timeout lasts eight.
        let both = Both::new(&[("BASCULE_SESSION_HOUR_SECONDS", "1")], &[("SessionTimeoutHours", "8")])?;
        let mut clients = Vec::new();
        for (number, profile) in both.profiles("client1")?.iter().enumerate() {
            clients.push(both.scene.connect(number, profile, &format!("{number}"), &[])?);
        }
        for client in &mut clients {
            client.wait_for("AUTH_FAILED,SESSION", 0, Duration::from_secs(15))?;
            ensure!(client.wait_end(HEARS).is_some(), "{}", client.log());
        }
        Ok(())
    })
}

#[test]
fn a_crowd_that_is_sent_away_comes_back_spread_out() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        scene.associate(&endpoint, &subnet)?;
        let path = scene.profile(&endpoint)?;
        let setup = Setup::new(Profile::load(&path)?, Dialect::V2_6)?;
        let setup = setup.bound_to(vec![IpAddr::from([10, 99, 0, 10])]);
        let more = 24;
        let count = usize::try_from(AT_ONCE)? + more - 1;
        let group = Group { label: "crowd".to_owned(), setup: Arc::new(setup), count };
        let crowd = scene.clients[0].net.run(|| Swarm::start(&[group], 300.0))?;
        ensure!(crowd.all_up(Duration::from_secs(30)), "{:?}", crowd.failures());
        // The last one to come is a real client.
        let mut client = scene.connect(1, &path, "client", &[])?;
        let before = client.log().len();
        ensure!(scene.take_server().stop()?.success());
        // Its own line about it, and it does not end for it.
        client.wait_for("AUTH_FAILED,TEMP[backoff 2,advance no]", before, HEARS)?;
        let heard = crowd.wait_until(HEARS, |counts| counts.up == 0);
        ensure!(heard, "{:?}", crowd.counts());
        let farewells = crowd.farewells();
        let told = |word: &str| -> u64 {
            farewells.iter().filter(|(text, _)| text.starts_with(word)).map(|(_, count)| count).sum()
        };
        ensure!(told("RESTART") == AT_ONCE, "{farewells:?}");
        ensure!(told("AUTH_FAILED: TEMP[backoff 2") == u64::try_from(more)? - 1, "{farewells:?}");
        scene.start_server()?;
        client.wait_up(2, RETURNS)?;
        ensure!(crowd.all_up(Duration::from_secs(40)), "{:?} {:?}", crowd.counts(), crowd.failures());
        crowd.stop();
        Ok(())
    })
}
