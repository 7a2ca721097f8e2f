//! The last disassociation under a crowd: hundreds of connected clients that talk, real ones among them, and fifty more
//! that knock each second. Once the final status is visible nobody is left, nobody comes in, and no packet arrives; also
//! when the server is killed on the way.
//!
//! Beside it, because it waits as long: what becomes of a client that falls silent.
//!
//! `BASCULE_DISASSOCIATIONS` is another number of rounds, on a machine that does nothing else: then the times are held to
//! what is promised (`cargo xtask campaign disassociations`). `BASCULE_SEED` sets the moments of the kills.

use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use foreign::Dice;
use lab::{Net, OpenVpn, Scene, SceneOptions, TARGETS, events, eventually, figure, wait_until};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use swarm::{Dialect, Group, Profile, Setup, Swarm};

/// Rounds and clients.
const ROUNDS: usize = 20;
const CLIENTS: usize = 1000;
const REAL: usize = 20;
/// How many times as long it may take beside other tests.
const BESIDE: u32 = 5;
/// Clients that knock each second.
const KNOCKING: f64 = 50.0;
/// Every so many rounds the server is killed.
const KILL_EVERY: usize = 5;
/// The kill comes within this time after the call.
const KILL_WITHIN_US: u64 = 250_000;
/// Each client of the crowd says something this often.
const TALK: Duration = Duration::from_millis(250);
/// From the call to the final status, without a kill and with one.
const LIMIT: Duration = Duration::from_secs(1);
const LIMIT_AFTER_READY: Duration = Duration::from_secs(1);
/// Packets that are still on their way come within it.
const AFTER: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);
/// A silent client is dead then, by what it was pushed (spec: openvpn-protocol §14), and its end is written soon after.
const DEAD_AFTER: Duration = Duration::from_secs(40);
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(4);

/// How many rounds, and how many times as long they may take.
fn size() -> (usize, u32) {
    match std::env::var("BASCULE_DISASSOCIATIONS") {
        Ok(rounds) => (rounds.parse().expect("a number"), 1),
        Err(_) => (ROUNDS, BESIDE),
    }
}

/// Hears what comes out of the server towards the target, whoever it says it is from.
struct Ear {
    last_us: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    fn start(scene: &Scene) -> Result<Self> {
        let (net, server) = (&scene.targets[0].net, hardware_address(&scene.server_net, "inside1")?);
        let socket: OwnedFd = net
            .run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll))?;
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000))?;
        let (last_us, count, over) = (Arc::<AtomicU64>::default(), Arc::default(), Arc::default());
        let (last, counted, ended) = (Arc::clone(&last_us), Arc::clone(&count), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut frame = [0; 2048];
            while !AtomicBool::load(&ended, Ordering::Relaxed) {
                match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                    Ok(length) if frame[6..12] == server && carries(frame.get(12..length)) => {
                        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                        last.store(u64::try_from(at.as_micros()).unwrap_or(0), Ordering::Relaxed);
                        AtomicU64::fetch_add(&counted, 1, Ordering::Relaxed);
                    }
                    Ok(_) | Err(Errno::EAGAIN) => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Self { last_us, count, over, thread: Some(thread) })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn last(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.last_us.load(Ordering::Relaxed))
    }
}

/// The address of an interface on its link.
fn hardware_address(net: &Net, interface: &str) -> Result<[u8; 6]> {
    let said = net.ip(&["-o", "link", "show", "dev", interface])?;
    let text = said.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    let bytes = text.context("an address")?.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
    bytes.try_into().ok().context("six bytes")
}

