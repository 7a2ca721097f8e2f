//! Load that costs its maker next to nothing: requests signed beforehand, written as bytes to kept connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_auth::{Credentials, Secret, SignedRequest, sign};

/// Connections at a time.
pub(crate) const CONNECTIONS: usize = 8;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest answer, bytes.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// The key every measured server is called with.
pub(crate) const KEY: (&str, &str) = ("AKIABENCH00000000000", "bench-bench-bench-bench-bench-bench-bench");

/// A signed EC2 call as bytes, good for fifteen minutes.
pub(crate) fn call(address: SocketAddr, body: &str) -> Result<Vec<u8>> {
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    let headers = [("host".to_owned(), address.to_string()), ("content-type".to_owned(), kind.to_owned())];
    let request =
        SignedRequest { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let credentials =
        Credentials { access_key_id: KEY.0.to_owned(), secret: Secret::new(KEY.1), session_token: None };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let added = sign(&request, &credentials, "us-east-1", "ec2", i64::try_from(now)?)?;
    let mut text = String::from("POST / HTTP/1.1\r\n");
    for (name, value) in headers.iter().chain(&added) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    Ok(text.into_bytes())
}

/// One call that must be done; its answer.
pub(crate) fn ask(address: SocketAddr, body: &str) -> Result<String> {
    let (status, text) = Connection::new(address).ask(&call(address, body)?)?;
    ensure!(status == 200, "HTTP {status}: {text}");
    Ok(text)
}

/// What a run of load came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Answers with status 200.
    pub done: u64,
    /// Other answers.
    pub refused: u64,
    /// How long it took.
    pub took: Duration,
    /// How long each answer took, rising, in microseconds.
    pub waits_us: Vec<u64>,
}

/// Each connection sends its own requests in turn for as long as said.
pub(crate) fn run(address: SocketAddr, requests: &[Vec<Vec<u8>>], length: Duration) -> Result<Run> {
    let start = Instant::now();
    let end = start + length;
    let runs: Vec<Result<Run>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            requests.iter().map(|own| scope.spawn(move || one(address, own, end))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a connection's thread stopped")))
            })
            .collect()
    });
    let mut whole = Run { took: start.elapsed(), ..Run::default() };
    for run in runs {
        let run = run?;
        whole.done += run.done;
        whole.refused += run.refused;
        whole.waits_us.extend(run.waits_us);
    }
    whole.waits_us.sort_unstable();
    Ok(whole)
}

fn one(address: SocketAddr, requests: &[Vec<u8>], end: Instant) -> Result<Run> {
    let mut connection = Connection::new(address);
    let mut run = Run::default();
    for request in requests.iter().cycle() {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let (status, _) = connection.ask(request)?;
        if status == 200 {
            run.done += 1;
        } else {
            run.refused += 1;
        }
        run.waits_us.push(u64::try_from(sent.elapsed().as_micros())?);
    }
    Ok(run)
}

/// A connection that is kept, if the server keeps it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    /// One that is made with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// One request; status and body of its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<(u16, String)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER))?;
                stream
            }
        };
        stream.write_all(request)?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
        loop {
            if let Some((whole, keeps)) = whole(&bytes) {
                if keeps {
                    self.stream = Some(stream);
                }
                return Ok(whole);
            }
            ensure!(bytes.len() <= ANSWER_MAX_BYTES, "an answer without end");
            let length = stream.read(&mut buffer)?;
            ensure!(length > 0, "the server hung up in an answer");
            bytes.extend_from_slice(buffer.get(..length).context("invariant: read says how much is there")?);
        }
    }
}

/// Status and body once all of it is there, and whether the connection stays.
fn whole(bytes: &[u8]) -> Option<((u16, String), bool)> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(split + 4)?;
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
    let length: usize = header("content-length:")?.parse().ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let keeps = head.starts_with("http/1.1") && header("connection:") != Some("close");
    (body.len() >= length).then(|| ((status, String::from_utf8_lossy(body).into_owned()), keeps))
}
