//! Floods from addresses that nobody has: resets, forged cookies and cut handshakes, the real clients' own network among
//! their sources. Real clients get in all the same, an established flow goes on, and the server grows by little.
//!
//! `cargo xtask campaign flood` and `campaign half-open` take the whole.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::peer;
use crate::common::wire::{Raw, UDP, ipv4};
use anyhow::{Context, Result, ensure};
use foreign::Dice;
use lab::{Scene, SceneOptions, Sender, Sink, TARGETS, events, eventually};
use openvpn::tls::Tls as _;
use openvpn::wire::{AckIds, Control, Opcode, SessionId};
use swarm::{Dialect, Group, Profile, Setup, Swarm};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const PORT: u16 = 443;
/// The network of the real clients, and of half of the flood's sources.
const HOME: [u8; 3] = [198, 51, 100];
/// Datagrams a second, where no variable says another rate: what a machine under test makes beside its tests.
const RATE: u32 = 10_000;
/// Datagrams of it sent in one call.
const BATCH: usize = 32;
/// How long that lasts; the whole lasts longer.
const LASTS: Duration = Duration::from_secs(4);
const WHOLE_LASTS: Duration = Duration::from_secs(10);
/// Real clients that connect meanwhile, each second.
const CLIENTS_PER_S: u32 = 10;
/// Of a hundred real clients so many have a tunnel within this time.
const OF_HUNDRED: u64 = 99;
const WITHIN: Duration = Duration::from_secs(5);
/// When a client sends for the second time what was not answered: most of them need not.
const RETRANSMISSION_MS: f64 = 2_000.0;
/// What the server may grow by.
const GROWTH_MAX_KIB: u64 = 16 * 1024;
/// Datagrams a second of the established flow, and how many of a hundred arrive.
const FLOW_PER_S: u32 = 500;
const FLOW_OF_HUNDRED: usize = 95;
/// Who the clients are: the one whose flow goes on, one that sends the flood, one that connects meanwhile, and many.
const ESTABLISHED: usize = 0;
const FLOODER: usize = 1;
const BESIDE: usize = 2;
const CROWD: usize = 3;
/// Where they arrive.
const SINK: u16 = 9_000;
/// Half-open sessions, where no variable says another number.
const HALF_OPEN: usize = 1_000;
/// Before them, so that what the server needs for any is not counted.
const WARM: usize = 50;
/// Threads that begin them.
const AT_A_TIME: usize = 8;
/// What each may cost, and how soon they are gone.
const HALF_OPEN_MAX_KIB: u64 = 32;
const HALF_OPEN_GONE: Duration = Duration::from_secs(35);

fn home(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(HOME[0], HOME[1], HOME[2], host)
}

/// One client has the network of the real clients; what the server answers to all others goes there too, and ends there.
/// Nobody else listens there: a client whose socket has no address of its own would take what is for its neighbours.
fn scene(clients: usize, crowd: usize) -> Result<(Scene, String)> {
    let scene = Scene::new(SceneOptions { clients, ..SceneOptions::default() })?;
    scene.server_net.ip(&["route", "add", "default", "via", &format!("10.99.0.{}", 10 + crowd)])?;
    let net = &scene.clients[crowd].net;
    // A host that forwards would send them back, round and round.
    net.ip(&["route", "replace", "blackhole", "default"])?;
    for host in 2..=60 {
        net.ip(&["addr", "add", &format!("{}/32", home(host)), "dev", "lo"])?;
    }
    lives_at(&scene, crowd, home(2))?;
    let endpoint = scene.open(&[("SplitTunnel", "true")], "10.77.0.0/16")?;
    Ok((scene, endpoint))
}

/// What a client sends to the server comes from here.
fn lives_at(scene: &Scene, client: usize, address: Ipv4Addr) -> Result<()> {
    let (net, address) = (&scene.clients[client].net, address.to_string());
    let host = format!("{address}/32");
    net.ip(&["addr", "replace", &host, "dev", "lo"])?;
    net.ip(&["route", "replace", "10.99.0.0/24", "dev", "eth0", "src", &address])?;
    scene.server_net.ip(&["route", "replace", &host, "via", &format!("10.99.0.{}", 10 + client)])?;
    Ok(())
}

