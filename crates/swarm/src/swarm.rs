//! Many clients in one process, on threads of their own: for the tool, and for tests as load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::client::{Client, Phase};
use crate::expect::Expectation;
use crate::probe::Verdict;
use crate::setup::Setup;
use crate::tally::{Counts, Spread, Tally};

/// Most clients of one swarm.
pub const MAX_CLIENTS: usize = 20_000;
/// Threads that the clients share.
const THREADS: usize = 2;
/// Descriptors beside the clients' sockets.
const SPARE_DESCRIPTORS: u64 = 256;
/// How often a condition over all clients is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Clients that say goodbye at once.
const PARTING: usize = 256;

/// Clients of one profile.
#[derive(Clone, Debug)]
pub struct Group {
    /// What people call it: the profile's name.
    pub label: String,
    /// What its clients have in common.
    pub setup: Arc<Setup>,
    /// How many.
    pub count: usize,
}

/// Why a swarm cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More clients than one process should have.
    #[error("{0} clients; {MAX_CLIENTS} at most")]
    TooMany(usize),
    /// The system does not allow that many sockets.
    #[error(
        "{wanted} clients need as many sockets, and the system allows this process {allowed} descriptors (ulimit -n)"
    )]
    Descriptors {
        /// Clients.
        wanted: usize,
        /// Descriptors.
        allowed: u64,
    },
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// What became of an expectation at a client.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The client's number, from 1.
    pub client: usize,
    /// Its group.
    pub label: String,
    /// What was expected.
    pub expectation: Arc<Expectation>,
    /// What came of it.
    pub verdict: Verdict,
}

/// A running swarm. Dropping it ends its clients without a word; [`Swarm::stop`] is the polite way.
///
/// Its sockets are opened in the network namespace of the thread that started it.
pub struct Swarm {
    runtime: Runtime,
    clients: Arc<Vec<Member>>,
    tally: Arc<Tally>,
}

struct Member {
    client: Client,
    label: String,
    /// When it begins, after the start.
    begins: Duration,
}

