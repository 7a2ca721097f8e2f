//! Sealing of secrets before they reach a record: AES-256-GCM under one master key that lives in a file of its own.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::private_file::{self, OTHERS};

const KEY_BYTES: usize = 32;
/// What a key file begins with; the key follows in base64.
const FILE_PREFIX: &str = "bascule-master-key-1:";
/// Longest key file read, bytes.
const MAX_FILE_BYTES: u64 = 256;
/// The first byte of what `seal` makes: AES-256-GCM, then a 12-byte nonce, the ciphertext, a 16-byte tag.
const SEAL_VERSION: u8 = 1;

/// Why a master key or a sealed secret is not usable. Never says anything of the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterKeyError {
    /// Group or others may use the file.
    #[error("master key file {} has mode {mode:04o}: make it private with `chmod 600 {}`", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is not a Bascule master key file", .0.display())]
    NotAKey(PathBuf),
    /// The file cannot be read or created.
    #[error("master key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cryptographic library refused.
    #[error("the cryptographic library failed")]
    Crypto,
    /// Sealed under another key or for another context, or altered.
    #[error("a sealed secret does not open: another master key, another context, or altered")]
    DoesNotOpen,
}

/// The key all secrets of a store are sealed under. Keep a copy of its file apart from the store's.
pub struct MasterKey {
    // The library wipes its copies of the keys when they are dropped.
    key: RandomizedNonceKey,
    /// What keys for other purposes are derived from.
    root: Prk,
}

/// What separates derived keys from whatever else is made of the master key's bytes.
const DERIVATION_SALT: &[u8] = b"bascule derived keys 1";

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// The key in the file; when there is no file, a new random key in a new one (mode 0600, durable, and of two
    /// processes that try at once both get the same key).
    ///
    /// # Errors
    /// One clear line when the file is not private, not a key, or not reachable.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, MasterKeyError> {
        let path = path.as_ref();
        let io_error = |source| MasterKeyError::Io { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
                aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| MasterKeyError::Crypto)?;
                let mut text = Zeroizing::new(String::with_capacity(96));
                text.push_str(FILE_PREFIX);
                STANDARD.encode_string(bytes.as_slice(), &mut text);
                text.push('\n');
                private_file::create(path, text.as_bytes()).map_err(io_error)?;
                // Read back rather than kept: another process may have been first.
                Self::read(path, File::open(path).map_err(io_error)?)
            }
            Err(error) => Err(io_error(error)),
        }
    }

    fn read(path: &Path, file: File) -> Result<Self, MasterKeyError> {
        let io_error = |source| MasterKeyError::Io { path: path.to_owned(), source };
        let not_a_key = || MasterKeyError::NotAKey(path.to_owned());
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() {
            return Err(not_a_key());
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(MasterKeyError::TooOpen { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(512));
        match file.take(MAX_FILE_BYTES).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(not_a_key()),
            Err(error) => return Err(io_error(error)),
        }
        let encoded = text.trim_end().strip_prefix(FILE_PREFIX).ok_or_else(not_a_key)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| not_a_key())?);
        let bytes: &[u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| not_a_key())?;
        Self::from_bytes(bytes)
    }

    /// A key from 32 bytes, for tests and for callers that keep the key elsewhere.
    ///
    /// # Errors
    /// When the cryptographic library refuses.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, MasterKeyError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| MasterKeyError::Crypto)?;
        Ok(Self { key, root: Salt::new(HKDF_SHA256, DERIVATION_SALT).extract(bytes) })
    }

    /// A key of its own for what is not a record, so that neither can open the other's, and each has its own 2^32 seals.
    /// The same purpose gives the same key at every start.
    ///
    /// # Errors
    /// When the cryptographic library refuses.
    pub fn derived(&self, purpose: &str) -> Result<Self, MasterKeyError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let label = [purpose.as_bytes()];
        self.root
            .expand(&label, HKDF_SHA256)
            .and_then(|material| material.fill(bytes.as_mut_slice()))
            .map_err(|_| MasterKeyError::Crypto)?;
        Self::from_bytes(&bytes)
    }

    /// Seals a secret for a context (say, the key of the record it is stored in); it opens for that context only.
    /// The answer is base64. Under one key up to 2^32 secrets may be sealed (random 96-bit nonces).
    ///
    /// # Errors
    /// When the cryptographic library refuses.
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Result<String, MasterKeyError> {
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let tag_and_nonce = {
            let (nonce, tag) = self
                .key
                .seal_in_place_separate_tag(Aad::from(context.as_bytes()), sealed.as_mut_slice())
                .map_err(|_| MasterKeyError::Crypto)?;
            (tag, *nonce.as_ref())
        };
        let (tag, nonce) = tag_and_nonce;
        let mut whole = Vec::with_capacity(1 + NONCE_LEN + sealed.len() + tag.as_ref().len());
        whole.push(SEAL_VERSION);
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        whole.extend_from_slice(tag.as_ref());
        Ok(STANDARD.encode(whole))
    }

    /// Opens what [`Self::seal`] made for the same context.
    ///
    /// # Errors
    /// [`MasterKeyError::DoesNotOpen`].
    pub fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
        let whole = STANDARD.decode(sealed).map_err(|_| MasterKeyError::DoesNotOpen)?;
        let Some((&SEAL_VERSION, rest)) = whole.split_first() else {
            return Err(MasterKeyError::DoesNotOpen);
        };
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(MasterKeyError::DoesNotOpen)?;
        let mut buffer = Zeroizing::new(body.to_vec());
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context.as_bytes()), &mut buffer)
            .map_err(|_| MasterKeyError::DoesNotOpen)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests;
