//! Configuration of `serve`: flag, else environment variable, else file, else default.

mod control_key;
mod fabric;
mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use api::{Addresses, AuditLimits, Bucket, Throttle};
use ipnet::{IpNet, Ipv6Net};
use model::{AccountId, Quotas, RegionName, Uplinks};
use serde::Deserialize;

use crate::Usage;
use crate::cli::Serve;
use crate::connect_handler::{Handler, Settings};

pub(crate) use control_key::ControlKeyFile;
pub(crate) use fabric::FabricKind;
use fabric::{FabricTable, userspace_hosts};
pub(crate) use upstream::Upstream;
use upstream::UpstreamTable;

/// The file's keys: those of the flags, and tables.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    gateway_address: Vec<String>,
    fabric: FabricTable,
    userspace_host: Vec<String>,
    client_ipv6_prefix: Option<String>,
    gateway_ports: Option<String>,
    domain: Option<String>,
    dns_listen: Vec<SocketAddr>,
    advertise: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    insecure_http: Option<bool>,
    region: Vec<String>,
    account: Option<String>,
    dev_open: Option<bool>,
    metrics_listen: Option<SocketAddr>,
    master_key_file: Option<PathBuf>,
    workers: Option<u16>,
    session_hour_seconds: Option<u64>,
    rekey_packets: Option<u32>,
    connection_log_seconds: Option<u64>,
    throttle: Option<bool>,
    endpoint_operations: Option<usize>,
    tls_crypt_key_file: Option<PathBuf>,
    tls_crypt_v2_key_file: Option<PathBuf>,
    audit_file_bytes: Option<u64>,
    audit_files: Option<usize>,
    quotas: Quotas,
    throttle_limits: Limits,
    connect_handler: Vec<Settings>,
    upstream: UpstreamTable,
    networks: Option<String>,
}

/// Table `throttle-limits`: how fast calls may come when they are throttled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Limits {
    read_burst: u32,
    read_per_second: u32,
    write_burst: u32,
    write_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let Throttle { read, write } = Throttle::default();
        Self {
            read_burst: read.burst,
            read_per_second: read.per_second,
            write_burst: write.burst,
            write_per_second: write.per_second,
        }
    }
}

/// What `serve` runs with.
#[derive(Debug)]
pub(crate) struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// `None`: the host's own.
    pub gateway_addresses: Option<Addresses>,
    /// Ports that endpoints share addresses by.
    pub gateway_ports: Option<RangeInclusive<u16>>,
    /// Whether one of them is loopback.
    pub loopback_gateway: bool,
    pub fabric: FabricKind,
    /// Nothing is written under `/proc/sys`.
    pub leave_sysctls: bool,
    /// Addresses of this host that clients may reach through the user-space fabric.
    pub userspace_hosts: Vec<IpNet>,
    /// Its bounds.
    pub userspace_limits: usernet::Limits,
    /// What blocks for clients' IPv6 addresses are taken from; `None`: drawn once.
    pub client_ipv6_prefix: Option<Ipv6Net>,
    pub domain: Option<String>,
    /// Where DNS is answered; empty: nowhere.
    pub dns_listen: Vec<SocketAddr>,
    pub advertise: Option<(String, Option<u16>)>,
    /// Certificate and key of the API port.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub regions: Vec<RegionName>,
    pub account: AccountId,
    pub dev_open: bool,
    pub metrics_listen: Option<SocketAddr>,
    pub master_key_file: PathBuf,
    pub workers: Option<u16>,
    pub session_hour: Option<Duration>,
    pub rekey_packets: Option<u32>,
    pub connection_log_interval: Option<Duration>,
    pub quotas: Quotas,
    pub throttle: Option<Throttle>,
    pub endpoint_operations: Option<usize>,
    pub audit: AuditLimits,
    pub connect_handlers: Vec<Handler>,
    pub upstream: Option<Upstream>,
    /// Which networks of this host subnets are.
    pub uplinks: Uplinks,
    pub control_key: Option<ControlKeyFile>,
}

