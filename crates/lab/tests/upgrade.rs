//! Real clients while their server is replaced: by another version and back (docs/upgrades.md), and by a stand-by on another
//! machine (docs/runbooks.md). Nobody touches a client; each one's datagrams are seen all the while, and what it has open
//! goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::people::program;
use anyhow::{Context, Result, ensure};
use lab::{Echo, Net, OpenVpn, Scene, SceneOptions, TARGETS, wait_until};
use redb::{Database, ReadableTable, TableDefinition};

const PORT: u16 = 7_000;
/// What clients are pushed as `ping-restart`: a flow that is interrupted goes on within it.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// A client that hears nothing begins anew after the keepalive; what it then takes.
const COMES_BACK: Duration = Duration::from_secs(40);
/// How often each flow sends.
const PACE: Duration = Duration::from_millis(50);
/// How long a client may take to connect the first time.
const CONNECTS: Duration = Duration::from_secs(30);

/// Datagrams to a target and back, at a steady pace; each one's return is noted.
struct Flow {
    came: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flow {
    fn start(net: &Net) -> Result<Self> {
        let socket = net.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        socket.set_read_timeout(Some(PACE))?;
        let far: SocketAddr = format!("{}:{PORT}", TARGETS[0]).parse()?;
        let (came, stop) = (Arc::<Mutex<Vec<Instant>>>::default(), Arc::new(AtomicBool::new(false)));
        let (noted, stopped) = (Arc::clone(&came), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                if Instant::now() >= due {
                    // Without a route it fails, which is seen by what does not come.
                    let _ = socket.send_to(b"still there?", far);
                    due = Instant::now() + PACE;
                }
                if socket.recv_from(&mut [0; 64]).is_ok()
                    && let Ok(mut came) = noted.lock()
                {
                    came.push(Instant::now());
                }
            }
        });
        Ok(Self { came, stop, thread: Some(thread) })
    }

    fn came(&self) -> Vec<Instant> {
        self.came.lock().map(|came| came.clone()).unwrap_or_default()
    }

    fn came_after(&self, since: Instant) -> bool {
        self.came().last().is_some_and(|last| *last > since)
    }

    /// The longest time in which nothing came, from the last that came before `since` on.
    fn gap(&self, since: Instant) -> Duration {
        let came = self.came();
        let from = came.iter().rposition(|at| *at < since).unwrap_or(0);
        let came = came.get(from..).unwrap_or_default();
        let pairs = came.iter().zip(came.iter().skip(1));
        pairs.map(|(one, next)| next.duration_since(*one)).max().unwrap_or_default()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Clients that are connected, and a flow of each.
struct Crowd {
    clients: Vec<OpenVpn>,
    flows: Vec<Flow>,
    /// A TCP connection of each, in the tunnel.
    streams: Vec<TcpStream>,
    endpoint: String,
    _echo: Echo,
}

impl Crowd {
    fn connect(scene: &Scene) -> Result<Self> {
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        scene.associate(&endpoint, &subnet)?;
        let profile = scene.profile(&endpoint)?;
        let echo = Echo::start(&scene.targets[0].net, PORT)?;
        ensure!(!scene.clients[0].net.pings(TARGETS[0]), "there is a way beside the tunnel");
        let (mut clients, mut flows, mut streams) = (Vec::new(), Vec::new(), Vec::new());
        for (number, host) in scene.clients.iter().enumerate() {
            clients.push(OpenVpn::start(&host.net, &profile, &format!("client-{number}"), &[])?);
        }
        for (client, host) in clients.iter_mut().zip(&scene.clients) {
            client.wait_up(1, CONNECTS).with_context(|| scene.server_log())?;
            flows.push(Flow::start(&host.net)?);
            let far: SocketAddr = format!("{}:{PORT}", TARGETS[0]).parse()?;
            streams.push(host.net.run(|| TcpStream::connect_timeout(&far, CONNECTS))?);
        }
        let crowd = Self { clients, flows, streams, endpoint, _echo: echo };
        crowd.all_flow(Instant::now(), CONNECTS)?;
        crowd.streams_go_on()?;
        Ok(crowd)
    }

    /// Waits until each flow has been heard after that moment.
    fn all_flow(&self, since: Instant, limit: Duration) -> Result<()> {
        let mut silent = Vec::new();
        let all = wait_until(limit, || {
            let numbered = self.flows.iter().enumerate();
            silent = numbered.filter(|(_, flow)| !flow.came_after(since)).map(|(number, _)| number).collect();
            silent.is_empty()
        });
        let said = silent.first().and_then(|number| self.clients.get(*number)).map(OpenVpn::log);
        ensure!(
            all,
            "flows {silent:?} do not go on; the first one's client said:\n{}",
            said.unwrap_or_default()
        );
        Ok(())
    }

    /// What each connection carries comes back.
    fn streams_go_on(&self) -> Result<()> {
        for (number, mut stream) in self.streams.iter().enumerate() {
            stream.set_read_timeout(Some(KEEPALIVE))?;
            let mut back = [0; 5];
            let there = stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut back));
            there.with_context(|| format!("the connection of client {number}: {:?}", self.addresses()))?;
            ensure!(back == *b"hello", "{back:?}");
        }
        Ok(())
    }

    /// Each flow's longest pause since that moment, the shortest and the longest of them.
    fn gaps(&self, since: Instant) -> (Duration, Duration) {
        let gaps: Vec<Duration> = self.flows.iter().map(|flow| flow.gap(since)).collect();
        (gaps.iter().min().copied().unwrap_or_default(), gaps.iter().max().copied().unwrap_or_default())
    }

    /// Every client is the process it was, has been up that often, and was neither refused nor asked for anything.
    fn untouched(&mut self, scene: &Scene, times: usize) -> Result<()> {
        for client in &mut self.clients {
            let log = client.log();
            ensure!(client.wait_end(Duration::ZERO).is_none(), "it has ended:\n{log}");
            ensure!(client.times_up() == times, "up {} times, {times} expected:\n{log}", client.times_up());
            for word in ["AUTH_FAILED", "Enter ", "auth-user-pass", "process exiting"] {
                ensure!(!log.contains(word), "{word}:\n{log}");
            }
        }
        let live = wait_until(Duration::from_secs(5), || {
            self.live(scene).is_ok_and(|live| live == self.clients.len())
        });
        ensure!(live, "{:?} connections are active:\n{}", self.live(scene), scene.server_log());
        Ok(())
    }

    /// Each client's address in the tunnel, as its log has it last.
    fn addresses(&self) -> Vec<String> {
        let last = |client: &OpenVpn| {
            let log = client.log();
            let address = log.rsplit("net_addr_v4_add: ").next().and_then(|rest| rest.split('/').next());
            address.unwrap_or_default().to_owned()
        };
        self.clients.iter().map(last).collect()
    }

    fn live(&self, scene: &Scene) -> Result<usize> {
        let of = [("ClientVpnEndpointId", self.endpoint.as_str())];
        let answer = scene.ec2("DescribeClientVpnConnections", &of)?;
        let rows = answer.rows("connections");
        Ok(rows.iter().filter(|row| row.text("status/code").is_ok_and(|code| code == "active")).count())
    }
}

