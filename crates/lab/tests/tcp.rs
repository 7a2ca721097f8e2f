//! OpenVPN over TCP with real clients: what passes, how it ends, and who is not held up by whom.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{Echo, Net, Scene, SceneOptions, Sender, Sink, TARGETS, eventually, figure, wait_until};

/// The echo service behind the tunnel.
const ECHO: u16 = 7;
/// Where datagrams are counted.
const SINK: u16 = 9_000;
/// Where datagrams come from in masses.
const FLOOD: u16 = 9_001;
const TRANSFER_BYTES: usize = 4 << 20;
const OVER_TCP: &[(&str, &str)] = &[("TransportProtocol", "tcp")];
/// Clients try again after a second, without growing pauses.
const EAGER: &[&str] = &["--connect-retry", "1", "1"];

fn scene(clients: usize) -> Result<(Scene, String, String, String)> {
    let scene = Scene::new(SceneOptions { clients, ..SceneOptions::default() })?;
    let (_, [subnet, _]) = scene.make_vpc()?;
    let endpoint = scene.make_endpoint(OVER_TCP)?;
    scene.authorize(&endpoint, "10.77.0.0/16")?;
    let association = scene.associate(&endpoint, &subnet)?;
    Ok((scene, endpoint, subnet, association))
}

/// Sends and gets back 4 MiB; how long that took.
fn transfer(net: &Net) -> Result<Duration> {
    let started = Instant::now();
    net.run(|| -> Result<()> {
        let mut stream = TcpStream::connect((TARGETS[0], ECHO))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut writer = stream.try_clone()?;
        let sent: Vec<u8> = (0..TRANSFER_BYTES).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect();
        let copy = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&copy));
        let mut got = vec![0; sent.len()];
        stream.read_exact(&mut got).context("the echo")?;
        ensure!(got == sent, "what came back is not what was sent");
        writing.join().ok().context("the writer")??;
        Ok(())
    })?;
    Ok(started.elapsed())
}

#[test]
fn packets_and_whole_transfers_pass_with_either_tls() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint, ..) = scene(2)?;
        let profile = scene.profile(&endpoint)?;
        ensure!(std::fs::read_to_string(&profile)?.contains("proto tcp"));
        let _echo = Echo::start(&scene.targets[0].net, ECHO)?;
        let kinds: [(&str, &str, &[&str]); 2] =
            [("tls13", "TLSv1.3", &[]), ("tls12", "TLSv1.2", &["--tls-version-max", "1.2"])];
        let mut clients = Vec::new();
        for (number, (label, version, arguments)) in kinds.into_iter().enumerate() {
            let client = scene.connect(number, &profile, label, arguments)?;
            ensure!(client.log().contains(version), "{}", client.log());
            ensure!(client.log().contains("TCP_NODELAY"), "{}", client.log());
            ensure!(scene.reaches(number, TARGETS[0]), "{label}: {}", scene.server().log());
            ensure!(!scene.clients[number].net.pings("10.78.0.1"), "{label}: no rule covers that");
            println!("{label}: 4 MiB there and back in {:?}", transfer(&scene.clients[number].net)?);
            clients.push(client);
        }
        // Renegotiation by the client, under traffic, loses nothing.
        drop(clients.pop());
        let mut busy = scene.connect(1, &profile, "reneg", &["--reneg-sec", "3"])?;
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            transfer(&scene.clients[1].net)?;
        }
        let renegotiated = busy
            .log()
            .matches("Data Channel: cipher")
            .count()
            .max(busy.log().matches("TLS: soft reset").count());
        ensure!(renegotiated >= 2 && busy.times_up() == 1, "{}", busy.log());
        ensure!(busy.wait_end(Duration::ZERO).is_none());
        // An end is seen at once, polite or not.
        for client in clients.into_iter().chain([busy]) {
            let before = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)])?;
            let live = |answer: &lab::Answer| {
                let rows = answer.rows("connections");
                rows.iter().filter(|row| row.text("status/code").is_ok_and(|code| code == "active")).count()
            };
            let were = live(&before);
            drop(client);
            eventually("its end", Duration::from_secs(3), || {
                let answer =
                    scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", &endpoint)]).ok()?;
                (live(&answer) + 1 == were).then_some(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn disassociation_under_traffic_tells_closes_and_refuses() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint, subnet, mut association) = scene(2)?;
        let profile = scene.profile(&endpoint)?;
        let sink = Sink::start(&scene.targets[0].net, SINK)?;
        let mut clients = Vec::new();
        for number in 0..2 {
            clients.push(scene.connect(number, &profile, &format!("client{number}"), EAGER)?);
        }
        let _senders = (0..2)
            .map(|number| {
                Sender::send(&scene.clients[number].net, (TARGETS[0], SINK), u8::try_from(number)?, 2_000)
            })
            .collect::<Result<Vec<_>>>()?;
        for round in 0..5 {
            for client in &mut clients {
                client.wait_up(round + 1, Duration::from_secs(30))?;
            }
            sink.clear();
            eventually("packets of both", Duration::from_secs(5), || {
                let arrived = sink.arrived();
                (0..2).all(|tag| arrived.iter().filter(|it| it.tag == tag).count() > 200).then_some(())
            })?;
            let said: Vec<usize> = clients.iter().map(|client| client.log().len()).collect();
            let called = Instant::now();
            scene.disassociate(&endpoint, &association)?;
            let seen = eventually("pending-associate", Duration::from_secs(5), || {
                let status = scene.endpoint_status(&endpoint).ok()?;
                (status == "pending-associate").then(SystemTime::now)
            })
            .with_context(|| scene.server().log())?;
            let took = called.elapsed();
            ensure!(took < Duration::from_secs(1), "round {round}: {took:?}");
            scene.nothing_left()?;
            let sockets = scene.server_net.output("ss", &["-Htan", "sport", "=", ":443"])?;
            let open = sockets.lines().filter(|line| line.starts_with("LISTEN") || line.starts_with("ESTAB"));
            ensure!(open.count() == 0, "sockets are left:\n{sockets}");
            for (client, said) in clients.iter_mut().zip(said) {
                client.wait_for(
                    "Connection reset command was pushed by server",
                    said,
                    Duration::from_secs(3),
                )?;
                client.wait_for("Connection refused", said, Duration::from_secs(5))?;
            }
            ensure!(!sink.arrived().iter().any(|packet| packet.at > seen), "packets after the final status");
            ensure!(clients.iter().all(|client| client.times_up() == round + 1), "nobody got in");
            association = scene.associate(&endpoint, &subnet)?;
        }
        Ok(())
    })
}

