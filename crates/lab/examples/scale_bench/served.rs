//! A server on a state that was written for it: started, asked, changed, measured from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use model::EndpointId;

use crate::Plan;
use crate::measure::load::{self, Connection};
use crate::measure::percentile;
use crate::measure::process::Running;
use crate::state;

/// Starts of the same state that are timed, after the first.
const STARTS: usize = 5;
/// How long after a start memory is looked at: what was only needed for it is gone then.
const IDLE: Duration = Duration::from_secs(3);
/// How long a change may take to come into force.
const SETTLED: Duration = Duration::from_secs(60);
/// Nobody, who has no capability and owns nothing: the server then has no kernel fabric.
const NOBODY: u32 = 65_534;

/// What was found at one size.
pub(crate) struct Found {
    pub endpoints: usize,
    pub records: usize,
    pub store_bytes: u64,
    /// Milliseconds from start to ready: the first time, later ones rising, and after a kill.
    pub first_ms: f64,
    pub ready_ms: Vec<f64>,
    pub killed_ms: f64,
    pub idle_kib: u64,
    pub peak_kib: u64,
    pub calls: Vec<Call>,
    /// From an authorization to `active`, microseconds, rising.
    pub settled_us: Vec<u64>,
    /// Processor time of each of those, microseconds.
    pub settled_cpu_us: f64,
}

/// One kind of question.
pub(crate) struct Call {
    pub what: &'static str,
    pub waits_us: Vec<u64>,
    pub cpu_us: f64,
    pub answer_bytes: usize,
}

/// A data directory and the program on it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    program: PathBuf,
    pub(crate) data: PathBuf,
    /// Whether the server runs as root with the kernel fabric.
    fabric: bool,
}

