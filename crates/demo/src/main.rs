//! The demonstration: the main job end to end, one line a step, exit 0 only if all held. As root with a real OpenVPN
//! client in network namespaces; as an ordinary user with our own client and the user-space fabric.

mod rootless;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

fn main() -> ExitCode {
    let mut story = Story { started: Instant::now(), number: 0 };
    let told = match lab::missing() {
        None => steps::tell(&mut story),
        Some(why) => {
            println!("without root's powers ({why}): the user-space fabric, and our own client");
            rootless::tell(&mut story)
        }
    };
    match told {
        Ok(()) => {
            println!("\nall {} steps held, {:.1} s", story.number, story.started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\ndemo: a step did not hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the steps.
pub(crate) struct Story {
    started: Instant,
    number: usize,
}

impl Story {
    /// The `aws` command that does the same.
    pub(crate) fn command(&self, text: &str) {
        println!("    $ {text}");
    }

    /// One step: what is to hold, and what was seen.
    pub(crate) fn step<T>(&mut self, what: &str, work: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        self.number += 1;
        let started = Instant::now();
        let result = work();
        let took = started.elapsed().as_secs_f64() * 1_000.0;
        match result {
            Ok((value, seen)) => {
                println!("ok  {:>2} {took:>7.0} ms  {what}: {seen}", self.number);
                Ok(value)
            }
            Err(error) => {
                println!("NOT {:>2} {took:>7.0} ms  {what}", self.number);
                Err(error.context(what.to_owned()))
            }
        }
    }
}
