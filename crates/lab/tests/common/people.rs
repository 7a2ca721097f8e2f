//! Clients with certificates of their own, and what is seen of them.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{Net, Scene, Sender, Sink, wait_until};

/// How long packets that are awaited may take.
const HEARD: Duration = Duration::from_secs(5);
/// How long one echo may take.
const ECHO: Duration = Duration::from_millis(100);

/// The program under test.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.ancestors().nth(2).context("the test's folder")?.join("bascule");
    Ok(std::env::var_os("BASCULE_BIN").map_or(beside, PathBuf::from))
}

/// `bascule pki` on the scene's authority.
pub fn pki(scene: &Scene, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program()?);
    command.arg("pki").args(arguments).arg("--dir").arg(&scene.certificates.dir);
    let output = command.output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The endpoint's profile as it is exported now, with the certificate issued under that name.
pub fn profile(scene: &Scene, endpoint: &str, name: &str) -> Result<PathBuf> {
    let answer = scene.ec2("ExportClientVpnClientConfiguration", &[("ClientVpnEndpointId", endpoint)])?;
    let read = |file: String| std::fs::read_to_string(scene.certificates.dir.join(file));
    let (certificate, key) = (read(format!("{name}.crt"))?, read(format!("{name}.key"))?);
    let configuration = answer.text("clientConfiguration")?;
    let path = scene.dir().join(format!("{name}.ovpn"));
    std::fs::write(&path, format!("{configuration}\n<cert>\n{certificate}</cert>\n<key>\n{key}</key>\n"))?;
    Ok(path)
}

/// Waits until a sender is heard again that long from now: what anybody else has sent meanwhile has come as well.
pub fn heard_for(sink: &Sink, tag: u8, time: Duration) -> Result<()> {
    let until = SystemTime::now() + time;
    let heard = || sink.arrived().iter().any(|stamped| stamped.tag == tag && stamped.at >= until);
    ensure!(wait_until(time + HEARD, heard), "nothing of {tag} came {time:?} later");
    Ok(())
}

/// Waits until everything a sender has sent by now has arrived, or what it sent after it; none of it may be missing.
pub fn nothing_lost(sink: &Sink, tag: u8, sender: &Sender) -> Result<()> {
    let sent = sender.sent();
    let last = || sink.arrived().iter().any(|stamped| stamped.tag == tag && stamped.number + 1 >= sent);
    ensure!(wait_until(HEARD, last), "the last of {sent} packets of {tag} did not arrive");
    let lost = lost(sink, tag)?;
    ensure!(lost == 0, "{lost} packets of {tag} are missing");
    Ok(())
}

/// Packets that are missing between the first and the last one of a sender.
pub fn lost(sink: &Sink, tag: u8) -> Result<u64> {
    let mut numbers: Vec<u64> = sink
        .arrived()
        .into_iter()
        .filter(|stamped| stamped.tag == tag)
        .map(|stamped| stamped.number)
        .collect();
    numbers.sort_unstable();
    let (first, last) = (numbers.first().context("no packet")?, numbers.last().context("no packet")?);
    Ok(last + 1 - first - u64::try_from(numbers.len())?)
}

/// Whether a datagram of a new flow comes back from an echo server.
pub fn echoes(net: &Net, address: &str, port: u16) -> bool {
    let far: SocketAddr = match format!("{address}:{port}").parse() {
        Ok(far) => far,
        Err(_) => return false,
    };
    net.run(|| -> std::io::Result<bool> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(ECHO))?;
        socket.send_to(b"anybody there?", far)?;
        Ok(socket.recv_from(&mut [0; 64]).is_ok())
    })
    .unwrap_or(false)
}
