//! Expectations: `reach 10.0.1.5:80`, `deny 10.0.2.0/24`, `ping 10.0.1.5`.
//!
//! ```text
//! reach ADDRESS:PORT[/tcp|/udp] [echo [SIZE]|http]   [within TIME]
//! ping  ADDRESS                                      [within TIME]
//! deny  ADDRESS[:PORT[/tcp|/udp]]                    [within TIME]
//! deny  NETWORK [at ADDRESS]                         [within TIME]
//! ```
//!
//! A network is probed at one address: the one behind `at`, else the one that `sample` names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

/// How long an answer is waited for, unless the expectation says otherwise.
const REACH_WITHIN: Duration = Duration::from_secs(5);
/// The same for one that is not to come.
const DENY_WITHIN: Duration = Duration::from_secs(2);
/// Longest time an expectation may ask for.
const MAX_WITHIN: Duration = Duration::from_secs(600);
/// Bytes of a transfer, unless the expectation says otherwise.
pub(crate) const TRANSFER_BYTES: usize = 4096;
/// Largest transfer that an expectation may ask for.
const MAX_TRANSFER_BYTES: usize = 1 << 30;
/// Longest expectation, in characters.
const MAX_TEXT: usize = 256;

/// What is expected.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// The other end answers.
    Reach,
    /// Nobody answers, although the question went through the tunnel.
    Deny,
    /// An echo request is answered.
    Ping,
}

/// TCP or UDP.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
}

/// What is said once there is a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Talk {
    /// Nothing: a connection, or any datagram back, is enough.
    Nothing,
    /// So many bytes must come back unchanged; a datagram's are always the same few.
    Echo(usize),
    /// `HEAD /`, answered by `HTTP/`.
    Http,
}

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where the probe goes.
    pub address: IpAddr,
    /// The network it stands for.
    pub network: Option<IpNet>,
    /// Protocol and port; without, an echo request (and, for `deny`, a TCP connection too).
    pub port: Option<(Protocol, u16)>,
    /// What is said.
    pub talk: Talk,
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// As it was written.
    pub text: String,
    /// What is expected.
    pub verb: Verb,
    /// Of what.
    pub target: Target,
    /// How long an answer is waited for.
    pub within: Duration,
}

/// Why a text is no expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expectation {text:?}: {why}")]
pub struct ExpectationError {
    text: String,
    why: String,
}

impl FromStr for Expectation {
    type Err = ExpectationError;

    fn from_str(text: &str) -> Result<Self, ExpectationError> {
        parse(text).map_err(|why| ExpectationError { text: text.chars().take(MAX_TEXT).collect(), why })
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Result<Expectation, String> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(format!("at most {MAX_TEXT} characters, none of them a control"));
    }
    let mut words = text.split_whitespace().peekable();
    let verb = match words.next() {
        Some("reach") => Verb::Reach,
        Some("deny") => Verb::Deny,
        Some("ping") => Verb::Ping,
        _ => return Err("it begins with reach, deny or ping".to_owned()),
    };
    let place = words.next().ok_or("an address is missing")?;
    let mut target = match (verb, place.parse::<IpNet>()) {
        (Verb::Deny, Ok(network)) => Target {
            address: sample(network),
            network: Some(network.trunc()),
            port: None,
            talk: Talk::Nothing,
        },
        _ => address(verb, place)?,
    };
    let mut within = if verb == Verb::Deny { DENY_WITHIN } else { REACH_WITHIN };
    let mut sized = false;
    while let Some(word) = words.next() {
        match word {
            "within" => within = time(words.next().unwrap_or_default())?,
            "at" => {
                let at = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                let at = at.ok_or("an address stands behind `at`")?;
                match target.network {
                    Some(network) if network.contains(&at) => target.address = at,
                    Some(_) => return Err(format!("{at} is not in that network")),
                    None => return Err("`at` is for networks".to_owned()),
                }
            }
            "echo" if verb == Verb::Reach => {
                let given = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
                sized |= given.is_some();
                target.talk = Talk::Echo(given.map_or(Ok(TRANSFER_BYTES), size)?);
            }
            "http" if verb == Verb::Reach => target.talk = Talk::Http,
            _ => return Err(format!("{word:?} is not understood here")),
        }
    }
    match (verb, target.port, target.talk) {
        (Verb::Reach, None, _) => return Err("a port is missing; `ping ADDRESS` needs none".to_owned()),
        (Verb::Reach, Some((Protocol::Udp, _)), Talk::Http) => return Err("HTTP is over TCP".to_owned()),
        (Verb::Reach, Some((Protocol::Udp, _)), Talk::Echo(_)) if sized => {
            return Err("a size is for TCP".to_owned());
        }
        (Verb::Ping, Some(_), _) => return Err("an echo request has no port".to_owned()),
        _ => {}
    }
    if !is_unicast(target.address) {
        return Err(format!("{} cannot be probed; `at ADDRESS` names another one", target.address));
    }
    Ok(Expectation { text: text.trim().to_owned(), verb, target, within })
}

