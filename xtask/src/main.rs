//! Chores: `demo`, `test`, `tidy`, `campaign`, `bench`, `deb`, `release`. The one program that a fresh machine can build: it installs what
//! the rest needs.

mod bench;
mod campaign;
mod demo;
mod host;
mod linked;
mod mutants;
mod notices;
mod package;
mod release;
mod run;
mod sbom;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask demo | test | tidy | campaign NAME [N] | bench api|scale|sessions [--debug] | deb [--debug | --built] | release [--check]

  demo   installs what is missing, builds, and runs the main job end to end with a real OpenVPN client
  test   installs what the tests need, runs every test, ends with a count
  tidy   checks the layer table, file sizes, module docs and the other rules of the house
  bench  builds for release, measures the API beside moto's server, a large state beside a small one, or the change of a
         rule while clients are connected, and writes docs/bench/api-YYYY-MM-DD.md, scale-… or sessions-…
  deb    builds for release and makes the Debian package under target/debian; --debug: of the debug build, which is built
         first; --built: of the debug build as it stands, under target/debian/debug
  release  builds the last commit for others, under target/dist: binary, package, bill of materials, notices, checksums;
           --check builds it a second time elsewhere and compares
  campaign  runs one of these, or as many of it as said:";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["tidy"] => tidy::run().map(|report| {
            report.print();
            report.failures.is_empty()
        }),
        ["campaign", "mutants"] => mutants::run(None),
        ["campaign", "mutants", word] => mutants::run(Some(word)),
        ["campaign", name] => campaign::run(name, None),
        ["campaign", name, length] => campaign::run(name, Some(length)),
        ["bench", "api"] => bench::api(false),
        ["bench", "api", "--debug"] => bench::api(true),
        ["bench", "scale"] => bench::scale(false),
        ["bench", "scale", "--debug"] => bench::scale(true),
        ["bench", "sessions"] => bench::sessions(false),
        ["bench", "sessions", "--debug"] => bench::sessions(true),
        ["deb"] => package::deb(false),
        ["deb", "--debug"] => package::deb(true),
        ["deb", "--built"] => package::built().map(|file| {
            println!("{}", file.display());
            true
        }),
        ["release"] => release::run(),
        ["release", "--check"] => release::check(),
        _ => {
            eprintln!("{USAGE}{}", campaign::usage());
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