impl Swarm {
    /// Starts clients, at most `per_second` of them each second.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(groups: &[Group], per_second: f64) -> Result<Self, StartError> {
        let wanted: usize = groups.iter().map(|group| group.count).sum();
        if wanted > MAX_CLIENTS {
            return Err(StartError::TooMany(wanted));
        }
        raise_descriptors(wanted)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("swarm")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let tally = Arc::new(Tally::default());
        let guard = runtime.enter();
        let mut clients = Vec::with_capacity(wanted);
        for group in groups {
            for _ in 0..group.count {
                let number = clients.len() + 1;
                // Exact enough for any number of clients that there may be.
                let place = u32::try_from(clients.len()).unwrap_or(u32::MAX);
                let begins =
                    Duration::try_from_secs_f64(f64::from(place) / per_second.max(0.001)).unwrap_or_default();
                let client = Client::start(Arc::clone(&group.setup), number, begins, Arc::clone(&tally));
                clients.push(Member { client, label: group.label.clone(), begins });
            }
        }
        drop(guard);
        Ok(Self { runtime, clients: Arc::new(clients), tally })
    }

    /// Its clients.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|member| &member.client)
    }

    /// Sums over its clients.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// How long tunnels took to come up.
    #[must_use]
    pub fn connect_times(&self) -> Spread {
        self.tally.connect_times()
    }

    /// How long replies to the endless pings took.
    #[must_use]
    pub fn ping_times(&self) -> Spread {
        self.tally.ping_times()
    }

    /// What went wrong, and how often.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.tally.failures()
    }

    /// What the server said to those it sent away, and how often.
    #[must_use]
    pub fn farewells(&self) -> BTreeMap<String, u64> {
        self.tally.farewells()
    }

    /// Waits until sums are as wanted; whether they were, in time.
    pub fn wait_until(&self, limit: Duration, wanted: impl Fn(&Counts) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !wanted(&self.counts()) {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Waits until all clients have a tunnel at the same time; whether they had, in time.
    #[must_use]
    pub fn all_up(&self, limit: Duration) -> bool {
        let all = u64::try_from(self.clients.len()).unwrap_or(u64::MAX);
        self.wait_until(limit, |counts| counts.up == all)
    }

    /// Tries expectations, all at once, at the clients that `probes` says (by number and group); each outcome is given
    /// to `each` as it comes. Clients whose tunnel does not come up within `up_within` of their beginning fail theirs.
    pub fn expect(
        &self,
        expectations: &[Arc<Expectation>],
        probes: impl Fn(usize, &str) -> bool,
        up_within: Duration,
        mut each: impl FnMut(Outcome),
    ) {
        let work = expectations.iter().flat_map(|expectation| {
            let places = 0..self.clients.len();
            places.map(|place| (place, Arc::clone(expectation)))
        });
        let work = work.filter(|(place, _)| {
            self.clients.get(*place).is_some_and(|member| probes(member.client.number(), &member.label))
        });
        self.runtime
            .block_on(probe_all(&self.clients, work.collect(), up_within, |_, outcome| each(outcome)));
    }

    /// For the tool: runs something beside the clients.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Tries pairs of client (by index) and expectation; each outcome comes with the index of its pair.
    pub(crate) async fn probe_pairs(
        &self,
        pairs: Vec<(usize, Arc<Expectation>)>,
        up_within: Duration,
        each: impl FnMut(usize, Outcome),
    ) {
        probe_all(&self.clients, pairs, up_within, each).await;
    }

    /// The indices of a group's clients.
    pub(crate) fn group(&self, label: &str) -> Vec<usize> {
        let members = self.clients.iter().enumerate();
        members.filter(|(_, member)| member.label == label).map(|(place, _)| place).collect()
    }

    /// Why each client that has no tunnel has none.
    #[must_use]
    pub fn without_tunnel(&self) -> Vec<(usize, String)> {
        let waiting = |client: &Client| {
            let status = client.status();
            let why = match status.phase {
                Phase::Up(_) => return None,
                Phase::Ended(why) => why,
                Phase::Waiting | Phase::Connecting => {
                    status.trouble.unwrap_or_else(|| "on its way".to_owned())
                }
            };
            Some((client.number(), why))
        };
        self.clients().filter_map(waiting).collect()
    }

    /// Waits until each client has had a tunnel, has ended, or has had its time.
    pub(crate) async fn settled(&self, up_within: Duration) {
        let begun = Instant::now();
        for member in self.clients.iter() {
            let left = (member.begins + up_within).saturating_sub(begun.elapsed());
            member.client.settled(left).await;
        }
    }

    /// Waits until all clients have ended by themselves.
    pub(crate) async fn all_ended(&self) {
        let ended = |client: &Client| matches!(client.status().phase, Phase::Ended(_));
        while !self.clients().all(ended) {
            tokio::time::sleep(LOOK * 5).await;
        }
    }

    /// Says goodbye for all of them, and ends.
    pub fn stop(self) {
        self.runtime.block_on(async {
            let mut parting = JoinSet::new();
            for place in 0..self.clients.len() {
                if parting.len() >= PARTING {
                    parting.join_next().await;
                }
                let clients = Arc::clone(&self.clients);
                parting.spawn(async move {
                    if let Some(member) = clients.get(place) {
                        member.client.stop().await;
                    }
                });
            }
            while parting.join_next().await.is_some() {}
        });
    }
}

/// Tries all pairs at once; each outcome comes with the index of its pair.
async fn probe_all(
    clients: &Arc<Vec<Member>>,
    pairs: Vec<(usize, Arc<Expectation>)>,
    up_within: Duration,
    mut each: impl FnMut(usize, Outcome),
) {
    let mut work = JoinSet::new();
    for (index, (place, expectation)) in pairs.into_iter().enumerate() {
        let clients = Arc::clone(clients);
        work.spawn(async move {
            let member = clients.get(place)?;
            let verdict = member.client.probe(Arc::clone(&expectation), up_within + member.begins).await;
            let (client, label) = (member.client.number(), member.label.clone());
            Some((index, Outcome { client, label, expectation, verdict }))
        });
    }
    while let Some(outcome) = work.join_next().await {
        if let Ok(Some((index, outcome))) = outcome {
            each(index, outcome);
        }
    }
}

/// Lets this process have a socket for each client.
fn raise_descriptors(clients: usize) -> Result<(), StartError> {
    let limits = getrlimit(Resource::Nofile);
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_add(SPARE_DESCRIPTORS);
    // No limit at all is `None`.
    if limits.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let allowed = limits.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed), maximum: limits.maximum };
    if allowed < needed || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(StartError::Descriptors { wanted: clients, allowed });
    }
    Ok(())
}
