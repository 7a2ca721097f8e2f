//! A client's life: connect, hold, come back, end, as stock clients do. spec: openvpn-protocol §9.5

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use openvpn::Instant;
use tokio::sync::{mpsc, watch};

use crate::client::{Order, Phase, Status};
use crate::clock;
use crate::dialect::{knows_temporary_refusals, retry_pause};
use crate::line::{Gone, Line};
use crate::probe::Verdict;
use crate::profile::{Remote, Transport};
use crate::pushed::Pushed;
use crate::setup::Setup;
use crate::stack::Stack;
use crate::tally::Tally;
use crate::trial::Trial;
use crate::tunnel::{News, Over, Tunnel};

/// Longest datagram that is read, in bytes.
const BUFFER_BYTES: usize = openvpn::wire::MAX_PACKET_BYTES;
/// Packets taken in one turn before others have theirs.
const TURN_PACKETS: usize = 32;
/// Tries in a row that come to nothing before pauses grow.
const TRIES_BEFORE_GROWTH: u32 = 5;
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How long a farewell may take to be acknowledged.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long finding an address and opening a connection may take.
const OPENING: Duration = Duration::from_secs(30);

/// What follows the end of a connection.
enum Next {
    /// Another try, after a pause; `true`: with the next server.
    Again(Duration, bool),
    /// Nothing.
    End(String),
}

/// One client at work.
pub(crate) struct Task {
    setup: Arc<Setup>,
    number: usize,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<Status>,
    tally: Arc<Tally>,
    /// Index of the server that is tried.
    remote: usize,
    /// Tries in a row that came to nothing.
    tries: u32,
}

impl Task {
    pub(crate) fn new(
        setup: Arc<Setup>,
        number: usize,
        orders: mpsc::Receiver<Order>,
        status: watch::Sender<Status>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { setup, number, orders, status, tally, remote: 0, tries: 0 }
    }

    pub(crate) async fn run(mut self, after: Duration) {
        if self.setup.profile.remote_random {
            let random = usize::try_from(random() & 0xffff).unwrap_or(0);
            self.remote = random % self.setup.profile.remotes.len().max(1);
        }
        let why = if self.pause(after).await { self.live().await } else { "stopped".to_owned() };
        self.tally.count(|counts| counts.ended += 1);
        self.status.send_modify(|status| status.phase = Phase::Ended(why));
        // Who still asks gets an answer.
        self.orders.close();
        while let Some(order) = self.orders.recv().await {
            if let Order::Probe(_, reply) = order {
                let _ = reply.send(Verdict::not_tried("the client has ended"));
            }
        }
    }

    /// Connects again and again; why it is over.
    async fn live(&mut self) -> String {
        self.tally.count(|counts| counts.started += 1);
        loop {
            self.status.send_modify(|status| status.phase = Phase::Connecting);
            let begun = clock::now();
            let next = match self.open().await {
                None => return "stopped".to_owned(),
                Some(Err(Gone(why))) => self.failed(&why),
                Some(Ok((line, transport))) => self.hold(line, transport, begun).await,
            };
            match next {
                Next::End(why) => return why,
                Next::Again(pause, next_remote) => {
                    if next_remote {
                        self.remote = (self.remote + 1) % self.setup.profile.remotes.len().max(1);
                    }
                    self.status.send_modify(|status| status.phase = Phase::Waiting);
                    if !self.pause(pause).await {
                        return "stopped".to_owned();
                    }
                }
            }
        }
    }

    /// Waits; false if the client is to stop.
    async fn pause(&mut self, time: Duration) -> bool {
        self.beside(tokio::time::sleep(time)).await.is_some()
    }

