//! Key-method-2 messages: incremental parsing and building, in the stock and the AWS dialect.
//!
//! Messages are read as a byte stream: clients spread them over several TLS records.
//! spec: openvpn-protocol §7

use zeroize::Zeroizing;

use crate::keys::{ClientSource, ServerSource};
use crate::peer_info::MAX_PEER_INFO_BYTES;
use crate::text::append_secret;

/// Longest message, in bytes. spec: openvpn-protocol §7.3
pub const MAX_KM2_BYTES: usize = 1 << 18;
/// Longest user name and password (AWS dialect: a SAML response rides in the password), in bytes without the NUL.
const MAX_CREDENTIAL_BYTES: usize = 1 << 17;
/// Longest options string looked at, in bytes.
const MAX_OPTIONS_BYTES: usize = 64 * 1024;
/// Longest options string mirrored in a reply, in bytes: stock clients read 2,048 bytes at once.
const MAX_MIRRORED_BYTES: usize = 1500;
/// Lead word, method, pre-master secret, two randoms.
const CLIENT_FIXED_BYTES: usize = 4 + 1 + 48 + 32 + 32;
/// The same without the pre-master secret.
const SERVER_FIXED_BYTES: usize = 4 + 1 + 32 + 32;
const METHOD: u8 = 2;

/// Why a key-method-2 message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Km2Error {
    /// The lead word or the method is not one of ours.
    #[error("unknown key method")]
    Method,
    /// A length does not fit the message, or is out of bounds.
    #[error("length out of bounds")]
    Length,
    /// A string has no NUL at its end, one inside, or is not UTF-8.
    #[error("malformed string")]
    Text,
}

/// How a client writes its message. Replies are always stock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Lead word 0, 16-bit string lengths.
    Stock,
    /// Lead word is the total length, little endian; 32-bit string lengths.
    Aws,
}

/// What a client says. Debug hides secrets.
#[derive(Clone)]
pub struct ClientMessage {
    /// Dialect it came in, or is to be written in.
    pub dialect: Dialect,
    /// Randoms.
    pub source: ClientSource,
    /// Options string, for comparison.
    pub options: String,
    /// `None`: absent.
    pub username: Option<String>,
    /// `None`: absent.
    pub password: Option<Zeroizing<String>>,
    /// `None`: absent, or not even a length.
    pub peer_info: Option<String>,
}

impl std::fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMessage").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl ClientMessage {
    /// The bytes for one TLS write.
    ///
    /// # Errors
    /// A string is too long for the dialect.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Km2Error> {
        let mut out = Zeroizing::new(Vec::new());
        append_secret(&mut out, &[0, 0, 0, 0, METHOD]);
        append_secret(&mut out, self.source.pre_master.as_slice());
        append_secret(&mut out, self.source.random1.as_slice());
        append_secret(&mut out, self.source.random2.as_slice());
        append_string(&mut out, self.dialect, Some(&self.options))?;
        append_string(&mut out, self.dialect, self.username.as_deref())?;
        append_string(&mut out, self.dialect, self.password.as_ref().map(|text| text.as_str()))?;
        append_string(&mut out, self.dialect, self.peer_info.as_deref())?;
        if self.dialect == Dialect::Aws {
            let total = u32::try_from(out.len()).map_err(|_| Km2Error::Length)?;
            if let Some(lead) = out.first_chunk_mut::<4>() {
                *lead = total.to_le_bytes();
            }
        }
        Ok(out)
    }
}

/// What a server answers.
#[derive(Clone)]
pub struct ServerMessage {
    /// Randoms.
    pub source: ServerSource,
    /// Options string; clients only warn about differences.
    pub options: String,
}

impl ServerMessage {
    /// The bytes for one TLS write, in the stock dialect.
    ///
    /// # Errors
    /// The options string is too long.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Km2Error> {
        let mut out = Zeroizing::new(Vec::new());
        append_secret(&mut out, &[0, 0, 0, 0, METHOD]);
        append_secret(&mut out, self.source.random1.as_slice());
        append_secret(&mut out, self.source.random2.as_slice());
        append_string(&mut out, Dialect::Stock, Some(&self.options))?;
        for _ in 0..3 {
            append_string(&mut out, Dialect::Stock, None)?;
        }
        Ok(out)
    }
}