/// Connections that the server's host keeps track of.
fn tracked(scene: &Scene) -> String {
    let file = "/proc/sys/net/netfilter/nf_conntrack_count";
    scene.server_net.output("cat", &[file]).unwrap_or_default().trim().to_owned()
}

/// Why the server dropped packets, and how many.
fn drops(scene: &Scene) -> Vec<String> {
    let metrics = scene.metrics().unwrap_or_default();
    let dropped = metrics.lines().filter(|line| line.contains("dropped") && !line.ends_with(" 0"));
    dropped.map(str::to_owned).collect()
}

fn variable(name: &str) -> Result<Option<u32>> {
    std::env::var(name).ok().map(|text| text.parse().context("a number")).transpose()
}

/// Every second one is of the real clients' network.
fn source(dice: &mut Dice) -> Ipv4Addr {
    let [a, b, c, d, e, ..] = dice.roll().to_be_bytes();
    match a % 2 {
        0 => home(1 + b % 254),
        // Neither private nor multicast.
        _ => Ipv4Addr::new(11 + b % 100, c, d, e),
    }
}

/// A reset, a forged cookie, or a packet that ends too early.
fn datagram(dice: &mut Dice, hello: &[u8]) -> Vec<u8> {
    let [kind, cut, ..] = dice.roll().to_be_bytes();
    let session = SessionId((dice.roll() | 1).to_be_bytes());
    let cookie = SessionId((dice.roll() | 1).to_be_bytes());
    let reset = kind % 3 == 0;
    let mut out = Vec::new();
    Control {
        opcode: if reset { Opcode::HardResetClientV2 } else { Opcode::ControlV1 },
        key_id: 0,
        session,
        acks: if reset { AckIds::default() } else { AckIds::from_iter([0]) },
        peer_session: (!reset).then_some(cookie),
        message_id: Some(u32::from(!reset)),
        payload: if reset { &[] } else { hello },
    }
    .encode(&mut out);
    if kind % 3 == 2 {
        out.truncate(1 + usize::from(cut) % (out.len() - 1));
    }
    out
}

/// One datagram of the flood, with its IP header.
fn packet(dice: &mut Dice, hello: &[u8]) -> Result<Vec<u8>> {
    let payload = datagram(dice, hello);
    let port = 1_024 + u16::try_from(dice.roll() % 60_000)?;
    from(source(dice), port, &payload)
}

/// A datagram to the server in somebody's name.
fn from(address: Ipv4Addr, port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(8 + payload.len())?.to_be_bytes();
    let udp = [&port.to_be_bytes()[..], &PORT.to_be_bytes(), &length, &[0, 0], payload].concat();
    Ok(ipv4(address, SERVER, UDP, &[], &udp))
}

/// A flood under way.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    fn start(scene: &Scene, per_second: u32) -> Result<Self> {
        let raw = Raw::open(&scene.clients[FLOODER].net)?;
        let mut hello = Vec::new();
        peer::connection(&peer::tls(&scene.certificates.dir)?)?.drain(&mut hello);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            let mut dice = Dice(1);
            let mut number = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let due = u64::try_from(started.elapsed().as_micros())? * u64::from(per_second) / 1_000_000;
                // One that cannot keep up must still see that it is to stop.
                while number < due && !stopped.load(Ordering::Relaxed) {
                    let batch = usize::try_from(due - number)?.min(BATCH);
                    let packets: Vec<Vec<u8>> = std::iter::repeat_with(|| packet(&mut dice, &hello))
                        .take(batch)
                        .collect::<Result<_>>()?;
                    raw.send_all(SERVER, &packets)?;
                    number += u64::try_from(batch)?;
                    count.store(number, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            Ok(())
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().context("it runs")?.join().ok().context("the flood")??;
        Ok(self.sent())
    }
}

fn crowd(scene: &Scene, profile: &Path, count: usize, per_second: u32) -> Result<Swarm> {
    let locals = (2..=60).map(|host| IpAddr::V4(home(host))).collect();
    let setup = Setup::new(Profile::load(profile)?, Dialect::V2_6)?.bound_to(locals);
    let group = Group { label: "real".to_owned(), setup: Arc::new(setup), count };
    Ok(scene.clients[CROWD].net.run(|| Swarm::start(&[group], f64::from(per_second)))?)
}

