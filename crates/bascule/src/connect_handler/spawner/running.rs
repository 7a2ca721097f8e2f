//! One handler at work: the request goes in, the answer comes out, the clock runs.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::living::{Group, Place};
use crate::connect_handler::MAX_ANSWER_BYTES;
use crate::connect_handler::message::Outcome;

/// What a handler finds in its environment, and nothing else.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/"),
    ("LANG", "C.UTF-8"),
];
/// Of what a handler complains of on standard error, in bytes.
const MAX_COMPLAINT_BYTES: usize = 1024;
/// Read at once.
const READ_BYTES: usize = 16 * 1024;

/// A pipe that is read until it ends or holds too much.
struct Reading<R> {
    /// `None`: it has ended.
    pipe: Option<R>,
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl<R: Read + AsFd> Reading<R> {
    fn new(pipe: Option<R>, max_bytes: usize) -> std::io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, bytes: Vec::new(), max_bytes })
    }

    /// Takes what is there. False: it is more than it may be.
    fn take(&mut self) -> bool {
        let mut buffer = [0; READ_BYTES];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let room = self.max_bytes.saturating_sub(self.bytes.len());
                    let read = buffer.get(..count).unwrap_or_default();
                    self.bytes.extend_from_slice(read.get(..room).unwrap_or(read));
                    if count > room {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        true
    }
}

/// Runs a command to its end, or to the end of its time, and its process group with it.
pub(super) fn run(command: &[String], request: &[u8], limit: Duration, place: &Place) -> Outcome {
    let deadline = Instant::now() + limit;
    let Some((program, arguments)) = command.split_first() else {
        return Outcome::NotStarted("there is no program".to_owned());
    };
    let mut starting = Command::new(program);
    starting
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    match place.start(&mut starting) {
        Ok(mut group) => {
            let outcome = attend(&mut group, request, deadline);
            outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
        }
        Err(error) => Outcome::NotStarted(format!("{program}: {error}")),
    }
}

fn attend(group: &mut Group, request: &[u8], deadline: Instant) -> std::io::Result<Outcome> {
    let end: OwnedFd = pidfd_open(Pid::from_child(&group.child), PidfdFlags::empty())?;
    let mut input = group.child.stdin.take();
    if let Some(pipe) = &input {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let mut rest = request;
    let mut said = Reading::new(group.child.stdout.take(), MAX_ANSWER_BYTES)?;
    let mut complaint = Reading::new(group.child.stderr.take(), MAX_COMPLAINT_BYTES)?;
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Ok(Outcome::TimedOut);
        };
        let ended = {
            let mut polled = vec![PollFd::new(&end, PollFlags::IN)];
            polled.extend(input.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
            polled.extend(said.pipe.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            polled.extend(complaint.pipe.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            let left = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
            match poll(&mut polled, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            polled.first().is_some_and(|end| !end.revents().is_empty())
        };
        if let Some(pipe) = &mut input {
            match pipe.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // It does not want to know.
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                input = None;
            }
        }
        if !said.take() {
            return Ok(Outcome::NoText);
        }
        // What it says beyond that is read and thrown away, so that it is not held up.
        complaint.take();
        if ended {
            break;
        }
    }
    let status = group.end()?;
    if status.success() {
        return Ok(String::from_utf8(said.bytes).map_or(Outcome::NoText, Outcome::Said));
    }
    let complaint = String::from_utf8_lossy(&complaint.bytes);
    let line = complaint.lines().next().unwrap_or_default();
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Ok(Outcome::Failed(if line.is_empty() { status.to_string() } else { format!("{status}: {line}") }))
}
