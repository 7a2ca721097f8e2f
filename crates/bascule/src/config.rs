//! Configuration of `serve`: flag, else environment variable, else file, else default.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use api::Addresses;
use model::{AccountId, Quotas, RegionName};
use serde::Deserialize;

use crate::Usage;
use crate::cli::Serve;

/// The file's keys: those of the flags, and tables.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    gateway_address: Vec<String>,
    domain: Option<String>,
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
    connection_log_seconds: Option<u64>,
    quotas: Quotas,
}

/// What `serve` runs with.
#[derive(Debug)]
pub(crate) struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// `None`: the host's own.
    pub gateway_addresses: Option<Addresses>,
    /// Whether one of them is loopback.
    pub loopback_gateway: bool,
    pub domain: Option<String>,
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
    pub connection_log_interval: Option<Duration>,
    pub quotas: Quotas,
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
        let gateway_address = either(flags.gateway_address, file.gateway_address);
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
            domain: flags.domain.or(file.domain).map(|domain| check_domain(&domain)).transpose()?,
            advertise: flags.advertise.or(file.advertise).map(|text| advertise(&text)).transpose()?,
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
            connection_log_interval: flags
                .connection_log_seconds
                .or(file.connection_log_seconds)
                .map(|seconds| Duration::from_secs(seconds.max(1))),
            quotas: file.quotas,
        })
    }
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

    fn load(flags: Serve) -> Result<Config> {
        Config::load(Serve { data_dir: Some("d".into()), ..flags })
    }

    fn refused(flags: Serve) -> String {
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
