//! The command line (docs: README; the outside contract of flags, keys and environment variables).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::FabricKind;

/// AWS Client VPN that you run yourself.
#[derive(Debug, Parser)]
#[command(name = "bascule", about, disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The service: API, controllers and gateway in one process
    Serve(Box<Serve>),
    /// The certificates a Client VPN needs, in files a person can read
    #[command(subcommand)]
    Pki(Pki),
    /// The exported client configuration completed with a client certificate: one file that connects
    Profile(Profile),
    /// What is here, written down for another tool
    #[command(subcommand)]
    Export(Export),
    /// What is elsewhere, made here
    #[command(subcommand)]
    Import(Import),
    /// What lies behind the tunnels on this host
    #[command(subcommand)]
    Fabric(Fabric),
    /// The root's access keys of a data directory: list, rotate, disable, enable; a running server follows
    Keys(Keys),
    /// Writes the store to a file, whether its server runs or not; secrets stay sealed, the master key is not in it
    Backup(Backup),
    /// Makes the store of a backup in a data directory that has none
    Restore(Backup),
    /// Everything of the caller's account: deleted, saved to a file, made what a file says; for tests, done when it returns
    State(State),
    /// OpenVPN clients of our own, without root or a device, that check what they reach through the tunnel
    Client(Box<Client>),
    /// Completions of this command line for a shell, to standard output
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, one for each command
    Man {
        /// The folder they go to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Prints the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Endpoints with all they refer to, as resources of Terraform's AWS provider; no secret is in it
    Terraform(ExportTerraform),
}

#[derive(Debug, Args)]
pub(crate) struct ExportTerraform {
    /// An endpoint (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub endpoint_id: Vec<String>,
    /// The region [default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The server [default: AWS_ENDPOINT_URL, else that of the data directory]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Where credentials are looked for when the environment has none
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// With an import block for each resource: Terraform takes over what stands
    #[arg(long)]
    pub import_blocks: bool,
    /// With a provider block that leads to this server
    #[arg(long)]
    pub provider: bool,
    /// Where the text goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// The Client VPN endpoints of an AWS account, or of a server like it, with their networks, groups, rules and routes
    Aws(ImportAws),
}