fn address(verb: Verb, place: &str) -> Result<Target, String> {
    let (place, protocol) = match place.rsplit_once('/') {
        Some((place, "tcp")) => (place, Some(Protocol::Tcp)),
        Some((place, "udp")) => (place, Some(Protocol::Udp)),
        Some((place, behind)) => return Err(wrong_behind_slash(verb, place, behind)),
        None => (place, None),
    };
    let target = |address, port| Target { address, network: None, port, talk: Talk::Nothing };
    if let Ok(address) = place.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return match protocol {
            None => Ok(target(address, None)),
            Some(_) => Err("a port is missing".to_owned()),
        };
    }
    let socket: std::net::SocketAddr = place.parse().map_err(|_| no_address(place))?;
    if socket.port() == 0 {
        return Err("there is no port 0".to_owned());
    }
    Ok(target(socket.ip(), Some((protocol.unwrap_or(Protocol::Tcp), socket.port()))))
}

/// Why what stands behind the slash is neither a protocol nor the length of a prefix.
fn wrong_behind_slash(verb: Verb, place: &str, behind: &str) -> String {
    match place.parse::<IpAddr>() {
        Ok(_) if verb != Verb::Deny => "only `deny` takes a network".to_owned(),
        Ok(address) => {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            format!("/{behind} is no prefix length: /0 to /{longest}")
        }
        Err(_) if place.parse::<std::net::SocketAddr>().is_ok() => {
            format!("/{behind} is no protocol: /tcp or /udp")
        }
        Err(_) => no_address(place),
    }
}

fn no_address(place: &str) -> String {
    format!("{place:?} is no address (names are not resolved in the tunnel)")
}

/// `65536`, `64KiB` or `1MiB`.
fn size(word: &str) -> Result<usize, String> {
    let (digits, unit) = match (word.strip_suffix("KiB"), word.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (word, 1),
    };
    let number: usize = digits.parse().map_err(|_| format!("{word:?} is no size: 65536, 64KiB, 1MiB"))?;
    match number.checked_mul(unit) {
        Some(bytes @ 1..=MAX_TRANSFER_BYTES) => Ok(bytes),
        _ => Err(format!("a size is between 1 and {MAX_TRANSFER_BYTES} bytes")),
    }
}

/// `500ms`, `2s` or `2`.
fn time(word: &str) -> Result<Duration, String> {
    let (digits, unit_ms) = match word.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (word.strip_suffix('s').unwrap_or(word), 1000),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{word:?} is no time: 500ms, 2s"))?;
    let time = Duration::from_millis(number.saturating_mul(unit_ms));
    if time.is_zero() || time > MAX_WITHIN {
        return Err(format!("a time is between 1 ms and {} s", MAX_WITHIN.as_secs()));
    }
    Ok(time)
}

/// The address that stands for a network: the fifth, which is the first that a VPC's subnet gives out; the first host's
/// where there are fewer than 16 addresses; the only one where there is one.
pub(crate) fn sample(network: IpNet) -> IpAddr {
    let host_bits = network.max_prefix_len() - network.prefix_len();
    let offset: u8 = match host_bits {
        0 => 0,
        1..=3 => 1,
        _ => 4,
    };
    match network.trunc() {
        IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() | u32::from(offset))),
        IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() | u128::from(offset))),
    }
}

