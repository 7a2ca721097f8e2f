//! Chores: `demo`, `test`, `tidy`. The one program that a fresh machine can build: it installs what the rest needs.

mod demo;
mod host;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask demo | test | tidy

  demo   installs what is missing, builds, and runs the main job end to end with a real OpenVPN client
  test   installs what the tests need, runs every test, ends with a count
  tidy   checks the layer table, file sizes, module docs and the other rules of the house";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let done = match (command.as_str(), arguments.next()) {
        ("demo", None) => demo::run(),
        ("test", None) => test::run(),
        ("tidy", None) => tidy::run().map(|report| {
            report.print();
            report.failures.is_empty()
        }),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
