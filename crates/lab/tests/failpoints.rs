//! The server is killed at every store commit and at every fabric command while a user associates, connects and
//! disassociates. Nothing answered is lost, and in the end everything is as if nothing had happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::peer::{self, Peer};
use anyhow::{Context, Result, bail, ensure};
use lab::{Answer, OpenVpn, Scene, SceneOptions, TARGETS, wait_until};

const STORE: &str = "BASCULE_FAILPOINT_STORE";
const FABRIC: &str = "BASCULE_FAILPOINT_FABRIC";
/// How the two kill: `abort`, and SIGKILL.
const SIGNALS: [i32; 2] = [6, 9];
/// How long after its last commit a doomed server may still be there.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that does not answer has ended by then.
const ENDED: Duration = Duration::from_secs(3);
/// A client that missed the server's end notices it within the pushed 20 s, or its handshake's 10 s.
const COMES_BACK: Duration = Duration::from_secs(45);
/// More failpoints than the script can pass.
const MANY: usize = 100;

/// Where in the script the server was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Start,
    Associate,
    Connect,
    Disassociate,
}

/// A scene that is used over and over, each time on a copy of the same data.
struct Bench {
    scene: Scene,
    base: PathBuf,
    endpoint: String,
    subnet: String,
    server: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    profile: PathBuf,
    runs: usize,
}

impl Bench {
    /// With an endpoint that waits for its first association; `associated`: that has one, and a rule.
    fn new(associated: bool) -> Result<Self> {
        let mut scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let profile = scene.profile(&endpoint)?;
        if associated {
            scene.associate(&endpoint, &subnet)?;
            scene.authorize(&endpoint, "10.77.0.0/16")?;
        }
        let text = std::fs::read_to_string(&profile)?;
        let remote = text.lines().find_map(|line| line.strip_prefix("remote ")).context("no remote")?;
        let server = remote.replace(' ', ":").parse()?;
        let tls = peer::tls(&scene.certificates.dir)?;
        let base = scene.data_dir();
        scene.take_server().stop()?;
        Ok(Self { scene, base, endpoint, subnet, server, tls, profile, runs: 0 })
    }

    /// The server on a fresh copy of the data, with a failpoint; the status it ended with if it never was ready.
    fn fresh(&mut self, failpoint: Option<(&str, String)>) -> Result<Option<ExitStatus>> {
        self.runs += 1;
        let data = self.scene.dir().join(format!("run{}", self.runs)).join("data");
        copy(&self.base, &data)?;
        self.scene.use_data_dir(data);
        let environment = failpoint.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.scene.server_options().environment = environment;
        self.scene.start_or_end()
    }

    /// Starts the killed server on its own data, without a failpoint.
    fn restart(&mut self) -> Result<()> {
        self.scene.server_options().environment.clear();
        self.scene.start_server()
    }

    /// The only association.
    fn association(&self) -> Result<String> {
        let answer =
            self.scene.ec2("DescribeClientVpnTargetNetworks", &[("ClientVpnEndpointId", &self.endpoint)])?;
        answer.text("clientVpnTargetNetworks/item/associationId")
    }

    fn end(&mut self) -> Result<()> {
        self.scene.take_server().stop()?;
        if let Some(dir) = self.scene.data_dir().parent() {
            std::fs::remove_dir_all(dir)?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
            continue;
        }
        // A socket is its server's, not the state's.
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What a mutating call has been answered for.
#[derive(Debug)]
enum Answered {
    Associated(String),
    Authorized,
    Routed,
    Disassociating(String),
}

/// What a user sees at the script's three stops, comparable between runs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    associated: BTreeMap<&'static str, Vec<String>>,
    connected: Vec<String>,
    disassociated: BTreeMap<&'static str, Vec<String>>,
}

/// One pass of the script: calls as a user makes them, repeated when there was no answer.
struct Run<'b> {
    bench: &'b mut Bench,
    phase: Phase,
    killed: Option<Phase>,
    answered: Vec<Answered>,
    /// Disassociation has been asked for, answered or not.
    leaving: bool,
}

