//! The upstream in the configuration: `upstream = "URL"`, or a table `[upstream]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use api::UpstreamUrl;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::usage;
use crate::Usage;

/// Table `upstream`, or its URL alone.
#[derive(Debug, Default)]
pub(super) struct UpstreamTable(UpstreamKeys);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct UpstreamKeys {
    url: Option<String>,
    allow: Vec<String>,
    credentials_file: Option<PathBuf>,
    timeout_seconds: Option<u64>,
    refresh_seconds: Option<u64>,
}

impl<'de> Deserialize<'de> for UpstreamTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UpstreamTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a table")
            }

            fn visit_str<E: serde::de::Error>(self, url: &str) -> std::result::Result<UpstreamTable, E> {
                Ok(UpstreamTable(UpstreamKeys { url: Some(url.to_owned()), ..UpstreamKeys::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> std::result::Result<UpstreamTable, A::Error> {
                UpstreamKeys::deserialize(MapAccessDeserializer::new(keys)).map(UpstreamTable)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The upstream and what goes there.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub url: UpstreamUrl,
    /// Services whose writes are forwarded too.
    pub allow: Vec<String>,
    pub credentials_file: Option<PathBuf>,
    pub timeout_seconds: u64,
    /// How often the networks are read that are the upstream's; `None`: the networks are our own.
    pub networks_seconds: Option<u64>,
}

/// How long an upstream may take for an answer, seconds, unless configured; and at most.
const UPSTREAM_TIMEOUT_SECONDS: u64 = 30;
const MAX_UPSTREAM_TIMEOUT_SECONDS: u64 = 900;

/// How often networks are read unless configured, seconds; and at most.
const REFRESH_SECONDS: u64 = 30;
const MAX_REFRESH_SECONDS: u64 = 3_600;

/// Whether `networks` says `upstream`.
fn networks_of_upstream(networks: Option<&str>) -> Result<bool> {
    match networks {
        None | Some("own") => Ok(false),
        Some("upstream") => Ok(true),
        Some(other) => usage(format!("networks = {other}: own or upstream")),
    }
}

impl UpstreamTable {
    /// Put together with the flag, and with whose the networks are.
    pub(super) fn checked(
        self,
        flag: Option<String>,
        networks: Option<String>,
        listen: SocketAddr,
        dev_open: bool,
    ) -> Result<Option<Upstream>> {
        let UpstreamKeys { url, allow, credentials_file, timeout_seconds, refresh_seconds } = self.0;
        let networks = networks_of_upstream(networks.as_deref())?;
        let Some(text) = flag.or(url) else {
            if networks {
                return usage("networks = upstream: there is none; give upstream, or url in [upstream]");
            }
            let numbers = timeout_seconds.or(refresh_seconds);
            let set = !allow.is_empty() || credentials_file.is_some() || numbers.is_some();
            return if set {
                usage("upstream.url is missing beside the other keys of [upstream]")
            } else {
                Ok(None)
            };
        };
        // The value is not repeated: it may hold a password by mistake.
        let url = UpstreamUrl::parse(&text).map_err(|why| Usage(format!("upstream: {why}")))?;
        if crate::upstream::is_own(&url, listen) {
            return usage(format!("upstream = {url} is this server itself"));
        }
        if dev_open {
            return usage(
                "upstream: nothing is forwarded for callers without credentials, so not with dev-open",
            );
        }
        let name = |text: &String| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if let Some(bad) = allow.iter().find(|text| !name(text)) {
            return usage(format!("upstream.allow = {bad}: not a service such as \"lambda\""));
        }
        let timeout_seconds = timeout_seconds.unwrap_or(UPSTREAM_TIMEOUT_SECONDS);
        if !(1..=MAX_UPSTREAM_TIMEOUT_SECONDS).contains(&timeout_seconds) {
            return usage(format!(
                "upstream.timeout-seconds = {timeout_seconds}: from 1 to {MAX_UPSTREAM_TIMEOUT_SECONDS}"
            ));
        }
        let refresh_seconds = refresh_seconds.unwrap_or(REFRESH_SECONDS);
        if !(1..=MAX_REFRESH_SECONDS).contains(&refresh_seconds) {
            return usage(format!(
                "upstream.refresh-seconds = {refresh_seconds}: from 1 to {MAX_REFRESH_SECONDS}"
            ));
        }
        let networks_seconds = networks.then_some(refresh_seconds);
        Ok(Some(Upstream { url, allow, credentials_file, timeout_seconds, networks_seconds }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, refused};
    use crate::cli::Serve;

    #[test]
    fn an_upstream_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bascule.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Serve { config: Some(path.clone()), ..Default::default() }
        };
        assert!(load(Serve::default()).unwrap().upstream.is_none());
        let table = "[upstream]\nurl = 'http://x:1'\nallow = ['lambda', 's3']\ntimeout-seconds = 5\n";
        let upstream = load(with(table)).unwrap().upstream.unwrap();
        assert_eq!((upstream.url.to_string().as_str(), upstream.timeout_seconds), ("http://x:1", 5));
        assert_eq!(upstream.allow, ["lambda", "s3"]);
        assert_eq!(upstream.networks_seconds, None);
        let theirs = Serve { networks: Some("upstream".into()), ..with(table) };
        assert_eq!(load(theirs).unwrap().upstream.unwrap().networks_seconds, Some(30));
        // The flag goes before the table's URL and leaves the rest.
        let flags = Serve { upstream: Some("https://y".into()), ..with(table) };
        let upstream = load(flags).unwrap().upstream.unwrap();
        assert_eq!((upstream.url.to_string().as_str(), upstream.allow.len()), ("https://y", 2));
        for (text, words) in [
            ("upstream = 'http://root:secret@x'", "upstream: expecting"),
            ("upstream = 5", "config = "),
            ("[upstream]\nallow = ['s3']", "upstream.url is missing"),
            ("[upstream]\nurl = 'http://x'\nallow = ['S3']", "upstream.allow = S3"),
            ("[upstream]\nurl = 'http://x'\ntimeout-seconds = 0", "upstream.timeout-seconds = 0"),
            ("[upstream]\nurl = 'http://x'\nsecret = 'canary'", "config = "),
            ("networks = 'upstream'", "networks = upstream"),
            ("networks = 'their'", "networks = their"),
            ("[upstream]\nrefresh-seconds = 5", "upstream.url is missing"),
            ("[upstream]\nurl = 'http://x'\nrefresh-seconds = 0", "upstream.refresh-seconds = 0"),
            ("listen = '127.0.0.1:5000'\nupstream = 'http://localhost:5000'", "this server itself"),
            ("dev-open = true\nupstream = 'http://x'", "dev-open"),
        ] {
            let why = refused(with(text));
            assert!(why.contains(words) && !why.contains("root:secret") && !why.contains("canary"), "{why}");
        }
    }
}
