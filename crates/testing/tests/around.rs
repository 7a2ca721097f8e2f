//! What the tests stand on: the program, and something to reach.

use std::io::Read as _;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use anyhow::Result;
use bascule::aws_client::{AwsClient, Credentials};
use testing::Server;

/// The program, where cargo or the test run has built it.
pub(crate) fn binary() -> PathBuf {
    let built = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("bascule"))
    };
    std::env::var_os("BASCULE_BIN").map(PathBuf::from).or_else(built).expect("a folder of built programs")
}

/// An address of this machine that clients may be let to; asking for it sends nothing.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.77:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Something to reach: takes connections at a port of the address until the test ends.
pub(crate) fn service(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || stream.read(&mut [0; 16]));
        }
    });
    Ok(port)
}

/// A client of its API.
pub(crate) fn aws(server: &Server) -> Result<AwsClient> {
    let key = server.credentials();
    let key = Credentials::new(&key.access_key_id, &key.secret_access_key, None);
    AwsClient::new(server.endpoint_url(), "us-east-1", key)
}
