//! The process that runs handlers, because the main process has given up the power to start programs. It is the same
//! program with another argument, started before that, told once which commands there are, and nobody from then on: no user
//! id, group or capability of its own, and no way to gain any.

mod living;
mod running;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway::HANDLER_TIME;

use self::living::Living;
use super::message::{self, Ask, Hello, Outcome, Reply};
use crate::privileges;

/// The argument that makes the program this process.
pub(crate) const SPAWNER_ARGUMENT: &str = "handler-spawner";
/// Most handlers at work at once: each is a process.
pub(super) const MOST_AT_WORK: usize = 32;
/// How long the spawner may take to begin.
const BEGINNING: Duration = Duration::from_secs(10);

/// A running spawner. It ends, and its handlers with it, when this closes.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(super) socket: UnixStream,
    pub(super) commands: Vec<Vec<String>>,
}

impl Spawner {
    /// Starts it, with the only commands that it will ever run. Call it while the process may still start programs.
    pub(crate) fn start(commands: Vec<Vec<String>>) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        Command::new("/proc/self/exe")
            .arg(SPAWNER_ARGUMENT)
            // Ours may hold secrets.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // A terminal's Ctrl-C is not for it: it ends with us.
            .process_group(0)
            .spawn()
            .context("cannot start the spawner of connect handlers")?;
        Self::greet(socket, commands)
    }

    /// Tells the spawner at the other end of a socket its commands.
    pub(super) fn greet(socket: UnixStream, commands: Vec<Vec<String>>) -> Result<Self> {
        socket.set_read_timeout(Some(BEGINNING))?;
        let hello = Hello { commands };
        message::write(&socket, &hello)?;
        let ready: Option<Result<(), String>> =
            message::read(&socket).context("the spawner of connect handlers does not begin")?;
        ready
            .unwrap_or_else(|| Err("it ended".to_owned()))
            .map_err(|why| anyhow::anyhow!("connect handlers that are programs cannot be run: {why}"))?;
        socket.set_read_timeout(None)?;
        Ok(Self { socket, commands: hello.commands })
    }
}

/// Body of the spawner, whose standard input is the socket to the main process. Ends when that closes.
pub(crate) fn run_spawner() -> ! {
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let served = socket.and_then(|socket| serve(socket, HANDLER_TIME, privileges::become_nobody));
    if let Err(error) = served {
        err!("{SPAWNER_ARGUMENT}: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// Runs what it is asked to until the socket closes, none longer than the limit.
pub(super) fn serve(
    socket: UnixStream,
    limit: Duration,
    give_up: impl FnOnce() -> Result<()>,
) -> io::Result<()> {
    let Some(Hello { commands }) = message::read(&socket)? else { return Ok(()) };
    let ready = give_up().map_err(|error| format!("{error:#}"));
    message::write(&socket, &ready)?;
    if ready.is_err() {
        return Ok(());
    }
    let (commands, living) = (Arc::new(commands), Arc::new(Living::default()));
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    let asked = loop {
        let Ask { id, command, request } = match message::read(&socket) {
            Ok(Some(ask)) => ask,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let answers = Arc::clone(&answers);
        let answer = move |outcome| {
            let to = answers.lock().unwrap_or_else(PoisonError::into_inner);
            // If nobody listens any more the loop ends too.
            let _ = message::write(&*to, &Reply { id, outcome });
        };
        let Some(place) = living.place() else {
            answer(Outcome::Busy);
            continue;
        };
        let commands = Arc::clone(&commands);
        let refused = answer.clone();
        let work = move || {
            let outcome = match commands.get(command) {
                Some(command) => running::run(command, request.as_bytes(), limit, &place),
                None => Outcome::NotStarted("there is no such command".to_owned()),
            };
            drop(place);
            answer(outcome);
        };
        if std::thread::Builder::new().name("handler".to_owned()).spawn(work).is_err() {
            refused(Outcome::Busy);
        }
    };
    living.end();
    asked
}

#[cfg(test)]
mod tests;
