//! What each directive of a profile means here.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use openvpn::client::WrapKey;
use openvpn::data::Cipher;
use openvpn::wrap::{ClientKey, StaticKey};
use zeroize::Zeroizing;

use super::lexer::{Directive, directives};
use super::{Identity, Login, MAX_REMOTES, NameRule, Profile, ProfileError, Remote, Transport, read_file};

/// Port of a `remote` line without one.
const DEFAULT_PORT: u16 = 1194;
/// `reneg-sec` of stock clients, in seconds.
const DEFAULT_RENEGOTIATION_S: u64 = 3600;
/// `hand-window` of stock clients, in seconds.
const DEFAULT_HANDSHAKE_S: u64 = 60;

/// About the host, its devices, routes, scripts and screens, or the default anyway.
const MEANINGLESS: &[&str] = &[
    "allow-compression",
    "auth",
    "auth-nocache",
    "auth-retry",
    "block-ipv6",
    "block-outside-dns",
    "client",
    "dev-node",
    "dhcp-option",
    "disable-dco",
    "fast-io",
    "float",
    "group",
    "inactive",
    "ifconfig",
    "ifconfig-ipv6",
    "ip-win32",
    "key-direction",
    "log",
    "log-append",
    "machine-readable-output",
    "management",
    "mode",
    "mssfix",
    "mute",
    "mute-replay-warnings",
    "nice",
    "nobind",
    "persist-key",
    "persist-tun",
    "pull",
    "push-peer-info",
    "rcvbuf",
    "redirect-gateway",
    "register-dns",
    "replay-window",
    "resolv-retry",
    "route",
    "route-delay",
    "route-ipv6",
    "route-metric",
    "route-method",
    "script-security",
    "server-poll-timeout",
    "connect-timeout",
    "connect-retry",
    "connect-retry-max",
    "setenv",
    "setenv-safe",
    "sndbuf",
    "socket-flags",
    "status",
    "suppress-timestamps",
    "syslog",
    "tap-sleep",
    "tls-client",
    "tls-timeout",
    "topology",
    "tran-window",
    "tun-mtu",
    "tun-mtu-extra",
    "user",
    "verb",
    "writepid",
    "ignore-unknown-option",
];

/// What changes the protocol, or needs a person.
const REFUSED: &[(&str, &str)] = &[
    ("tls-auth", "of wrapped control channels only tls-crypt and tls-crypt-v2 are spoken"),
    ("secret", "static keys are not spoken"),
    ("comp-lzo", "compression is not spoken"),
    ("compress", "compression is not spoken"),
    ("fragment", "fragments are not spoken"),
    ("auth-federate", "a SAML login needs a browser"),
    ("static-challenge", "a challenge needs a person"),
    ("pkcs12", "give certificate and key in PEM"),
    ("askpass", "give the key without a passphrase"),
    ("cryptoapicert", "give certificate and key in PEM"),
    ("http-proxy", "proxies are not used"),
    ("socks-proxy", "proxies are not used"),
    ("peer-fingerprint", "a server is known by its authority (ca)"),
    ("capath", "name one file (ca)"),
];

/// How a protocol's name reads: transport, and the address family it insists on.
fn protocol(name: &str) -> Option<(Transport, Option<bool>)> {
    Some(match name.trim_end_matches("-client") {
        "udp" => (Transport::Udp, None),
        "udp4" => (Transport::Udp, Some(true)),
        "udp6" => (Transport::Udp, Some(false)),
        "tcp" => (Transport::Tcp, None),
        "tcp4" => (Transport::Tcp, Some(true)),
        "tcp6" => (Transport::Tcp, Some(false)),
        _ => return None,
    })
}

/// A `remote` line before `proto` and `port` are known, which may stand behind it.
struct Draft {
    host: String,
    port: Option<u16>,
    protocol: Option<(Transport, Option<bool>)>,
}

#[derive(Default)]
struct Files {
    ca: Option<Zeroizing<String>>,
    cert: Option<Zeroizing<String>>,
    key: Option<Zeroizing<String>>,
    login: Option<Zeroizing<String>>,
    login_wanted: bool,
}

pub(super) struct Reader<'f> {
    folder: &'f Path,
    drafts: Vec<Draft>,
    port: Option<u16>,
    protocol: Option<(Transport, Option<bool>)>,
    files: Files,
    profile: Profile,
}

impl<'f> Reader<'f> {
    pub(super) fn new(folder: &'f Path) -> Self {
        let profile = Profile {
            renegotiate_after: Some(Duration::from_secs(DEFAULT_RENEGOTIATION_S)),
            handshake_timeout: Duration::from_secs(DEFAULT_HANDSHAKE_S),
            ..Profile::empty()
        };
        Self { folder, drafts: Vec::new(), port: None, protocol: None, files: Files::default(), profile }
    }

