//! The fabric with real packets, in network namespaces of the tests' own. Needs root: says so, loudly, if it is not.
//!
//! Not the usual harness: this program is also what the fabric starts as its privileged helper, and what one test
//! kills half-way.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod cases;
mod net;
mod packet;
mod removal;
mod site;
mod six;
mod uplinks;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(netio::HELPER_ARGUMENT) => netio::run_fabric_helper(),
        Some(removal::CRASH_ARGUMENT) => removal::crash(),
        Some(removal::LIFE_ARGUMENT) => removal::life(),
        _ => {}
    }
    let available = netio::fabric_available();
    if !available {
        println!(
            "SKIP: the fabric's tests need root (CAP_NET_ADMIN), /dev/net/tun and nft; none of them ran"
        );
    }
    let _folder = removal::put_nft_wrapper_in_path();
    let trials = cases::all().into_iter().chain(six::all()).chain(removal::all()).chain(uplinks::all());
    let trials = trials.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(!available)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
