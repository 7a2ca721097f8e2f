//! Which client line is imitated: what its packets look like and how long it waits.
//!
//! spec: openvpn-protocol §3, §5, §7, §9.5, §18; the texts are those that the real clients were recorded with.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use openvpn::client::{HandshakeOrder, SessionConfig};
use openvpn::data::Cipher;
use openvpn::km2;

use crate::profile::{Profile, Transport};

/// A client line.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dialect {
    /// OpenVPN 2.4.
    V2_4,
    /// OpenVPN 2.5.
    V2_5,
    /// OpenVPN 2.6.
    #[default]
    V2_6,
    /// OpenVPN 2.7.
    V2_7,
    /// OpenVPN 3 core.
    OpenVpn3,
    /// The AWS client's engine: 2.6 with a key-method-2 message of its own.
    Aws,
}

/// There is no such dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of 2.4, 2.5, 2.6, 2.7, openvpn3, aws")]
pub struct UnknownDialect(String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.name() == text)
            .ok_or_else(|| UnknownDialect(text.to_owned()))
    }
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::V2_4, Self::V2_5, Self::V2_6, Self::V2_7, Self::OpenVpn3, Self::Aws];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2_4 => "2.4",
            Self::V2_5 => "2.5",
            Self::V2_6 => "2.6",
            Self::V2_7 => "2.7",
            Self::OpenVpn3 => "openvpn3",
            Self::Aws => "aws",
        }
    }

    /// How long it waits before it connects again. spec: openvpn-protocol §9.5
    pub(crate) const fn retry_pause(self) -> Duration {
        match self {
            Self::V2_4 | Self::V2_5 | Self::OpenVpn3 => Duration::from_secs(5),
            Self::V2_6 | Self::V2_7 | Self::Aws => Duration::from_secs(1),
        }
    }

    /// Whether it comes back after `AUTH_FAILED,TEMP` (bit 8 of `IV_PROTO`).
    pub(crate) const fn knows_temporary_refusals(self) -> bool {
        !matches!(self, Self::V2_4 | Self::V2_5)
    }

    /// The ciphers it offers unless the profile says otherwise.
    const fn ciphers(self) -> &'static str {
        match self {
            Self::V2_4 | Self::V2_5 => "AES-256-GCM:AES-128-GCM",
            Self::V2_6 | Self::V2_7 | Self::Aws => "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
            Self::OpenVpn3 => "AES-128-GCM:AES-192-GCM:AES-256-GCM:CHACHA20-POLY1305",
        }
    }

    fn peer_info(self, ciphers: &str) -> String {
        let old = |version: &str, proto: u32| {
            format!(
                "IV_VER={version}\nIV_PLAT=linux\nIV_PROTO={proto}\nIV_NCP=2\nIV_CIPHERS={ciphers}\nIV_LZ4=1\nIV_LZ4v2=1\n\
                 IV_LZO=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\nIV_TCPNL=1\n"
            )
        };
        let new = |version: &str, proto: u32| {
            format!(
                "IV_VER={version}\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\nIV_NCP=2\nIV_CIPHERS={ciphers}\n\
                 IV_PROTO={proto}\nIV_LZO_STUB=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\n"
            )
        };
        match self {
            Self::V2_4 => old("2.4.12", 2),
            Self::V2_5 => old("2.5.11", 6),
            Self::V2_6 => new("2.6.14", 990),
            Self::V2_7 => new("2.7.6", 8094),
            Self::Aws => new("2.6.12", 990),
            Self::OpenVpn3 => format!(
                "IV_VER=3.12_git:master\nIV_PLAT=linux\nIV_NCP=2\nIV_TCPNL=1\nIV_PROTO=8094\nIV_MTU=1600\n\
                 IV_CIPHERS={ciphers}\nIV_GUI_VER=cli 1.0\n"
            ),
        }
    }

    /// The options string. Its link MTU counts the length in front of a packet over TCP.
    fn options(self, transport: Transport, cipher: Cipher) -> String {
        let base = if self == Self::OpenVpn3 { 1521 } else { 1549 };
        let (link_mtu, proto) = match transport {
            Transport::Udp => (base, "UDPv4"),
            Transport::Tcp => (base + 2, "TCPv4_CLIENT"),
        };
        let key_bits = if cipher == Cipher::Aes128Gcm { 128 } else { 256 };
        format!(
            "V4,dev-type tun,link-mtu {link_mtu},tun-mtu 1500,proto {proto},cipher {},auth [null-digest],\
             keysize {key_bits},key-method 2,tls-client",
            cipher.name()
        )
    }

    /// How a session of it behaves, with what the profile sets.
    pub(crate) fn session(self, profile: &Profile, transport: Transport) -> SessionConfig {
        let cipher = profile.cipher.unwrap_or(Cipher::Aes256Gcm);
        let offered = match &profile.data_ciphers {
            Some(ciphers) => ciphers.iter().fold(String::new(), |mut list, cipher| {
                let colon = if list.is_empty() { "" } else { ":" };
                let _ = write!(list, "{colon}{}", cipher.name());
                list
            }),
            None => self.ciphers().to_owned(),
        };
        let defaults = SessionConfig::default();
        let (username, password) =
            profile.login.as_ref().map(|login| (login.username.clone(), login.password.clone())).unzip();
        SessionConfig {
            handshake_timeout: profile.handshake_timeout,
            order: match self {
                Self::V2_4 | Self::V2_5 => HandshakeOrder::AckAlone,
                _ => HandshakeOrder::AckRides,
            },
            dialect: if self == Self::Aws { km2::Dialect::Aws } else { km2::Dialect::Stock },
            options: self.options(transport, cipher),
            peer_info: self.peer_info(&offered),
            username,
            password,
            cipher,
            // spec: openvpn-protocol §20 (21)
            push_request_after: match self {
                Self::OpenVpn3 => Duration::ZERO,
                _ => defaults.push_request_after,
            },
            switch_after: match self {
                Self::OpenVpn3 => Duration::from_secs(60),
                _ => defaults.switch_after,
            },
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use openvpn::PeerInfo;

    use super::*;

    #[test]
    fn names_go_both_ways() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.name().parse(), Ok(dialect));
        }
        assert!("2.3".parse::<Dialect>().unwrap_err().to_string().contains("2.3"));
    }

    #[test]
    fn each_says_what_its_client_says() {
        let profile = Profile::for_tests();
        for (dialect, version, proto) in [
            (Dialect::V2_4, "2.4.12", 2),
            (Dialect::V2_5, "2.5.11", 6),
            (Dialect::V2_6, "2.6.14", 990),
            (Dialect::V2_7, "2.7.6", 8094),
            (Dialect::OpenVpn3, "3.12_git:master", 8094),
            (Dialect::Aws, "2.6.12", 990),
        ] {
            let session = dialect.session(&profile, Transport::Udp);
            let said = PeerInfo::parse(&session.peer_info);
            assert_eq!((said.version.as_deref(), said.proto), (Some(version), proto));
            assert_eq!(session.dialect == km2::Dialect::Aws, dialect == Dialect::Aws);
            let early = matches!(dialect, Dialect::V2_4 | Dialect::V2_5);
            assert_eq!(session.order == HandshakeOrder::AckAlone, early);
        }
    }

    #[test]
    fn the_profile_chooses_ciphers_and_the_transport_shows() {
        let mut profile = Profile::for_tests();
        profile.cipher = Some(Cipher::Aes128Gcm);
        profile.data_ciphers = Some(vec![Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305]);
        let session = Dialect::V2_6.session(&profile, Transport::Tcp);
        assert!(session.peer_info.contains("IV_CIPHERS=AES-128-GCM:CHACHA20-POLY1305\n"));
        assert!(session.options.contains("link-mtu 1551,tun-mtu 1500,proto TCPv4_CLIENT,cipher AES-128-GCM"));
        assert!(session.options.contains("keysize 128"));
    }
}
