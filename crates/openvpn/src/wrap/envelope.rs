//! Which packets of a session are wrapped with what: those of key 0 with the configured key, if there is one, those
//! of renegotiated keys with one that was exported from key 0's TLS, if that was negotiated.
//! spec: openvpn-protocol §4

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::keys::split_wrapped_key;
use super::seal::{Opened, WRAP_BYTES, Wrapping};
use super::{ClientKey, EARLY_NEGOTIATION, StaticKey};
use crate::data::Role;
use crate::server::Discard;
use crate::tls::{Tls, TlsError};
use crate::wire::{Opcode, opcode};

/// Label of the exporter for the keys of renegotiations.
const EXPORTER_LABEL: &str = "EXPORTER-OpenVPN-dynamic-tls-crypt";

/// The wrapping of one session at one end.
pub(crate) struct Envelope {
    role: Role,
    base: Option<Base>,
    /// For key ids above 0.
    renewed: Option<Wrapping>,
}

struct Base {
    /// Goes into the key of renegotiations.
    key: StaticKey,
    wrapping: Wrapping,
    time: u32,
    /// Some packets carry a wrapped key (tls-crypt-v2).
    v2: bool,
    /// A client's own; of servers empty.
    wrapped_key: Vec<u8>,
}

impl Envelope {
    /// Nothing is wrapped, so far.
    pub(crate) fn plain(role: Role) -> Self {
        Self { role, base: None, renewed: None }
    }

    /// A server's. Its stateless answers had counter 1.
    pub(super) fn server(key: StaticKey, time: u32, v2: bool) -> Self {
        let wrapping = Wrapping::new(&key, Role::Server, time, 2);
        Self::with(Role::Server, Base { key, wrapping, time, v2, wrapped_key: Vec::new() })
    }

    /// A client's, with one key for all.
    pub(crate) fn client(key: StaticKey, time: u32) -> Self {
        let wrapping = Wrapping::new(&key, Role::Client, time, 1);
        Self::with(Role::Client, Base { key, wrapping, time, v2: false, wrapped_key: Vec::new() })
    }

    /// A client's, with a key of its own. `resends`: it can send its wrapped key again, and says so.
    pub(crate) fn client_v2(key: &ClientKey, time: u32, resends: bool) -> Self {
        let first = if resends { u32::from_be_bytes([EARLY_NEGOTIATION, 0, 0, 0]) } else { 1 };
        let wrapping = Wrapping::new(key.key(), Role::Client, time, first);
        let wrapped_key = key.wrapped().to_vec();
        Self::with(Role::Client, Base { key: key.key().clone(), wrapping, time, v2: true, wrapped_key })
    }

    fn with(role: Role, base: Base) -> Self {
        Self { role, base: Some(base), renewed: None }
    }

    /// Bytes that are added to each packet of a key.
    pub(crate) fn overhead_bytes(&self, key_id: u8) -> usize {
        let wraps = self.base.is_some() || key_id > 0 && self.renewed.is_some();
        if wraps { WRAP_BYTES } else { 0 }
    }

    /// Bytes of a client's wrapped key.
    pub(crate) fn wrapped_key_bytes(&self) -> usize {
        self.base.as_ref().map_or(0, |base| base.wrapped_key.len())
    }

    /// Wraps the plain packet in `out`, as its opcode and key id want it. False: it must not be sent.
    #[must_use]
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((opcode, key_id)) = opcode(out) else { return false };
        if key_id > 0
            && let Some(renewed) = &mut self.renewed
        {
            return renewed.seal(out);
        }
        let Some(base) = &mut self.base else { return true };
        let sealed = base.wrapping.seal(out);
        if carries_key(opcode) {
            out.extend_from_slice(&base.wrapped_key);
        }
        sealed
    }

    /// The plain packet inside a received one.
    pub(crate) fn open<'p>(&mut self, packet: &'p [u8]) -> Result<Cow<'p, [u8]>, Discard> {
        let Some((opcode, key_id)) = opcode(packet) else { return Ok(Cow::Borrowed(packet)) };
        if carries_key(opcode) && !self.base.as_ref().is_some_and(|base| base.v2) {
            return Err(Discard::Opcode);
        }
        let renewed = if key_id > 0 { self.renewed.as_mut() } else { None };
        let Some(wrapping) = renewed.or(self.base.as_mut().map(|base| &mut base.wrapping)) else {
            return Ok(Cow::Borrowed(packet));
        };
        let packet = if carries_key(opcode) {
            // The key in it was judged when the session began.
            split_wrapped_key(packet).ok_or(Discard::Wrap)?.0
        } else {
            packet
        };
        match wrapping.open(packet) {
            Opened::Packet(plain) => Ok(Cow::Owned(plain)),
            Opened::Replayed => Err(Discard::Replay),
            Opened::Forged => Err(Discard::Wrap),
        }
    }

    /// From now on wraps the packets of renegotiated keys with a key exported from key 0's TLS.
    pub(crate) fn renew(&mut self, tls: &dyn Tls) -> Result<(), TlsError> {
        let mut key = Zeroizing::new([0; StaticKey::BYTES]);
        tls.export(EXPORTER_LABEL, key.as_mut_slice())?;
        if let Some(base) = &self.base {
            for (byte, with) in key.iter_mut().zip(base.key.as_bytes()) {
                *byte ^= with;
            }
        }
        // The key is this session's alone, so any time will do that stays the same.
        let time = self.base.as_ref().map_or(1, |base| base.time);
        self.renewed = Some(Wrapping::new(&StaticKey::new(*key), self.role, time, 1));
        Ok(())
    }
}

fn carries_key(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::HardResetClientV3 | Opcode::ControlWkcV1)
}
