//! What goes between the main process and the spawner of handlers: JSON, each message behind its length (four bytes, big
//! endian). Either side may be told nonsense by the other and ends then.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest message, in bytes: the longest answer with every character escaped.
pub(super) const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Bytes of a message's length.
pub(super) const LENGTH_BYTES: usize = 4;

/// Said once, by the main process. What is not in it can never be run. Answered by `Result<(), String>`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Programs with their arguments.
    pub commands: Vec<Vec<String>>,
}

/// One of them is to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Comes back with the answer.
    pub id: u64,
    /// Its place in [`Hello::commands`].
    pub command: usize,
    /// For its standard input.
    pub request: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    /// Of the question.
    pub id: u64,
    /// See there.
    pub outcome: Outcome,
}

/// How a handler ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// It ended well, and this is its standard output.
    Said(String),
    /// It ended well, and its standard output is too long or no text.
    NoText,
    /// It took too long and was killed.
    TimedOut,
    /// It ended otherwise, and how.
    Failed(String),
    /// It could not be started, and why.
    NotStarted(String),
    /// Too many are at work.
    Busy,
}

/// A message with its length before it.
pub(super) fn framed(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_MESSAGE_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

/// Sends one.
pub(super) fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&framed(message)?)
}

/// How long the message behind these bytes is.
pub(super) fn length(bytes: [u8; LENGTH_BYTES]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    if length <= MAX_MESSAGE_BYTES { Ok(length) } else { Err(io::Error::other("a message is too long")) }
}

/// The next one; `None`: the other side has closed.
pub(super) fn read<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut bytes = [0; LENGTH_BYTES];
    match from.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; length(bytes)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_nonsense_does_not() {
        let mut wire = Vec::new();
        for id in [1, 2] {
            write(&mut wire, &Reply { id, outcome: Outcome::Said("\u{0}\"x".to_owned()) }).unwrap();
        }
        let mut rest = wire.as_slice();
        for id in [1, 2] {
            let reply: Reply = read(&mut rest).unwrap().unwrap();
            assert_eq!((reply.id, reply.outcome), (id, Outcome::Said("\u{0}\"x".to_owned())));
        }
        assert!(read::<Reply>(&mut rest).unwrap().is_none());
        for bad in [&[0xff; 8][..], &[0, 0, 0, 2, b'{'], &[0, 0, 0, 2, b'{', b'}']] {
            assert!(read::<Reply>(bad).is_err(), "{bad:?}");
        }
        assert!(framed(&Outcome::Said("x".repeat(MAX_MESSAGE_BYTES))).is_err());
    }
}
