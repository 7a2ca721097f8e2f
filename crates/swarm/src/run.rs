//! `bascule client` as a whole: clients, expectations, the wait, the report.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::client::Phase;
use crate::expect::Expectation;
use crate::probe::Verdict;
use crate::report::{Case, Report};
use crate::setup::Setup;
use crate::swarm::{Group, Outcome, StartError, Swarm};

/// How often clients are looked at while they are reported one by one.
const LOOK: Duration = Duration::from_millis(20);
/// So many clients are reported one by one.
const TOLD_CLIENTS: usize = 10;

/// What is to be run.
pub struct Plan {
    /// The clients. Labels are told apart by them.
    pub groups: Vec<Group>,
    /// Name, expectation, and the label of the group that tries it.
    pub expectations: Vec<(String, Arc<Expectation>, String)>,
    /// Clients begun per second.
    pub per_second: f64,
    /// How many clients of a group try expectations; `None`: all.
    pub probing: Option<usize>,
    /// How long a client may take to have a tunnel.
    pub up_within: Duration,
    /// How long the run lasts; `None`: as long as the expectations, or, without any, until it is stopped.
    pub duration: Option<Duration>,
}

impl Plan {
    /// A group for a profile; its label is the file's name, made unlike the others'.
    pub fn add_group(&mut self, path: &Path, setup: Setup, count: usize) -> String {
        let name = path.file_name().map(PathBuf::from).unwrap_or_default().display().to_string();
        let mut label = name.clone();
        let mut number = 2;
        while self.groups.iter().any(|group| group.label == label) {
            label = format!("{name} ({number})");
            number += 1;
        }
        self.groups.push(Group { label: label.clone(), setup: Arc::new(setup), count });
        label
    }
}

/// One expectation at one client.
struct Try<'p> {
    name: &'p str,
    expectation: &'p Arc<Expectation>,
    label: &'p str,
    /// Index of the client.
    place: usize,
    verdict: Option<Verdict>,
}

impl Try<'_> {
    fn case(&self) -> Case {
        Case {
            name: self.name.to_owned(),
            expect: self.expectation.text.clone(),
            profile: self.label.to_owned(),
            client: self.place + 1,
            // What was not tried did not hold.
            verdict: self.verdict.clone().unwrap_or_else(|| Verdict::not_tried("the run was stopped")),
        }
    }
}

/// Runs it; lines for people are given to `say` as they come. SIGINT and SIGTERM end it early.
///
/// # Errors
/// The clients cannot be started.
pub fn run(plan: &Plan, mut say: impl FnMut(&str)) -> Result<Report, StartError> {
    let begun = Instant::now();
    let swarm = Swarm::start(&plan.groups, plan.per_second)?;
    let mut tries = tries(plan, &swarm);
    let early = swarm.block_on(async {
        tokio::select! {
            () = work(plan, &swarm, begun, &mut tries, &mut say) => false,
            () = stopped() => true,
        }
    });
    if early {
        say("stopped");
    }
    let counts = swarm.counts();
    let report = Report {
        clients: swarm.clients().count(),
        never_connected: swarm.clients().filter(|client| client.status().ups == 0).count(),
        counts,
        connect: swarm.connect_times(),
        ping: (counts.pings_sent > 0).then(|| swarm.ping_times()),
        failures: swarm.failures(),
        farewells: swarm.farewells(),
        expectations: tries.iter().map(Try::case).collect(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    swarm.stop();
    for line in report.lines() {
        say(&line);
    }
    Ok(report)
}

/// All that is to be tried.
fn tries<'p>(plan: &'p Plan, swarm: &Swarm) -> Vec<Try<'p>> {
    let probing = plan.probing.unwrap_or(usize::MAX);
    let mut tries = Vec::new();
    for (name, expectation, label) in &plan.expectations {
        let places = swarm.group(label).into_iter().take(probing);
        tries.extend(places.map(|place| Try { name, expectation, label, place, verdict: None }));
    }
    tries
}

async fn work(plan: &Plan, swarm: &Swarm, begun: Instant, tries: &mut [Try<'_>], say: &mut impl FnMut(&str)) {
    let say = RefCell::new(say);
    let pairs = tries.iter().map(|one| (one.place, Arc::clone(one.expectation))).collect();
    let told = |index: usize, outcome: Outcome| {
        if let Some(one) = tries.get_mut(index) {
            one.verdict = Some(outcome.verdict);
            say.borrow_mut()(&one.case().line());
        }
    };
    let probing = swarm.probe_pairs(pairs, plan.up_within, told);
    let tunnels = async {
        if swarm.clients().count() <= TOLD_CLIENTS {
            tell_tunnels(plan, swarm, |line| say.borrow_mut()(line)).await;
        }
        swarm.settled(plan.up_within).await;
    };
    tokio::join!(probing, tunnels);
    match plan.duration {
        Some(duration) => {
            let left = duration.saturating_sub(begun.elapsed());
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = swarm.all_ended() => {}
            }
        }
        None if plan.expectations.is_empty() => swarm.all_ended().await,
        None => {}
    }
}

/// Says of each client once whether it has a tunnel.
async fn tell_tunnels(plan: &Plan, swarm: &Swarm, mut say: impl FnMut(&str)) {
    let end = Instant::now() + plan.up_within;
    let mut told = vec![false; swarm.clients().count()];
    while told.contains(&false) {
        let late = Instant::now() >= end;
        for (client, told) in swarm.clients().zip(&mut told).filter(|(_, told)| !**told) {
            let status = client.status();
            let line = match &status.phase {
                Phase::Up(pushed) => {
                    let addresses = [
                        pushed.ipv4.map(|net| net.addr().to_string()),
                        pushed.ipv6.map(|net| net.addr().to_string()),
                    ];
                    let addresses: Vec<String> = addresses.into_iter().flatten().collect();
                    format!(
                        "up        client {:<4} {}  ({} ms)",
                        client.number(),
                        addresses.join(" "),
                        status.took.as_millis()
                    )
                }
                Phase::Ended(why) => format!("ended     client {:<4} {why}", client.number()),
                _ if late => {
                    let why = status.trouble.as_deref().unwrap_or("no answer from the server");
                    format!("no tunnel client {:<4} {why}", client.number())
                }
                _ => continue,
            };
            say(&line);
            *told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// SIGINT or SIGTERM.
async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
