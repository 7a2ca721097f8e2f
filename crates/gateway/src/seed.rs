//! All randomness of the gateway, drawn from the one seed it was given: HMAC-SHA256 over a counter.

use std::fmt;

use aws_lc_rs::hmac;
use openvpn::wire::SessionId;

/// A deterministic stream of unguessable values.
pub(crate) struct Draws {
    key: hmac::Key,
    drawn: u64,
}

impl Draws {
    /// The stream of a seed.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed), drawn: 0 }
    }

    /// The next 32 bytes. `label` keeps the uses apart even if their order changes.
    pub(crate) fn bytes(&mut self, label: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.drawn.to_be_bytes());
        context.update(label.as_bytes());
        self.drawn += 1;
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }

    /// A session id of ours.
    pub(crate) fn session_id(&mut self) -> SessionId {
        let id = SessionId(self.bytes("session id").first_chunk().copied().unwrap_or_default());
        // All zero is none.
        if id.is_valid() { id } else { SessionId([1; 8]) }
    }

    /// The next 128 bits.
    pub(crate) fn bits(&mut self, label: &str) -> u128 {
        self.bytes(label).first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
    }
}

impl fmt::Debug for Draws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draws").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream() {
        let (mut one, mut two, mut three) =
            (Draws::new(&[1; 32]), Draws::new(&[1; 32]), Draws::new(&[2; 32]));
        let first = one.bytes("a");
        assert_eq!(first, two.bytes("a"));
        assert_ne!(first, three.bytes("a"));
        assert_ne!(one.bytes("a"), first);
        assert_ne!(one.bits("a"), two.bits("b"));
    }
}
