//! The lab: network namespaces with a real server, real `openvpn` clients and target hosts, made for one test and
//! removed with it. It sets up links and addresses only; forwarding, rules and filters are the server's own work.

mod client;
mod figures;
mod net;
mod process;
mod scene;
mod server;
mod target;

use std::path::PathBuf;

pub use bascule::aws_client::{Answer, AwsClient, AwsError, Credentials};
pub use client::OpenVpn;
pub use figures::{events, figure};
pub use net::Net;
pub use process::{eventually, wait_until};
pub use scene::{Certificates, ClientHost, Scene, SceneOptions, TARGETS, TargetHost};
pub use server::{Server, ServerOptions, Started, binary};
pub use target::{Echo, Sender, Sink, Stamped, transfer};

/// Why the lab cannot run here, `None` if it can.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let programs = ["ip", "nft", "openvpn", "ping"];
    if let Some(program) = programs.into_iter().find(|program| find_program(program).is_none()) {
        return Some(format!("the program {program} is not installed"));
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".to_owned());
    }
    None
}

/// Runs a test, or says loudly why it cannot run here. In CI that is a failure.
///
/// # Errors
/// Those of the test.
pub fn or_skip(test: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match missing() {
        None => test(),
        Some(why) if std::env::var_os("CI").is_some() => anyhow::bail!("in CI the lab must run: {why}"),
        Some(why) => {
            println!("SKIP: {why}");
            Ok(())
        }
    }
}

/// Where a program is.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|file| file.is_file())
}