/// A command of the program under test, to its end.
fn bascule(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program()?).args(arguments).output()?)
}

fn done(arguments: &[&str]) -> Result<()> {
    let output = bascule(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes a data directory of a backup, with the key that is kept beside it.
fn restore(backup: &Path, key: &Path, data: &Path) -> Result<()> {
    done(&["restore", "--data-dir", &text(data), &text(backup)])?;
    std::fs::copy(key, data.join("master.key"))?;
    Ok(())
}

/// As a later version of the store's format would leave it.
fn raise_format(store: &Path) -> Result<()> {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    let database = Database::open(store)?;
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.context("no format")?.value();
        meta.insert("format", format + 1)?;
    }
    write.commit()?;
    Ok(())
}

#[test]
fn ten_clients_stay_through_an_upgrade_and_the_way_back() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::new(SceneOptions { clients: 10, ..SceneOptions::default() })?;
        let mut crowd = Crowd::connect(&scene)?;
        let next = next_version(scene.dir())?;
        let (data, backup, key) =
            (scene.data_dir(), scene.dir().join("before-the-upgrade"), scene.dir().join("master.key"));
        // As docs/upgrades.md has it: a backup, while all goes on.
        done(&["backup", "--data-dir", &text(&data), &text(&backup)])?;
        std::fs::copy(data.join("master.key"), &key)?;

        let (before, began) = (crowd.addresses(), Instant::now());
        ensure!(scene.take_server().stop()?.success());
        scene.server_options().program = Some(next.clone());
        scene.start_server()?;
        let running = std::fs::read_link(format!("/proc/{}/exe", scene.server().id()))?;
        ensure!(running == next.canonicalize()?, "{running:?}");
        let replaced = began.elapsed();
        crowd.all_flow(Instant::now(), KEEPALIVE)?;
        let (least, most) = crowd.gaps(began);
        println!(
            "upgrade: server away {replaced:.1?}, flows of ten clients interrupted {least:.1?} to {most:.1?}"
        );
        ensure!(crowd.addresses() == before, "{before:?} are {:?}", crowd.addresses());
        crowd.streams_go_on()?;
        ensure!(most > Duration::ZERO && most < KEEPALIVE, "{most:?}");
        for client in &crowd.clients {
            ensure!(client.log().contains("Closing TUN/TAP interface"), "docs/upgrades.md says otherwise");
        }
        crowd.untouched(&scene, 2)?;

        // Back, though the next version has written a store that this one does not know.
        let began = Instant::now();
        ensure!(scene.take_server().stop()?.success());
        raise_format(&data.join("store.redb"))?;
        let newer = std::fs::read(data.join("store.redb"))?;
        scene.server_options().program = None;
        let status = scene.start_or_end()?.context("it took a store of a format that it does not know")?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(std::fs::read(data.join("store.redb"))? == newer, "the newer store was written");
        let refused = bascule(&["backup", "--data-dir", &text(&data), "-"])?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1) && why.trim().lines().count() == 1, "{why}");
        ensure!(why.contains("store format 2") && why.contains("restore the backup made before"), "{why}");
        let restored = scene.dir().join("restored");
        restore(&backup, &key, &restored)?;
        scene.use_data_dir(restored);
        scene.start_server()?;
        crowd.all_flow(Instant::now(), KEEPALIVE)?;
        let (least, most) = crowd.gaps(began);
        println!("rollback: flows of ten clients interrupted {least:.1?} to {most:.1?}");
        ensure!(most < KEEPALIVE, "{most:?}");
        ensure!(crowd.addresses() == before, "{before:?} are {:?}", crowd.addresses());
        crowd.streams_go_on()?;
        crowd.untouched(&scene, 3)
    })
}

