//! `bascule serve` in a namespace, and signed calls to it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use bascule::aws_client::{Answer, AwsClient, AwsError, Credentials};
use rustix::process::Signal;

use crate::net::Net;
use crate::process::Logged;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(20);

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// More arguments of `serve`.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Runs it as an ordinary user without any capability.
    pub as_nobody: bool,
    /// The program, if it is not the one under test.
    pub program: Option<PathBuf>,
}

/// What came of a start.
pub enum Started {
    /// It is ready.
    Ready(Box<Server>),
    /// It ended before it was.
    Ended(ExitStatus),
}

/// A running server; ended with this value.
pub struct Server {
    process: Logged,
    data_dir: PathBuf,
    client: AwsClient,
}

impl Server {
    /// Starts it on a data directory and waits until it is ready.
    pub fn start(net: &Net, data_dir: &Path, options: &ServerOptions) -> Result<Self> {
        let mut process = Self::spawn(net, data_dir, options)?;
        let ready = process.wait_for("ready http", 0, READY)?;
        Self::ready(process, data_dir, &ready)
    }

    /// The same for a server that may be killed on its way, by a failpoint or otherwise.
    pub fn start_or_end(net: &Net, data_dir: &Path, options: &ServerOptions) -> Result<Started> {
        let mut process = Self::spawn(net, data_dir, options)?;
        match process.wait_for("ready http", 0, READY) {
            Ok(ready) => Ok(Started::Ready(Box::new(Self::ready(process, data_dir, &ready)?))),
            Err(error) => process.ended().map(Started::Ended).ok_or(error),
        }
    }

    fn ready(process: Logged, data_dir: &Path, line: &str) -> Result<Self> {
        let url = line.trim_start_matches("ready ").trim();
        let credentials = Credentials::from_file(&data_dir.join(bascule::CREDENTIALS_FILE))?;
        let client = AwsClient::new(url, "us-east-1", credentials)?;
        Ok(Self { process, data_dir: data_dir.to_owned(), client })
    }

    /// Starts it without waiting, for tests that expect it to die.
    pub(crate) fn spawn(net: &Net, data_dir: &Path, options: &ServerOptions) -> Result<Logged> {
        let mut command = if options.as_nobody {
            own(data_dir)?;
            let mut command = net.command("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
            command.arg(for_everybody(data_dir)?);
            command
        } else {
            net.command(options.program.clone().unwrap_or_else(binary))
        };
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(&options.arguments);
        command.env("BASCULE_LOG", "info");
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        let number = std::fs::read_dir(data_dir.parent().unwrap_or(data_dir))?.count();
        let log = data_dir.with_file_name(format!("server-{number}.log"));
        Logged::start(&mut command, &log)
    }

    /// Starts it and waits for its end (a failpoint kills it) or until it is ready and `then` has run.
    pub fn start_doomed(
        net: &Net,
        data_dir: &Path,
        options: &ServerOptions,
        then: impl FnOnce(&AwsClient),
    ) -> Result<Option<ExitStatus>> {
        let mut process = Self::spawn(net, data_dir, options)?;
        if let Ok(ready) = process.wait_for("ready http", 0, READY) {
            let url = ready.trim_start_matches("ready ").trim().to_owned();
            let credentials = Credentials::from_file(&data_dir.join(bascule::CREDENTIALS_FILE))?;
            then(&AwsClient::new(&url, "us-east-1", credentials)?);
        }
        Ok(process.wait(Duration::from_secs(3)))
    }

    /// Where its state is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id (`ip netns exec` becomes the program, so it is the server's own).
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Signed calls with the root key.
    pub fn client(&self) -> &AwsClient {
        &self.client
    }

    /// One EC2 call from inside its namespace.
    pub fn ec2(&self, net: &Net, action: &str, parameters: &[(&str, &str)]) -> Result<Answer, AwsError> {
        net.run(|| self.client.ec2(action, parameters))
    }

    /// Waits for a line of its output.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.process.wait_for(text, 0, limit)
    }

    /// The exit status, if it has ended within the limit.
    pub fn wait_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// SIGKILL, at once.
    pub fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait(Duration::from_secs(5));
    }

    /// SIGTERM, and its exit status.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM);
        self.process
            .wait(Duration::from_secs(8))
            .with_context(|| format!("still running; it said:\n{}", self.log()))
    }
}

/// Makes the data directory, and gives it to the user that the server runs as.
fn own(data_dir: &Path) -> Result<()> {
    std::fs::create_dir_all(data_dir)?;
    std::fs::set_permissions(data_dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    std::os::unix::fs::chown(data_dir, Some(65_534), Some(65_534))?;
    // Others may pass through the folder it is in.
    if let Some(parent) = data_dir.parent() {
        std::fs::set_permissions(parent, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// The program beside the data directory, where everybody may run it: the folder it was built in may be closed to others.
fn for_everybody(data_dir: &Path) -> Result<PathBuf> {
    let program = data_dir.with_file_name("bascule");
    if !program.exists() {
        let built = binary();
        std::fs::hard_link(&built, &program).or_else(|_| std::fs::copy(&built, &program).map(drop))?;
    }
    Ok(program)
}

/// The server's program: `BASCULE_BIN`, or where cargo builds it.
pub fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("BASCULE_BIN") {
        return PathBuf::from(binary);
    }
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join("bascule")
}

/// `bascule` with arguments, outside any namespace.
pub(crate) fn bascule(arguments: &[&str]) -> Result<String> {
    crate::process::output(Command::new(binary()).args(arguments))
}
