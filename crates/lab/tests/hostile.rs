//! What strangers may send: noise, resets, cut and bent handshakes, bent traffic, wrong HTTP, nonsense forms; and what a
//! client may that has all keys. The server lives, says nothing of a panic, grows by little, and its real clients notice
//! nothing.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::bent;
use crate::common::peer::{self, Beside, Peer};
use anyhow::{Context, Result, ensure};
use foreign::Dice;
use lab::{AwsClient, AwsError, Net, OpenVpn, Scene, SceneOptions, TARGETS, events, figure, wait_until};
use openvpn::tls::Tls as _;
use openvpn::wire::{AckIds, Control, Opcode, SessionId};

/// The server's memory may grow by no more, handshakes that it still waits for aside.
const GROWTH_MAX_KIB: u64 = 6 * 1024;
/// What a handshake that has come no further than its first message may hold until it times out.
const HANDSHAKE_MAX_KIB: u64 = 12;
/// Longest random datagram, bytes.
const DATAGRAM_MAX_BYTES: usize = 1_500;
/// Datagrams sent before the server is seen to have read them; its socket buffer holds more.
const BURST: usize = 256;
/// The attacker's addresses: last bytes in the clients' network.
const ADDRESSES: std::ops::Range<u8> = 100..116;
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(250);
/// An answer may be refused by its budget of one second; by then there is a new one.
const ANSWER_TRIES: usize = 12;
/// How long the answer to a whole form is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one is waited for that may not come, because the server waits for more.
const HANGING: Duration = Duration::from_millis(20);
/// How a whole form begins.
const FORM: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
/// Sessions of clients that have all keys and bend what they say.
const KEYED_SESSIONS: u64 = 100;
/// So many of them at a time.
const KEYED_AT_ONCE: u64 = 20;
/// The whole test is over by then.
const LIMIT: Duration = Duration::from_secs(90);

/// How much of each thing is sent.
#[derive(Clone, Copy)]
struct Dose {
    noise_bytes: usize,
    datagrams: usize,
    resets: usize,
    hellos: usize,
    bent_sessions: usize,
    bent_copies: usize,
    connections: usize,
    forms: usize,
}

const WARM_UP: Dose = Dose {
    noise_bytes: 64 * 1024,
    datagrams: 5_000,
    resets: 1_000,
    hellos: 100,
    bent_sessions: 2,
    bent_copies: 10,
    connections: 200,
    forms: 300,
};

const FULL: Dose = Dose {
    noise_bytes: 1024 * 1024,
    datagrams: 100_000,
    resets: 10_000,
    hellos: 500,
    bent_sessions: 8,
    bent_copies: 40,
    connections: 300,
    forms: 1_500,
};

/// A copy with a few bits flipped.
fn bent(dice: &mut Dice, packet: &[u8]) -> Vec<u8> {
    let mut bent = packet.to_vec();
    for _ in 0..=dice.place(4) {
        // Half of the flips hit the header, where there is most to decide.
        let within = if dice.place(2) == 0 { bent.len().min(32) } else { bent.len() };
        let at = dice.place(within);
        if let Some(byte) = bent.get_mut(at) {
            *byte ^= 1 << dice.place(8);
        }
    }
    bent
}

/// Who attacks, and whom.
struct Attacker<'s> {
    scene: &'s Scene,
    net: &'s Net,
    server: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    dice: Dice,
    /// Datagrams sent that the server must have seen.
    seen: u64,
}

fn reset(session: SessionId) -> Vec<u8> {
    peer::reset(Opcode::HardResetClientV2, session)
}