impl Run<'_> {
    /// A call until it is answered. `None`: its repetition found it done, which one of the codes in `done` says.
    fn call(&mut self, action: &str, parameters: &[(&str, &str)], done: &[&str]) -> Result<Option<Answer>> {
        let mut again = false;
        loop {
            match self.bench.scene.try_ec2(action, parameters) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => match error.code() {
                    Some(code) if again && done.contains(&code) => return Ok(None),
                    Some(_) => bail!("{action}: {error}"),
                    None => {
                        self.revive().with_context(|| format!("{action}: {error}"))?;
                        again = true;
                    }
                },
            }
        }
    }

    /// A question about the endpoint: the rows of its answer.
    fn rows(&mut self, action: &str, list: &str) -> Result<Vec<Answer>> {
        let endpoint = self.bench.endpoint.clone();
        let name = if action == "DescribeClientVpnEndpoints" {
            "ClientVpnEndpointId.1"
        } else {
            "ClientVpnEndpointId"
        };
        let answer = self.call(action, &[(name, &endpoint)], &[])?.context("no answer")?;
        Ok(answer.rows(list).into_iter().cloned().collect())
    }

    /// The server has died: of the failpoint, and once only. Starts it again; what it had answered is still so.
    fn revive(&mut self) -> Result<()> {
        let status = self.bench.scene.server_end(ENDED).context("it lives, and does not answer")?;
        self.buried(status)
    }

    fn buried(&mut self, status: ExitStatus) -> Result<()> {
        let killed = status.signal().is_some_and(|signal| SIGNALS.contains(&signal));
        ensure!(killed && self.killed.is_none(), "{status}, killed before: {:?}", self.killed);
        self.killed = Some(self.phase);
        self.bench.restart()?;
        self.still_answered()
    }

    fn still_answered(&mut self) -> Result<()> {
        let answered = std::mem::take(&mut self.answered);
        for effect in &answered {
            let leaving = self.leaving;
            let (action, list, field, value, good): (_, _, _, _, &[&str]) = match effect {
                Answered::Associated(id) => (
                    "DescribeClientVpnTargetNetworks",
                    "clientVpnTargetNetworks",
                    "associationId",
                    id.as_str(),
                    if leaving {
                        &["associated", "disassociating", ""]
                    } else {
                        &["associating", "associated"]
                    },
                ),
                Answered::Authorized => (
                    "DescribeClientVpnAuthorizationRules",
                    "authorizationRule",
                    "destinationCidr",
                    "10.77.0.0/16",
                    &["authorizing", "active"],
                ),
                Answered::Routed => (
                    "DescribeClientVpnRoutes",
                    "routes",
                    "destinationCidr",
                    "10.78.0.0/16",
                    if leaving { &["active", "deleting", ""] } else { &["creating", "active"] },
                ),
                Answered::Disassociating(id) => (
                    "DescribeClientVpnTargetNetworks",
                    "clientVpnTargetNetworks",
                    "associationId",
                    id.as_str(),
                    &["disassociating", ""],
                ),
            };
            let rows = self.rows(action, list)?;
            let row = rows.iter().find(|row| row.text(field).is_ok_and(|text| text == value));
            let code = row.map(|row| row.text("status/code")).transpose()?.unwrap_or_default();
            ensure!(good.contains(&code.as_str()), "{effect:?} was answered and is now `{code}`");
        }
        self.answered = answered;
        Ok(())
    }

    /// Asks until it holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let mut failure = None;
        let held = wait_until(PATIENCE, || match holds(self) {
            Ok(held) => held,
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        if let Some(error) = failure {
            return Err(error.context(what.to_owned()));
        }
        ensure!(held, "waited in vain for {what}");
        Ok(())
    }

    /// All Describe answers about the endpoint but connections; the association's id is mapped.
    fn describe(&mut self, association: &str) -> Result<BTreeMap<&'static str, Vec<String>>> {
        let mut all = BTreeMap::new();
        for (action, list) in [
            ("DescribeClientVpnEndpoints", "clientVpnEndpoint"),
            ("DescribeClientVpnTargetNetworks", "clientVpnTargetNetworks"),
            ("DescribeClientVpnRoutes", "routes"),
            ("DescribeClientVpnAuthorizationRules", "authorizationRule"),
        ] {
            let rows = self.rows(action, list)?;
            let mut rows: Vec<String> =
                rows.iter().map(|row| format!("{row:?}").replace(association, "cvpn-assoc-1")).collect();
            rows.sort();
            all.insert(action, rows);
        }
        Ok(all)
    }

    fn associate(&mut self) -> Result<String> {
        self.phase = Phase::Associate;
        let (endpoint, subnet) = (self.bench.endpoint.clone(), self.bench.subnet.clone());
        let of = [("ClientVpnEndpointId", endpoint.as_str())];
        let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> { [&of, more].concat() };
        let mut parameters = with(&[("ClientToken", "associate")]);
        parameters.push(("SubnetId", &subnet));
        let answer = self.call("AssociateClientVpnTargetNetwork", &parameters, &[])?.context("no answer")?;
        let association = answer.text("associationId")?;
        self.answered.push(Answered::Associated(association.clone()));
        let parameters = with(&[
            ("ClientToken", "authorize"),
            ("TargetNetworkCidr", "10.77.0.0/16"),
            ("AuthorizeAllGroups", "true"),
        ]);
        self.call("AuthorizeClientVpnIngress", &parameters, &[])?;
        self.answered.push(Answered::Authorized);
        let mut parameters = with(&[("ClientToken", "route"), ("DestinationCidrBlock", "10.78.0.0/16")]);
        parameters.push(("TargetVpcSubnetId", &subnet));
        self.call("CreateClientVpnRoute", &parameters, &[])?;
        self.answered.push(Answered::Routed);
        self.until("everything active", |run| {
            let mut settled = true;
            for (action, list, good) in [
                ("DescribeClientVpnTargetNetworks", "clientVpnTargetNetworks", "associated"),
                ("DescribeClientVpnRoutes", "routes", "active"),
                ("DescribeClientVpnAuthorizationRules", "authorizationRule", "active"),
                ("DescribeClientVpnEndpoints", "clientVpnEndpoint", "available"),
            ] {
                let rows = run.rows(action, list)?;
                settled &= rows.iter().all(|row| row.text("status/code").is_ok_and(|code| code == good));
            }
            Ok(settled)
        })?;
        Ok(association)
    }

    /// A connected client and the rows of what is live; after a kill it connects anew.
    fn connect(&mut self) -> Result<(Peer, Vec<String>)> {
        self.phase = Phase::Connect;
        loop {
            let before = self.killed;
            let bench = &mut *self.bench;
            let peer =
                Peer::start(&bench.scene.clients[0].net, bench.server, bench.tls.clone(), false, None)?;
            let mut ended = false;
            wait_until(PATIENCE, || {
                ended = bench.scene.server_end(Duration::ZERO).is_some();
                peer.is_up() || ended
            });
            ensure!(peer.is_up() || ended, "no session: {:?}\n{}", peer.over(), bench.scene.server_log());
            let mut live = Vec::new();
            self.until("the connection's row", |run| {
                live = run.live()?;
                Ok(!live.is_empty() || run.killed != before)
            })?;
            // The commit that made it readable may be the last thing this server has done.
            if self.killed == before && self.bench.scene.server_end(LAST_MOMENT).is_none() {
                return Ok((peer, live));
            }
        }
    }

    /// Common name and status of connections that have not ended; those that have say when.
    fn live(&mut self) -> Result<Vec<String>> {
        let mut live = Vec::new();
        for row in self.rows("DescribeClientVpnConnections", "connections")? {
            let (name, code) = (row.text("commonName")?, row.text("status/code")?);
            let ended = row.text("connectionEndTime")? != "-";
            ensure!(ended == (code == "terminated"), "{row:?}");
            if !ended {
                live.push(format!("{name} {code}"));
            }
        }
        Ok(live)
    }

    fn disassociate(&mut self, association: &str) -> Result<()> {
        self.phase = Phase::Disassociate;
        self.leaving = true;
        let endpoint = self.bench.endpoint.clone();
        let parameters = [("ClientVpnEndpointId", endpoint.as_str()), ("AssociationId", association)];
        let done = ["InvalidClientVpnAssociationIdNotFound"];
        self.call("DisassociateClientVpnTargetNetwork", &parameters, &done)?;
        self.answered.push(Answered::Disassociating(association.to_owned()));
        self.until("pending-associate", |run| {
            let rows = run.rows("DescribeClientVpnEndpoints", "clientVpnEndpoint")?;
            Ok(rows.iter().all(|row| row.text("status/code").is_ok_and(|code| code == "pending-associate")))
        })
    }

    fn script(&mut self) -> Result<Seen> {
        let association = self.associate()?;
        let mut seen = Seen { associated: self.describe(&association)?, ..Seen::default() };
        let (peer, live) = self.connect()?;
        seen.connected = live;
        self.disassociate(&association)?;
        seen.disassociated = self.describe(&association)?;
        let live = self.live()?;
        ensure!(live.is_empty(), "still live after the disassociation: {live:?}");
        self.bench.scene.nothing_left()?;
        drop(peer);
        Ok(seen)
    }
}

