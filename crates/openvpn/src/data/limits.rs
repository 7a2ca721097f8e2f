//! How long a key may be used. spec: openvpn-protocol §8.4, §8.6

/// Bounds of one data key: from where on it asks for its successor, and where it ends whether there is one or not.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A new key is due beyond this 32-bit packet id; the last id is where it ends.
    pub rekey_packet_id: u32,
    /// A new key (in the epoch format: the next epoch) is due beyond this many packets plus 16-byte blocks, per
    /// direction.
    pub rekey_blocks: u64,
    /// Nothing more is sealed beyond this many packets plus 16-byte blocks.
    pub max_blocks: u64,
    /// A new key is due beyond this many packets that did not authenticate.
    pub rekey_failures: u64,
    /// Nothing more is opened beyond this many packets that did not authenticate.
    pub max_failures: u64,
    /// The next epoch is due beyond this packet id of 48 bits.
    pub epoch_packet_id: u64,
    /// A new key is due from this epoch on.
    pub rekey_epoch: u16,
}

impl Default for Limits {
    /// What AES-GCM can bear, 2^36, and a good distance before it: half a minute at ten gigabit is left.
    fn default() -> Self {
        Self {
            rekey_packet_id: 0xff00_0000,
            rekey_blocks: (1 << 36) - (1 << 32),
            max_blocks: 1 << 36,
            rekey_failures: (1 << 36) - (1 << 32),
            max_failures: 1 << 36,
            epoch_packet_id: (1 << 48) - (1 << 32),
            rekey_epoch: 0xf000,
        }
    }
}
