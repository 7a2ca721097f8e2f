//! The client lines that can be imitated: what each says about itself, and where its behaviour differs.
//!
//! All of it was read off recorded sessions of clients with default options. spec: openvpn-protocol §3, §5, §7, §11

use std::time::Duration;

use super::{HandshakeOrder, SessionConfig};
use crate::data::Cipher;
use crate::km2::Dialect;

/// A line of clients; [`Line::config`] makes a session behave like one of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// OpenVPN 2.4: keys by the PRF, a bare acknowledgement before its ClientHello.
    V2_4,
    /// OpenVPN 2.5: the same, and takes a push reply without having asked.
    V2_5,
    /// OpenVPN 2.6: keys by the TLS exporter, EXIT, dynamic tls-crypt.
    V2_6,
    /// OpenVPN 2.7: the same, and data packets in epochs.
    V2_7,
    /// OpenVPN 3: the same as 2.7, but asks for its push reply at once, and long stays with an old key.
    OpenVpn3,
    /// The AWS VPN Client: 2.6 with a key-method-2 message of its own.
    Aws,
}

impl Line {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::V2_4, Self::V2_5, Self::V2_6, Self::V2_7, Self::OpenVpn3, Self::Aws];

    /// The name a tool chooses it by.
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

    /// The line of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|line| line.name() == name)
    }

    /// A session like those of this line, over UDP, with default options.
    #[must_use]
    pub fn config(self) -> SessionConfig {
        self.config_with(false, Cipher::Aes256Gcm, None)
    }

    /// The same over TCP.
    #[must_use]
    pub fn config_over_tcp(self) -> SessionConfig {
        self.config_with(true, Cipher::Aes256Gcm, None)
    }

    /// The same with the `cipher` and the `data-ciphers` of a profile; `None`: what the line offers by itself.
    #[must_use]
    pub fn config_with(self, over_tcp: bool, cipher: Cipher, offered: Option<&[Cipher]>) -> SessionConfig {
        let old = matches!(self, Self::V2_4 | Self::V2_5);
        let third = self == Self::OpenVpn3;
        let offered = match offered {
            Some(ciphers) => ciphers.iter().map(|cipher| cipher.name()).collect::<Vec<_>>().join(":"),
            None => self.ciphers().to_owned(),
        };
        SessionConfig {
            handshake_timeout: Duration::from_secs(60),
            order: if old { HandshakeOrder::AckAlone } else { HandshakeOrder::AckRides },
            dialect: if self == Self::Aws { Dialect::Aws } else { Dialect::Stock },
            send_window: if old { 4 } else { 6 },
            receive_window: if old || third { 8 } else { 12 },
            // OpenVPN 3 sends nothing twice over TCP; the others do.
            retransmits: !(over_tcp && third),
            wrap: None,
            options: self.options(over_tcp, cipher),
            peer_info: self.peer_info(&offered),
            peer_info_again: self.peer_info_again().map(str::to_owned),
            username: None,
            username_again: None,
            password: None,
            cipher,
            push_request_after: if third { Duration::ZERO } else { Duration::from_secs(1) },
            push_request_every: Duration::from_secs(5),
            switch_after: Duration::from_secs(if third { 60 } else { 3 }),
            switch_on_data: !third,
            lame_duck: Duration::from_secs(3600),
        }
    }

    /// The link MTU counts the length in front of a packet over TCP.
    fn options(self, over_tcp: bool, cipher: Cipher) -> String {
        // UNVERIFIED: the link MTU of OpenVPN 3 over TCP, which was not recorded; servers do not look at it.
        let base_bytes = if self == Self::OpenVpn3 { 1521 } else { 1549 };
        let (link_mtu_bytes, proto) =
            if over_tcp { (base_bytes + 2, "TCPv4_CLIENT") } else { (base_bytes, "UDPv4") };
        let key_bits = if cipher == Cipher::Aes128Gcm { 128 } else { 256 };
        format!(
            "V4,dev-type tun,link-mtu {link_mtu_bytes},tun-mtu 1500,proto {proto},cipher {},auth [null-digest],\
             keysize {key_bits},key-method 2,tls-client",
            cipher.name()
        )
    }

    /// Once a cipher was pushed, 2.4 says no more which ones it has.
    const fn peer_info_again(self) -> Option<&'static str> {
        match self {
            Self::V2_4 => Some(
                "IV_VER=2.4.12\nIV_PLAT=linux\nIV_PROTO=2\n\
                 IV_LZ4=1\nIV_LZ4v2=1\nIV_LZO=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\nIV_TCPNL=1\n",
            ),
            Self::V2_5 | Self::V2_6 | Self::V2_7 | Self::OpenVpn3 | Self::Aws => None,
        }
    }

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
                "IV_VER={version}\nIV_PLAT=linux\nIV_PROTO={proto}\nIV_NCP=2\nIV_CIPHERS={ciphers}\n\
                 IV_LZ4=1\nIV_LZ4v2=1\nIV_LZO=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\nIV_TCPNL=1\n"
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
}