/// One pass of the script on fresh data; where it was killed, and what was seen.
fn run(bench: &mut Bench, failpoint: Option<(&str, String)>) -> Result<(Option<Phase>, Seen)> {
    let ended = bench.fresh(failpoint)?;
    let mut run = Run { bench, phase: Phase::Start, killed: None, answered: Vec::new(), leaving: false };
    if let Some(status) = ended {
        run.buried(status)?;
    }
    let seen = run.script();
    let (killed, answered) = (run.killed, run.answered);
    let seen = seen.with_context(|| {
        format!("killed: {killed:?}, answered: {answered:?}\n{}", bench.scene.server_log())
    })?;
    bench.end()?;
    Ok((killed, seen))
}

/// Kills at each in turn, until a run completes without being killed; counts the kills of each phase.
fn sweep(variable: &str, at: impl Fn(usize) -> String) -> Result<BTreeMap<Phase, usize>> {
    let started = Instant::now();
    let mut bench = Bench::new(false)?;
    let (killed, unkilled) = run(&mut bench, None)?;
    ensure!(killed.is_none() && unkilled.connected == ["client1 active"], "{unkilled:#?}");
    let mut kills = BTreeMap::new();
    for number in 1..MANY {
        let value = at(number);
        let (killed, seen) = run(&mut bench, Some((variable, value.clone())))
            .with_context(|| format!("{variable}={value}"))?;
        ensure!(seen == unkilled, "{variable}={value}, killed: {killed:?}\n{seen:#?}\n{unkilled:#?}");
        let Some(phase) = killed else {
            println!("{variable}={}: {kills:?} in {:?}", at(0), started.elapsed());
            return Ok(kills);
        };
        *kills.entry(phase).or_default() += 1;
    }
    bail!("still killed at {MANY}: is this the script's doing?")
}

