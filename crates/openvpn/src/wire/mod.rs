//! Packet layouts: opcodes, control packets, headers of data packets.
//!
//! spec: openvpn-protocol §2. Only the plain form exists here; [`crate::wrap`] turns wrapped packets into it.

mod control;
pub mod frame;

pub use control::{AckIds, CONTROL_HEADER_MAX_BYTES, Control, MAX_ACKS, Malformed};

/// Longest datagram or TCP frame that is looked at at all, in bytes.
pub const MAX_PACKET_BYTES: usize = 4096;

/// Eight opaque bytes that name a session, chosen by each side for itself. All zero is invalid.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 8]);

impl SessionId {
    /// False for the reserved all-zero id.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.0 != [0; 8]
    }
}

/// What a packet is: the upper five bits of its first byte.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opcode {
    /// Start of a renegotiation.
    SoftResetV1,
    /// TLS bytes.
    ControlV1,
    /// Acknowledgements alone; no message id.
    AckV1,
    /// Data without peer id.
    DataV1,
    /// A client's new session.
    HardResetClientV2,
    /// The server's answer to it.
    HardResetServerV2,
    /// Data with a 24-bit peer id.
    DataV2,
    /// A client's new session, with its wrapped tls-crypt-v2 key.
    HardResetClientV3,
    /// `ControlV1` with a wrapped key.
    ControlWkcV1,
}

impl Opcode {
    /// The number on the wire, 0 to 31.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::SoftResetV1 => 3,
            Self::ControlV1 => 4,
            Self::AckV1 => 5,
            Self::DataV1 => 6,
            Self::HardResetClientV2 => 7,
            Self::HardResetServerV2 => 8,
            Self::DataV2 => 9,
            Self::HardResetClientV3 => 10,
            Self::ControlWkcV1 => 11,
        }
    }

    /// The opcode of a number; `None` for obsolete (key method 1) and unknown ones.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            3 => Self::SoftResetV1,
            4 => Self::ControlV1,
            5 => Self::AckV1,
            6 => Self::DataV1,
            7 => Self::HardResetClientV2,
            8 => Self::HardResetServerV2,
            9 => Self::DataV2,
            10 => Self::HardResetClientV3,
            11 => Self::ControlWkcV1,
            _ => return None,
        })
    }

    /// True for the two data opcodes.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, Self::DataV1 | Self::DataV2)
    }

    /// First byte of a packet of this opcode under `key_id` (its low three bits count).
    #[must_use]
    pub const fn first_byte(self, key_id: u8) -> u8 {
        self.number() << 3 | key_id & 7
    }
}

/// Opcode and key id (0 to 7) of a packet; `None` if it is empty or the opcode is unknown.
#[must_use]
pub fn opcode(packet: &[u8]) -> Option<(Opcode, u8)> {
    let first = *packet.first()?;
    Some((Opcode::from_number(first >> 3)?, first & 7))
}

/// The peer id in the clear header of a DATA_V2 packet. Unauthenticated: good for looking up only.
#[must_use]
pub fn peer_id(packet: &[u8]) -> Option<u32> {
    let [first, a, b, c] = *packet.first_chunk::<4>()?;
    (first >> 3 == Opcode::DataV2.number()).then(|| u32::from_be_bytes([0, a, b, c]))
}
