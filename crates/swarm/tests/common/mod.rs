//! A small server on loopback, without root: the server half of the protocol crate behind a UDP socket or a TCP
//! listener, and behind its tunnels one host (10.0.1.5) made of the same user-space stack that clients use.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

pub mod host;
pub mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::issue;
use swarm::{Dialect, Expectation, Group, Profile, Setup, Swarm};

use server::{Proto, Server, ServerOptions};

const DAY_S: i64 = 86_400;
/// Long enough for anything that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An authority with a server's and a client's certificate.
pub struct Certificates {
    pub ca: issue::Issued,
    pub server: issue::Issued,
    pub client: issue::Issued,
}

impl Certificates {
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(since.as_secs()).unwrap();
        let (from, until) = (now - DAY_S, now + DAY_S);
        let ca = issue::ca("Test CA", from, until).unwrap();
        let (pem, key, kind) = (&ca.certificate_pem, &ca.key_pem, issue::KeyKind::P256);
        let server = issue::server(pem, key, "vpn.example.com", from, until, kind).unwrap();
        let client = issue::client(pem, key, "alice", from, until, kind).unwrap();
        Self { ca, server, client }
    }

    /// A profile for a server, with more lines.
    pub fn profile(&self, server: &Server, more: &str) -> String {
        let address = server.address;
        let proto = match server.proto {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
        };
        format!(
            "client\ndev tun\nproto {proto}\nremote {} {}\nremote-cert-tls server\nverify-x509-name vpn.example.com name\n\
             reneg-sec 0\n{more}\n<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
            address.ip(),
            address.port(),
            self.ca.certificate_pem,
            self.client.certificate_pem,
            self.client.key_pem.as_str(),
        )
    }
}

/// A server with what its clients need.
pub struct World {
    pub server: Server,
    pub certificates: Certificates,
}

impl World {
    pub fn new(options: ServerOptions) -> Self {
        let certificates = Certificates::new();
        Self { server: Server::start(&certificates, options), certificates }
    }

    pub fn setup(&self, dialect: Dialect, more: &str) -> Setup {
        let profile = Profile::parse(&self.certificates.profile(&self.server, more), Path::new(".")).unwrap();
        Setup::new(profile, dialect).unwrap()
    }

    /// Clients of a dialect.
    pub fn swarm(&self, dialect: Dialect, count: usize, more: &str) -> Swarm {
        let setup = Arc::new(self.setup(dialect, more));
        Swarm::start(&[Group { label: "test".to_owned(), setup, count }], 1000.0).unwrap()
    }
}

/// The verdicts of expectations at a swarm's first client: held, and why.
pub fn verdicts(swarm: &Swarm, texts: &[&str]) -> Vec<(String, bool, String)> {
    let expectations: Vec<Arc<Expectation>> =
        texts.iter().map(|text| Arc::new(text.parse().unwrap())).collect();
    let mut all = Vec::new();
    swarm.expect(
        &expectations,
        |number, _| number == 1,
        PATIENCE,
        |outcome| {
            all.push((outcome.expectation.text.clone(), outcome.verdict.held, outcome.verdict.detail));
        },
    );
    assert_eq!(all.len(), texts.len());
    all
}

/// Waits until a condition holds; whether it did in time.
pub fn eventually(holds: impl Fn() -> bool) -> bool {
    let end = std::time::Instant::now() + PATIENCE;
    while !holds() {
        if std::time::Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