#[test]
fn real_clients_get_in_and_stay_in() -> Result<()> {
    lab::or_skip(|| {
        let whole = variable("BASCULE_FLOOD")?;
        let (rate, lasts) = (whole.unwrap_or(RATE), if whole.is_some() { WHOLE_LASTS } else { LASTS });
        let (scene, endpoint) = scene(4, CROWD)?;
        lives_at(&scene, ESTABLISHED, home(1))?;
        lives_at(&scene, BESIDE, home(61))?;
        let profile = scene.profile(&endpoint)?;
        // One client of its own before, whose flow is to go on; one of the same beside the crowd.
        let mut established = scene.connect(ESTABLISHED, &profile, "established", &[])?;
        let sink = Sink::start(&scene.targets[0].net, SINK)?;
        let flow = Sender::send(&scene.clients[ESTABLISHED].net, (TARGETS[0], SINK), 1, FLOW_PER_S)?;
        eventually("the flow", Duration::from_secs(5), || (sink.count() > 50).then_some(()))?;
        // A first crowd warms the server up: what it needs for clients is not what the flood costs.
        let count = usize::try_from(CLIENTS_PER_S * u32::try_from(lasts.as_secs())?)?;
        let warm = crowd(&scene, &profile, count, 100)?;
        ensure!(warm.all_up(Duration::from_secs(20)), "{:?}", warm.without_tunnel());
        warm.stop();

        let before = scene.metrics()?;
        let memory = scene.resident_kib()?;
        scene.forget_peak()?;
        let (sent_before, arrived_before) = (flow.sent(), sink.count());
        let started = Instant::now();
        let flood = Flood::start(&scene, rate)?;
        eventually("the flood", Duration::from_secs(5), || {
            (events(&scene.metrics().ok()?, "answers").ok()? > events(&before, "answers").ok()? + 100)
                .then_some(())
        })?;
        let swarm = crowd(&scene, &profile, count, CLIENTS_PER_S)?;
        let beside = scene.connect(BESIDE, &profile, "beside", &[])?;
        let took = started.elapsed();
        let settled =
            swarm.wait_until(lasts + WITHIN, |counts| counts.ups == u64::try_from(count).unwrap_or(0));
        let lasted = started.elapsed();
        let flooded = flood.end()?;
        let grown = scene.peak_kib()?.saturating_sub(memory);
        let after = scene.metrics()?;
        let (flowed, arrived) = (flow.sent() - sent_before, sink.count() - arrived_before);
        let difference = |name: &str| anyhow::Ok(events(&after, name)? - events(&before, name)?);
        let (answers, refused) = (difference("answers")?, difference("answers-refused")?);
        println!(
            "{flooded} datagrams in {lasted:?} ({} a second); {answers} answered, {refused} refused an answer, {} came to \
             nothing; {} of {count} clients connected ({:?}), openvpn after {took:?}; {arrived} of {flowed} datagrams of \
             the flow arrived; grown by {grown} KiB; {} connections are tracked",
            u128::from(flooded) * 1_000 / lasted.as_millis().max(1),
            difference("not-proven")?,
            swarm.counts().ups,
            swarm.connect_times(),
            tracked(&scene),
        );
        // The share runs beside other tests; it must still be a flood.
        let of_ten = if whole.is_some() { 9 } else { 5 };
        let due = u128::from(rate) * lasted.as_millis() / 1_000;
        ensure!(u128::from(flooded) * 10 >= due * of_ten, "the flood was too thin: {flooded} of {due}");
        let (in_time, times) = (swarm.counts().ups, swarm.connect_times());
        ensure!(times.p50_ms < RETRANSMISSION_MS && times.p99_ms < WITHIN.as_secs_f64() * 1e3, "{times:?}");
        ensure!(
            settled || in_time * 100 >= u64::try_from(count)? * OF_HUNDRED,
            "{in_time} of {count}: {:?} {:?}",
            swarm.without_tunnel(),
            swarm.failures()
        );
        ensure!(took < WITHIN + Duration::from_secs(1), "openvpn connected after {took:?}");
        drop(beside);
        if arrived * 100 < usize::try_from(flowed)? * FLOW_OF_HUNDRED {
            let log = established.log();
            let last: Vec<&str> = log.lines().rev().take(12).collect();
            anyhow::bail!("{arrived} of {flowed} arrived: {:?} {last:?}", drops(&scene));
        }
        ensure!(established.wait_end(Duration::ZERO).is_none());
        ensure!(grown <= GROWTH_MAX_KIB, "grown by {grown} KiB");
        // No more than an answer to each reset, and those are a third; the clients' own are a few.
        let resets = flooded / 3 + flooded / 20 + 4 * u64::try_from(count)?;
        ensure!(answers + refused <= resets, "{answers} answers, {refused} refused, of {flooded} datagrams");
        // The whole asks for more in the name of one network than that gets; the share does not.
        ensure!(whole.is_none() || refused > 0, "nothing was refused an answer");
        let log = scene.server().log();
        ensure!(!log.contains("panicked"), "{log}");
        swarm.stop();
        Ok(())
    })
}