    /// Does something while there is no tunnel; `None` if the client is to stop.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                order = self.orders.recv() => match order {
                    Some(Order::Probe(_, reply)) => {
                        let _ = reply.send(Verdict::not_tried("the tunnel is down"));
                    }
                    Some(Order::Renegotiate) => {}
                    Some(Order::Stop) | None => return None,
                },
            }
        }
    }

    /// A way to the server whose turn it is.
    async fn open(&mut self) -> Option<Result<(Line, Transport), Gone>> {
        let setup = Arc::clone(&self.setup);
        let remotes = &setup.profile.remotes;
        let Some(remote) = remotes.get(self.remote).or_else(|| remotes.first()) else {
            return Some(Err(Gone("there is no server".to_owned())));
        };
        let (number, tries) = (self.number, self.tries);
        let opening = async {
            let server = resolve(remote, setup.profile.random_hostname, tries).await?;
            let local = local_for(&setup.locals, server, number)?;
            Ok((Line::open(remote.transport, server, local).await?, remote.transport))
        };
        let limited = tokio::time::timeout(OPENING, opening);
        self.beside(async {
            limited.await.unwrap_or_else(|_| Err(Gone("no way to the server in time".to_owned())))
        })
        .await
    }

    /// An attempt came to nothing.
    fn failed(&mut self, why: &str) -> Next {
        self.tally.failed(why);
        self.status.send_modify(|status| status.trouble = Some(why.to_owned()));
        self.tries = self.tries.saturating_add(1);
        let doublings = self.tries.saturating_sub(TRIES_BEFORE_GROWTH).min(16);
        let pause = retry_pause(self.setup.dialect).saturating_mul(1 << doublings);
        Next::Again(pause.min(MAX_PAUSE), true)
    }

    /// One connection, from its first packet to its end.
    async fn hold(&mut self, mut line: Line, transport: Transport, begun: Instant) -> Next {
        let mut held = match Held::new(&self.setup, transport) {
            Ok(held) => held,
            Err(why) => return Next::End(why),
        };
        let next = self.hold_on(&mut held, &mut line, begun).await;
        if held.up.is_some() {
            self.tally.count(|counts| counts.up = counts.up.saturating_sub(1));
        }
        let why = match &next {
            Next::End(why) => why.clone(),
            Next::Again(..) => self.status.borrow().trouble.clone().unwrap_or_default(),
        };
        if let Some(stack) = held.stack.take() {
            stack.abandon(&format!("the tunnel was lost: {why}"), clock::now());
        }
        next
    }

    async fn hold_on(&mut self, held: &mut Held, line: &mut Line, begun: Instant) -> Next {
        loop {
            let now = clock::now();
            held.tunnel.handle_timeout(now);
            if let Some(stack) = &mut held.stack {
                stack.poll(held.tunnel.heard_at(), now, &self.tally);
            }
            if let Err(Gone(why)) = held.transmit(line, now) {
                // A farewell may have come just before the end of the stream.
                return self.told(held, now).unwrap_or_else(|| self.failed(&why));
            }
            while let Some(news) = held.tunnel.poll_news(now) {
                match news {
                    News::Up(pushed) => self.came_up(held, pushed, now.since(begun), now),
                    News::Updated(pushed) => {
                        held.retold(&pushed);
                        self.tally.count(|counts| counts.updates += 1);
                        self.status.send_modify(|status| {
                            status.phase = Phase::Up(pushed);
                            status.updates += 1;
                        });
                    }
                    News::Rekeyed => {
                        self.tally.count(|counts| counts.rekeys += 1);
                        self.status.send_modify(|status| status.rekeys += 1);
                    }
                    News::Over(over) => {
                        let _ = held.transmit(line, now);
                        return self.over(over);
                    }
                }
            }
            let deadline = held.deadline(now);
            let until = tokio::time::sleep_until(clock::timer(deadline));
            tokio::select! {
                () = line.ready() => {
                    if let Err(Gone(why)) = held.take(line) {
                        return self.told(held, clock::now()).unwrap_or_else(|| self.failed(&why));
                    }
                }
                () = until => {}
                order = self.orders.recv() => match order {
                    Some(Order::Probe(expectation, reply)) => {
                        let now = clock::now();
                        let trial = Trial::new(expectation, reply, now);
                        match held.stack(now) {
                            Some(stack) => stack.begin(trial, now),
                            None => trial.give_up("the tunnel is down", now),
                        }
                    }
                    Some(Order::Renegotiate) => held.tunnel.renegotiate(clock::now()),
                    Some(Order::Stop) => {
                        self.leave(held, line).await;
                        return Next::End("stopped".to_owned());
                    }
                    None => return Next::End("dropped".to_owned()),
                },
            }
        }
    }

    fn came_up(&mut self, held: &mut Held, pushed: Arc<Pushed>, took: Duration, now: Instant) {
        self.tries = 0;
        self.tally.connected(took);
        held.up = Some(Arc::clone(&pushed));
        if let Some((address, every)) = self.setup.ping
            && let Some(stack) = held.stack(now)
        {
            stack.ping(address, every, now);
        }
        self.status.send_modify(|status| {
            status.phase = Phase::Up(pushed);
            status.ups += 1;
            status.took = took;
            status.trouble = None;
        });
    }

    /// How it ended, if the server had said so already.
    fn told(&mut self, held: &mut Held, now: Instant) -> Option<Next> {
        while let Some(news) = held.tunnel.poll_news(now) {
            if let News::Over(over) = news {
                return Some(self.over(over));
            }
        }
        None
    }

    /// What a stock client does then.
    fn over(&mut self, over: Over) -> Next {
        let pause = retry_pause(self.setup.dialect);
        match over {
            Over::Restart(words, next) => {
                let why = with_words("RESTART", &words);
                self.tally.sent_away(&why);
                self.tally.count(|counts| counts.restarts += 1);
                self.status.send_modify(|status| {
                    status.restarts += 1;
                    status.trouble = Some(why);
                });
                Next::Again(pause, next)
            }
            Over::Halt(words) => {
                let why = with_words("HALT", &words);
                self.tally.sent_away(&why);
                Next::End(why)
            }
            Over::Rejected(words) => {
                let why = with_words("AUTH_FAILED", &words);
                self.tally.sent_away(&why);
                match temporary(&words).filter(|_| knows_temporary_refusals(self.setup.dialect)) {
                    Some(backoff) => {
                        self.status.send_modify(|status| status.trouble = Some(why));
                        Next::Again(backoff.unwrap_or(pause), false)
                    }
                    None => Next::End(why),
                }
            }
            Over::Silent => self.failed("nothing was heard from the server (ping-restart)"),
            Over::Failed(why) => self.failed(&why),
            Over::Unspoken(why) => {
                self.tally.failed(why);
                Next::End(why.to_owned())
            }
        }
    }

    /// Says goodbye, and waits a moment for it to arrive.
    async fn leave(&mut self, held: &mut Held, line: &mut Line) {
        let now = clock::now();
        let mut notice = Vec::new();
        held.tunnel.leave(now, &mut notice);
        if !notice.is_empty() {
            let _ = line.send(&notice, true);
        }
        let end = now + FAREWELL;
        while held.transmit(line, clock::now()).is_ok()
            && held.tunnel.awaits_acknowledgement()
            && clock::now() < end
        {
            let until = clock::timer(held.deadline(clock::now()).min(end));
            tokio::select! {
                () = line.ready() => {
                    if held.take(line).is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep_until(until) => held.tunnel.handle_timeout(clock::now()),
            }
        }
    }
}

