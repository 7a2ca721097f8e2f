//! Wrapped control channels with real clients: tls-crypt and tls-crypt-v2, over UDP and TCP, from `bascule pki` to a flow;
//! and whoever has no key is not answered at all.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::common::peer;
use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, TARGETS};
use openvpn::client::{Session, SessionConfig, Wrap, WrapKey};
use openvpn::tls::Tls;
use openvpn::wire::{Opcode, SessionId};
use openvpn::wrap::{ServerKey, StaticKey};
use openvpn::{Instant, UnixTime};

/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(700);

/// A server with this flag and a key made for it, and an endpoint of each transport.
fn scene(flag: &str, make: &str, file: &str) -> Result<(Scene, [String; 2])> {
    let mut scene = Scene::without_server(SceneOptions { clients: 2, ..SceneOptions::default() })?;
    let dir = scene.certificates.dir.display().to_string();
    bascule(&scene, &["pki", make, "--dir", &dir])?;
    let key = scene.certificates.dir.join(file).display().to_string();
    scene.server_options().arguments.extend([flag.to_owned(), key]);
    scene.start_server()?;
    let (_, [subnet, _]) = scene.make_vpc()?;
    let mut endpoints = Vec::new();
    for transport in ["udp", "tcp"] {
        let endpoint = scene.make_endpoint(&[("TransportProtocol", transport)])?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        scene.associate(&endpoint, &subnet)?;
        endpoints.push(endpoint);
    }
    let endpoints = endpoints.try_into().ok().context("two endpoints")?;
    Ok((scene, endpoints))
}