/// Whoever knows a client's address and port can ask for a session in its name. The answer would have the client, which
/// cannot know better, begin anew; so there is none while it is there. When it is gone it may come back, as the same.
#[test]
fn a_reset_in_a_clients_name_has_no_answer() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint) = scene(4, CROWD)?;
        lives_at(&scene, ESTABLISHED, home(1))?;
        let (port, profile) = (7_000_u16, scene.profile(&endpoint)?);
        let text = std::fs::read_to_string(&profile)?;
        ensure!(text.contains("\nnobind\n"), "{text}");
        std::fs::write(&profile, text.replace("\nnobind\n", &format!("\nlport {port}\n")))?;
        let mut established = scene.connect(ESTABLISHED, &profile, "established", &[])?;
        let sink = Sink::start(&scene.targets[0].net, SINK)?;
        let flow = Sender::send(&scene.clients[ESTABLISHED].net, (TARGETS[0], SINK), 1, FLOW_PER_S)?;
        eventually("the flow", Duration::from_secs(5), || (sink.count() > 50).then_some(()))?;
        let (sent, arrived) = (flow.sent(), sink.count());
        let raw = Raw::open(&scene.clients[FLOODER].net)?;
        // Anybody's session id, and one that is known: its client has proved another address with it.
        let mut hello = Vec::new();
        peer::connection(&peer::tls(&scene.certificates.dir)?)?.drain(&mut hello);
        half_open(&scene, CROWD, 1, &hello)?;
        for session in [SessionId([7; 8]), half_open_session(1)] {
            let spoofed = from(home(1), port, &peer::reset(Opcode::HardResetClientV2, session))?;
            for _ in 0..5 {
                raw.send(&spoofed)?;
            }
        }
        eventually("the resets", Duration::from_secs(5), || {
            (events(&scene.metrics().ok()?, "answers-held").ok()? == 10).then_some(())
        })?;
        // One more second of the flow.
        let through = flow.sent() + u64::from(FLOW_PER_S);
        eventually("the flow", Duration::from_secs(5), || (flow.sent() >= through).then_some(()))?;
        let sent = usize::try_from(flow.sent() - sent)?;
        let whole = eventually("all of it", Duration::from_secs(1), || {
            ((sink.count() - arrived) * 100 >= sent * FLOW_OF_HUNDRED).then_some(())
        });
        whole.with_context(|| format!("{} of {sent}: {:?}", sink.count() - arrived, drops(&scene)))?;
        ensure!(!established.log().contains("reading acknowledgement record"), "{}", established.log());
        ensure!(established.wait_end(Duration::ZERO).is_none() && established.times_up() == 1);
        // Killed, it says no farewell; begun anew it comes from the same place.
        drop(established);
        let again = scene.connect(ESTABLISHED, &profile, "again", &[])?;
        ensure!(scene.reaches(ESTABLISHED, TARGETS[0]), "{}", again.log());
        Ok(())
    })
}

/// The session id of such a client.
fn half_open_session(number: usize) -> SessionId {
    SessionId((number + 1).to_be_bytes())
}