/// A connection with its stack.
struct Held {
    tunnel: Tunnel,
    up: Option<Arc<Pushed>>,
    /// Made when it is first needed.
    stack: Option<Stack>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl Held {
    fn new(setup: &Setup, transport: Transport) -> Result<Self, String> {
        let tunnel = Tunnel::new(setup, transport, clock::now())?;
        // A stream has a buffer of its own.
        let buffer = if transport == Transport::Udp { vec![0; BUFFER_BYTES] } else { Vec::new() };
        Ok(Self { tunnel, up: None, stack: None, buffer, out: Vec::new() })
    }

    fn stack(&mut self, now: Instant) -> Option<&mut Stack> {
        let pushed = self.up.as_ref()?;
        Some(self.stack.get_or_insert_with(|| Stack::new(Arc::clone(pushed), random(), now)))
    }

    /// The terms have changed; what is under way goes on.
    fn retold(&mut self, pushed: &Arc<Pushed>) {
        if self.up.is_some() {
            self.up = Some(Arc::clone(pushed));
        }
        if let Some(stack) = &mut self.stack {
            stack.retell(pushed);
        }
    }

    /// Takes what has come.
    fn take(&mut self, line: &mut Line) -> Result<(), Gone> {
        line.flush()?;
        for _ in 0..TURN_PACKETS {
            let Some(packet) = line.receive(&mut self.buffer)? else { break };
            if let Some(inner) = self.tunnel.take(packet, clock::now())
                && let Some(stack) = &mut self.stack
            {
                stack.deliver(inner);
            }
        }
        Ok(())
    }

    /// Sends what is to be sent.
    fn transmit(&mut self, line: &mut Line, now: Instant) -> Result<(), Gone> {
        while self.tunnel.poll_transmit(now, &mut self.out) {
            line.send(&self.out, false)?;
        }
        if let Some(stack) = &mut self.stack {
            while let Some(packet) = stack.outgoing() {
                self.out.clear();
                if self.tunnel.seal(&packet, now, &mut self.out) {
                    line.send(&self.out, true)?;
                    stack.note_sent(&packet);
                }
            }
            if stack.is_idle() {
                self.stack = None;
            }
        }
        self.out.clear();
        if self.tunnel.ping(now, &mut self.out) {
            line.send(&self.out, true)?;
        }
        Ok(())
    }

    fn deadline(&mut self, now: Instant) -> Instant {
        let of_stack = self.stack.as_mut().and_then(|stack| stack.deadline(now));
        let far = now + MAX_PAUSE;
        [self.tunnel.deadline(), of_stack].into_iter().flatten().min().unwrap_or(far).min(far)
    }
}

/// The server's address; another one of its addresses each time.
async fn resolve(remote: &Remote, random_hostname: bool, tries: u32) -> Result<SocketAddr, Gone> {
    let literal = remote.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let found: Vec<SocketAddr> = match literal {
        Ok(address) => vec![SocketAddr::new(address, remote.port)],
        Err(_) => {
            // Six bytes in hexadecimal before the name, as stock clients do. spec: openvpn-protocol §13.1
            let host = if random_hostname {
                format!("{:012x}.{}", random() & 0xffff_ffff_ffff, remote.host)
            } else {
                remote.host.clone()
            };
            let found = tokio::net::lookup_host((host, remote.port)).await;
            found.map_err(|_| Gone("the server's name cannot be resolved".to_owned()))?.collect()
        }
    };
    let fits = |address: &&SocketAddr| remote.only_ipv4.is_none_or(|only| address.is_ipv4() == only);
    let fitting: Vec<SocketAddr> = found.iter().filter(fits).copied().collect();
    let place = usize::try_from(tries).unwrap_or(0) % fitting.len().max(1);
    fitting.get(place).copied().ok_or_else(|| Gone("the server has no address of that family".to_owned()))
}

/// The address a client's socket is bound to.
fn local_for(locals: &[IpAddr], server: SocketAddr, number: usize) -> Result<Option<IpAddr>, Gone> {
    if locals.is_empty() {
        return Ok(None);
    }
    let fitting: Vec<IpAddr> =
        locals.iter().filter(|local| local.is_ipv4() == server.is_ipv4()).copied().collect();
    match fitting.get(number % fitting.len().max(1)) {
        Some(local) => Ok(Some(*local)),
        None => Err(Gone("no local address is of the server's family".to_owned())),
    }
}

/// `TEMP` of a refusal, with its pause. spec: openvpn-protocol §9.5
fn temporary(words: &str) -> Option<Option<Duration>> {
    let rest = words.strip_prefix("TEMP")?;
    let flags = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(flags, _)| flags);
    let backoff = flags.split(',').find_map(|flag| flag.trim().strip_prefix("backoff ")?.trim().parse().ok());
    Some(backoff.map(|seconds: u64| Duration::from_secs(seconds).min(MAX_PAUSE)))
}

