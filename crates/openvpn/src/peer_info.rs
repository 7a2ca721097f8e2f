//! What a client says about itself in its key-method-2 message (`IV_*`), and what follows from it.
//!
//! All of it is untrusted text. spec: openvpn-protocol §7.4, §9.4

use crate::data::Cipher;

/// Longest peer info that is looked at, in bytes.
pub const MAX_PEER_INFO_BYTES: usize = 64 * 1024;
/// Longest value kept for display, in bytes.
const MAX_VALUE_BYTES: usize = 256;
/// Longest raw text kept, in bytes.
const MAX_RAW_BYTES: usize = 4096;

/// Bits of `IV_PROTO`.
pub mod proto {
    /// DATA_V2, pushed peer id, floating.
    pub const DATA_V2: u32 = 1 << 1;
    /// Takes PUSH_REPLY without having asked.
    pub const UNSOLICITED_PUSH: u32 = 1 << 2;
    /// Data keys by the TLS exporter.
    pub const TLS_EKM: u32 = 1 << 3;
    /// EXIT on the control channel, and the `protocol-flags` option.
    pub const CC_EXIT: u32 = 1 << 7;
    /// `AUTH_FAILED,TEMP`: a refusal with a time to come back.
    pub const TEMPORARY_REFUSAL: u32 = 1 << 8;
    /// Control packets of renegotiations wrapped with a key out of the TLS exporter.
    pub const DYN_TLS_CRYPT: u32 = 1 << 9;
    /// Data packets in epochs.
    pub const DATA_EPOCH: u32 = 1 << 10;
    /// Takes PUSH_UPDATE.
    pub const PUSH_UPDATE: u32 = 1 << 12;
}

/// A client's description of itself, cleaned: printable and bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// `IV_VER`.
    pub version: Option<String>,
    /// `IV_PLAT`.
    pub platform: Option<String>,
    /// `IV_PLAT_VER`; sent with `push-peer-info` only.
    pub platform_version: Option<String>,
    /// `IV_GUI_VER`.
    pub gui_version: Option<String>,
    /// `IV_SSO`: ways of web login, comma separated.
    pub sso: Option<String>,
    /// `IV_PROTO`; see [`proto`].
    pub proto: u32,
    /// `IV_NCP`.
    pub ncp: Option<u32>,
    /// `IV_CIPHERS`, those we know.
    pub ciphers: Option<Vec<Cipher>>,
    /// `IV_MTU`: largest `tun-mtu` the client takes.
    pub mtu: Option<u32>,
    /// `UV_ROUTE_ENFORCEMENT`, which an operator's own set-up says with `push-peer-info`: whether it is told, and looks
    /// after, what the endpoint says of route enforcement. No client says so by itself.
    pub enforces_routes: bool,
    /// The text, printable and at most 4096 bytes.
    pub raw: String,
}

impl PeerInfo {
    /// Reads `KEY=VALUE` lines; what it does not know it skips.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut seen = Self::default();
        let mut raw = String::new();
        for line in text.lines() {
            if raw.len() + line.len() < MAX_RAW_BYTES {
                raw.push_str(&crate::text::printable(line, MAX_RAW_BYTES));
                raw.push('\n');
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let shown = || Some(crate::text::printable(value, MAX_VALUE_BYTES));
            match key {
                "IV_VER" => seen.version = shown(),
                "IV_PLAT" => seen.platform = shown(),
                "IV_PLAT_VER" => seen.platform_version = shown(),
                "IV_GUI_VER" => seen.gui_version = shown(),
                "IV_SSO" => seen.sso = shown(),
                "IV_PROTO" => seen.proto = value.parse().unwrap_or(0),
                "IV_NCP" => seen.ncp = value.parse().ok(),
                "IV_MTU" => seen.mtu = value.parse().ok(),
                "UV_ROUTE_ENFORCEMENT" => seen.enforces_routes = value == "1",
                "IV_CIPHERS" => {
                    let mut known = Vec::new();
                    for cipher in value.split(':').filter_map(Cipher::from_name) {
                        if !known.contains(&cipher) {
                            known.push(cipher);
                        }
                    }
                    seen.ciphers = Some(known);
                }
                _ => {}
            }
        }
        seen.raw = raw;
        seen
    }

    /// True if all of these `IV_PROTO` bits are set.
    #[must_use]
    pub fn has(&self, bits: u32) -> bool {
        self.proto & bits == bits
    }

    /// True if the client takes a pushed `cipher`.
    #[must_use]
    pub fn negotiates_cipher(&self) -> bool {
        self.ciphers.is_some() || self.ncp.is_some_and(|level| level >= 2)
    }

    /// The first of `ours` that the client has; `options` is its options string (for clients that cannot negotiate).
    #[must_use]
    pub fn choose_cipher(&self, options: &str, ours: &[Cipher]) -> Option<Cipher> {
        let theirs = match (&self.ciphers, self.ncp) {
            (Some(ciphers), _) => ciphers.clone(),
            (None, Some(2..)) => vec![Cipher::Aes256Gcm, Cipher::Aes128Gcm],
            _ => options
                .split(',')
                .find_map(|option| Cipher::from_name(option.trim().strip_prefix("cipher ")?))
                .into_iter()
                .collect(),
        };
        ours.iter().copied().find(|cipher| theirs.contains(cipher))
    }
}