/// Proves an address and says a part of a ClientHello, or all of it; then nothing more.
fn half_open(scene: &Scene, crowd: usize, number: usize, hello: &[u8]) -> Result<()> {
    let host = 2 + u8::try_from(number % 50)?;
    // A port of its own: a second session at an address takes the place of the first.
    let port = 10_000 + u16::try_from(number / 50)?;
    let socket = scene.clients[crowd].net.run(|| UdpSocket::bind((home(host), port)))?;
    socket.connect((SERVER, PORT))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let session = half_open_session(number);
    let reset = peer::reset(Opcode::HardResetClientV2, session);
    let mut buffer = [0; 2_048];
    let mut answer = |packet: &[u8]| {
        eventually("the answer", Duration::from_secs(8), || {
            socket.send(packet).ok()?;
            let length = socket.recv(&mut buffer).ok()?;
            Some(Control::parse(buffer.get(..length)?).ok()?.session)
        })
    };
    let cookie = answer(&reset)?;
    let mut out = Vec::new();
    Control {
        opcode: Opcode::ControlV1,
        key_id: 0,
        session,
        acks: AckIds::from_iter([0]),
        peer_session: Some(cookie),
        message_id: Some(1),
        // Every tenth one whole: the server then holds its whole answer.
        payload: if number.is_multiple_of(10) {
            hello
        } else {
            hello.get(..hello.len() / 2).unwrap_or_default()
        },
    }
    .encode(&mut out);
    // Acknowledged: it has become a session.
    answer(&out).map(drop)
}

/// The same for many, some at a time.
fn all_half_open(scene: &Scene, numbers: std::ops::Range<usize>, hello: &[u8]) -> Result<()> {
    let share = numbers.len().div_ceil(AT_A_TIME);
    let (first, end) = (numbers.start, numbers.end);
    std::thread::scope(|scope| {
        let each = |from: usize| {
            scope.spawn(move || {
                (from..(from + share).min(end)).try_for_each(|at| half_open(scene, 0, at, hello))
            })
        };
        let threads: Vec<_> = (first..end).step_by(share.max(1)).map(each).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread")?)
    })
}

#[test]
fn half_open_sessions_are_small_and_short() -> Result<()> {
    lab::or_skip(|| {
        let whole = variable("BASCULE_HALF_OPEN")?;
        let count = whole.map_or(Ok(HALF_OPEN), usize::try_from)?;
        let (scene, endpoint) = scene(2, 0)?;
        let profile = scene.profile(&endpoint)?;
        let mut hello = Vec::new();
        peer::connection(&peer::tls(&scene.certificates.dir)?)?.drain(&mut hello);
        all_half_open(&scene, count..count + WARM, &hello)?;
        let (before, memory) = (scene.metrics()?, scene.resident_kib()?);
        let difference = |name: &str| anyhow::Ok(events(&scene.metrics()?, name)? - events(&before, name)?);
        let started = Instant::now();
        all_half_open(&scene, 0..count, &hello)?;
        let wanted = u64::try_from(count)?;
        eventually("all of them", Duration::from_secs(5), || {
            (difference("handshakes").ok()? >= wanted).then_some(())
        })?;
        let (last, grown) = (Instant::now(), scene.resident_kib()?.saturating_sub(memory));
        // On a slow machine the first ones are over before the last ones begin.
        let there = wanted.saturating_sub(difference("handshakes-failed")?);
        println!(
            "{count} half-open sessions in {:?}, {there} of them at once: {grown} KiB, {} KiB each",
            started.elapsed(),
            grown / there.max(1)
        );
        ensure!(there * 10 >= wanted * 9, "{there} of {wanted} at once");
        ensure!(grown <= there * HALF_OPEN_MAX_KIB, "{grown} KiB");
        // They are in nobody's way.
        let mut client = scene.connect(1, &profile, "client", &[])?;
        ensure!(client.times_up() == 1 && scene.reaches(1, TARGETS[0]));
        if whole.is_some() {
            let left = HALF_OPEN_GONE.saturating_sub(last.elapsed());
            let over = wanted + u64::try_from(WARM)?;
            eventually("their end", left, || (difference("handshakes-failed").ok()? >= over).then_some(()))
                .with_context(|| format!("{:?} of {over}", difference("handshakes-failed")))?;
            println!("gone {:?} after the last of them", last.elapsed());
        }
        ensure!(client.wait_end(Duration::ZERO).is_none());
        Ok(())
    })
}