    pub(super) fn read(mut self, text: &str) -> Result<Profile, ProfileError> {
        for directive in directives(text)? {
            self.take(&directive)?;
        }
        self.finish()
    }

    fn take(&mut self, directive: &Directive) -> Result<(), ProfileError> {
        let profile = &mut self.profile;
        match directive.name.as_str() {
            "remote" => {
                let draft = remote(directive, 0)?;
                self.push(draft, directive)?;
            }
            "connection" => {
                let block = directive.block.as_ref().ok_or_else(|| wrong(directive, "it is a block"))?;
                let draft = connection(block, directive)?;
                self.push(draft, directive)?;
            }
            "port" | "rport" => self.port = Some(number(directive, 0)?),
            "proto" => {
                let name = word(directive, 0)?;
                self.protocol = Some(protocol(name).ok_or_else(|| wrong(directive, "no such protocol"))?);
            }
            "dev" | "dev-type" if !word(directive, 0)?.starts_with("tun") => {
                return Err(wrong(directive, "only tun is spoken"));
            }
            "dev" | "dev-type" => {}
            "remote-random" => profile.remote_random = true,
            "remote-random-hostname" => profile.random_hostname = true,
            "ca" => self.files.ca = Some(self.text(directive)?),
            "cert" => self.files.cert = Some(self.text(directive)?),
            "key" => self.files.key = Some(self.text(directive)?),
            "tls-crypt" => {
                let key = StaticKey::from_file(&self.text(directive)?);
                let key = key.map_err(|why| wrong(directive, &why.to_string()))?;
                self.profile.control_key = Some(WrapKey::TlsCrypt(Arc::new(key)));
            }
            "tls-crypt-v2" => {
                let key = ClientKey::from_file(&self.text(directive)?);
                let key = key.map_err(|why| wrong(directive, &why.to_string()))?;
                self.profile.control_key = Some(WrapKey::TlsCryptV2(Arc::new(key)));
            }
            "auth-user-pass" => {
                self.files.login_wanted = true;
                if directive.block.is_some() || !directive.words.is_empty() {
                    self.files.login = Some(self.text(directive)?);
                }
            }
            "verify-x509-name" => {
                let name = word(directive, 0)?.to_owned();
                profile.server_name = Some(match directive.words.get(1).map_or("subject", String::as_str) {
                    "name" => NameRule::Name(name),
                    "name-prefix" => NameRule::Prefix(name),
                    "subject" => NameRule::Subject(name),
                    _ => return Err(wrong(directive, "name, name-prefix or subject")),
                });
            }
            "remote-cert-tls" | "ns-cert-type" if word(directive, 0)? == "server" => {
                profile.server_purpose = true;
            }
            "cipher" => profile.cipher = Cipher::from_name(word(directive, 0)?),
            "data-ciphers" | "ncp-ciphers" => {
                // A question mark makes an entry optional.
                let names = word(directive, 0)?.split(':').map(|name| name.trim_start_matches('?'));
                let known: Vec<Cipher> = names.filter_map(Cipher::from_name).collect();
                if known.is_empty() {
                    return Err(wrong(directive, "none of these ciphers is spoken"));
                }
                profile.data_ciphers = Some(known);
            }
            "data-ciphers-fallback" => profile.cipher = Cipher::from_name(word(directive, 0)?),
            "reneg-sec" => {
                let seconds: u64 = number(directive, 0)?;
                profile.renegotiate_after = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            "hand-window" => profile.handshake_timeout = Duration::from_secs(number(directive, 0)?),
            "ping" => profile.ping = seconds(directive, 0)?,
            "ping-restart" | "ping-exit" => profile.ping_restart = seconds(directive, 0)?,
            "keepalive" => {
                profile.ping = seconds(directive, 0)?;
                profile.ping_restart = seconds(directive, 1)?;
            }
            "explicit-exit-notify" => profile.exit_notify = true,
            name => {
                if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                    return Err(wrong(directive, why));
                }
                if !MEANINGLESS.contains(&name) {
                    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                    profile.notes.push(format!("line {}: {name} is passed over", directive.line));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, draft: Draft, directive: &Directive) -> Result<(), ProfileError> {
        if self.drafts.len() >= MAX_REMOTES {
            return Err(wrong(directive, "too many servers"));
        }
        self.drafts.push(draft);
        Ok(())
    }

    /// A block, or the file that the first word names.
    fn text(&self, directive: &Directive) -> Result<Zeroizing<String>, ProfileError> {
        match &directive.block {
            Some(block) => Ok(block.clone()),
            None => read_file(&self.folder.join(PathBuf::from(word(directive, 0)?))),
        }
    }

    fn finish(self) -> Result<Profile, ProfileError> {
        let Self { drafts, port, protocol, files, mut profile, .. } = self;
        for draft in drafts {
            let (transport, only_ipv4) = draft.protocol.or(protocol).unwrap_or((Transport::Udp, None));
            let port = draft.port.or(port).unwrap_or(DEFAULT_PORT);
            profile.remotes.push(Remote { host: draft.host, port, transport, only_ipv4 });
        }
        if profile.remotes.is_empty() {
            return Err(ProfileError::Missing("the profile names no server (remote)"));
        }
        let ca = files.ca.ok_or(ProfileError::Missing("the profile names no authority (ca)"))?;
        profile.authorities = pki::certificates_from_pem(&ca).map_err(of("ca"))?;
        profile.identity = match (files.cert, files.key) {
            (Some(cert), Some(key)) => {
                let chain = pki::certificates_from_pem(&cert).map_err(of("cert"))?;
                let key = pki::key_from_pem(&key).map_err(of("key"))?;
                if !chain.first().is_some_and(|leaf| pki::key_matches(leaf, &key)) {
                    return Err(ProfileError::Missing("the key does not belong to the certificate (key)"));
                }
                Some(Identity { chain, key })
            }
            (None, None) => None,
            (Some(_), None) => return Err(ProfileError::Missing("the profile has a certificate but no key")),
            (None, Some(_)) => return Err(ProfileError::Missing("the profile has a key but no certificate")),
        };
        profile.login = files.login.as_deref().map(|text| login(text)).transpose()?;
        if files.login_wanted && profile.login.is_none() {
            profile.notes.push("auth-user-pass names no file: give one to log in with a name".to_owned());
        }
        Ok(profile)
    }
}

/// User name and password, a line each.
pub(super) fn login(text: &str) -> Result<Login, ProfileError> {
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(username), Some(password)) if !username.is_empty() => Ok(Login {
            username: username.trim_end().to_owned(),
            password: Zeroizing::new(password.trim_end_matches('\r').to_owned()),
        }),
        _ => {
            Err(ProfileError::Missing("auth-user-pass: a line with the user name and one with the password"))
        }
    }
}

fn connection(block: &str, outer: &Directive) -> Result<Draft, ProfileError> {
    let mut draft: Option<Draft> = None;
    let mut over = None;
    for inner in directives(block)? {
        match inner.name.as_str() {
            "remote" => draft = Some(remote(&inner, outer.line)?),
            "proto" => {
                over = Some(protocol(word(&inner, 0)?).ok_or_else(|| wrong(outer, "no such protocol"))?)
            }
            "tls-crypt" | "tls-crypt-v2" => return Err(wrong(outer, "the key is to stand outside")),
            name if REFUSED.iter().any(|(refused, _)| *refused == name) => {
                return Err(wrong(outer, &format!("{name} is not spoken")));
            }
            _ => {}
        }
    }
    let mut draft = draft.ok_or_else(|| wrong(outer, "it names no server (remote)"))?;
    draft.protocol = draft.protocol.or(over);
    Ok(draft)
}

fn remote(directive: &Directive, offset: usize) -> Result<Draft, ProfileError> {
    let wrong =
        |what: &str| ProfileError::Line { line: directive.line + offset, what: format!("remote: {what}") };
    let host = directive.words.first().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| wrong("a name or an address is missing"))?.clone();
    let port =
        directive.words.get(1).map(|port| port.parse().map_err(|_| wrong("no such port"))).transpose()?;
    let protocol = match directive.words.get(2) {
        Some(name) => Some(protocol(name).ok_or_else(|| wrong("no such protocol"))?),
        None => None,
    };
    Ok(Draft { host, port, protocol })
}

fn of(directive: &'static str) -> impl Fn(pki::PkiError) -> ProfileError {
    move |source| ProfileError::Pki { directive, source }
}

fn wrong(directive: &Directive, what: &str) -> ProfileError {
    ProfileError::Line { line: directive.line, what: format!("{}: {what}", directive.name) }
}

fn word(directive: &Directive, place: usize) -> Result<&str, ProfileError> {
    directive.words.get(place).map(String::as_str).ok_or_else(|| wrong(directive, "a word is missing"))
}

fn number<T: FromStr>(directive: &Directive, place: usize) -> Result<T, ProfileError> {
    word(directive, place)?.parse().map_err(|_| wrong(directive, "not a number in range"))
}

/// Zero switches off.
fn seconds(directive: &Directive, place: usize) -> Result<Option<Duration>, ProfileError> {
    let seconds: u64 = number(directive, place)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
