//! PUSH_REPLY and PUSH_UPDATE: checking options, splitting them over messages, putting them together again.
//!
//! spec: openvpn-protocol §9.1, §9.3, §9.5

mod update;

pub use update::{apply, update};

/// Longest option that stock clients take, in bytes.
pub const MAX_OPTION_BYTES: usize = 255;
/// Longest message with its NUL, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1024;
/// Options a client collects before it calls the server mad.
const MAX_OPTIONS: usize = 4096;

/// What a message is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All options, at the beginning.
    Reply,
    /// Those that change while the tunnel is up.
    Update,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Reply => "PUSH_REPLY",
            Self::Update => "PUSH_UPDATE",
        }
    }
}

const MORE: &str = ",push-continuation 2";
const LAST: &str = ",push-continuation 1";

/// Why options cannot be pushed, or a reply not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Empty, longer than 255 bytes, with a comma or a control character.
    #[error("option {0:?} cannot be pushed")]
    Option(String),
    /// More options than anyone needs.
    #[error("too many options")]
    TooMany,
    /// The server wants an option changed that cannot be, or says so in a way nobody understands.
    #[error("option {0:?} cannot be updated")]
    NotUpdatable(String),
}

/// Checks that an option can stand in a reply.
///
/// # Errors
/// [`PushError::Option`].
pub fn check_option(option: &str) -> Result<(), PushError> {
    let fits = !option.is_empty()
        && option.len() <= MAX_OPTION_BYTES
        && option.chars().all(|c| !c.is_control() && c != ',');
    if fits { Ok(()) } else { Err(PushError::Option(option.chars().take(MAX_OPTION_BYTES).collect())) }
}

/// The messages (without NUL) that push these options, in order; an option is never cut.
///
/// # Errors
/// An option cannot be pushed.
pub fn messages(kind: Kind, options: &[String]) -> Result<Vec<String>, PushError> {
    let mut chunks = Vec::new();
    let mut chunk = kind.word().to_owned();
    for option in options {
        check_option(option)?;
        if chunk.len() + 1 + option.len() + MORE.len() + 1 > MAX_CHUNK_BYTES {
            chunks.push(std::mem::replace(&mut chunk, kind.word().to_owned()));
        }
        chunk.push(',');
        chunk.push_str(option);
    }
    if !chunks.is_empty() {
        for earlier in &mut chunks {
            earlier.push_str(MORE);
        }
        chunk.push_str(LAST);
    }
    chunks.push(chunk);
    Ok(chunks)
}

/// The client's side: collects the options of one reply, or of one update.
#[derive(Debug)]
pub struct Assembler {
    kind: Kind,
    options: Vec<String>,
}

impl Assembler {
    /// One for messages of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, options: Vec::new() }
    }

    /// Takes a message. `Ok(Some)` with all options once the last part is there; `Ok(None)` if more follow or it is
    /// of another kind.
    ///
    /// # Errors
    /// More options than bearable.
    pub fn take(&mut self, message: &str) -> Result<Option<Vec<String>>, PushError> {
        let Some(list) = message.strip_prefix(self.kind.word()) else { return Ok(None) };
        let Some(list) = list.strip_prefix(',').or_else(|| list.is_empty().then_some("")) else {
            return Ok(None);
        };
        let mut more = false;
        for option in list.split(',').filter(|option| !option.is_empty()) {
            match option {
                "push-continuation 2" => more = true,
                "push-continuation 1" => more = false,
                _ => self.options.push(option.to_owned()),
            }
        }
        if self.options.len() > MAX_OPTIONS {
            return Err(PushError::TooMany);
        }
        Ok((!more).then(|| std::mem::take(&mut self.options)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_has_no_continuation() {
        let options = ["ping 1".to_owned(), "topology subnet".to_owned()];
        assert_eq!(messages(Kind::Reply, &options), Ok(vec!["PUSH_REPLY,ping 1,topology subnet".to_owned()]));
        assert_eq!(messages(Kind::Reply, &[]), Ok(vec!["PUSH_REPLY".to_owned()]));
    }

    #[test]
    fn many_options_are_split_between_options_and_come_back() {
        for (kind, count) in [(Kind::Reply, 1), (Kind::Update, 24), (Kind::Reply, 25)]
            .into_iter()
            .chain([26, 40, 200].into_iter().flat_map(|n| [(Kind::Reply, n), (Kind::Update, n)]))
        {
            let options: Vec<String> =
                (0..count).map(|n| format!("route 10.{n}.0.0 255.255.255.0 x{}", n % 7)).collect();
            let messages = messages(kind, &options).unwrap();
            let mut assembler = Assembler::new(kind);
            for (place, message) in messages.iter().enumerate() {
                assert!(message.len() < MAX_CHUNK_BYTES, "{count}");
                let last = place + 1 == messages.len();
                assert_eq!(message.ends_with(MORE), !last);
                assert_eq!(message.ends_with(LAST), last && messages.len() > 1);
                assert_eq!(assembler.take(message).unwrap(), last.then(|| options.clone()));
            }
        }
    }

    #[test]
    fn bad_options_are_refused() {
        for bad in ["", "a,b", "tab\there", "\u{85}", "nul\0", &"x".repeat(256), &"ä".repeat(128)] {
            assert!(messages(Kind::Reply, &[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert!(messages(Kind::Reply, &["x".repeat(255), "ä".repeat(127)]).is_ok());
    }
}
