//! PEM text into DER.

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use crate::PkiError;

/// Certificates taken from one PEM text. ACM takes chains up to 2 MiB; real ones have at most a handful.
const MAX_CERTIFICATES: usize = 100;

/// Bytes of one PEM text with certificates or a key (ACM's bound on a chain).
const MAX_PEM_BYTES: usize = 2 * 1024 * 1024;

/// Every certificate of the text, DER, in its order. Text outside the sections and sections of other kinds
/// are passed over, as every tool does.
///
/// # Errors
/// Broken PEM, no certificate in it, or more than a hundred.
pub fn certificates_from_pem(text: &str) -> Result<Vec<Vec<u8>>, PkiError> {
    let certificates = sections(text.as_bytes(), MAX_PEM_BYTES, SectionKind::Certificate)?;
    match certificates.len() {
        0 => Err(PkiError::Missing("certificate")),
        1..=MAX_CERTIFICATES => Ok(certificates),
        _ => Err(PkiError::TooMany { what: "certificates", limit: MAX_CERTIFICATES }),
    }
}

/// Most rounds of the derivation of a key from a passphrase.
const MAX_KDF_ITERATIONS: u32 = 1_000_000;

/// The private key of the text, DER in the form it was found in (PKCS #8, PKCS #1 or SEC 1).
///
/// # Errors
/// Broken PEM, no key, more than one, an encrypted one, or one of unknown form.
pub fn key_from_pem(text: &str) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    // `ENCRYPTED PRIVATE KEY`, and the `Proc-Type: 4,ENCRYPTED` header of the older forms.
    if text.contains("ENCRYPTED") {
        return Err(PkiError::EncryptedKey);
    }
    if text.len() > MAX_PEM_BYTES {
        return Err(PkiError::Pem("too long".to_owned()));
    }
    let mut found: Option<Zeroizing<Vec<u8>>> = None;
    for section in PrivateKeyDer::pem_slice_iter(text.as_bytes()) {
        let key = match section.map_err(reason)? {
            PrivateKeyDer::Pkcs8(key) => Zeroizing::new(key.secret_pkcs8_der().to_vec()),
            PrivateKeyDer::Pkcs1(key) => Zeroizing::new(key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Sec1(key) => Zeroizing::new(key.secret_sec1_der().to_vec()),
            _ => return Err(PkiError::UnknownKey),
        };
        if found.replace(key).is_some() {
            return Err(PkiError::TooMany { what: "private key", limit: 1 });
        }
    }
    let key = found.ok_or(PkiError::Missing("private key"))?;
    // The label of a section may lie about its content; users of the key look at the content.
    PrivateKeyDer::try_from(key.as_slice()).map_err(|_| PkiError::UnknownKey)?;
    Ok(key)
}

/// An encrypted private key (PKCS #8, PBES2 with PBKDF2) without its encryption, as PEM.
///
/// # Errors
/// Another kind of PEM, another or too costly a way of encryption, or a passphrase that does not open it.
pub fn decrypted_key_pem(text: &str, passphrase: &[u8]) -> Result<Zeroizing<String>, PkiError> {
    use pkcs8::pkcs5::{EncryptionScheme, pbes2};
    use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, SecretDocument};
    if text.len() > MAX_PEM_BYTES {
        return Err(PkiError::Pem("too long".to_owned()));
    }
    let (label, document) =
        SecretDocument::from_pem(text.trim()).map_err(|_| PkiError::Pem("it cannot be read".to_owned()))?;
    if label != "ENCRYPTED PRIVATE KEY" {
        return Err(PkiError::Missing("encrypted private key"));
    }
    let encrypted =
        EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| PkiError::UnknownKey)?;
    // Whoever made it decides how much work it is.
    let EncryptionScheme::Pbes2(scheme) = &encrypted.encryption_algorithm else {
        return Err(PkiError::UnknownKey);
    };
    let pbes2::Kdf::Pbkdf2(kdf) = &scheme.kdf else { return Err(PkiError::UnknownKey) };
    if kdf.iteration_count > MAX_KDF_ITERATIONS {
        return Err(PkiError::UnknownKey);
    }
    let key = encrypted.decrypt(passphrase).map_err(|_| PkiError::Passphrase)?;
    key.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| PkiError::UnknownKey)
}

/// The contents of every section of that kind.
pub(crate) fn sections(
    text: &[u8],
    limit_bytes: usize,
    wanted: SectionKind,
) -> Result<Vec<Vec<u8>>, PkiError> {
    if text.len() > limit_bytes {
        return Err(PkiError::Pem("too long".to_owned()));
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(reason)?;
        if kind == wanted {
            found.push(der);
        }
    }
    Ok(found)
}

/// The library's reason without a line of the text: the text may be a private key.
fn reason(error: rustls_pki_types::pem::Error) -> PkiError {
    use rustls_pki_types::pem::Error;
    let text = match error {
        Error::MissingSectionEnd { .. } => "a section has no END line",
        Error::IllegalSectionStart { .. } => "a BEGIN line is broken",
        Error::Base64Decode(_) => "a section is not base64",
        Error::SectionTooLarge => "a section is too long",
        _ => "it cannot be read",
    };
    PkiError::Pem(text.to_owned())
}