impl Config {
    /// Puts flags, environment (clap has read it into the flags) and file together.
    pub(crate) fn load(flags: Serve) -> Result<Self> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let data_dir = flags.data_dir.or(file.data_dir).map_or_else(default_data_dir, Ok)?;
        let listen = flags.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8585)));
        let tls = match (flags.tls_cert.or(file.tls_cert), flags.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return usage("tls-cert is given without tls-key"),
            (None, Some(_)) => return usage("tls-key is given without tls-cert"),
        };
        let insecure = flags.insecure_http.or(file.insecure_http).unwrap_or(false);
        if !listen.ip().is_loopback() && tls.is_none() && !insecure {
            return usage(format!(
                "listen = {listen} is not loopback: give tls-cert and tls-key, or insecure-http to go without TLS"
            ));
        }
        let dev_open = flags.dev_open.or(file.dev_open).unwrap_or(false);
        if dev_open && !listen.ip().is_loopback() {
            return usage(format!("dev-open accepts any credentials, so listen = {listen} must be loopback"));
        }
        let workers = flags.workers.or(file.workers);
        if workers.is_some_and(|n| n == 0 || n > 64) {
            return usage("workers must be from 1 to 64");
        }
        let endpoint_operations = flags.endpoint_operations.or(file.endpoint_operations);
        if endpoint_operations == Some(0) {
            return usage("endpoint-operations = 0: no operation could ever be done");
        }
        let throttle = flags.throttle.or(file.throttle).unwrap_or(false);
        let throttle = throttle.then(|| file.throttle_limits.checked()).transpose()?;
        let audit =
            audit(flags.audit_file_bytes.or(file.audit_file_bytes), flags.audit_files.or(file.audit_files))?;
        let upstream =
            file.upstream.checked(flags.upstream, flags.networks.or(file.networks), listen, dev_open)?;
        let control_key = ControlKeyFile::chosen(
            flags.tls_crypt_key_file.or(file.tls_crypt_key_file),
            flags.tls_crypt_v2_key_file.or(file.tls_crypt_v2_key_file),
        )?;
        let gateway_address = either(flags.gateway_address, file.gateway_address);
        let domain = flags.domain.or(file.domain).map(|domain| check_domain(&domain)).transpose()?;
        let dns_listen = if flags.dns_listen.is_empty() { file.dns_listen } else { flags.dns_listen };
        if let (None, Some(address)) = (&domain, dns_listen.first()) {
            return usage(format!(
                "dns-listen = {address}: give domain too, as there are no names to answer for"
            ));
        }
        let gateway_ports =
            flags.gateway_ports.or(file.gateway_ports).map(|text| ports(&text)).transpose()?;
        let advertise = flags.advertise.or(file.advertise).map(|text| advertise(&text)).transpose()?;
        if let (Some(_), Some((host, Some(port)))) = (&gateway_ports, &advertise) {
            return usage(format!(
                "advertise = {host}:{port}: with gateway-ports each endpoint has a port of its own, so name {host} alone"
            ));
        }
        let account = flags.account.or(file.account).unwrap_or_else(|| "000000000000".to_owned());
        Ok(Self {
            master_key_file: flags
                .master_key_file
                .or(file.master_key_file)
                .unwrap_or_else(|| data_dir.join("master.key")),
            data_dir,
            listen,
            loopback_gateway: gateway_address.iter().any(|text| starts_loopback(text)),
            gateway_addresses: addresses(&gateway_address)?,
            fabric: flags.fabric.or(file.fabric.kind()).unwrap_or_default(),
            leave_sysctls: file.fabric.leaves_sysctls(),
            userspace_limits: file.fabric.limits()?,
            userspace_hosts: userspace_hosts(&either(flags.userspace_host, file.userspace_host))?,
            client_ipv6_prefix: flags
                .client_ipv6_prefix
                .or(file.client_ipv6_prefix)
                .map(|text| client_prefix(&text))
                .transpose()?,
            domain,
            dns_listen,
            gateway_ports,
            advertise,
            tls,
            regions: either(flags.region, file.region)
                .iter()
                .map(|text| {
                    text.parse().map_err(|_| Usage(format!("region = {text}: not a region name")).into())
                })
                .collect::<Result<_>>()?,
            account: account
                .parse()
                .map_err(|_| Usage(format!("account = {account}: an account id has twelve digits")))?,
            dev_open,
            metrics_listen: flags.metrics_listen.or(file.metrics_listen),
            workers,
            session_hour: flags
                .session_hour_seconds
                .or(file.session_hour_seconds)
                .map(|seconds| Duration::from_secs(seconds.max(1))),
            rekey_packets: flags.rekey_packets.or(file.rekey_packets),
            connection_log_interval: flags
                .connection_log_seconds
                .or(file.connection_log_seconds)
                .map(|seconds| Duration::from_secs(seconds.max(1))),
            quotas: file.quotas,
            throttle,
            endpoint_operations,
            audit,
            connect_handlers: Settings::handlers(file.connect_handler)?,
            upstream,
            uplinks: file.fabric.uplinks()?,
            control_key,
        })
    }
}

