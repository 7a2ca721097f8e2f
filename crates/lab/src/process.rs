//! Waiting for conditions, and processes whose output is watched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until a condition holds; says whether it did in time.
pub fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until a question has an answer.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let mut answer = None;
    wait_until(limit, || {
        answer = ask();
        answer.is_some()
    });
    answer.with_context(|| format!("waited {} ms in vain for {what}", limit.as_millis()))
}

/// A process with its output in a file; ended with this value.
pub(crate) struct Logged {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Logged {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned(), status: None })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for a line of the output that holds a text, from byte `after` on.
    pub(crate) fn wait_for(&mut self, text: &str, after: usize, limit: Duration) -> Result<String> {
        let found = |log: &str| {
            log.get(after..).and_then(|log| log.lines().find(|line| line.contains(text)).map(str::to_owned))
        };
        let end = Instant::now() + limit;
        loop {
            if let Some(line) = found(&self.log()) {
                return Ok(line);
            }
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= end {
                // One more look: it may have been said just before the end.
                if let Some(line) = found(&self.log()) {
                    return Ok(line);
                }
                let state =
                    ended.map_or_else(|| "still runs".to_owned(), |status| format!("has ended: {status}"));
                bail!("no `{text}` from a process that {state}; it said:\n{}", self.log());
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        if self.status.is_none()
            && let Ok(id) = i32::try_from(self.child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_until(limit, || self.ended().is_some());
        self.status
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end and returns what it printed; a failure is an error with that text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