impl Attacker<'_> {
    /// From a new port of one of several addresses, each of which has a budget of its own.
    fn socket(&mut self) -> Result<UdpSocket> {
        let last = ADDRESSES.start + u8::try_from(self.dice.place(ADDRESSES.len()))?;
        let socket = self.net.run(|| UdpSocket::bind((Ipv4Addr::new(10, 99, 0, last), 0)))?;
        socket.connect(self.server)?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(socket)
    }

    fn session(&mut self) -> SessionId {
        SessionId((self.dice.roll() | 1).to_be_bytes())
    }

    /// The server's answer to a hard reset. It has then read everything that this socket sent before.
    fn cookie(&mut self, socket: &UdpSocket, session: SessionId) -> Result<SessionId> {
        let mut buffer = [0; 2_048];
        for _ in 0..ANSWER_TRIES {
            let _ = socket.send(&reset(session));
            self.seen += 1;
            while let Ok(length) = socket.recv(&mut buffer) {
                let answer = Control::parse(buffer.get(..length).unwrap_or_default());
                if let Ok(answer) = answer
                    && answer.opcode == Opcode::HardResetServerV2
                    && answer.peer_session == Some(session)
                {
                    return Ok(answer.session);
                }
            }
        }
        anyhow::bail!("a hard reset is not answered; the server said:\n{}", self.scene.server().log())
    }

    fn noise(&mut self, bytes: usize) -> Result<()> {
        let socket = self.socket()?;
        for _ in 0..bytes.div_ceil(1_024) {
            let datagram = self.dice.bytes(1_024);
            socket.send(&datagram)?;
            self.seen += 1;
        }
        let session = self.session();
        self.cookie(&socket, session).map(drop)
    }

    /// Of every size; some begin like something known.
    fn datagrams(&mut self, count: usize) -> Result<()> {
        let mut sockets = VecDeque::new();
        for number in 0..count {
            if number % BURST == 0 {
                if let Some(socket) = sockets.pop_front() {
                    let session = self.session();
                    self.cookie(&socket, session)?;
                }
                sockets.push_back(self.socket()?);
            }
            let length = self.dice.place(DATAGRAM_MAX_BYTES + 1);
            let mut datagram = self.dice.bytes(length);
            if let Some(first) = datagram.first_mut()
                && number % 2 == 0
            {
                let opcode = 3 + u8::try_from(self.dice.place(9))?;
                *first = opcode << 3 | u8::try_from(self.dice.place(8))?;
            }
            // Peer ids that may be in use.
            if number % 8 == 0
                && let Some(peer_id) = datagram.get_mut(1..4)
            {
                peer_id.copy_from_slice(&[0, 0, u8::try_from(self.dice.place(4))?]);
            }
            // Acknowledgement counts that are possible.
            if number % 4 == 0
                && let Some(acks) = datagram.get_mut(9)
            {
                *acks = u8::try_from(self.dice.place(9))?;
            }
            let socket = sockets.back().context("no socket")?;
            socket.send(&datagram)?;
            self.seen += 1;
        }
        for socket in sockets {
            let session = self.session();
            self.cookie(&socket, session)?;
        }
        Ok(())
    }

    /// From many ports, and more answers than resets would be amplification.
    fn resets(&mut self, count: usize) -> Result<()> {
        let mut buffer = [0; 2_048];
        let mut answers = 0;
        for _ in 0..count.div_ceil(BURST) {
            let sockets = (0..BURST / 2).map(|_| self.socket()).collect::<Result<Vec<_>>>()?;
            for socket in &sockets {
                for _ in 0..2 {
                    let session = self.session();
                    socket.send(&reset(session))?;
                    self.seen += 1;
                }
            }
            // One more from the last of them, answered: the others' have been read, or will be soon.
            let session = self.session();
            self.cookie(sockets.last().context("no socket")?, session)?;
            for socket in &sockets {
                socket.set_nonblocking(true)?;
                while let Ok(length) = socket.recv(&mut buffer) {
                    answers += 1;
                    ensure!(length <= 2 * reset(session).len(), "an answer of {length} bytes");
                }
            }
        }
        ensure!(answers > 0 && answers <= 2 * count, "{answers} answers to {count} resets");
        Ok(())
    }

    /// Addresses proven, and then half a ClientHello, or a bent one, or another's.
    fn hellos(&mut self, count: usize) -> Result<()> {
        let mut hello = Vec::new();
        peer::connection(&self.tls)?.drain(&mut hello);
        for number in 0..count {
            let socket = self.socket()?;
            let session = self.session();
            let cookie = self.cookie(&socket, session)?;
            let cut = self.dice.place(hello.len());
            let payload = match number % 4 {
                0 | 1 => hello.get(..cut).unwrap_or_default().to_vec(),
                2 => bent(&mut self.dice, &hello),
                _ => {
                    let mut mixed = hello.get(..cut).unwrap_or_default().to_vec();
                    mixed.extend(self.dice.bytes(hello.len() - cut));
                    mixed
                }
            };
            let mut out = Vec::new();
            Control {
                opcode: Opcode::ControlV1,
                key_id: 0,
                session,
                acks: AckIds::from_iter([0]),
                peer_session: Some(cookie),
                message_id: Some(1),
                payload: &payload,
            }
            .encode(&mut out);
            socket.send(&out)?;
            self.seen += 1;
        }
        Ok(())
    }

    /// Real handshakes and traffic, with bent copies in between from the same port, and afterwards from others.
    fn bent(&mut self, sessions: usize, copies: usize) -> Result<()> {
        for number in 0..sessions {
            // Every second one's copies come only after it is up: a bent handshake may well come to nothing.
            let mut dice = Dice(self.dice.roll());
            let beside: Option<Beside> = (number % 2 == 0).then(|| -> Beside {
                Box::new(move |socket, datagram| {
                    for _ in 0..3 {
                        let _ = socket.send(&bent(&mut dice, datagram));
                    }
                })
            });
            let honest = beside.is_none();
            let peer = Peer::start(self.net, self.server, Arc::clone(&self.tls), true, beside)?;
            wait_until(Duration::from_secs(2), || peer.sent().len() >= 40 || peer.over().is_some());
            ensure!(!honest || peer.is_up(), "an honest session did not come up: {:?}", peer.over());
            let sent = peer.sent();
            let socket = self.socket()?;
            for datagram in &sent {
                for _ in 0..copies {
                    let _ = socket.send(&bent(&mut self.dice, datagram));
                    self.seen += 1;
                }
                let _ = socket.send(datagram);
                self.seen += 1;
            }
            ensure!(!honest || peer.is_up(), "bent copies from elsewhere ended a session: {:?}", peer.over());
            let session = self.session();
            self.cookie(&socket, session)?;
        }
        Ok(())
    }

    /// Things that are not HTTP, or not quite.
    fn http(&mut self, connections: usize) -> Result<()> {
        let client = self.scene.server().client();
        let address: SocketAddr = client.url().trim_start_matches("http://").parse()?;
        let long = "a".repeat(100_000);
        let form = |body: &str| format!("{FORM}Content-Length: {}\r\n\r\n{body}", body.len());
        let wrong = [
            "GET\r\n\r\n".to_owned(),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\nx".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nAction=".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_owned(),
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(5_000)),
            "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature=\
             \r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            form("&&&===&=&%zz=%&%00=%ff&Action"),
            form(&"A.1.".repeat(20_000)),
            form(&"Action=DescribeVpcs&Filter.1.Value.1=x&".repeat(20_000)),
            form(&format!("Action={long}&Version={long}")),
            form(&"x".repeat(256 * 1024)),
            form(&"x".repeat(8 * 1024 * 1024)),
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: CertificateManager.ImportCertificate\r\nContent-Type: \
             application/x-amz-json-1.1\r\nContent-Length: 9\r\n\r\n[[[[[[[[["
                .to_owned(),
            "\0\0\0\0\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}\u{2}\0".to_owned(),
        ];
        let mut requests: Vec<Vec<u8>> = Vec::new();
        for number in 0..connections {
            requests.push(match wrong.get(number % (wrong.len() + 3)) {
                Some(text) => text.clone().into_bytes(),
                None => {
                    let length = self.dice.place(4_096);
                    self.dice.bytes(length)
                }
            });
        }
        self.scene.server_net.run(|| -> Result<()> {
            // Those that are left hanging: their peers wait for more.
            let mut hanging = VecDeque::new();
            for request in &requests {
                let mut stream = TcpStream::connect(address)?;
                // A whole form has its answer waited for, so that no two large ones are read at a time.
                let whole = request.starts_with(FORM.as_bytes());
                stream.set_read_timeout(Some(if whole { PATIENCE } else { HANGING }))?;
                let _ = stream.write_all(request);
                let mut answer = [0; 512];
                if let Ok(length @ 1..) = stream.read(&mut answer) {
                    let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
                    ensure!(text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"), "{text}");
                }
                hanging.push_back(stream);
                if hanging.len() > 64 {
                    hanging.pop_front();
                }
            }
            Ok(())
        })
    }

    /// Signed calls with nonsense in them: refused, each of them, and by the client's fault.
    fn forms(&mut self, count: usize) -> Result<()> {
        const ACTIONS: [&str; 24] = [
            "CreateClientVpnEndpoint",
            "DescribeClientVpnEndpoints",
            "DeleteClientVpnEndpoint",
            "AssociateClientVpnTargetNetwork",
            "DisassociateClientVpnTargetNetwork",
            "DescribeClientVpnTargetNetworks",
            "CreateClientVpnRoute",
            "DeleteClientVpnRoute",
            "DescribeClientVpnRoutes",
            "AuthorizeClientVpnIngress",
            "RevokeClientVpnIngress",
            "DescribeClientVpnAuthorizationRules",
            "DescribeClientVpnConnections",
            "TerminateClientVpnConnections",
            "ExportClientVpnClientConfiguration",
            "CreateVpc",
            "DescribeVpcs",
            "CreateSubnet",
            "DescribeSubnets",
            "DescribeAvailabilityZones",
            "DescribeSecurityGroups",
            "ModifyClientVpnEndpoint",
            "NoSuchAction",
            "",
        ];
        const NAMES: [&str; 20] = [
            "ClientVpnEndpointId",
            "ClientVpnEndpointId.1",
            "ClientVpnEndpointId.4294967296",
            "AssociationId",
            "SubnetId",
            "TargetNetworkCidr",
            "AuthorizeAllGroups",
            "DestinationCidrBlock",
            "ClientCidrBlock",
            "Authentication.1.Type",
            "Authentication.0.Type",
            "Authentication.1.MutualAuthentication.ClientRootCertificateChainArn.x",
            "Filter.1.Name",
            "Filter.1.Value.1",
            "MaxResults",
            "NextToken",
            "ClientToken",
            "DryRun",
            "TagSpecification.1.Tag.1.Key",
            ".",
        ];
        const VALUES: [&str; 12] = [
            "",
            "10.0.0.0/33",
            "::/0",
            "-1",
            "99999999999999999999",
            "true",
            "cvpn-endpoint-0000000000000000z",
            "arn:aws:acm:us-east-1:000000000000:certificate/",
            "\u{202e}\0%00",
            "tag:",
            "subnet-",
            "eyJ",
        ];
        let mut calls: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for _ in 0..count {
            let mut parameters = vec![("ClientVpnEndpointId".to_owned(), "cvpn-endpoint-0".to_owned())];
            for _ in 0..self.dice.place(12) {
                let length = self.dice.place(64);
                let noise = String::from_utf8_lossy(&self.dice.bytes(length)).into_owned();
                let name = if self.dice.place(4) == 0 {
                    noise.clone()
                } else {
                    (*self.dice.pick(&NAMES)).to_owned()
                };
                let value =
                    if self.dice.place(3) == 0 { noise } else { (*self.dice.pick(&VALUES)).to_owned() };
                parameters.push((name, value));
            }
            calls.push(((*self.dice.pick(&ACTIONS)).to_owned(), parameters));
        }
        let client = self.scene.server().client();
        self.scene
            .server_net
            .run(|| calls.iter().try_for_each(|(action, parameters)| nonsense(client, action, parameters)))
    }

    /// Data of sessions that are not there, and of others' sessions: never answered, not even with an error.
    fn unknown_data(&mut self) -> Result<()> {
        let socket = self.socket()?;
        for number in 0..64 {
            let mut datagram = self.dice.bytes(100);
            datagram[0] = if number % 2 == 0 { 0x48 } else { 0x30 };
            datagram[1..4].copy_from_slice(&[0, 0, number / 8]);
            socket.send(&datagram)?;
            self.seen += 1;
        }
        // What comes first is the answer to what was sent last.
        let session = self.session();
        socket.send(&reset(session))?;
        self.seen += 1;
        let mut buffer = [0; 2_048];
        let length = socket.recv(&mut buffer).context("the answer to a reset")?;
        let answer = Control::parse(buffer.get(..length).unwrap_or_default())?;
        ensure!(
            answer.opcode == Opcode::HardResetServerV2 && answer.peer_session == Some(session),
            "{answer:?}"
        );
        ensure!(socket.recv(&mut buffer).is_err(), "and there is no other");
        Ok(())
    }

    fn dose(&mut self, dose: Dose) -> Result<()> {
        let mut at = Instant::now();
        let mut lap = |what: &str, scene: &Scene| -> Result<()> {
            println!("{what}: {:?}, resident {} KiB", at.elapsed(), scene.resident_kib()?);
            at = Instant::now();
            Ok(())
        };
        self.noise(dose.noise_bytes)?;
        lap("noise", self.scene)?;
        self.datagrams(dose.datagrams)?;
        lap("datagrams", self.scene)?;
        self.unknown_data()?;
        self.resets(dose.resets)?;
        lap("resets", self.scene)?;
        self.hellos(dose.hellos)?;
        lap("hellos", self.scene)?;
        self.bent(dose.bent_sessions, dose.bent_copies)?;
        lap("bent", self.scene)?;
        self.http(dose.connections)?;
        lap("http", self.scene)?;
        self.forms(dose.forms)?;
        lap("forms", self.scene)
    }
}

fn nonsense(client: &AwsClient, action: &str, parameters: &[(String, String)]) -> Result<()> {
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    match client.ec2(action, &parameters) {
        Err(AwsError::Refused { status: 400..500, code, .. }) if !code.is_empty() => Ok(()),
        other => anyhow::bail!("{action} {parameters:?}: {other:?}"),
    }
}

/// Handshakes that were begun.
fn handshakes_begun(scene: &Scene) -> Result<u64> {
    events(&scene.metrics()?, "handshakes")
}

/// Datagrams that the data plane has looked at.
fn looked_at(scene: &Scene) -> Result<u64> {
    let metrics = scene.metrics()?;
    let mut sum = figure(&metrics, "bascule_control_packets_total")?;
    for line in metrics.lines().filter(|line| line.starts_with("bascule_dropped_packets_total{")) {
        sum += line.rsplit(' ').next().context("no value")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// A server with a stock client that is connected, while others try to harm it.
struct Beset {
    started: Instant,
    scene: Scene,
    profile: PathBuf,
    client: OpenVpn,
}

impl Beset {
    fn new() -> Result<Self> {
        let started = Instant::now();
        let scene = Scene::new(SceneOptions { clients: 3, ..SceneOptions::default() })?;
        let endpoint = scene.open(&[], "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        let client = scene.connect(0, &profile, "client", &[])?;
        assert!(scene.reaches(0, TARGETS[0]));
        Ok(Self { started, scene, profile, client })
    }

    /// The client of before is in the same session, a new one comes in, and nothing of the server was lost.
    fn goes_on(&mut self) -> Result<()> {
        let Self { started, scene, profile, client } = self;
        assert!(scene.reaches(0, TARGETS[0]), "{}", scene.server().log());
        assert_eq!(client.times_up(), 1, "{}", client.log());
        assert!(client.wait_end(Duration::ZERO).is_none());
        let fresh = scene.connect(2, profile, "fresh", &[])?;
        assert!(scene.reaches(2, TARGETS[0]));
        drop(fresh);
        let log = scene.server().log();
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(figure(&scene.metrics()?, "bascule_worker_losses_total")?, 0);
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
        Ok(())
    }
}

#[test]
fn nothing_a_stranger_sends_harms() -> Result<()> {
    lab::or_skip(|| {
        let mut beset = Beset::new()?;
        let scene = &beset.scene;
        for last in ADDRESSES {
            scene.clients[1].net.ip(&["addr", "add", &format!("10.99.0.{last}/24"), "dev", "eth0"])?;
        }
        let mut attacker = Attacker {
            scene,
            net: &scene.clients[1].net,
            server: "10.99.0.1:443".parse()?,
            tls: peer::tls(&scene.certificates.dir)?,
            dice: Dice(1),
            seen: 0,
        };
        attacker.dose(WARM_UP)?;
        let (before, looked, handshakes) =
            (scene.resident_kib()?, looked_at(scene)?, handshakes_begun(scene)?);
        attacker.seen = 0;
        attacker.dose(FULL)?;
        let (after, seen) = (scene.resident_kib()?, attacker.seen);
        let (looked, begun) = (looked_at(scene)? - looked, handshakes_begun(scene)? - handshakes);
        println!(
            "{seen} datagrams, {looked} looked at; {before} KiB, then {after} KiB; {:?}",
            beset.started.elapsed()
        );
        assert!(looked >= seen / 100 * 95, "{seen} datagrams were sent, {looked} looked at");
        let wanted = u64::try_from(FULL.hellos + FULL.bent_sessions)?;
        assert!(begun >= wanted, "{begun} handshakes begun of {wanted}");
        let growth_max = GROWTH_MAX_KIB + wanted * HANDSHAKE_MAX_KIB;
        assert!(after <= before + growth_max, "resident memory went from {before} to {after} KiB");
        beset.goes_on()
    })
}

/// Control messages, fields of control packets and payloads that no client sends, each under genuine keys: a hundred
/// sessions of every line. Beside them a stock client and one of ours go on, and a new one comes in.
#[test]
fn nothing_a_client_with_keys_says_harms() -> Result<()> {
    lab::or_skip(|| {
        let mut beset = Beset::new()?;
        let scene = &beset.scene;
        let (server, tls) = ("10.99.0.1:443".parse()?, peer::tls(&scene.certificates.dir)?);
        let ours = Peer::start(&scene.clients[0].net, server, Arc::clone(&tls), true, None)?;
        assert!(wait_until(PATIENCE, || ours.is_up()), "{:?}", ours.over());
        let net = &scene.clients[1].net;
        let (mut up, mut over, mut bends) = (0, 0, 0);
        for first in (0..KEYED_SESSIONS).step_by(usize::try_from(KEYED_AT_ONCE)?) {
            let tls = &tls;
            let all = std::thread::scope(|scope| {
                let seeds = first..KEYED_SESSIONS.min(first + KEYED_AT_ONCE);
                let sessions: Vec<_> =
                    seeds.map(|seed| scope.spawn(move || bent::session(net, server, tls, seed))).collect();
                sessions.into_iter().map(|session| session.join().expect("no panic")).collect::<Vec<_>>()
            });
            for came in all {
                let came = came?;
                up += u64::from(came.up);
                over += u64::from(came.over);
                bends += came.bent;
            }
            assert!(scene.reaches(0, TARGETS[0]), "{}", scene.server().log());
            assert!(ours.is_up(), "{:?}", ours.over());
        }
        println!("{up} came in, {over} were over, {bends} things were bent; {:?}", beset.started.elapsed());
        // Of those that came in, 60 payloads each besides.
        assert!(up > KEYED_SESSIONS / 2 && bends > KEYED_SESSIONS / 2, "{up} came in, {bends} bends");
        beset.goes_on()
    })
}