impl Place {
    pub(crate) fn new(program: &Path, fabric: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        // A copy: the folder it was built in may be closed to others.
        let copy = folder.path().join("bascule");
        fs::copy(program, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let config = "[quotas]\nendpoints_per_region = 100000\nrules_per_endpoint = 100000\n";
        fs::write(folder.path().join("bascule.toml"), config)?;
        Ok(Self { folder, program: copy, data, fabric })
    }

    /// Gives what is there to whom the server runs as.
    fn hand_over(&self) -> Result<()> {
        if is_root() && !self.fabric {
            chown(&self.data, Some(NOBODY), Some(NOBODY))?;
            for entry in fs::read_dir(&self.data)? {
                chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
            }
        }
        Ok(())
    }

    /// Starts it, without privileges unless it is to have the fabric; the server once it is ready, and how long that took.
    pub(crate) fn start(&self) -> Result<(Running, SocketAddr, f64)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(&self.data);
        command.arg("--config").arg(self.folder.path().join("bascule.toml"));
        command.env("BASCULE_ROOT_ACCESS_KEY_ID", load::KEY.0);
        command.env("BASCULE_ROOT_SECRET_ACCESS_KEY", load::KEY.1);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(self.folder.path().join("log"))?);
        if self.fabric {
            command.args(["--gateway-address", "127.64.0.0/16"]);
        } else if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let started = Instant::now();
        let mut running = Running(command.spawn().context("bascule does not start")?);
        let output = running.0.stdout.take().context("invariant: it was piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        ensure!(line.starts_with("ready http"), "it is not ready: {line}{}", log());
        let took = started.elapsed().as_secs_f64() * 1_000.0;
        Ok((running, SocketAddr::from(([127, 0, 0, 1], port)), took))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Ends it as an operator does.
pub(crate) fn stop(mut running: Running) -> Result<()> {
    let id = i32::try_from(running.0.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(id.context("a process id")?, rustix::process::Signal::TERM)?;
    running.0.wait()?;
    Ok(())
}

/// Everything at one size.
pub(crate) fn measure(plan: &Plan, endpoints: usize) -> Result<Found> {
    let place = Place::new(&plan.bascule, plan.fabric)?;
    println!("writing {endpoints} endpoints");
    let state = state::write(&place.data, endpoints)?;
    place.hand_over()?;
    println!("starting on {} records", state.records);
    let (running, address, first_ms) = place.start()?;
    if !plan.fabric {
        all_told(address, &state.endpoints)?;
    }
    stop(running)?;
    let mut ready_ms = Vec::new();
    for _ in 0..STARTS {
        let (running, _, took) = place.start()?;
        ready_ms.push(took);
        stop(running)?;
    }
    ready_ms.sort_by(f64::total_cmp);
    let (killed, _, _) = place.start()?;
    drop(killed);
    let (running, address, killed_ms) = place.start()?;
    std::thread::sleep(IDLE);
    let (idle_kib, peak_kib) = (running.resident_kib(), running.peak_kib());
    println!("asking");
    let calls = calls(plan, &running, address, &state.endpoints)?;
    println!("authorizing");
    let (settled_us, settled_cpu_us) = authorize(plan, 0, &running, address, &state.endpoints)?;
    let store_bytes = fs::metadata(place.data.join("store.redb"))?.len();
    stop(running)?;
    Ok(Found {
        endpoints,
        records: state.records,
        store_bytes,
        first_ms,
        ready_ms,
        killed_ms,
        idle_kib,
        peak_kib,
        calls,
        settled_us,
        settled_cpu_us,
    })
}

const VERSION: &str = "Version=2016-11-15";

/// The first start without the fabric tells every association why it carries nothing: waits for the last one.
fn all_told(address: SocketAddr, endpoints: &[EndpointId]) -> Result<()> {
    let last = endpoints.last().context("invariant: there are endpoints")?;
    let body = format!("Action=DescribeClientVpnTargetNetworks&{VERSION}&ClientVpnEndpointId={last}");
    let end = Instant::now() + SETTLED;
    while load::ask(address, &body)?.matches("<message>").count() < state::ASSOCIATIONS {
        ensure!(Instant::now() < end, "the last association never heard that there is no fabric");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn calls(plan: &Plan, running: &Running, address: SocketAddr, ids: &[EndpointId]) -> Result<Vec<Call>> {
    let of = |n: usize| ids.get(n * 7 % ids.len()).cloned().context("invariant: there are endpoints");
    let children = |action: &str, n: usize, more: &str| -> Result<String> {
        Ok(format!("Action={action}&{VERSION}&ClientVpnEndpointId={}{more}", of(n)?))
    };
    let (rules, routes) = ("DescribeClientVpnAuthorizationRules", "DescribeClientVpnRoutes");
    let endpoints = |more: &str| format!("Action=DescribeClientVpnEndpoints&{VERSION}{more}");
    let one_rule = "&Filter.1.Name=destination-cidr&Filter.1.Value.1=172.16.77.0/24";
    let one_route = "&Filter.1.Name=destination-cidr&Filter.1.Value.1=172.17.77.0/24";
    let last = last_page(address)?;
    let ask = |what: &'static str, body: &dyn Fn(usize) -> Result<String>| {
        let answers = plan.calls;
        asked(what, answers, running, address, body)
    };
    let mut found = vec![
        ask("rules of an endpoint, a page of 10", &|n| children(rules, n, "&MaxResults=10"))?,
        ask("rules of an endpoint, a page of 1000", &|n| children(rules, n, "&MaxResults=1000"))?,
        ask("rules of an endpoint, one by filter", &|n| children(rules, n, one_rule))?,
        ask("routes of an endpoint, a page of 10", &|n| children(routes, n, "&MaxResults=10"))?,
        ask("routes of an endpoint, a page of 1000", &|n| children(routes, n, "&MaxResults=1000"))?,
        ask("routes of an endpoint, one by filter", &|n| children(routes, n, one_route))?,
        ask("target networks of an endpoint", &|n| children("DescribeClientVpnTargetNetworks", n, ""))?,
        ask("an endpoint by id", &|n| Ok(endpoints(&format!("&ClientVpnEndpointId.1={}", of(n)?))))?,
        ask("an endpoint by filter of its id", &|n| {
            Ok(endpoints(&format!("&Filter.1.Name=endpoint-id&Filter.1.Value.1={}", of(n)?)))
        })?,
    ];
    found.push(ask("endpoints, the first page of 10", &|_| Ok(endpoints("&MaxResults=10")))?);
    found.push(ask("endpoints, the last page of 10", &|_| Ok(endpoints(&last)))?);
    // These look at every endpoint, or show them all.
    found.push(ask("all: endpoints by filter of a tag", &|n| {
        Ok(endpoints(&format!("&Filter.1.Name=tag:Name&Filter.1.Value.1={}", of(n)?.digits())))
    })?);
    found.push(ask("all: endpoints, a page of 1000", &|_| Ok(endpoints("&MaxResults=1000")))?);
    Ok(found)
}

/// The parameters that ask for the last page of ten endpoints.
fn last_page(address: SocketAddr) -> Result<String> {
    let mut more = "&MaxResults=10".to_owned();
    loop {
        let answer = load::ask(address, &format!("Action=DescribeClientVpnEndpoints&{VERSION}{more}"))?;
        let token = answer.split_once("<nextToken>").and_then(|(_, rest)| rest.split_once('<'));
        match token {
            Some((token, _)) => more = format!("&MaxResults=10&NextToken={token}"),
            None => return Ok(more),
        }
    }
}

fn asked(
    what: &'static str,
    times: usize,
    running: &Running,
    address: SocketAddr,
    body: &dyn Fn(usize) -> Result<String>,
) -> Result<Call> {
    let requests: Vec<Vec<u8>> = (0..times).map(|n| load::call(address, &body(n)?)).collect::<Result<_>>()?;
    let mut connection = Connection::new(address);
    let (mut waits_us, mut answer_bytes) = (Vec::new(), 0);
    let before = running.cpu()?;
    for request in &requests {
        let sent = Instant::now();
        let (status, answer) = connection.ask(request)?;
        waits_us.push(u64::try_from(sent.elapsed().as_micros())?);
        ensure!(status == 200, "{what}: HTTP {status}: {answer}");
        answer_bytes = answer.len();
    }
    let cpu = running.cpu()?.saturating_sub(before);
    waits_us.sort_unstable();
    Ok(Call { what, waits_us, cpu_us: cpu.as_secs_f64() * 1e6 / times as f64, answer_bytes })
}

/// One rule more at a time, each of another endpoint in turn, from the rule of that number on: from the call to `active`.
pub(crate) fn authorize(
    plan: &Plan,
    from: usize,
    running: &Running,
    address: SocketAddr,
    ids: &[EndpointId],
) -> Result<(Vec<u64>, f64)> {
    let mut connection = Connection::new(address);
    let mut waits_us = Vec::new();
    let before = running.cpu()?;
    for n in from..from + plan.changes {
        let id = ids.get(n * 7 % ids.len()).context("invariant: there are endpoints")?;
        let network = format!("192.{}.{}.0/24", 168 + n / 256 % 64, n % 256);
        let authorize = format!(
            "Action=AuthorizeClientVpnIngress&{VERSION}&ClientVpnEndpointId={id}&TargetNetworkCidr={network}\
             &AuthorizeAllGroups=true"
        );
        let look = format!(
            "Action=DescribeClientVpnAuthorizationRules&{VERSION}&ClientVpnEndpointId={id}\
             &Filter.1.Name=destination-cidr&Filter.1.Value.1={network}"
        );
        let (authorize, look) = (load::call(address, &authorize)?, load::call(address, &look)?);
        let called = Instant::now();
        let (status, answer) = connection.ask(&authorize)?;
        ensure!(status == 200, "HTTP {status}: {answer}");
        while !connection.ask(&look)?.1.contains("<code>active</code>") {
            ensure!(called.elapsed() < SETTLED, "the rule for {network} of {id} does not turn active");
        }
        waits_us.push(u64::try_from(called.elapsed().as_micros())?);
    }
    let cpu = running.cpu()?.saturating_sub(before);
    waits_us.sort_unstable();
    Ok((waits_us, cpu.as_secs_f64() * 1e6 / plan.changes as f64))
}

/// Milliseconds of a percentile.
pub(crate) fn ms(rising: &[u64], hundredths: usize) -> f64 {
    percentile(rising, hundredths) as f64 / 1_000.0
}