/// A prefix of which each endpoint's clients get a /64.
fn client_prefix(text: &str) -> Result<Ipv6Net> {
    match text.parse::<Ipv6Net>() {
        Ok(net) if net == net.trunc() && net.prefix_len() <= 64 => Ok(net),
        _ => usage(format!("client-ipv6-prefix = {text}: not an IPv6 prefix of 64 bits or fewer")),
    }
}

impl Limits {
    fn checked(&self) -> Result<Throttle> {
        let bucket = |name: &str, burst, per_second| match (burst, per_second) {
            (0, _) => usage(format!("throttle-limits.{name}-burst = 0: no call could ever be done")),
            (_, 0) => usage(format!("throttle-limits.{name}-per-second = 0: calls would end for good")),
            (burst, per_second) => Ok(Bucket { burst, per_second }),
        };
        Ok(Throttle {
            read: bucket("read", self.read_burst, self.read_per_second)?,
            write: bucket("write", self.write_burst, self.write_per_second)?,
        })
    }
}

/// Smallest file of the audit trail, bytes: room for a few lines of any length.
const MIN_AUDIT_FILE_BYTES: u64 = 64 * 1024;

fn audit(file_bytes: Option<u64>, files: Option<usize>) -> Result<AuditLimits> {
    let default = AuditLimits::default();
    let limits = AuditLimits {
        file_bytes: file_bytes.unwrap_or(default.file_bytes),
        files: files.unwrap_or(default.files),
    };
    if limits.file_bytes < MIN_AUDIT_FILE_BYTES {
        return usage(format!("audit-file-bytes = {}: at least {MIN_AUDIT_FILE_BYTES}", limits.file_bytes));
    }
    if limits.files == 0 || limits.files > 10_000 {
        return usage(format!("audit-files = {}: from 1 to 10000", limits.files));
    }
    Ok(limits)
}

/// Data directory and master key file of a server, for commands beside it: flag, else file, else default.
pub(crate) fn place(
    config: Option<&Path>,
    data_dir: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
) -> Result<(PathBuf, PathBuf)> {
    let file = config.map(read).transpose()?.unwrap_or_default();
    let data_dir = data_dir.or(file.data_dir).map_or_else(default_data_dir, Ok)?;
    let master_key_file =
        master_key_file.or(file.master_key_file).unwrap_or_else(|| data_dir.join("master.key"));
    Ok((data_dir, master_key_file))
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage(format!("config = {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or_else(String::new, |span| {
            format!(" line {}", text.get(..span.start).unwrap_or_default().lines().count().max(1))
        });
        let value = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        Usage(format!("config = {}{at}: {} `{}`", path.display(), error.message().trim(), value.trim()))
            .into()
    })
}

fn starts_loopback(text: &str) -> bool {
    let first = text.split(['-', '/']).next().unwrap_or_default().trim();
    first.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn addresses(texts: &[String]) -> Result<Option<Addresses>> {
    if texts.is_empty() {
        return Ok(None);
    }
    let all =
        texts.iter().flat_map(|text| text.split(['-', '/'])).filter_map(|part| part.trim().parse().ok());
    if let Some(address) = all.into_iter().find(|ip: &IpAddr| ip.is_unspecified() || ip.is_multicast()) {
        return usage(format!("gateway-address = {address}: an endpoint needs an address of its own"));
    }
    let parsed = Addresses::parse(texts.iter().map(String::as_str));
    Ok(Some(parsed.map_err(|why| Usage(format!("gateway-address = {}: {why}", texts.join(","))))?))
}

/// `FIRST-LAST`, or one port.
fn ports(text: &str) -> Result<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first @ 1..), Ok(last)) if first <= last => Ok(first..=last),
        _ => usage(format!("gateway-ports = {text}: not a range of ports, such as 1194-1294")),
    }
}

fn usage<T>(what: impl Into<String>) -> Result<T> {
    Err(Usage(what.into()).into())
}

fn either(flags: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flags.is_empty() { file } else { flags }
}

/// `/var/lib/bascule` as root, else the XDG data folder.
pub(crate) fn default_data_dir() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/bascule"));
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|folder| folder.join("bascule"))
        .ok_or_else(|| {
            Usage("data-dir: neither XDG_DATA_HOME nor HOME is set, so name one".to_owned()).into()
        })
}

fn check_domain(domain: &str) -> Result<String> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if domain.len() <= 150 && domain.split('.').all(label) {
        Ok(domain)
    } else {
        usage(format!("domain = {domain}: not a domain name"))
    }
}

