//! Client profiles: ours as the API exports them, and stock ones.
//!
//! What a profile says about devices, routes and scripts of the host has no meaning here and is passed over; what
//! would change the protocol and is not spoken here is refused. spec: aws-client-vpn §3.2, openvpn-protocol §13.1

mod lexer;
mod read;

use std::path::{Path, PathBuf};
use std::time::Duration;

use openvpn::client::WrapKey;
use openvpn::data::Cipher;
use pki::PkiError;
use zeroize::Zeroizing;

/// Longest profile, and longest file it names, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Most `remote` lines.
const MAX_REMOTES: usize = 64;

/// UDP or TCP.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream of frames.
    Tcp,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How packets go there.
    pub transport: Transport,
    /// `Some(true)`: only over IPv4 (`udp4`), `Some(false)`: only over IPv6.
    pub only_ipv4: Option<bool>,
}

/// What the server's certificate must be named. spec: openvpn-protocol §6
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The common name, exactly.
    Name(String),
    /// The common name's beginning.
    Prefix(String),
    /// The whole subject, `C=US, CN=name`.
    Subject(String),
}

/// A client's certificate.
#[derive(Clone)]
pub struct Identity {
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// DER.
    pub key: Zeroizing<Vec<u8>>,
}

/// User name and password.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Zeroizing<String>,
}

/// A profile that can be connected with. Debug hides secrets.
#[derive(Clone)]
pub struct Profile {
    /// Tried one after the other; at least one.
    pub remotes: Vec<Remote>,
    /// Begin with any of them.
    pub remote_random: bool,
    /// Put a random label before the name, so that each client asks for another name.
    pub random_hostname: bool,
    /// DER of the certificates that may vouch for the server.
    pub authorities: Vec<Vec<u8>>,
    /// The client's certificate.
    pub identity: Option<Identity>,
    /// User name and password.
    pub login: Option<Login>,
    /// What the control channel is wrapped with.
    pub control_key: Option<WrapKey>,
    /// What the server's certificate must be named.
    pub server_name: Option<NameRule>,
    /// The server's certificate must say that it is for servers (`remote-cert-tls server`).
    pub server_purpose: bool,
    /// Cipher if the server pushes none.
    pub cipher: Option<Cipher>,
    /// Ciphers to offer, in place of the dialect's.
    pub data_ciphers: Option<Vec<Cipher>>,
    /// Begin a renegotiation this long after a key came into use; `None`: leave it to the server.
    pub renegotiate_after: Option<Duration>,
    /// A key's negotiation must end within this time.
    pub handshake_timeout: Duration,
    /// Send something at least this often, until the server pushes another.
    pub ping: Option<Duration>,
    /// Connect anew after this much silence, until the server pushes another.
    pub ping_restart: Option<Duration>,
    /// Tell the server when we leave.
    pub exit_notify: bool,
    /// What was passed over although it may matter, for the user's eyes.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("remotes", &self.remotes).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why a profile cannot be connected with.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It, or a file it names, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not as it should be.
    #[error("line {line}: {what}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A certificate or key cannot be used.
    #[error("{directive}: {source}")]
    Pki {
        /// Where it is from.
        directive: &'static str,
        /// Why.
        source: PkiError,
    },
    /// Something must be there and is not.
    #[error("{0}")]
    Missing(&'static str),
}

impl Profile {
    /// Reads a profile; files it names are looked for beside it.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let text = read_file(path)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads the text of a profile; relative paths in it begin at `folder`.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ProfileError> {
        read::Reader::new(folder).read(text)
    }

    /// User name and password out of a file of two lines, in place of the profile's.
    ///
    /// # Errors
    /// It cannot be read, or has no two lines.
    pub fn login_from(&mut self, path: &Path) -> Result<(), ProfileError> {
        self.login = Some(read::login(&read_file(path)?)?);
        Ok(())
    }

    /// One that says nothing yet.
    fn empty() -> Self {
        Self {
            remotes: Vec::new(),
            remote_random: false,
            random_hostname: false,
            authorities: Vec::new(),
            identity: None,
            login: None,
            control_key: None,
            server_name: None,
            server_purpose: false,
            cipher: None,
            data_ciphers: None,
            renegotiate_after: None,
            handshake_timeout: Duration::ZERO,
            ping: None,
            ping_restart: None,
            exit_notify: false,
            notes: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let host = "127.0.0.1".to_owned();
        let remote = Remote { host, port: 1194, transport: Transport::Udp, only_ipv4: None };
        Self { remotes: vec![remote], handshake_timeout: Duration::from_secs(60), ..Self::empty() }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, ProfileError> {
    let error = |source| ProfileError::File { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(error)?.len();
    if length > MAX_FILE_BYTES {
        return Err(error(std::io::Error::other("it is too long")));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(error)
}
