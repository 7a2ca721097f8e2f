//! Which client line is imitated: how long it waits, and its session with what the profile sets. What its packets look like
//! is the protocol's own [`Line`](openvpn::client::Line).
//!
//! spec: openvpn-protocol §9.5

use std::time::Duration;

pub use openvpn::client::Line as Dialect;
use openvpn::client::{SessionConfig, Wrap};
use openvpn::data::Cipher;

use crate::clock;
use crate::profile::{Profile, Transport};

/// There is no such dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of 2.4, 2.5, 2.6, 2.7, openvpn3, aws")]
pub struct UnknownDialect(String);

/// The dialect of that name.
///
/// # Errors
/// There is none.
pub fn dialect(name: &str) -> Result<Dialect, UnknownDialect> {
    Dialect::from_name(name).ok_or_else(|| UnknownDialect(name.to_owned()))
}

/// How long it waits before it connects again. spec: openvpn-protocol §9.5
pub(crate) const fn retry_pause(dialect: Dialect) -> Duration {
    match dialect {
        Dialect::V2_4 | Dialect::V2_5 | Dialect::OpenVpn3 => Duration::from_secs(5),
        Dialect::V2_6 | Dialect::V2_7 | Dialect::Aws => Duration::from_secs(1),
    }
}

/// Whether it comes back after `AUTH_FAILED,TEMP` (bit 8 of `IV_PROTO`).
pub(crate) const fn knows_temporary_refusals(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::V2_4 | Dialect::V2_5)
}

/// How a session of it behaves, with what the profile sets.
pub(crate) fn session(dialect: Dialect, profile: &Profile, transport: Transport) -> SessionConfig {
    let cipher = profile.cipher.unwrap_or(Cipher::Aes256Gcm);
    let over_tcp = transport == Transport::Tcp;
    let (username, password) =
        profile.login.as_ref().map(|login| (login.username.clone(), login.password.clone())).unzip();
    let common = SessionConfig::default();
    SessionConfig {
        handshake_timeout: profile.handshake_timeout,
        username,
        password,
        wrap: profile.control_key.clone().map(|key| Wrap { key, began_at: clock::wall() }),
        // Windows, repeats and the move to a new key are those of any client: a tool shall not wait a minute for one.
        send_window: common.send_window,
        receive_window: common.receive_window,
        retransmits: common.retransmits,
        peer_info_again: common.peer_info_again,
        switch_on_data: common.switch_on_data,
        ..dialect.config_with(over_tcp, cipher, profile.data_ciphers.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use openvpn::client::HandshakeOrder;
    use openvpn::{PeerInfo, km2};

    use super::*;

    #[test]
    fn names_go_both_ways() {
        for one in Dialect::ALL {
            assert_eq!(dialect(one.name()), Ok(one));
        }
        assert!(dialect("2.3").unwrap_err().to_string().contains("2.3"));
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
            let session = session(dialect, &profile, Transport::Udp);
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
        let session = session(Dialect::V2_6, &profile, Transport::Tcp);
        assert!(session.peer_info.contains("IV_CIPHERS=AES-128-GCM:CHACHA20-POLY1305\n"));
        assert!(session.options.contains("link-mtu 1551,tun-mtu 1500,proto TCPv4_CLIENT,cipher AES-128-GCM"));
        assert!(session.options.contains("keysize 128"));
    }
}