/// What `bascule` prints, run beside the server.
fn bascule(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let mut command = scene.server_net.command(lab::binary());
    let output = command.args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The profile that `bascule profile` completes.
fn profile(scene: &Scene, endpoint: &str, more: &[&str]) -> Result<PathBuf> {
    let file = |name: &str| scene.certificates.dir.join(name).display().to_string();
    let (cert, key, data) =
        (file("client1.crt"), file("client1.key"), scene.data_dir().display().to_string());
    let fixed = ["profile", "--endpoint", endpoint, "--cert", &cert, "--key", &key, "--data-dir", &data];
    let text = bascule(scene, &[&fixed[..], more].concat())?;
    let path = scene.dir().join(format!("{endpoint}.ovpn"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Both clients and our own reach the target, and renegotiate.
fn all_get_in(scene: &Scene, profiles: &[PathBuf; 2]) -> Result<()> {
    let mut clients = Vec::new();
    for (number, (profile, label)) in profiles.iter().zip(["udp", "tcp"]).enumerate() {
        clients.push(scene.connect(number, profile, label, &["--reneg-sec", "3"])?);
        ensure!(scene.reaches(number, TARGETS[0]), "{label}: {}", scene.server().log());
    }
    for profile in profiles {
        // Older dialects too, which say their first words in another order; not with a key of each client's own.
        let dialects: &[&str] = if std::fs::read_to_string(profile)?.contains("<tls-crypt>") {
            &["2.6", "2.4", "aws"]
        } else {
            &["2.6"]
        };
        for dialect in dialects {
            let mut own = scene.clients[0].net.command(lab::binary());
            own.arg("client").arg(profile).args(["--dialect", dialect, "--expect", "ping 10.77.1.10"]);
            let output = own.stdin(Stdio::null()).output()?;
            ensure!(output.status.success(), "{dialect}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.wait_for("TLS: soft reset", 0, Duration::from_secs(10))?;
        ensure!(scene.reaches(number, TARGETS[0]) && client.times_up() == 1, "{}", client.log());
    }
    Ok(())
}

fn reset(opcode: Opcode) -> Vec<u8> {
    peer::reset(opcode, SessionId([7; 8]))
}

/// Nobody without the key is answered: neither a plain client, nor one with another key.
fn strangers_hear_nothing(scene: &Scene, endpoints: &[String; 2], other: &[Vec<u8>]) -> Result<()> {
    let net = &scene.clients[1].net;
    let listens = |endpoint: &str| -> Result<(String, u16)> {
        let answer = scene.ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", endpoint)])?;
        let text = answer.text("clientConfiguration")?;
        let line = text.lines().find_map(|line| line.strip_prefix("remote ")).context("no remote")?;
        let (address, port) = line.split_once(' ').context("no port")?;
        Ok((address.to_owned(), port.parse()?))
    };
    let mut packets = vec![reset(Opcode::HardResetClientV2), reset(Opcode::HardResetClientV3)];
    packets.extend_from_slice(other);
    let (address, port) = listens(&endpoints[0])?;
    net.run(|| -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(SILENCE))?;
        for packet in &packets {
            socket.send_to(packet, (address.as_str(), port))?;
        }
        match socket.recv(&mut [0; 64]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            other => anyhow::bail!("a stranger is answered: {other:?}"),
        }
    })?;
    let (address, port) = listens(&endpoints[1])?;
    net.run(|| -> Result<()> {
        for packet in &packets {
            let mut stream = TcpStream::connect((address.as_str(), port))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            stream.write_all(&[&u16::try_from(packet.len())?.to_be_bytes(), &packet[..]].concat())?;
            match stream.read(&mut [0; 64]) {
                Ok(0) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                other => anyhow::bail!("a stranger is answered: {other:?}"),
            }
        }
        Ok(())
    })
}

/// A real client whose profile lacks the key gets nowhere.
fn lacks_the_key(scene: &Scene, profile: &PathBuf, tag: &str) -> Result<()> {
    let text = std::fs::read_to_string(profile)?;
    let (before, rest) = text.split_once(&format!("<{tag}>")).context("no key in the profile")?;
    let (_, after) = rest.split_once(&format!("</{tag}>")).context("no end of the key")?;
    let path = scene.dir().join(format!("without-{tag}.ovpn"));
    std::fs::write(&path, format!("{before}{after}"))?;
    let mut client = OpenVpn::start(&scene.clients[1].net, &path, "keyless", &["--connect-timeout", "2"])?;
    client.wait_for("restarting", 0, Duration::from_secs(15))?;
    ensure!(client.times_up() == 0 && !client.log().contains("TLS: Initial packet"), "{}", client.log());
    Ok(())
}

/// A reset under a key that is not the server's.
fn under_another_key(scene: &Scene, key: WrapKey) -> Result<Vec<u8>> {
    let wrap = Some(Wrap { key, began_at: UnixTime(1_800_000_000) });
    let config = Arc::new(SessionConfig { wrap, ..SessionConfig::default() });
    let tls = peer::tls(&scene.certificates.dir)?;
    let factory = move || Ok(Box::new(peer::connection(&tls)?) as Box<dyn Tls>);
    let now = Instant(0);
    let mut session = Session::new(config, Box::new(factory), SessionId([9; 8]), [3; 32], now)?;
    let mut out = Vec::new();
    ensure!(session.poll_transmit(now, &mut out));
    Ok(out)
}

#[test]
fn one_key_for_all() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoints) = scene("--tls-crypt-key-file", "tls-crypt-key", "tls-crypt.key")?;
        let profiles = [profile(&scene, &endpoints[0], &[])?, profile(&scene, &endpoints[1], &[])?];
        all_get_in(&scene, &profiles)?;
        let other = WrapKey::TlsCrypt(Arc::new(StaticKey::from_seed([5; 32])));
        let other = under_another_key(&scene, other)?;
        strangers_hear_nothing(&scene, &endpoints, &[other])?;
        lacks_the_key(&scene, &profiles[0], "tls-crypt")
    })
}

#[test]
fn a_key_of_each_clients_own() -> Result<()> {
    lab::or_skip(|| {
        let (scene, endpoints) =
            scene("--tls-crypt-v2-key-file", "tls-crypt-v2-server-key", "tls-crypt-v2-server.key")?;
        let dir = scene.certificates.dir.display().to_string();
        bascule(&scene, &["pki", "tls-crypt-v2-client-key", "client1", "--dir", &dir])?;
        let key = scene.certificates.dir.join("client1.tls-crypt-v2.key").display().to_string();
        let more = ["--tls-crypt-v2-key", key.as_str()];
        let profiles = [profile(&scene, &endpoints[0], &more)?, profile(&scene, &endpoints[1], &more)?];
        all_get_in(&scene, &profiles)?;
        // A client key that another server has wrapped.
        let foreign = ServerKey::from_seed([5; 32]).wrap(StaticKey::from_seed([6; 32]), &[])?;
        let other = under_another_key(&scene, WrapKey::TlsCryptV2(Arc::new(foreign)))?;
        strangers_hear_nothing(&scene, &endpoints, &[other])?;
        lacks_the_key(&scene, &profiles[0], "tls-crypt-v2")
    })
}
