//! The TCP MSS clamp: clients cannot be told to do it (spec: openvpn-protocol §8.9), so the gateway does, both ways.

use std::net::SocketAddr;

use super::{Header, TCP};

/// The path every tunnel must fit, in bytes of outer IP packet.
const PATH_BYTES: u16 = 1500;
/// The longest form of DATA, in epochs: opcode and peer id 4, packet id 8, tag 16 (spec: openvpn-protocol §8.4, §8.9).
const DATA_BYTES: u16 = 28;
const UDP_BYTES: u16 = 8;

/// The largest inner packet, in bytes, whose DATA packet to `peer` fits a 1500-byte path.
pub fn inner_room_bytes(peer: &SocketAddr) -> u16 {
    let ip_bytes = if peer.is_ipv4() { 20 } else { 40 };
    PATH_BYTES - ip_bytes - UDP_BYTES - DATA_BYTES
}

/// Lowers the MSS option of a TCP SYN so that full segments give packets of at most `room_bytes`; fixes the
/// checksum. Anything else is left as it is. `header` must have been read from `packet`. Returns whether it wrote.
pub fn clamp_mss(packet: &mut [u8], header: &Header, room_bytes: u16) -> bool {
    let Some(transport) = header.transport.filter(|t| t.protocol == TCP) else { return false };
    let ip_bytes = if header.source.is_ipv4() { 20 } else { 40 };
    let most = room_bytes.saturating_sub(ip_bytes + 20);
    let Some(tcp) = packet.get_mut(transport.offset_bytes..header.packet_bytes) else { return false };
    clamp_tcp(tcp, most).is_some()
}

fn clamp_tcp(tcp: &mut [u8], most: u16) -> Option<()> {
    let fixed: &[u8; 20] = tcp.first_chunk()?;
    let [_, _, _, _, _, _, _, _, _, _, _, _, data_offset, flags, _, _, sum_hi, sum_lo, _, _] = *fixed;
    const SYN: u8 = 0x02;
    if flags & SYN == 0 {
        return None;
    }
    let header_bytes = usize::from(data_offset >> 4) * 4;
    let at = find_mss(tcp.get(20..header_bytes)?)? + 20;
    let value: &mut [u8; 2] = tcp.get_mut(at..)?.first_chunk_mut()?;
    let old = u16::from_be_bytes(*value);
    if old <= most {
        return None;
    }
    *value = most.to_be_bytes();
    // A value at an odd offset lies across two checksum words: its bytes count swapped.
    let swap = |word: u16| if at % 2 == 1 { word.swap_bytes() } else { word };
    let sum = update_checksum(u16::from_be_bytes([sum_hi, sum_lo]), swap(old), swap(most));
    let checksum: &mut [u8; 2] = tcp.get_mut(16..)?.first_chunk_mut()?;
    *checksum = sum.to_be_bytes();
    Some(())
}

/// Where the value of the MSS option stands among TCP options.
pub(super) fn find_mss(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            [2, 4, _, _, ..] => return Some(at + 2),
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}

/// The Internet checksum after one 16-bit word changed (RFC 1624, equation 3).
fn update_checksum(sum: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    !u16::try_from(total & 0xffff).unwrap_or(0)
}