/// The program under another path, as a package of another version would put it in its place.
fn next_version(folder: &Path) -> Result<PathBuf> {
    let next = folder.join("next/bascule");
    std::fs::create_dir_all(folder.join("next"))?;
    std::fs::copy(program()?, &next)?;
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755))?;
    Ok(next)
}

#[test]
fn a_stand_by_takes_over() -> Result<()> {
    lab::or_skip(|| {
        let mut scene = Scene::new(SceneOptions { clients: 3, ..SceneOptions::default() })?;
        let mut crowd = Crowd::connect(&scene)?;
        let (data, backup, key) =
            (scene.data_dir(), scene.dir().join("backup"), scene.dir().join("master.key"));
        done(&["backup", "--data-dir", &text(&data), &text(&backup)])?;
        std::fs::copy(data.join("master.key"), &key)?;
        let standby = standby(&scene)?;

        let lost = Instant::now();
        scene.take_server().kill();
        let _switch = take_over(&mut scene, standby)?;
        let folder = scene.dir().join("standby");
        restore(&backup, &key, &folder)?;
        scene.use_data_dir(folder);
        scene.start_server()?;
        let ready = lost.elapsed();
        let since = Instant::now();
        crowd.all_flow(since, COMES_BACK)?;
        let (least, most) = crowd.gaps(lost);
        println!(
            "stand-by: restored and ready after {ready:.1?}, flows interrupted {least:.1?} to {most:.1?}"
        );
        crowd.untouched(&scene, 2)
    })
}

/// Another machine on the clients' network, which has none of the addresses.
fn standby(scene: &Scene) -> Result<Net> {
    let net = Net::new("sby")?;
    // Who gets an address tells the others, as a stand-by's tools do.
    net.output("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_notify"])?;
    let first = &scene.server_net;
    first.ip(&["link", "add", "standby", "type", "veth", "peer", "name", "outside", "netns", net.name()])?;
    first.ip(&["link", "set", "standby", "master", "outside", "up"])?;
    net.ip(&["link", "set", "outside", "up"])?;
    Ok(net)
}

/// The addresses and networks of the lost machine are the other one's. Returns the lost one, in which the clients' switch is.
fn take_over(scene: &mut Scene, standby: Net) -> Result<Net> {
    let first = std::mem::replace(&mut scene.server_net, standby);
    let net = &scene.server_net;
    first.ip(&["addr", "flush", "dev", "outside"])?;
    for address in ["10.99.0.1/24", "10.99.0.2/24"] {
        net.ip(&["addr", "add", address, "dev", "outside"])?;
    }
    // The kernel tells of its addresses when the hardware's changes.
    net.ip(&["link", "set", "outside", "address", "02:00:0a:63:00:01"])?;
    for number in 1..=2 {
        let (link, address) = (format!("inside{number}"), format!("10.77.{number}.1/24"));
        first.ip(&["link", "set", &link, "netns", net.name()])?;
        net.ip(&["addr", "add", &address, "dev", &link])?;
        net.ip(&["link", "set", &link, "up"])?;
    }
    Ok(first)
}