fn phases(kills: &BTreeMap<Phase, usize>) -> BTreeSet<Phase> {
    kills.keys().copied().collect()
}

/// Kills at each commit, in each phase. Commits that come at the same time are one, and on a busy machine that may be the
/// connection's with one of another phase: then once more, a few times.
fn all_phases(at: impl Fn(usize) -> String) -> Result<()> {
    const SWEEPS: usize = 5;
    let wanted = BTreeSet::from([Phase::Associate, Phase::Connect, Phase::Disassociate]);
    let mut seen = BTreeSet::new();
    for _ in 0..SWEEPS {
        seen.extend(phases(&sweep(STORE, &at)?));
        if seen.is_superset(&wanted) {
            return Ok(());
        }
    }
    bail!("in {SWEEPS} sweeps only {seen:?}")
}

#[test]
fn killed_before_each_store_commit() -> Result<()> {
    lab::or_skip(|| all_phases(|number| format!("{number}:before")))
}

#[test]
fn killed_after_each_store_commit() -> Result<()> {
    lab::or_skip(|| all_phases(|number| format!("{number}:after")))
}

#[test]
fn killed_at_each_fabric_command() -> Result<()> {
    lab::or_skip(|| {
        for side in ["before", "after"] {
            let kills = sweep(FABRIC, |number| format!("{side}:{number}"))?;
            let wanted = [Phase::Associate, Phase::Disassociate].into();
            assert!(phases(&kills).is_superset(&wanted), "{kills:?}");
        }
        Ok(())
    })
}

