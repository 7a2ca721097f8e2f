//! The server: a process with a data directory of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::addresses::Block;
use crate::command::{binary, program, run};
use crate::{Certificates, Error, Pair};

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long one may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(8);
/// Lines of the log that an error carries.
const TAIL_LINES: usize = 40;
/// The region that commands of the program use.
const REGION: &str = "us-east-1";

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    binary: Option<PathBuf>,
    arguments: Vec<OsString>,
}

impl Builder {
    /// Starts this program instead of `BASCULE_BIN`, or of `bascule` on the path.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// One more argument of `bascule serve`, such as `--userspace-host`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// There is no program, or it was not ready: its log says why.
    pub fn start(self) -> Result<Server, Error> {
        let binary = binary(self.binary.as_deref())?;
        let folder = tempfile::Builder::new().prefix("bascule-").tempdir();
        let folder = folder.map_err(|error| Error::File(std::env::temp_dir(), error))?;
        let block = Block::hold()?;
        let log = folder.path().join("serve.log");
        let errors = File::create(&log).map_err(|error| Error::File(log.clone(), error))?;
        let mut command = program(&binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--fabric", "userspace"]);
        command.arg("--gateway-address").arg(block.as_str());
        command.arg("--data-dir").arg(folder.path().join("data")).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let process = command.spawn().map_err(|error| Error::NotStarted(binary.clone(), error))?;
        let mut server = Server {
            binary,
            folder,
            process,
            url: String::new(),
            credentials: Credentials::default(),
            _block: block,
        };
        server.url = server.ready().ok_or_else(|| Error::NotReady(server.log_tail()))?;
        server.credentials = Credentials::read(&server.data_dir().join("credentials"))?;
        Ok(server)
    }
}

/// An access key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of a file of the AWS tools with one profile.
    fn read(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file).map_err(|error| Error::File(file.to_owned(), error))?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        Ok(Self {
            access_key_id: value("aws_access_key_id").unwrap_or_default(),
            secret_access_key: value("aws_secret_access_key").unwrap_or_default(),
        })
    }
}

/// An account's state, as [`Server::save`] gives it; opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Vec<u8>);

/// A running server; it stops with this value.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    folder: TempDir,
    process: Child,
    url: String,
    credentials: Credentials,
    _block: Block,
}

impl Server {
    /// Starts one in user space, on free ports.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// To say how.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where its API is: the endpoint URL of every service.
    #[must_use]
    pub fn endpoint_url(&self) -> &str {
        &self.url
    }

    /// The root's access key.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What AWS tools and SDKs read from the environment to come here.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", &self.credentials.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.credentials.secret_access_key),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }

    /// Ends every session and association and deletes everything; done when this returns.
    ///
    /// # Errors
    /// What the server said.
    pub fn reset(&self) -> Result<(), Error> {
        run(self.command(&["state", "reset"])).map(drop)
    }

    /// Everything as it is now.
    ///
    /// # Errors
    /// What the server said.
    pub fn save(&self) -> Result<State, Error> {
        run(self.command(&["state", "save", "-"])).map(State)
    }

    /// Makes everything what it was; in force when this returns.
    ///
    /// # Errors
    /// What the server said.
    pub fn load(&self, state: &State) -> Result<(), Error> {
        let file = self.folder.path().join("state");
        std::fs::write(&file, &state.0).map_err(|error| Error::File(file.clone(), error))?;
        let mut command = self.command(&["state", "load"]);
        command.arg(file);
        run(command).map(drop)
    }

    /// Certificates for the test: the same authority at every call.
    ///
    /// # Errors
    /// What the command said.
    pub fn certificates(&self) -> Result<Certificates, Error> {
        Certificates::make(&self.binary, self.folder.path().join("pki"))
    }

    /// A client profile of an endpoint; its file.
    ///
    /// # Errors
    /// What the server or the command said.
    pub fn profile(&self, endpoint: &str, client: &Pair) -> Result<PathBuf, Error> {
        let mut command = self.command(&["profile", "--endpoint", endpoint, "--cert"]);
        command.arg(&client.certificate).arg("--key").arg(&client.key);
        let text = run(command)?;
        let name = client.certificate.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file = self.folder.path().join(format!("{name}.{endpoint}.ovpn"));
        std::fs::write(&file, text).map_err(|error| Error::File(file.clone(), error))?;
        Ok(file)
    }

    /// Connects with a profile and demands that every expectation holds, such as `reach 192.0.2.10:80` or
    /// `deny 192.0.2.0/24`; what the client wrote.
    ///
    /// # Errors
    /// [`Error::Failed`] with what did not hold.
    pub fn expect(&self, profile: &Path, expectations: &[&str]) -> Result<String, Error> {
        let mut command = self.command(&["client"]);
        command.arg(profile);
        for expectation in expectations {
            command.args(["--expect", expectation]);
        }
        run(command).map(|said| String::from_utf8_lossy(&said).into_owned())
    }

    /// A command of the program about this server.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.binary);
        command.args(arguments).envs(self.environment()).current_dir(self.folder.path());
        command
    }

    /// The URL of its ready line; `None` if it ends or takes too long.
    fn ready(&mut self) -> Option<String> {
        let output = self.process.stdout.take()?;
        let (sender, lines) = mpsc::channel();
        // Reads on to the end, so that the server never waits for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("ready ") {
                    let _ = sender.send(url.to_owned());
                }
            }
        });
        lines.recv_timeout(READY).ok()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }

    /// Whether it ends within the time.
    fn ends(&mut self, limit: Duration) -> bool {
        const PAUSE: Duration = Duration::from_millis(5);
        let started = Instant::now();
        loop {
            match self.process.try_wait() {
                Ok(None) if started.elapsed() < limit => std::thread::sleep(PAUSE),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }
}

impl Drop for Server {
    /// As an operator stops it; by its id, and by force if it does not.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        if !self.ends(STOP) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