/// Whether one host may have that address.
fn is_unicast(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(address) => address.is_broadcast() || address.octets().first() == Some(&0),
        IpAddr::V6(_) => false,
    };
    !(special || address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Expectation {
        text.parse().unwrap()
    }

    #[test]
    fn all_forms() {
        let reach = of("reach 10.0.1.5:80");
        assert_eq!((reach.verb, reach.target.port), (Verb::Reach, Some((Protocol::Tcp, 80))));
        assert_eq!((reach.target.talk, reach.within), (Talk::Nothing, Duration::from_secs(5)));
        assert_eq!(reach.to_string(), "reach 10.0.1.5:80");
        assert_eq!(of("reach 10.0.1.5:53/udp").target.port, Some((Protocol::Udp, 53)));
        assert_eq!(of("reach [fd00::5]:7/tcp echo").target.talk, Talk::Echo(4096));
        assert_eq!(of("reach 10.0.1.5:7 echo 12 within 9s").target.talk, Talk::Echo(12));
        assert_eq!(of("reach 10.0.1.5:7 within 9s echo 64KiB").target.talk, Talk::Echo(65_536));
        assert_eq!(of("reach 10.0.1.5:7 echo 1024MiB").target.talk, Talk::Echo(1 << 30));
        assert_eq!(of("reach 10.0.1.5:80 http within 500ms").within, Duration::from_millis(500));
        assert_eq!(of("ping fd00::1 within 9").within, Duration::from_secs(9));
        let deny = of("deny 10.0.2.0/24");
        assert_eq!(deny.target.address, "10.0.2.4".parse::<IpAddr>().unwrap());
        assert_eq!(deny.target.network, Some("10.0.2.0/24".parse().unwrap()));
        assert_eq!((deny.target.port, deny.within), (None, Duration::from_secs(2)));
        let deny = of("deny 10.0.2.0/24 at 10.0.2.77");
        assert_eq!(deny.target.address, "10.0.2.77".parse::<IpAddr>().unwrap());
        assert_eq!(of("deny 10.0.2.9:22").target.port, Some((Protocol::Tcp, 22)));
        assert_eq!(of("deny 10.0.2.9").target.network, None);
    }

    #[test]
    fn samples() {
        for (network, address) in [
            ("10.0.2.0/24", "10.0.2.4"),
            ("10.0.2.77/24", "10.0.2.4"),
            ("10.0.2.16/28", "10.0.2.20"),
            ("10.0.2.8/29", "10.0.2.9"),
            ("10.0.2.8/31", "10.0.2.9"),
            ("10.0.2.8/32", "10.0.2.8"),
            ("fd00::/64", "fd00::4"),
        ] {
            assert_eq!(sample(network.parse().unwrap()), address.parse::<IpAddr>().unwrap(), "{network}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (text, word) in [
            ("", "begins with"),
            ("allow 10.0.0.1:1", "begins with"),
            ("reach", "missing"),
            ("reach 10.0.0.1", "port is missing"),
            ("reach 10.0.0.1/tcp", "port is missing"),
            ("reach 10.0.0.0/24", "only `deny`"),
            ("ping 10.0.0.0/33", "only `deny`"),
            ("deny 10.99.77.0/33", "/33 is no prefix length: /0 to /32"),
            ("deny fd00::/129", "/129 is no prefix length: /0 to /128"),
            ("deny 10.99.77.0/", "no prefix length"),
            ("deny 10.99.77.0/24/24", "no address"),
            ("deny office/24", "no address"),
            ("deny 10.0.0.1:80/24", "/24 is no protocol: /tcp or /udp"),
            ("reach 10.0.0.1:80/sctp", "/sctp is no protocol"),
            ("reach web.example:80", "names"),
            ("reach 10.0.0.1:0", "port 0"),
            ("reach 10.0.0.1:53/udp http", "over TCP"),
            ("reach 10.0.0.1:7/udp echo 100", "for TCP"),
            ("reach 10.0.0.1:7 echo 0", "a size is"),
            ("reach 10.0.0.1:7 echo 1025MiB", "a size is"),
            ("reach 10.0.0.1:7 echo 99999999999999999999", "no size"),
            ("reach 10.0.0.1:7 echo 1GiB", "no size"),
            ("reach 10.0.0.1:7 http 100", "not understood"),
            ("deny 10.0.0.1:80 echo", "echo"),
            ("deny 10.0.0.1 at 10.0.0.2", "for networks"),
            ("deny 10.0.0.0/24 at 10.0.1.1", "not in"),
            ("deny 0.0.0.0/0", "at ADDRESS"),
            ("ping 10.0.0.1:7", "no port"),
            ("ping 224.0.0.1", "cannot be probed"),
            ("ping 10.0.0.1 within", "no time"),
            ("ping 10.0.0.1 within 0s", "between"),
            ("ping 10.0.0.1 within 99999s", "between"),
            ("ping 10.0.0.1\u{7}", "control"),
        ] {
            let why = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