/// Sends large datagrams back to whoever last asked, without pause, until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(net: &Net) -> Result<Self> {
        let socket = net.run(|| UdpSocket::bind(("0.0.0.0", FLOOD)))?;
        socket.set_nonblocking(true)?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let (mut to, mut buffer, payload): (Option<SocketAddr>, _, _) = (None, [0; 16], [7; 1_200]);
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    to = Some(from);
                }
                for _ in 0..16 {
                    if to.is_some_and(|to| socket.send_to(&payload, to).is_ok()) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_client_that_stops_reading_costs_little_and_holds_up_nobody() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint, ..) = scene(2)?;
        let profile = scene.profile(&endpoint)?;
        let _echo = Echo::start(&scene.targets[0].net, ECHO)?;
        let flood = Flood::start(&scene.targets[0].net)?;
        let slow = scene.connect(0, &profile, "slow", &[])?;
        let other = scene.connect(1, &profile, "other", &[])?;
        transfer(&scene.clients[1].net)?;
        let asking = scene.clients[0].net.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        asking.send_to(b"flood", (TARGETS[0], FLOOD))?;
        eventually("the flood", Duration::from_secs(5), || {
            (flood.sent.load(Ordering::Relaxed) > 2_000).then_some(())
        })?;
        let before = scene.resident_kib()?;
        slow.freeze();
        let dropped = "bascule_dropped_packets_total{reason=\"stream-full\"}";
        eventually("drops", Duration::from_secs(20), || {
            figure(&scene.metrics().ok()?, dropped).ok().filter(|count| *count > 5_000)
        })?;
        // While packets for the one are dropped, the other's pass as ever.
        for _ in 0..3 {
            let took = transfer(&scene.clients[1].net)?;
            ensure!(took < Duration::from_secs(10), "{took:?}");
        }
        let grown = scene.resident_kib()?.saturating_sub(before);
        ensure!(grown < 4 * 1024, "the server grew by {grown} KiB");
        ensure!(other.times_up() == 1 && slow.times_up() == 1);
        drop(flood);
        // It goes on where it stopped: no frame was broken, or its client would have had to connect anew.
        slow.thaw();
        ensure!(scene.reaches(0, TARGETS[0]), "{}", scene.server().log());
        ensure!(slow.times_up() == 1, "{}", slow.log());
        println!("grew by {grown} KiB; dropped {}", figure(&scene.metrics()?, dropped)?);
        Ok(())
    })
}

#[test]
fn garbage_and_silence_close_the_connection_and_harm_nobody() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoint, ..) = scene(2)?;
        let profile = scene.profile(&endpoint)?;
        let client = scene.connect(0, &profile, "client", &[])?;
        let stranger = &scene.clients[1].net;
        let closes = |bytes: &[u8], within: Duration| -> Result<bool> {
            stranger.run(|| -> Result<bool> {
                let mut stream = TcpStream::connect(("10.99.0.1", 443))?;
                stream.set_read_timeout(Some(within))?;
                stream.write_all(bytes)?;
                let mut buffer = [0; 256];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => return Ok(true),
                        Ok(_) => {}
                        Err(error) => return Ok(error.kind() == std::io::ErrorKind::ConnectionReset),
                    }
                }
            })
        };
        for (what, bytes) in [
            ("an empty frame", &[0, 0][..]),
            ("a frame that is too long", &[0x10, 1, 0x38]),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            ("data", &[0, 5, 0x48, 0, 0, 0, 1]),
            ("no reset", &[0, 14, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1]),
        ] {
            ensure!(closes(bytes, Duration::from_secs(3))?, "{what}");
        }
        // Noise from a seeded generator: whatever it means, it ends.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..200 {
            let noise: Vec<u8> = (0..512)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_be_bytes()[0]
                })
                .collect();
            // A frame that is not whole ends by time only: give it what follows.
            let framed = [&[0, 100][..], &noise[..100], &[0, 0]].concat();
            ensure!(closes(&framed, Duration::from_secs(3))?, "round {round}");
        }
        ensure!(closes(&[0, 14, 0x38], Duration::from_secs(14))?, "half a packet");
        ensure!(scene.reaches(0, TARGETS[0]) && client.times_up() == 1, "{}", scene.server().log());
        let open = || figure(&scene.metrics()?, "bascule_tcp_connections");
        let alone = wait_until(Duration::from_secs(3), || open().is_ok_and(|open| open == 1));
        ensure!(alone, "{:?}", open());
        Ok(())
    })
}
