//! Data channel keys: the legacy PRF and the TLS exporter; and our own random values out of a seed.
//!
//! spec: openvpn-protocol §8.2

use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::data::KeyMaterial;
use crate::tls::{Tls, TlsError};
use crate::wire::SessionId;

/// Label of the exporter.
pub const EXPORTER_LABEL: &str = "EXPORTER-OpenVPN-datakeys";

/// The client's contribution out of its key-method-2 message. Wiped on drop.
#[derive(Clone)]
pub struct ClientSource {
    /// The secret itself.
    pub pre_master: Zeroizing<[u8; 48]>,
    /// For the master secret.
    pub random1: Zeroizing<[u8; 32]>,
    /// For the key expansion.
    pub random2: Zeroizing<[u8; 32]>,
}

/// The server's contribution. Wiped on drop.
#[derive(Clone)]
pub struct ServerSource {
    /// For the master secret.
    pub random1: Zeroizing<[u8; 32]>,
    /// For the key expansion.
    pub random2: Zeroizing<[u8; 32]>,
}

/// How a session's data keys are made: the same for all its keys.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Derivation {
    /// By the TLS exporter instead of the PRF.
    pub(crate) ekm: bool,
    /// For the epoch format.
    pub(crate) epochs: bool,
}

/// Keys by the TLS 1.0 style PRF over both sides' randoms. Unlike what drafts say, the second seed ends with both
/// session ids.
#[must_use]
pub fn prf_keys(
    client: &ClientSource,
    server: &ServerSource,
    client_sid: SessionId,
    server_sid: SessionId,
) -> KeyMaterial {
    let mut master = Zeroizing::new([0; 48]);
    prf(
        client.pre_master.as_slice(),
        &[b"OpenVPN master secret", client.random1.as_slice(), server.random1.as_slice()],
        master.as_mut_slice(),
    );
    let mut keys = KeyMaterial::zeroed();
    prf(
        master.as_slice(),
        &[
            b"OpenVPN key expansion",
            client.random2.as_slice(),
            server.random2.as_slice(),
            &client_sid.0,
            &server_sid.0,
        ],
        keys.bytes_mut(),
    );
    keys
}

/// Keys by the TLS exporter, without context.
///
/// # Errors
/// The handshake is not complete.
pub fn exporter_keys(tls: &dyn Tls) -> Result<KeyMaterial, TlsError> {
    let mut keys = KeyMaterial::zeroed();
    tls.export(EXPORTER_LABEL, keys.bytes_mut())?;
    Ok(keys)
}

/// P_MD5 over the first half of the secret, xor P_SHA1 over the second.
fn prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let half = secret.len().div_ceil(2);
    let (first, second) =
        (secret.get(..half).unwrap_or(&[]), secret.get(secret.len() - half..).unwrap_or(&[]));
    out.fill(0);
    expand::<Hmac<Md5>>(first, seed, out);
    expand::<Hmac<Sha1>>(second, seed, out);
}

/// P_hash of RFC 2246 §5, xored into `out`.
fn expand<M: Mac + hmac::digest::KeyInit>(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let keyed = || <M as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
    let mut step = keyed();
    for part in seed {
        step.update(part);
    }
    let mut a = Zeroizing::new(step.finalize().into_bytes().to_vec());
    let size = a.len().max(1);
    for chunk in out.chunks_mut(size) {
        let mut block = keyed();
        block.update(&a);
        for part in seed {
            block.update(part);
        }
        let block = Zeroizing::new(block.finalize().into_bytes().to_vec());
        for (to, from) in chunk.iter_mut().zip(block.iter()) {
            *to ^= from;
        }
        let mut next = keyed();
        next.update(&a);
        a = Zeroizing::new(next.finalize().into_bytes().to_vec());
    }
}

/// Random values out of a seed: HMAC-SHA256 in counter mode. Deterministic given the seed.
pub(crate) struct Draw {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl Draw {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed: Zeroizing::new(seed), counter: 0 }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        for chunk in out.chunks_mut(32) {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(self.seed.as_slice()).expect("HMAC takes keys of any length");
            mac.update(b"bascule openvpn session");
            mac.update(&self.counter.to_be_bytes());
            self.counter += 1;
            for (to, from) in chunk.iter_mut().zip(mac.finalize().into_bytes()) {
                *to = from;
            }
        }
        out
    }

    pub(crate) fn server_source(&mut self) -> ServerSource {
        ServerSource { random1: self.bytes(), random2: self.bytes() }
    }

    pub(crate) fn client_source(&mut self) -> ClientSource {
        ClientSource { pre_master: self.bytes(), random1: self.bytes(), random2: self.bytes() }
    }
}
