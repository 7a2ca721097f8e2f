//! The binary's parts: command line, configuration, wiring, drain, and the commands beside `serve`.
//!
//! Layer 5. Nothing here decides anything about Client VPN: it puts the parts together.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

#[macro_use]
mod output;

pub mod aws_client;
mod backup;
mod behind;
mod cli;
mod client_command;
mod config;
mod connect_handler;
mod copying;
mod credentials;
mod dns;
mod fabric_check;
mod keys_command;
mod logging;
mod manual;
mod nearby;
mod outbound;
mod pki_command;
mod private_file;
mod privileges;
mod profile_command;
mod root_keys;
mod serve;
mod state_command;
mod stop;
mod telemetry;
mod tls;
mod upstream;

use std::process::ExitCode;

use clap::Parser;

pub use credentials::{CREDENTIALS_FILE, URL_FILE};

/// Wrong usage or configuration: exit code 2, one line.
#[derive(Debug)]
pub(crate) struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Runs the command line of this process (exit codes: 0 clean, 1 failed at run time, 2 wrong usage).
pub fn run() -> ExitCode {
    // The privileged process of the fabric: the same program, started by `serve`.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == netio::HELPER_ARGUMENT) {
        netio::run_fabric_helper();
    }
    // The one that runs connect handlers: likewise.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == connect_handler::SPAWNER_ARGUMENT) {
        connect_handler::run_spawner();
    }
    let cli = cli::Cli::parse();
    let done = match cli.command {
        cli::Command::Serve(arguments) => serve::run(arguments),
        cli::Command::Pki(command) => pki_command::run(command),
        cli::Command::Keys(arguments) => keys_command::run(arguments),
        cli::Command::Profile(arguments) => profile_command::run(&arguments),
        cli::Command::Export(cli::Export::Terraform(arguments)) => copying::export(&arguments),
        cli::Command::Import(cli::Import::Aws(arguments)) => copying::import(&arguments),
        cli::Command::Fabric(cli::Fabric::Check(arguments)) => fabric_check::run(arguments),
        cli::Command::Backup(arguments) => backup::back_up(arguments),
        cli::Command::Restore(arguments) => backup::restore(arguments),
        cli::Command::State(arguments) => state_command::run(&arguments),
        cli::Command::Client(arguments) => client_command::run(&arguments),
        cli::Command::Completions { shell } => manual::completions(shell),
        cli::Command::Man { folder } => manual::pages(&folder),
        cli::Command::Version => {
            out!("bascule {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done.and_then(|()| output::finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            err!("{error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
