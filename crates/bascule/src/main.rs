//! `bascule`: AWS Client VPN that you run yourself.

use std::process::ExitCode;

fn main() -> ExitCode {
    bascule::run()
}