/// Whether a frame, from its type on, carries a packet from elsewhere than its link: of neither ARP nor what neighbours say
/// to each other by IPv6.
fn carries(frame: Option<&[u8]>) -> bool {
    match frame {
        Some([0x08, 0x00, ..]) => true,
        Some([0x86, 0xdd, packet @ ..]) => {
            let source: Option<&[u8; 16]> = packet.get(8..).and_then(|rest| rest.first_chunk());
            source
                .map(|bytes| Ipv6Addr::from(*bytes))
                .is_some_and(|source| !source.is_unspecified() && !source.is_unicast_link_local())
        }
        _ => false,
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Crowd {
    scene: Scene,
    endpoint: String,
    subnet: String,
    profile: PathBuf,
    swarm: Option<Swarm>,
    real: Vec<OpenVpn>,
    /// How often each real one has been up.
    ups: Vec<usize>,
}

impl Crowd {
    fn new() -> Result<Self> {
        let scene = Scene::new(SceneOptions { clients: 1 + REAL, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        // Addresses rest for a minute, in which many rounds take theirs.
        let endpoint = scene.make_endpoint(&[("ClientCidrBlock", "10.88.0.0/16")])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let profile = scene.profile(&endpoint)?;
        Ok(Self { scene, endpoint, subnet, profile, swarm: None, real: vec![], ups: vec![] })
    }

    fn group(&self, count: usize) -> Result<Group> {
        let setup = Setup::new(Profile::load(&self.profile)?, Dialect::V2_6)?;
        let setup = Arc::new(setup.pinging(TARGETS[0].parse()?, TALK));
        Ok(Group { label: "crowd".to_owned(), setup, count })
    }

    fn start(&self, count: usize, per_second: f64) -> Result<Swarm> {
        let group = self.group(count)?;
        Ok(self.scene.clients[0].net.run(|| Swarm::start(&[group], per_second))?)
    }

    /// Everybody is in.
    fn gather(&mut self) -> Result<()> {
        if self.swarm.is_none() {
            self.swarm = Some(self.start(CLIENTS, 400.0)?);
        }
        for number in self.real.len()..REAL {
            let host = &self.scene.clients[1 + number].net;
            let label = format!("real{number}");
            self.real.push(OpenVpn::start(host, &self.profile, &label, &["--connect-retry", "1", "1"])?);
            self.ups.push(0);
        }
        let swarm = self.swarm.as_ref().context("no crowd")?;
        ensure!(
            swarm.all_up(PATIENCE),
            "{:?} {:?}\n{}",
            swarm.counts(),
            swarm.failures(),
            tail(&self.scene.server_log())
        );
        for (client, ups) in self.real.iter_mut().zip(&mut self.ups) {
            client.wait_up(*ups + 1, PATIENCE)?;
            *ups = client.times_up();
        }
        Ok(())
    }

    /// The server is killed at some moment of the call, and started again.
    fn disassociate_and_kill(&mut self, association: &str, after: Duration) -> Result<()> {
        let id = i32::try_from(self.scene.server().id())?;
        let id = rustix::process::Pid::from_raw(id).context("its id")?;
        std::thread::scope(|scope| {
            let (scene, endpoint) = (&self.scene, &self.endpoint);
            scope.spawn(move || {
                // It may be answered or not.
                let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", association)];
                let _ = scene.try_ec2("DisassociateClientVpnTargetNetwork", &parameters);
            });
            wait_until(after, || false);
            rustix::process::kill_process(id, rustix::process::Signal::KILL)
        })?;
        self.scene.take_server().kill();
        self.scene.start_server()?;
        // Not answered, and not even begun: then it is asked for again.
        if self.scene.association_status(&self.endpoint, association)?.as_deref() == Some("associated") {
            self.scene.disassociate(&self.endpoint, association)?;
        }
        Ok(())
    }

    fn round(&mut self, round: usize, dice: &mut Dice, ear: &Ear) -> Result<Times> {
        let association = self.scene.associate(&self.endpoint, &self.subnet)?;
        self.gather()?;
        let heard = ear.count();
        eventually("traffic", Duration::from_secs(5), || (ear.count() > heard + 50).then_some(()))?;
        let knocking = self.start(1000, KNOCKING)?;
        // They come from now on, and some are half-way in when it happens.
        let some = 1 + dice.below(15);
        knocking.wait_until(Duration::from_secs(5), |counts| counts.started >= some);
        let called = Instant::now();
        let killed = round % KILL_EVERY == KILL_EVERY - 1;
        let limit = if killed {
            let after = Duration::from_micros(dice.below(KILL_WITHIN_US));
            self.disassociate_and_kill(&association, after)?;
            called.elapsed() + LIMIT_AFTER_READY
        } else {
            self.scene.disassociate(&self.endpoint, &association)?;
            LIMIT
        };
        let seen = eventually("pending-associate", limit + Duration::from_secs(5), || {
            let status = self.scene.endpoint_status(&self.endpoint).ok()?;
            (status == "pending-associate").then(SystemTime::now)
        })
        .with_context(|| tail(&self.scene.server_log()))?;
        let took = called.elapsed();
        let admitted = events(&self.scene.metrics()?, "admitted")?;
        ensure!(figure(&self.scene.metrics()?, "bascule_connections")? == 0, "somebody is left");
        self.scene.nothing_left()?;
        let late = wait_until(AFTER, || ear.last() > seen);
        ensure!(!late, "a packet came {:?} after the final status", ear.last().duration_since(seen));
        ensure!(
            events(&self.scene.metrics()?, "admitted")? == admitted,
            "somebody was admitted after the final status"
        );
        self.nobody_is_connected()?;
        drop(knocking);
        if killed {
            // Who was there when it was killed has not been told: silence would take twenty seconds to notice.
            self.swarm = None;
            for client in &self.real {
                client.reconnect();
            }
        }
        Ok(Times { took, limit, killed })
    }

    /// The rows of all connections have ended.
    fn nobody_is_connected(&self) -> Result<()> {
        let parameters = [("ClientVpnEndpointId", self.endpoint.as_str()), ("MaxResults", "1000")];
        let answer = self.scene.ec2("DescribeClientVpnConnections", &parameters)?;
        for row in answer.rows("connections") {
            ensure!(row.text("status/code")? == "terminated", "{row:?}");
        }
        Ok(())
    }
}

struct Times {
    took: Duration,
    /// What it may take.
    limit: Duration,
    killed: bool,
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn spread(times: &[Times], killed: bool) -> String {
    let mut all: Vec<Duration> = times.iter().filter(|t| t.killed == killed).map(|t| t.took).collect();
    all.sort_unstable();
    match all.last() {
        Some(worst) => format!("{} rounds, median {:?}, worst {worst:?}", all.len(), all[all.len() / 2]),
        None => "none".to_owned(),
    }
}

#[test]
fn nobody_is_left_and_nobody_comes_in() -> Result<()> {
    lab::or_skip(|| {
        let (rounds, beside) = size();
        println!("{CLIENTS} clients, {REAL} real ones, {rounds} rounds");
        let mut dice = Dice(std::env::var("BASCULE_SEED").map_or(1, |text| text.parse().expect("a number")));
        let mut crowd = Crowd::new()?;
        let ear = Ear::start(&crowd.scene)?;
        let mut times = Vec::new();
        for round in 0..rounds {
            let began = Instant::now();
            let time = crowd.round(round, &mut dice, &ear).with_context(|| format!("round {round}"))?;
            println!("round {round}: {:?}{} of {:?}", time.took, killed(&time), began.elapsed());
            times.push(time);
        }
        println!("from the call to the final status: {}", spread(&times, false));
        println!("with a kill on the way: {}", spread(&times, true));
        println!("{} packets arrived at the target", ear.count());
        let slow: Vec<_> =
            times.iter().filter(|time| time.took >= time.limit * beside).map(|time| time.took).collect();
        // One in a hundred may.
        ensure!(slow.len() * 100 <= times.len(), "too slow: {slow:?}");
        Ok(())
    })
}

fn killed(time: &Times) -> &'static str {
    if time.killed { " (killed)" } else { "" }
}

/// A server gives up a client that it has not heard of for 40 s; those that are there say something each second.
#[test]
fn who_falls_silent_is_given_up_and_who_is_idle_is_not() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        scene.associate(&endpoint, &subnet)?;
        let profile = scene.profile(&endpoint)?;
        let (silent, idle) =
            (scene.connect(0, &profile, "silent", &[])?, scene.connect(1, &profile, "idle", &[])?);
        let state = |address: &str| -> Result<String> {
            let answer = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
            let rows = answer.rows("connections");
            let row = rows.iter().find(|row| row.text("clientIp").is_ok_and(|own| own == address));
            row.context("its row")?.text("status/code")
        };
        let [one, other] = ["10.88.0.2", "10.88.0.3"];
        eventually("both", PATIENCE, || {
            [one, other].iter().all(|address| state(address).is_ok_and(|code| code == "active")).then_some(())
        })?;
        silent.freeze();
        let since = Instant::now();
        eventually("its end", DEAD_AFTER + GIVEN_UP_WITHIN, || {
            state(one).ok().filter(|code| code == "terminated")
        })
        .with_context(|| scene.server_log())?;
        let lasted = since.elapsed();
        ensure!(lasted > DEAD_AFTER - GIVEN_UP_WITHIN, "given up after {lasted:?}");
        ensure!(state(other)? == "active" && idle.times_up() == 1, "{}", idle.log());
        ensure!(scene.reaches(1, TARGETS[0]), "{}", scene.server_log());
        println!("given up after {lasted:?}");
        // Awake again it finds that out by itself, and comes back.
        silent.thaw();
        let mut silent = silent;
        silent.wait_up(2, PATIENCE)?;
        ensure!(scene.reaches(0, TARGETS[0]), "{}", scene.server_log());
        Ok(())
    })
}
