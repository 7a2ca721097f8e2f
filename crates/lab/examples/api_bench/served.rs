//! Servers under load: started, called, measured from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Net, eventually, wait_until};

use crate::Plan;
use crate::measure::load::{self, CONNECTIONS, Run};
use crate::measure::percentile;
use crate::measure::process::Running;

/// Requests that are signed beforehand for each connection; a change comes round again only after so many others.
const SIGNED: usize = 500;
/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(120);
/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// Starts that are timed.
const STARTS: usize = 20;
/// The same of moto's, which takes long.
const MOTO_STARTS: usize = 3;

/// What is measured on both servers: the same calls, with the same answers.
pub(crate) const DESCRIBE: &str = "DescribeVpcs";
pub(crate) const CHANGE: &str = "CreateTags";
/// What moto does not have.
const DESCRIBE_ENDPOINT: &str = "DescribeClientVpnEndpoints";
const MODIFY_ENDPOINT: &str = "ModifyClientVpnEndpoint";

/// What one kind of load came to on one server, over all rounds.
pub(crate) struct Load {
    pub server: &'static str,
    pub kind: &'static str,
    pub per_second: Vec<f64>,
    /// Server CPU of each request, microseconds.
    pub cpu_us: Vec<f64>,
    /// 99th percentile of the answers' time, microseconds.
    pub p99_us: Vec<u64>,
}

/// Start and idle of one server.
pub(crate) struct Start {
    pub server: &'static str,
    /// Milliseconds to ready, rising.
    pub ready_ms: Vec<f64>,
    /// Resident memory of all its processes, KiB.
    pub idle_kib: u64,
}

/// A server in a namespace of its own.
struct Served {
    running: Running,
    net: Net,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Served {
    fn bascule(program: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("bascule.toml");
        fs::write(&config, "[quotas]\nvpcs_per_region = 100\nendpoints_per_region = 100\n")?;
        let data = dir.path().join("data");
        Self::start(dir, program, |command, port| {
            command.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(&data);
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
            command.env("BASCULE_ROOT_ACCESS_KEY_ID", load::KEY.0);
            command.env("BASCULE_ROOT_SECRET_ACCESS_KEY", load::KEY.1);
        })
    }

    fn moto(program: &Path) -> Result<Self> {
        Self::start(tempfile::tempdir()?, program, |command, port| {
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        })
    }

    fn start(dir: tempfile::TempDir, program: &Path, say: impl FnOnce(&mut Command, u16)) -> Result<Self> {
        let net = Net::new("api")?;
        let port =
            net.run(|| TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()))?.port();
        let mut command = Command::new(program);
        say(&mut command, port);
        let running = Running(spawn(&net, &mut command, Stdio::null())?);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        ensure!(net.run(|| wait_until(READY, || TcpStream::connect(address).is_ok())), "it is not ready");
        Ok(Self { running, net, address, _dir: dir })
    }

    fn ask(&self, body: &str) -> Result<String> {
        self.net.run(|| load::ask(self.address, body))
    }
}

fn spawn(net: &Net, command: &mut Command, output: Stdio) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    // A child lives in the namespace of the thread that starts it.
    net.run(|| command.spawn()).with_context(|| format!("{:?} does not start", command.get_program()))
}

/// Both kinds of load on each server, in turns.
pub(crate) fn loads(plan: &Plan) -> Result<Vec<Load>> {
    let mut servers = vec![("bascule", Served::bascule(&plan.bascule)?)];
    if let Some(program) = &plan.moto {
        servers.push(("moto_server", Served::moto(program)?));
    }
    let mut loads = Vec::new();
    for (name, server) in &servers {
        let vpcs = (0..CONNECTIONS).map(|_| make_vpc(server)).collect::<Result<Vec<_>>>()?;
        for kind in [DESCRIBE, CHANGE] {
            loads.push((server, vpcs.clone(), empty(name, kind)));
        }
    }
    let own = Served::bascule(&plan.bascule)?;
    let endpoints = make_endpoints(&own)?;
    for kind in [DESCRIBE_ENDPOINT, MODIFY_ENDPOINT] {
        loads.push((&own, endpoints.clone(), empty("bascule", kind)));
    }
    for round in 0..plan.rounds {
        println!("round {} of {}", round + 1, plan.rounds);
        for (server, ids, load) in &mut loads {
            let requests = requests(load.kind, ids, server.address, round)?;
            one_round(server, &requests, plan, load)?;
        }
    }
    Ok(loads.into_iter().map(|(_, _, load)| load).collect())
}

fn empty(server: &'static str, kind: &'static str) -> Load {
    Load { server, kind, per_second: Vec::new(), cpu_us: Vec::new(), p99_us: Vec::new() }
}

