//! Packets in a TCP stream: a two-byte big-endian length, then the packet. spec: openvpn-protocol §2.4

use super::MAX_PACKET_BYTES;

/// Bytes in front of a packet.
pub const HEADER_BYTES: usize = 2;
/// Longest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_PACKET_BYTES;

/// A length that no packet has: nothing behind it can be made sense of, so the connection is to be closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes")]
pub struct BadLength(pub u16);

/// Cuts the first packet off `bytes`, which become what stands behind it. `Ok(None)`: it has not come whole.
///
/// # Errors
/// Its length is 0 or above [`MAX_PACKET_BYTES`].
pub fn cut<'b>(bytes: &mut &'b mut [u8]) -> Result<Option<&'b mut [u8]>, BadLength> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u16::from_be_bytes(*header);
    let end = HEADER_BYTES + usize::from(length);
    if length == 0 || end > MAX_FRAME_BYTES {
        return Err(BadLength(length));
    }
    if bytes.len() < end {
        return Ok(None);
    }
    let Some((frame, rest)) = std::mem::take(bytes).split_at_mut_checked(end) else { return Ok(None) };
    *bytes = rest;
    Ok(frame.get_mut(HEADER_BYTES..))
}

/// Appends the frame of the packet that `write` appends. False, and `out` as before, if it says that there is none, or
/// if it is empty or too long.
pub fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let written = write(out);
    let length = out.len().saturating_sub(start + HEADER_BYTES);
    let fits = (1..=MAX_PACKET_BYTES).contains(&length);
    match (out.get_mut(start..).and_then(|frame| frame.first_chunk_mut()), u16::try_from(length)) {
        (Some(header), Ok(length)) if written && fits => {
            *header = length.to_be_bytes();
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

/// Length of the whole frame that `bytes` begin with, if they are as long as its header.
#[must_use]
pub fn length(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|header| HEADER_BYTES + usize::from(u16::from_be_bytes(*header)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(packets: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for packet in packets {
            assert!(append(&mut out, |out| {
                out.extend_from_slice(packet);
                true
            }));
        }
        out
    }

    #[test]
    fn what_is_framed_is_cut_the_same_however_it_arrives() {
        let (short, long) = ([7; 14], [9; MAX_PACKET_BYTES]);
        let stream = framed(&[&short, &long, b"x"]);
        assert_eq!(stream.get(..3), Some(&[0, 14, 7][..]));
        for piece in [1, 2, 3, 13, 1000, stream.len()] {
            let (mut held, mut got) = (Vec::new(), Vec::new());
            for bytes in stream.chunks(piece) {
                held.extend_from_slice(bytes);
                let mut rest = held.as_mut_slice();
                let all = rest.len();
                let mut used = 0;
                while let Ok(Some(packet)) = cut(&mut rest) {
                    used += HEADER_BYTES + packet.len();
                    got.push(packet.to_vec());
                }
                assert!(used <= all);
                held.drain(..used);
            }
            assert!(held.is_empty());
            assert_eq!(got, [short.to_vec(), long.to_vec(), b"x".to_vec()], "in pieces of {piece}");
        }
    }

    #[test]
    fn impossible_lengths_are_told_at_once() {
        for (bytes, expected) in [
            (&[][..], Ok(false)),
            (&[0], Ok(false)),
            (&[0, 0], Err(BadLength(0))),
            (&[0x10, 0], Ok(false)),
            (&[0x10, 1], Err(BadLength(4097))),
            (b"GET / HTTP/1.1", Err(BadLength(0x4745))),
            (&[0x16, 3, 1, 2, 0], Err(BadLength(0x1603))),
            (&[0, 1], Ok(false)),
            (&[0, 1, 5], Ok(true)),
        ] {
            let mut owned = bytes.to_vec();
            assert_eq!(cut(&mut owned.as_mut_slice()).map(|cut| cut.is_some()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_packet_leaves_nothing_behind() {
        let mut out = vec![1, 2, 3];
        assert!(!append(&mut out, |_| true));
        assert!(!append(&mut out, |out| {
            out.push(1);
            false
        }));
        assert!(!append(&mut out, |out| {
            out.resize(out.len() + MAX_PACKET_BYTES + 1, 0);
            true
        }));
        assert_eq!(out, [1, 2, 3]);
        assert_eq!((length(&out), length(&[9])), (Some(2 + 0x102), None));
    }
}