#[derive(Debug, Args)]
pub(crate) struct ImportAws {
    /// Profile of the shared credentials file to read with [default: the environment's key, else `default`]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The region that is read
    #[arg(long, value_name = "NAME")]
    pub region: String,
    /// What is read, if not AWS itself
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// An endpoint there (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub endpoint_id: Vec<String>,
    /// Which certificate here stands for which there (repeatable) [default: the same one, else the one for its domain]
    #[arg(long, value_name = "THEIR_ARN=OUR_ARN")]
    pub certificate: Vec<String>,
    /// The data directory whose key is used here
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The server that is written [default: that of the data directory]
    #[arg(long, value_name = "URL")]
    pub to_url: Option<String>,
    /// The region that is written [default: the one that is read]
    #[arg(long, value_name = "NAME")]
    pub to_region: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fabric {
    /// Says what this host lacks for the kernel fabric, and what to type
    Check(FabricCheck),
}

#[derive(Debug, Args)]
pub(crate) struct FabricCheck {
    /// Configuration file of `serve`
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG")]
    pub config: Option<PathBuf>,
    /// As for `serve` (repeatable)
    #[arg(long, value_name = "ADDR", env = "BASCULE_GATEWAY_ADDRESS", value_delimiter = ',')]
    pub gateway_address: Vec<String>,
    /// As for `serve`
    #[arg(long, value_name = "FIRST-LAST", env = "BASCULE_GATEWAY_PORTS")]
    pub gateway_ports: Option<String>,
}

/// Flags of `bascule serve`; each is also a key of the configuration file and an environment variable.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where state is kept [default: /var/lib/bascule as root, else the XDG data folder]
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the API listens [default: 127.0.0.1:8585]
    #[arg(long, value_name = "ADDR:PORT", env = "BASCULE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// An address, CIDR or range that endpoints may be bound to (repeatable) [default: the host's own]
    #[arg(long, value_name = "ADDR", env = "BASCULE_GATEWAY_ADDRESS", value_delimiter = ',')]
    pub gateway_address: Vec<String>,
    /// What lies behind the tunnels: the kernel's devices and filters, or ordinary sockets of this process [default: auto]
    #[arg(long, value_name = "KIND", env = "BASCULE_FABRIC")]
    pub fabric: Option<FabricKind>,
    /// An address or CIDR of this host that clients may reach through the user-space fabric (repeatable) [default: none]
    #[arg(long, value_name = "ADDR", env = "BASCULE_USERSPACE_HOST", value_delimiter = ',')]
    pub userspace_host: Vec<String>,
    /// IPv6 prefix of which the clients of each endpoint get a /64 [default: unique local addresses, drawn once]
    #[arg(long, value_name = "PREFIX", env = "BASCULE_CLIENT_IPV6_PREFIX")]
    pub client_ipv6_prefix: Option<String>,
    /// Endpoints share addresses, and each gets a port of this range; without it each gets an address of its own
    #[arg(long, value_name = "FIRST-LAST", env = "BASCULE_GATEWAY_PORTS")]
    pub gateway_ports: Option<String>,
    /// Endpoints are named under this domain, and the exported profile uses that name
    #[arg(long, value_name = "DOMAIN", env = "BASCULE_DOMAIN")]
    pub domain: Option<String>,
    /// Answer DNS for endpoints' names here, over UDP and TCP; needs --domain (repeatable)
    #[arg(long, value_name = "ADDR:PORT", env = "BASCULE_DNS_LISTEN", value_delimiter = ',')]
    pub dns_listen: Vec<SocketAddr>,
    /// What the exported profile names when clients reach the gateway through NAT or a load balancer
    #[arg(long, value_name = "ADDR[:PORT]", env = "BASCULE_ADVERTISE")]
    pub advertise: Option<String>,
    /// Certificate chain of the API port (PEM); read again when the file changes
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the API port (PEM)
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Serve the API without TLS on an address that is not loopback
    #[arg(long, env = "BASCULE_INSECURE_HTTP", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_http: Option<bool>,
    /// A region that is served (repeatable) [default: any]
    #[arg(long, value_name = "NAME", env = "BASCULE_REGION", value_delimiter = ',')]
    pub region: Vec<String>,
    /// The account that owns everything [default: 000000000000]
    #[arg(long, value_name = "ID", env = "BASCULE_ACCOUNT")]
    pub account: Option<String>,
    /// Accept any credentials; loopback listeners only
    #[arg(long, env = "BASCULE_DEV_OPEN", num_args = 0..=1, default_missing_value = "true")]
    pub dev_open: Option<bool>,
    /// Serve metrics here too, beside loopback callers of the API port
    #[arg(long, value_name = "ADDR:PORT", env = "BASCULE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// The key that seals secrets, best outside the data directory [default: DIR/master.key]
    #[arg(long, value_name = "FILE", env = "BASCULE_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
    /// How often connection logs tell of those who are connected [default: 300]
    #[arg(long, value_name = "SECONDS", env = "BASCULE_CONNECTION_LOG_SECONDS")]
    pub connection_log_seconds: Option<u64>,
    /// How long an hour of a session timeout lasts, to try out its end [default: 3600]
    #[arg(long, value_name = "SECONDS", env = "BASCULE_SESSION_HOUR_SECONDS", hide = true)]
    pub session_hour_seconds: Option<u64>,
    /// Packets sent with a data key before the next one is negotiated, to try that out
    #[arg(long, value_name = "N", env = "BASCULE_REKEY_PACKETS", hide = true)]
    pub rekey_packets: Option<u32>,
    /// Threads that carry packets [default: one per core]
    #[arg(long, value_name = "N", env = "BASCULE_WORKERS")]
    pub workers: Option<u16>,
    /// Refuse calls that come too fast, by account, region and action
    #[arg(long, env = "BASCULE_THROTTLE", num_args = 0..=1, default_missing_value = "true")]
    pub throttle: Option<bool>,
    /// Operations in flight on one endpoint at most, as AWS has 10 [default: any number]
    #[arg(long, value_name = "N", env = "BASCULE_ENDPOINT_OPERATIONS")]
    pub endpoint_operations: Option<usize>,
    /// Another AWS-compatible server for what is not built here; {service} and {region} stand for the call's
    #[arg(long, value_name = "URL", env = "BASCULE_UPSTREAM")]
    pub upstream: Option<String>,
    /// Wrap the control channel of all endpoints with this key (tls-crypt); exported profiles contain it
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_CRYPT_KEY_FILE")]
    pub tls_crypt_key_file: Option<PathBuf>,
    /// Wrap it with a key of each client's own (tls-crypt-v2), made with this server key
    #[arg(long, value_name = "FILE", env = "BASCULE_TLS_CRYPT_V2_KEY_FILE")]
    pub tls_crypt_v2_key_file: Option<PathBuf>,
    /// Whose VPCs, subnets, security groups and certificates endpoints refer to: `own`, or `upstream` [default: own]
    #[arg(long, value_name = "WHOSE", env = "BASCULE_NETWORKS")]
    pub networks: Option<String>,
    /// Largest file of the audit trail [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "BASCULE_AUDIT_FILE_BYTES")]
    pub audit_file_bytes: Option<u64>,
    /// Most files of the audit trail, of callers and of strangers each [default: 16]
    #[arg(long, value_name = "N", env = "BASCULE_AUDIT_FILES")]
    pub audit_files: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Configuration file of the server (TOML), where it names the other two
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// The data directory [default: as `serve`]
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// The key that seals secrets [default: DIR/master.key]
    #[arg(long, value_name = "FILE", env = "BASCULE_MASTER_KEY_FILE", global = true)]
    pub master_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The backup; `-` is standard output or input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Configuration file of the server (TOML), where it names the data directory
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The data directory [default: as `serve`]
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(subcommand)]
    pub command: StateCommand,
    /// Where the server and its key are looked for when the environment names none
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Ends every session and association, then deletes everything
    Reset,
    /// Writes everything to a file; secrets stay sealed with the master key
    Save {
        /// The file; `-` is standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Ends every session and association, then makes everything what the file says
    Load {
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Shows the keys and which are accepted
    List,
    /// Makes a new key and writes it to DIR/credentials; the old one stays valid until it is disabled
    Rotate,
    /// Accepts a key no more
    Disable {
        /// Its access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
    },
    /// Accepts a key again
    Enable {
        /// Its access key id
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// Makes a certificate authority
    InitCa(InitCa),
    /// Issues a server certificate; its name must have a dot
    IssueServer(Issue),
    /// Issues a client certificate
    IssueClient(Issue),
    /// Notes a certificate as revoked; `crl` writes the list
    Revoke(Revoke),
    /// Writes the certificate revocation list
    Crl(Crl),
    /// Makes the key that wraps the control channel of a gateway and all its clients
    TlsCryptKey(WrapKeyFolder),
    /// Makes the key that a gateway wraps the keys of its clients with
    TlsCryptV2ServerKey(WrapKeyFolder),
    /// Makes a client's own key, wrapped with the server key of the folder
    TlsCryptV2ClientKey(WrapClientKey),
}

#[derive(Debug, Args)]
pub(crate) struct WrapKeyFolder {
    /// Folder of the authority; the key goes there as tls-crypt.key or tls-crypt-v2-server.key
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WrapClientKey {
    /// The user or device, as in its certificate
    pub name: String,
    /// Folder of the authority; the key goes there as NAME.tls-crypt-v2.key
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitCa {
    /// Folder of the authority
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
    /// Common name of the authority
    #[arg(long, value_name = "NAME", default_value = "Bascule CA")]
    pub name: String,
    /// Validity
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    pub days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// Common name: for a server one with a dot, for a client the user or device
    pub name: String,
    /// Folder of the authority; the certificate goes there as NAME.crt, its key as NAME.key
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
    /// Validity
    #[arg(long, value_name = "DAYS", default_value_t = 825)]
    pub days: u32,
    /// An RSA-2048 key instead of ECDSA P-256
    #[arg(long)]
    pub rsa: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Common name the certificate was issued under
    pub name: String,
    /// Folder of the authority
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Crl {
    /// Folder of the authority; the list goes there as crl.pem
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
    /// Until its next update is due; an expired list refuses every client
    #[arg(long, value_name = "DAYS", default_value_t = 180)]
    pub days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The endpoint
    #[arg(long, value_name = "ID")]
    pub endpoint: String,
    /// The client's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// The client's private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The client's own key of the control channel, where the gateway wants one
    #[arg(long, value_name = "FILE")]
    pub tls_crypt_v2_key: Option<PathBuf>,
    /// Where credentials are looked for when the environment has none
    #[arg(long, value_name = "DIR", env = "BASCULE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The region of the endpoint [default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Client {
    /// Client profile: exported by the API, or any other
    #[arg(value_name = "PROFILE.ovpn", required_unless_present = "expect_file")]
    pub profile: Option<PathBuf>,
    /// Clients of that profile
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = counted)]
    pub count: usize,
    /// Clients begun per second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100.0, value_parser = positive)]
    pub rate: f64,
    /// The client that is imitated: 2.4, 2.5, 2.6, 2.7, openvpn3 or aws
    #[arg(long, value_name = "DIALECT", default_value = "2.6")]
    pub dialect: String,
    /// How long the clients stay [default: until the expectations are tried; without any, until stopped]
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// What is to hold, such as 'reach 10.0.1.5:80', 'deny 10.0.2.0/24', 'ping 10.0.1.5' (repeatable)
    #[arg(long, value_name = "EXPECTATION")]
    pub expect: Vec<String>,
    /// Expectations in a file (TOML), each with a name and, if need be, a profile of its own
    #[arg(long, value_name = "FILE")]
    pub expect_file: Option<PathBuf>,
    /// How many of the clients try expectations [default: all]
    #[arg(long, value_name = "K", value_parser = counted)]
    pub probe_clients: Option<usize>,
    /// How long a client may take to have a tunnel before its expectations fail
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub connect_within: u64,
    /// Where a report in JUnit's form goes
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Where a report in JSON goes
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Each client pings this address through its tunnel every second; replies are counted and timed
    #[arg(long, value_name = "ADDR")]
    pub ping: Option<IpAddr>,
    /// Addresses to connect from, in turn (repeatable)
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub local: Vec<IpAddr>,
    /// A file with user name and password, a line each
    #[arg(long, value_name = "FILE")]
    pub auth_user_pass: Option<PathBuf>,
}

/// A number of clients.
fn counted(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=swarm::MAX_CLIENTS) => Ok(number),
        _ => Err(format!("a number from 1 to {}", swarm::MAX_CLIENTS)),
    }
}

/// A rate.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("a number above 0, up to 100000".to_owned()),
    }
}
