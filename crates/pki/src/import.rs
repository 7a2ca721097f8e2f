//! Whether a certificate may be imported and used as an endpoint's server certificate.

use rustls_pki_types::PrivateKeyDer;

use crate::certificate::View;
use crate::facts::{dns_names, key_algorithm, signature_algorithm};
use crate::{der, names, signature};

/// Largest RSA key TLS takes here, in bits.
const MAX_RSA_BITS: usize = 8192;

/// Whether the private key (DER: PKCS #8, PKCS #1 or SEC 1) is the certificate's. A key that TLS could not
/// use matches nothing.
pub fn key_matches(certificate_der: &[u8], key_der: &[u8]) -> bool {
    let Ok(view) = View::parse(certificate_der) else { return false };
    let Ok(key) = PrivateKeyDer::try_from(key_der) else { return false };
    let Ok(key) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) else { return false };
    let Some(public) = key.public_key() else { return false };
    der::public_key(public.as_ref()) == Some(view.public_key)
}

/// Whether the certificate's algorithms are good enough: RSA from 2048 bits, P-256, P-384 or Ed25519, not
/// signed with SHA-1 or MD5. `Err` says why not (AWS itself takes RSA-1024, which is not safe any more).
///
/// # Errors
/// The reason, for whoever imports it.
pub fn importable(certificate_der: &[u8]) -> Result<(), String> {
    let view = View::parse(certificate_der).map_err(|error| error.to_string())?;
    let key = key_algorithm(&view);
    if key.starts_with("RSA") {
        let bits = der::rsa_bits(view.public_key.1).unwrap_or_default();
        if !(2048..=MAX_RSA_BITS).contains(&bits) {
            return Err(format!("the key is RSA with {bits} bits; 2048 to {MAX_RSA_BITS} are accepted"));
        }
    } else if !matches!(key.as_str(), "EC_prime256v1" | "EC_secp384r1" | "ED25519") {
        return Err(format!("the key type {key} is not accepted; use RSA, P-256, P-384 or Ed25519"));
    }
    let algorithm = signature_algorithm(&view);
    if algorithm.starts_with("SHA1") || algorithm.starts_with("MD5") {
        return Err(format!("the certificate is signed with {algorithm}, which can be forged; use SHA-256"));
    }
    if !signature::is_supported(view.signed.algorithm) {
        return Err(format!("the certificate is signed with {algorithm}, which is not supported"));
    }
    Ok(())
}

/// Whether a server certificate names a domain: a dotted common name, or any DNS subject alternative name.
pub fn has_domain(certificate_der: &[u8]) -> bool {
    let Ok(view) = View::parse(certificate_der) else { return false };
    let common_name = names::common_name(view.x509.subject()).flatten();
    common_name.is_some_and(|name| names::is_dotted_domain(&name)) || !dns_names(&view).is_empty()
}