fn with_words(name: &str, words: &str) -> String {
    if words.is_empty() { name.to_owned() } else { format!("{name}: {words}") }
}

/// A number that nobody needs to keep secret.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness TLS would not have come this far.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_pass() {
        assert_eq!(temporary(""), None);
        assert_eq!(temporary("Client certificate refused"), None);
        assert_eq!(temporary("TEMP"), Some(None));
        assert_eq!(temporary("TEMP:later"), Some(None));
        assert_eq!(temporary("TEMP[backoff 3,advance no]:x"), Some(Some(Duration::from_secs(3))));
        assert_eq!(temporary("TEMP[advance no, backoff 7]"), Some(Some(Duration::from_secs(7))));
    }

    #[test]
    fn local_addresses_take_turns_within_a_family() {
        let locals: Vec<IpAddr> =
            ["10.0.0.1", "fd00::1", "10.0.0.2"].map(|text| text.parse().unwrap()).to_vec();
        let server = "10.9.9.9:443".parse().unwrap();
        let of = |number| local_for(&locals, server, number).unwrap().unwrap().to_string();
        assert_eq!([of(0), of(1), of(2)], ["10.0.0.1", "10.0.0.2", "10.0.0.1"]);
        assert!(local_for(&locals[1..2], server, 0).is_err());
        assert!(local_for(&[], server, 0).unwrap().is_none());
    }
}