/// The options string to answer with: the client's own, seen from the other end.
#[must_use]
pub fn mirrored_options(client: &str) -> String {
    if client.is_empty() || client.len() > MAX_MIRRORED_BYTES {
        return "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],\
                keysize 256,key-method 2,tls-server"
            .to_owned();
    }
    let turned = client.split(',').map(|option| match option {
        "tls-client" => "tls-server",
        "proto TCPv4_CLIENT" => "proto TCPv4_SERVER",
        "proto TCPv6_CLIENT" => "proto TCPv6_SERVER",
        other => other,
    });
    turned.collect::<Vec<_>>().join(",")
}

/// A message that has come whole, and what came behind it.
#[derive(Debug)]
pub struct Complete<M> {
    /// The message.
    pub message: M,
    /// Bytes behind it: control messages.
    pub rest: Zeroizing<Vec<u8>>,
}

/// Collects a client's message.
#[derive(Default)]
pub struct ClientParser {
    buffer: Zeroizing<Vec<u8>>,
}

impl ClientParser {
    /// Takes the next decrypted bytes. `Ok(None)`: more are needed. After `Ok(Some)` or an error the parser is spent.
    ///
    /// # Errors
    /// The bytes cannot be a message, whatever follows.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Complete<ClientMessage>>, Km2Error> {
        append_secret(&mut self.buffer, bytes);
        let result = self.parse(false);
        if result.is_ok() && self.buffer.len() > MAX_KM2_BYTES + CLIENT_FIXED_BYTES {
            return Err(Km2Error::Length);
        }
        result
    }

    /// True if all is there but the peer info, which very old clients leave out: nothing in the stock dialect tells
    /// that the message ends here.
    #[must_use]
    pub fn may_be_complete(&self) -> bool {
        matches!(self.parse(true), Ok(Some(complete)) if complete.rest.is_empty())
    }

    /// The message without peer info, for when nothing more has come for a while.
    ///
    /// # Errors
    /// As [`ClientParser::feed`].
    pub fn finish(&self) -> Result<Option<Complete<ClientMessage>>, Km2Error> {
        self.parse(true)
    }

    /// Costs the same however much has come: lengths are looked at before anything is copied.
    fn parse(&self, end_is_known: bool) -> Result<Option<Complete<ClientMessage>>, Km2Error> {
        let Some((lead, body)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let (dialect, body, behind, end_is_known) = match u32::from_le_bytes(*lead) {
            0 => (Dialect::Stock, body, &[] as &[u8], end_is_known),
            total => {
                let total = usize::try_from(total).map_err(|_| Km2Error::Length)?;
                if !(CLIENT_FIXED_BYTES..=MAX_KM2_BYTES).contains(&total) {
                    return Err(Km2Error::Length);
                }
                let Some((body, behind)) = body.split_at_checked(total - 4) else {
                    return check_method(body).map(|()| None);
                };
                (Dialect::Aws, body, behind, true)
            }
        };
        check_method(body)?;
        let mut cursor = Cursor { rest: body, dialect };
        let Some(source) = cursor.client_source() else { return Ok(None) };
        let limits = [MAX_OPTIONS_BYTES, MAX_CREDENTIAL_BYTES + 1, MAX_CREDENTIAL_BYTES + 1];
        let mut strings = [None; 3];
        for (string, limit) in strings.iter_mut().zip(limits) {
            *string = match cursor.string(limit)? {
                Found::Text(text) => text,
                Found::Missing | Found::Partial if dialect == Dialect::Stock => return Ok(None),
                Found::Missing | Found::Partial => return Err(Km2Error::Length),
            };
        }
        let peer_info = match cursor.string(MAX_PEER_INFO_BYTES)? {
            Found::Text(text) => text,
            Found::Missing if end_is_known => None,
            Found::Partial if dialect == Dialect::Aws => return Err(Km2Error::Length),
            Found::Missing | Found::Partial => return Ok(None),
        };
        let behind = match dialect {
            Dialect::Stock => cursor.rest,
            Dialect::Aws if cursor.rest.is_empty() => behind,
            Dialect::Aws => return Err(Km2Error::Length),
        };
        let [options, username, password] = strings;
        let message = ClientMessage {
            dialect,
            source,
            options: String::from_utf8_lossy(options.unwrap_or(&[])).into_owned(),
            username: username.map(strict).transpose()?.map(str::to_owned),
            password: password.map(strict).transpose()?.map(|text| Zeroizing::new(text.to_owned())),
            peer_info: peer_info.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        };
        Ok(Some(Complete { message, rest: Zeroizing::new(behind.to_vec()) }))
    }
}