/// Kills the server as a real client connects: at the commit of its connection's row, the first one after the start.
fn comes_back(side: &str, arguments: &[&str]) -> Result<()> {
    let mut bench = Bench::new(true)?;
    for number in 1..MANY {
        if let Some(status) = bench.fresh(Some((STORE, format!("{number}:{side}"))))? {
            ensure!(status.signal() == Some(SIGNALS[0]), "{status}");
            bench.restart()?;
            bench.end()?;
            continue;
        }
        let client = OpenVpn::start(&bench.scene.clients[0].net, &bench.profile, "client", arguments)?;
        let ended = bench.scene.server_end(PATIENCE).with_context(|| {
            format!("a connection without a commit\n{}{}", client.log(), bench.scene.server_log())
        })?;
        ensure!(ended.signal() == Some(SIGNALS[0]), "{ended}");
        let before = client.times_up();
        bench.restart()?;
        let started = Instant::now();
        // Its log may tell of the killed session late; the new server's word is good.
        let mut run = Run {
            bench: &mut bench,
            phase: Phase::Start,
            killed: None,
            answered: Vec::new(),
            leaving: false,
        };
        let live =
            lab::eventually("its session", COMES_BACK, || run.live().ok().filter(|live| !live.is_empty()));
        let live = live.with_context(|| client.log())?;
        ensure!(live == ["client1 active"], "{live:?}");
        println!("killed {side} commit {number}, up {before} times before, back in {:?}", started.elapsed());
        ensure!(bench.scene.reaches(0, TARGETS[0]), "{}", bench.scene.server_log());
        let association = bench.association()?;
        let mut run = Run {
            bench: &mut bench,
            phase: Phase::Start,
            killed: None,
            answered: Vec::new(),
            leaving: false,
        };
        run.disassociate(&association)?;
        ensure!(run.live()?.is_empty());
        ensure!(!bench.scene.clients[0].net.pings(TARGETS[0]));
        return bench.scene.nothing_left();
    }
    bail!("the server never lived to see a client")
}

/// As the profile has it, only that a handshake without answers is given up sooner.
#[test]
fn a_client_comes_back_by_itself_after_its_row_was_written() -> Result<()> {
    lab::or_skip(|| comes_back("after", &["--hand-window", "10"]))
}

/// A client that misses the server sooner than it is told to.
#[test]
fn a_client_comes_back_by_itself_before_its_row_was_written() -> Result<()> {
    let impatient = ["--hand-window", "10", "--pull-filter", "ignore", "ping-restart", "--ping-restart", "3"];
    lab::or_skip(|| comes_back("before", &impatient))
}
