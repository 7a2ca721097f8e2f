//! Small shared pieces: secret buffers that leave no copies behind, and text fit for the wire.

use zeroize::{Zeroize, Zeroizing};

/// Appends to a secret buffer. Growing moves the bytes by hand, so that the old allocation is wiped.
pub(crate) fn append_secret(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = buffer.len().saturating_add(bytes.len());
    if needed > buffer.capacity() {
        let mut grown = Vec::with_capacity(needed.max(buffer.capacity().saturating_mul(2)));
        grown.extend_from_slice(buffer);
        buffer.zeroize();
        *buffer = Zeroizing::new(grown);
    }
    buffer.extend_from_slice(bytes);
}

/// Keeps printable ASCII, replaces anything else by `?`, and cuts at `max_bytes`.
/// Clients refuse control characters in messages; logs must not see them. spec: openvpn-protocol §9.1
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    text.chars().take(max_bytes).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}