/// Collects a server's reply.
#[derive(Default)]
pub struct ServerParser {
    buffer: Zeroizing<Vec<u8>>,
}

impl ServerParser {
    /// Takes the next decrypted bytes; see [`ClientParser::feed`].
    ///
    /// # Errors
    /// The bytes cannot be a message, whatever follows.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Complete<ServerMessage>>, Km2Error> {
        append_secret(&mut self.buffer, bytes);
        if self.buffer.len() > MAX_KM2_BYTES + SERVER_FIXED_BYTES {
            return Err(Km2Error::Length);
        }
        let Some((lead, body)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        if *lead != [0; 4] {
            return Err(Km2Error::Method);
        }
        check_method(body)?;
        let mut cursor = Cursor { rest: body, dialect: Dialect::Stock };
        let Some(source) = cursor.server_source() else { return Ok(None) };
        let mut options = None;
        for place in 0..4 {
            match cursor.string(MAX_OPTIONS_BYTES)? {
                Found::Text(text) if place == 0 => options = text,
                Found::Text(_) => {}
                Found::Missing | Found::Partial => return Ok(None),
            }
        }
        let options = String::from_utf8_lossy(options.unwrap_or(&[])).into_owned();
        let rest = Zeroizing::new(cursor.rest.to_vec());
        Ok(Some(Complete { message: ServerMessage { source, options }, rest }))
    }
}

impl std::fmt::Debug for ServerMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerMessage").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Method 2 in the low four bits, if the byte has come.
fn check_method(body: &[u8]) -> Result<(), Km2Error> {
    match body.first() {
        Some(byte) if byte & 0x0f != METHOD => Err(Km2Error::Method),
        _ => Ok(()),
    }
}

fn strict(bytes: &[u8]) -> Result<&str, Km2Error> {
    std::str::from_utf8(bytes).map_err(|_| Km2Error::Text)
}

enum Found<'b> {
    /// `None`: length 0, the string is absent. Without its NUL.
    Text(Option<&'b [u8]>),
    /// Not one byte of it.
    Missing,
    /// Its end has not come.
    Partial,
}

struct Cursor<'b> {
    rest: &'b [u8],
    dialect: Dialect,
}

impl<'b> Cursor<'b> {
    fn bytes<const N: usize>(&mut self) -> Option<Zeroizing<[u8; N]>> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(Zeroizing::new(*head))
    }

    fn client_source(&mut self) -> Option<ClientSource> {
        let _method = self.bytes::<1>()?;
        Some(ClientSource { pre_master: self.bytes()?, random1: self.bytes()?, random2: self.bytes()? })
    }

    fn server_source(&mut self) -> Option<ServerSource> {
        let _method = self.bytes::<1>()?;
        Some(ServerSource { random1: self.bytes()?, random2: self.bytes()? })
    }

    /// `limit`: of its bytes, with its NUL.
    fn string(&mut self, limit: usize) -> Result<Found<'b>, Km2Error> {
        if self.rest.is_empty() {
            return Ok(Found::Missing);
        }
        let length = match self.dialect {
            Dialect::Stock => self.bytes::<2>().map(|bytes| u32::from(u16::from_be_bytes(*bytes))),
            Dialect::Aws => self.bytes::<4>().map(|bytes| u32::from_be_bytes(*bytes)),
        };
        let Some(length) = length else { return Ok(Found::Partial) };
        let length = usize::try_from(length).map_err(|_| Km2Error::Length)?;
        if length > limit {
            return Err(Km2Error::Length);
        }
        let Some((text, tail)) = self.rest.split_at_checked(length) else { return Ok(Found::Partial) };
        self.rest = tail;
        match text.split_last() {
            None => Ok(Found::Text(None)),
            Some((0, text)) if !text.contains(&0) => Ok(Found::Text(Some(text))),
            Some(_) => Err(Km2Error::Text),
        }
    }
}

fn append_string(out: &mut Zeroizing<Vec<u8>>, dialect: Dialect, text: Option<&str>) -> Result<(), Km2Error> {
    let length = text.map_or(0, |text| text.len() + 1);
    match dialect {
        Dialect::Stock => {
            append_secret(out, &u16::try_from(length).map_err(|_| Km2Error::Length)?.to_be_bytes());
        }
        Dialect::Aws => {
            append_secret(out, &u32::try_from(length).map_err(|_| Km2Error::Length)?.to_be_bytes())
        }
    }
    if let Some(text) = text {
        append_secret(out, text.as_bytes());
        append_secret(out, &[0]);
    }
    Ok(())
}