fn one_round(server: &Served, requests: &[Vec<Vec<u8>>], plan: &Plan, load: &mut Load) -> Result<()> {
    let before = server.running.cpu()?;
    let length = Duration::from_secs(plan.seconds);
    let run: Run = server.net.run(|| load::run(server.address, requests, length))?;
    let cpu = server.running.cpu()?.saturating_sub(before);
    ensure!(run.refused == 0, "{} of {} refused by {}", run.refused, load.kind, load.server);
    ensure!(run.done > 0, "nothing was done by {}", load.server);
    let done = run.done as f64;
    load.per_second.push(done / run.took.as_secs_f64());
    load.cpu_us.push(cpu.as_secs_f64() * 1e6 / done);
    load.p99_us.push(percentile(&run.waits_us, 99));
    Ok(())
}

fn make_vpc(server: &Served) -> Result<String> {
    let answer = server.ask("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0/16")?;
    element(&answer, "vpcId")
}

fn element(answer: &str, name: &str) -> Result<String> {
    let inside = answer.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next());
    inside.map(str::to_owned).with_context(|| format!("no {name} in {answer}"))
}

/// For each connection what it sends: all of a kind, and of changes none like the one before it.
fn requests(kind: &str, ids: &[String], address: SocketAddr, round: usize) -> Result<Vec<Vec<Vec<u8>>>> {
    let version = "Version=2016-11-15";
    (0..CONNECTIONS)
        .map(|connection| {
            let id = ids.get(connection % ids.len()).context("invariant: there is an id")?;
            let body = |number: usize| match kind {
                DESCRIBE => format!("Action={kind}&{version}&VpcId.1={id}"),
                CHANGE => format!(
                    "Action={kind}&{version}&ResourceId.1={id}&Tag.1.Key=k&Tag.1.Value={round}-{number}"
                ),
                DESCRIBE_ENDPOINT => format!("Action={kind}&{version}&ClientVpnEndpointId.1={id}"),
                _ => format!("Action={kind}&{version}&ClientVpnEndpointId={id}&Description={round}-{number}"),
            };
            (0..SIGNED).map(|number| load::call(address, &body(number))).collect()
        })
        .collect()
}

/// An endpoint for each connection, none associated: what is measured is the store's and the API's own work.
fn make_endpoints(server: &Served) -> Result<Vec<String>> {
    let arn = server.net.run(|| import(server.address))?;
    let body = format!(
        "Action=CreateClientVpnEndpoint&Version=2016-11-15&ClientCidrBlock=10.8.0.0/22&ServerCertificateArn={arn}\
         &Authentication.1.Type=directory-service-authentication\
         &Authentication.1.ActiveDirectory.DirectoryId=d-1234567890&ConnectionLogOptions.Enabled=false"
    );
    (0..CONNECTIONS).map(|_| element(&server.ask(&body)?, "clientVpnEndpointId")).collect()
}

fn import(address: SocketAddr) -> Result<String> {
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())?;
    let ca = pki::issue::ca("bench", now - 3_600, now + 86_400)?;
    let kind = pki::issue::KeyKind::P256;
    let server = pki::issue::server(
        &ca.certificate_pem,
        &ca.key_pem,
        "vpn.example.com",
        now - 3_600,
        now + 86_400,
        kind,
    )?;
    let credentials = lab::Credentials::new(load::KEY.0, load::KEY.1, None);
    let client = lab::AwsClient::new(&format!("http://{address}"), "us-east-1", credentials)?;
    let (certificate, key) = (server.certificate_pem.as_bytes(), server.key_pem.as_bytes());
    Ok(client.import_certificate(certificate, key, ca.certificate_pem.as_bytes())?)
}

/// Start to ready, and memory when idle.
pub(crate) fn starts(plan: &Plan) -> Result<Vec<Start>> {
    let (data, net) = (tempfile::tempdir()?, Net::new("start")?);
    let (mut ready_ms, mut idle_kib) = (Vec::new(), 0);
    for number in 1..=STARTS {
        let mut command = Command::new(&plan.bascule);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path().join("data"));
        let started = Instant::now();
        let mut running = Running(spawn(&net, &mut command, Stdio::piped())?);
        let output = running.0.stdout.take().context("invariant: it was piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("ready http"), "it said: {line}");
        ready_ms.push(started.elapsed().as_secs_f64() * 1_000.0);
        if number == STARTS {
            std::thread::sleep(IDLE);
            idle_kib = running.resident_kib();
        }
    }
    let mut starts = vec![start("bascule", ready_ms, idle_kib)];
    if let Some(program) = &plan.moto {
        let (mut ready_ms, mut idle_kib) = (Vec::new(), 0);
        for _ in 0..MOTO_STARTS {
            let started = Instant::now();
            let served = Served::moto(program)?;
            let call = format!("Action={DESCRIBE}&Version=2016-11-15");
            eventually("an answer", READY, || served.ask(&call).ok())?;
            ready_ms.push(started.elapsed().as_secs_f64() * 1_000.0);
            std::thread::sleep(IDLE);
            idle_kib = served.running.resident_kib();
        }
        starts.push(start("moto_server", ready_ms, idle_kib));
    }
    Ok(starts)
}

fn start(server: &'static str, mut ready_ms: Vec<f64>, idle_kib: u64) -> Start {
    ready_ms.sort_by(f64::total_cmp);
    Start { server, ready_ms, idle_kib }
}
