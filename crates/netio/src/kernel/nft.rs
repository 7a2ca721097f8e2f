//! Runs the `nft` program.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::forwarding::Opened;
use super::ruleset::{ACCEPT_RA, OPENED, OPENED_V6, TABLE};
use crate::fabric::FabricError;
use crate::failpoint;
use crate::host::nft_program;

/// Longest run of `nft`.
const RUN_TIMEOUT: Duration = Duration::from_secs(15);
/// Most of its output that is read, in bytes.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// Most of its complaint that is passed on, in bytes.
const MAX_REASON_BYTES: usize = 400;

/// Carries out `script` as one transaction.
pub(super) fn run(script: &str) -> Result<(), FabricError> {
    let done = execute(&["-f", "-"], script);
    failpoint::kernel_changed();
    done.map(drop)
}

/// What an earlier life noted as opened; nothing if there is no table.
pub(super) fn opened() -> Result<Opened, FabricError> {
    // Listing sets of one table is an error when there is none; listing all is not.
    let listed = execute(&["-j", "list", "sets", "inet"], "")?;
    let listed: serde_json::Value = serde_json::from_str(&listed)
        .map_err(|error| FabricError::Transient(format!("nft -j list sets: not JSON: {error}")))?;
    let sets = listed.get("nftables").and_then(|v| v.as_array()).map(Vec::as_slice).unwrap_or_default();
    let elements = |name: &str| -> BTreeSet<String> {
        let ours = sets.iter().filter_map(|entry| entry.get("set")).filter(|set| {
            let is = |member: &str, value: &str| set.get(member).and_then(|v| v.as_str()) == Some(value);
            is("table", TABLE) && is("name", name)
        });
        let elements =
            ours.filter_map(|set| set.get("elem")).filter_map(|elements| elements.as_array()).flatten();
        elements.filter_map(|element| element.as_str()).map(str::to_owned).collect()
    };
    Ok(Opened::noted(elements(OPENED), elements(OPENED_V6), elements(ACCEPT_RA)))
}

fn execute(arguments: &[&str], input: &str) -> Result<String, FabricError> {
    let Some(program) = nft_program() else {
        return Err(FabricError::Transient(
            "the program nft is not in PATH: install it (apt-get install nftables)".to_owned(),
        ));
    };
    let failed = |what: &str, error: std::io::Error| FabricError::Transient(format!("nft: {what}: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("cannot start", e))?;
    // It reads all of its input before it writes anything. If it ended early its exit status tells why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let read = read_both(stdout.as_mut(), stderr.as_mut());
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| failed("cannot wait", e))?;
    let (output, complaint) = read.map_err(|e| failed("gave no answer", e))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&output).into_owned());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let reason: String = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = reason.chars().take(MAX_REASON_BYTES).collect();
    Err(FabricError::Transient(format!("nft failed ({status}): {shown}")))
}

/// Both outputs to their ends.
fn read_both(
    mut stdout: Option<&mut std::process::ChildStdout>,
    mut stderr: Option<&mut std::process::ChildStderr>,
) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut chunk = [0; 8192];
    while stdout.is_some() || stderr.is_some() {
        let left = RUN_TIMEOUT.saturating_sub(started.elapsed());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        // Fixed places for both; one that has ended is asked for nothing.
        let (out_ready, err_ready) = {
            let mut polled = Vec::with_capacity(2);
            if let Some(stream) = stdout.as_ref() {
                polled.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN));
            }
            if let Some(stream) = stderr.as_ref() {
                polled.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN));
            }
            if rustix::event::poll(&mut polled, Some(&timeout))? == 0 {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
            let out_ready = stdout.is_some() && ready.next().unwrap_or(false);
            (out_ready, stderr.is_some() && ready.next().unwrap_or(false))
        };
        if out_ready && ended(stdout.as_mut(), &mut chunk, &mut output)? {
            stdout = None;
        }
        if err_ready && ended(stderr.as_mut(), &mut chunk, &mut complaint)? {
            stderr = None;
        }
    }
    Ok((output, complaint))
}

fn ended<R: Read>(
    stream: Option<&mut &mut R>,
    chunk: &mut [u8],
    into: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let got = match stream {
        Some(stream) => stream.read(chunk)?,
        None => 0,
    };
    if into.len() + got > MAX_OUTPUT_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "too much output"));
    }
    into.extend_from_slice(chunk.get(..got).unwrap_or_default());
    Ok(got == 0)
}