/// `ADDR` or `ADDR:PORT`, where the address may be a name; an IPv6 address with a port stands in brackets.
fn advertise(text: &str) -> Result<(String, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), None));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((socket.ip().to_string(), Some(socket.port())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if port > 0 => (host, Some(port)),
            _ => return usage(format!("advertise = {text}: not an address or a name with an optional port")),
        },
        None => (text, None),
    };
    let plain = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if plain {
        Ok((host.to_owned(), port))
    } else {
        usage(format!("advertise = {text}: not an address or a name with an optional port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(flags: Serve) -> Result<Config> {
        Config::load(Serve { data_dir: Some("d".into()), ..flags })
    }

    pub(super) fn refused(flags: Serve) -> String {
        let error = load(flags).unwrap_err();
        assert!(error.is::<Usage>(), "exit code 2");
        error.to_string()
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = load(Serve::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8585");
        assert_eq!(config.account.as_str(), "000000000000");
        assert_eq!(config.master_key_file, PathBuf::from("d/master.key"));
    }

    #[test]
    fn what_is_wrong_names_key_and_value() {
        let open = Serve { listen: Some("0.0.0.0:1".parse().unwrap()), ..Default::default() };
        assert!(refused(open).contains("listen = 0.0.0.0:1"));
        let dev = Serve {
            listen: Some("0.0.0.0:1".parse().unwrap()),
            insecure_http: Some(true),
            dev_open: Some(true),
            ..Default::default()
        };
        assert!(refused(dev).contains("dev-open"));
        assert!(refused(Serve { region: vec!["US".into()], ..Default::default() }).contains("region = US"));
        assert!(refused(Serve { account: Some("1".into()), ..Default::default() }).contains("account = 1"));
        assert!(refused(Serve { tls_cert: Some("c".into()), ..Default::default() }).contains("tls-key"));
        assert!(
            refused(Serve { advertise: Some("a b".into()), ..Default::default() })
                .contains("advertise = a b")
        );
        for bad in ["", "x", "0-5", "9-8", "1-65536", "1-2-3"] {
            let flags = Serve { gateway_ports: Some(bad.into()), ..Default::default() };
            assert!(refused(flags).contains(&format!("gateway-ports = {bad}:")));
        }
        let both = |advertise: &str| Serve {
            gateway_ports: Some("1194-1294".into()),
            advertise: Some(advertise.into()),
            ..Default::default()
        };
        assert!(refused(both("192.0.2.1:443")).contains("advertise = 192.0.2.1:443"));
        assert_eq!(load(both("192.0.2.1")).unwrap().gateway_ports, Some(1194..=1294));
        let bad = Serve { gateway_address: vec!["10.0.0.9-10.0.0.1".into()], ..Default::default() };
        assert!(refused(bad).contains("gateway-address = 10.0.0.9-10.0.0.1"));
    }

    #[test]
    fn the_file_yields_to_flags_and_refuses_unknown_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nworkers = 3\n[quotas]\nvpcs_per_region = 9\n")
            .unwrap();
        let config = load(Serve {
            config: Some(path.clone()),
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..Default::default()
        })
        .unwrap();
        assert_eq!((config.listen.port(), config.workers, config.quotas.vpcs_per_region), (2, Some(3), 9));
        std::fs::write(&path, "listem = \"127.0.0.1:1\"\n").unwrap();
        let why = refused(Serve { config: Some(path), ..Default::default() });
        assert!(why.contains("listem") && why.contains("line 1"), "{why}");
    }

    /// Each flag of `serve` with what it needs beside it: name, value, and the value as TOML.
    const FLAGS: &[&[(&str, &str, &str)]] = &[
        &[("data-dir", "elsewhere", "'elsewhere'")],
        &[("listen", "127.0.0.1:1", "'127.0.0.1:1'")],
        &[("gateway-address", "192.0.2.1,192.0.2.8/30", "['192.0.2.1', '192.0.2.8/30']")],
        &[("fabric", "userspace", "'userspace'")],
        &[("userspace-host", "192.0.2.1,192.0.2.8/30", "['192.0.2.1', '192.0.2.8/30']")],
        &[("gateway-ports", "1194-1294", "'1194-1294'")],
        &[("client-ipv6-prefix", "2001:db8::/48", "'2001:db8::/48'")],
        &[("domain", "example.com", "'example.com'")],
        &[("advertise", "192.0.2.1:443", "'192.0.2.1:443'")],
        &[("tls-cert", "c", "'c'"), ("tls-key", "k", "'k'")],
        &[("tls-key", "k", "'k'"), ("tls-cert", "c", "'c'")],
        &[("insecure-http", "true", "true"), ("listen", "0.0.0.0:1", "'0.0.0.0:1'")],
        &[("region", "us-east-1,eu-west-1", "['us-east-1', 'eu-west-1']")],
        &[("account", "111111111111", "'111111111111'")],
        &[("dev-open", "true", "true")],
        &[("metrics-listen", "127.0.0.1:2", "'127.0.0.1:2'")],
        &[("dns-listen", "127.0.0.1:53", "['127.0.0.1:53']"), ("domain", "example.com", "'example.com'")],
        &[("master-key-file", "m", "'m'")],
        &[("workers", "3", "3")],
        &[("session-hour-seconds", "5", "5")],
        &[("rekey-packets", "400", "400")],
        &[("connection-log-seconds", "5", "5")],
        &[("throttle", "true", "true")],
        &[("endpoint-operations", "10", "10")],
        &[("audit-file-bytes", "1000000", "1000000")],
        &[("audit-files", "5", "5")],
        &[("tls-crypt-key-file", "k", "'k'")],
        &[("tls-crypt-v2-key-file", "k", "'k'")],
        &[("upstream", "http://127.0.0.1:5000", "'http://127.0.0.1:5000'")],
        &[
            ("networks", "upstream", "'upstream'"),
            ("upstream", "http://127.0.0.1:5000", "'http://127.0.0.1:5000'"),
        ],
    ];

    /// The contract: every flag has a configuration key of its name, and an environment variable.
    #[test]
    fn every_flag_is_a_key_and_a_variable() {
        use clap::{CommandFactory, Parser};
        let parse = |arguments: &[String]| {
            let all = ["bascule".to_owned(), "serve".to_owned()].into_iter().chain(arguments.iter().cloned());
            match crate::cli::Cli::try_parse_from(all).unwrap().command {
                crate::cli::Command::Serve(flags) => *flags,
                _ => unreachable!("serve was asked for"),
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        let shown = |flags: Serve| format!("{:?}", Config::load(flags).unwrap());
        let command = crate::cli::Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let mut flags = 0;
        for flag in serve.get_arguments() {
            let name = flag.get_long().expect("serve has no positional argument");
            let variable = format!("BASCULE_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "{name}");
            flags += 1;
            if name == "config" {
                // The file itself.
                continue;
            }
            let row =
                FLAGS.iter().find(|row| row[0].0 == name).unwrap_or_else(|| panic!("{name} has no row here"));
            let mut arguments = Vec::new();
            let mut text = String::new();
            if name != "data-dir" {
                arguments.extend(["--data-dir".to_owned(), "d".to_owned()]);
                text.push_str("data-dir = 'd'\n");
            }
            let plain = shown(parse(&["--data-dir".to_owned(), "d".to_owned()]));
            for (name, value, toml) in *row {
                arguments.extend([format!("--{name}"), (*value).to_owned()]);
                text.push_str(&format!("{name} = {toml}\n"));
            }
            std::fs::write(&path, &text).unwrap();
            let by_file = shown(Serve { config: Some(path.clone()), ..Serve::default() });
            let by_flag = shown(parse(&arguments));
            assert_eq!(by_flag, by_file, "{name}");
            assert_ne!(by_flag, plain, "{name} has an effect");
        }
        assert_eq!(flags, FLAGS.len() + 1);
    }

    #[test]
    fn limits_are_checked() {
        let bad = [
            Serve { endpoint_operations: Some(0), ..Default::default() },
            Serve { audit_file_bytes: Some(1), ..Default::default() },
            Serve { audit_files: Some(0), ..Default::default() },
        ];
        for flags in bad {
            assert!(refused(flags).contains(" = "));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Serve { config: Some(path.clone()), ..Default::default() }
        };
        assert_eq!(
            load(with("[throttle-limits]\nread-burst = 7\n")).unwrap().throttle,
            None,
            "off unless asked for"
        );
        let config = load(with("throttle = true\n[throttle-limits]\nread-burst = 7\n")).unwrap();
        let throttle = config.throttle.unwrap();
        assert_eq!((throttle.read.burst, throttle.write), (7, Throttle::default().write));
        let why = refused(with("throttle = true\n[throttle-limits]\nwrite-per-second = 0\n"));
        assert!(why.contains("throttle-limits.write-per-second = 0"), "{why}");
    }

    #[test]
    fn advertise_takes_addresses_names_and_ports() {
        for (text, host, port) in [
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:8443", "192.0.2.1", Some(8443)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("vpn.example.com:1194", "vpn.example.com", Some(1194)),
        ] {
            assert_eq!(advertise(text).unwrap(), (host.to_owned(), port));
        }
    }
}
