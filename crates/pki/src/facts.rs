//! What a certificate says, in the words of ACM's `DescribeCertificate`.

use std::fmt::Write as _;

use x509_parser::extensions::GeneralName;

use crate::certificate::View;
use crate::{PkiError, der, names, signature};

/// A certificate's content, readable. Names of algorithms and usages are those of ACM's API model, where it
/// has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Subject, `C=US, O=Example, CN=server.example.com`.
    pub subject: String,
    /// Issuer, in the same form.
    pub issuer: String,
    /// The subject's (last) common name.
    pub common_name: Option<String>,
    /// DNS names among the subject alternative names.
    pub dns_names: Vec<String>,
    /// Serial number: `07:71:71:f4`.
    pub serial: String,
    /// First second of validity, since the Unix epoch.
    pub not_before: i64,
    /// Last second of validity, since the Unix epoch.
    pub not_after: i64,
    /// `RSA_2048`, `EC_prime256v1`, `EC_secp384r1`; `ED25519` (which ACM does not know); else the dotted OID.
    pub key_algorithm: String,
    /// `SHA256WITHRSA`, `SHA384WITHECDSA`, `ED25519`; else the dotted OID.
    pub signature_algorithm: String,
    /// Whether its basic constraints make it an authority.
    pub is_ca: bool,
    /// `DIGITAL_SIGNATURE`, `KEY_ENCIPHERMENT`, …
    pub key_usages: Vec<&'static str>,
    /// (`TLS_WEB_SERVER_AUTHENTICATION`, `1.3.6.1.5.5.7.3.1`), …; `CUSTOM` for those ACM has no name for.
    pub extended_key_usages: Vec<(&'static str, String)>,
    /// Whether it is signed by its own key.
    pub self_signed: bool,
}

/// Reads a DER certificate.
///
/// # Errors
/// [`PkiError::Certificate`] if it is none.
pub fn facts(der: &[u8]) -> Result<Facts, PkiError> {
    let view = View::parse(der)?;
    let (not_before, not_after) = view.validity();
    Ok(Facts {
        subject: names::display(view.x509.subject()),
        issuer: names::display(view.x509.issuer()),
        common_name: names::common_name(view.x509.subject()).flatten(),
        dns_names: dns_names(&view),
        serial: hex_with_colons(view.serial()),
        not_before,
        not_after,
        key_algorithm: key_algorithm(&view),
        signature_algorithm: signature_algorithm(&view),
        is_ca: view.basic.as_ref().is_some_and(|basic| basic.ca),
        key_usages: key_usages(&view),
        extended_key_usages: extended_key_usages(&view),
        self_signed: view.is_self_issued() && signature::check(&view.signed, view.public_key).is_ok(),
    })
}

/// DNS names among the subject alternative names.
pub(crate) fn dns_names(view: &View<'_>) -> Vec<String> {
    let names = view.names.iter().flat_map(|names| &names.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// ACM's name of the key's kind and size.
pub(crate) fn key_algorithm(view: &View<'_>) -> String {
    let algorithm = &view.x509.public_key().algorithm;
    let oid = algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.1" => match der::rsa_bits(view.public_key.1) {
            Some(bits) => format!("RSA_{bits}"),
            None => "RSA".to_owned(),
        },
        "1.2.840.10045.2.1" => {
            let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => "EC_prime256v1".to_owned(),
                Some("1.3.132.0.34") => "EC_secp384r1".to_owned(),
                Some("1.3.132.0.35") => "EC_secp521r1".to_owned(),
                Some(other) => format!("EC_{other}"),
                None => "EC".to_owned(),
            }
        }
        "1.3.101.112" => "ED25519".to_owned(),
        _ => oid,
    }
}

/// The name of the algorithm it is signed with.
pub(crate) fn signature_algorithm(view: &View<'_>) -> String {
    let oid = view.x509.signature_algorithm.algorithm.to_id_string();
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.4" => "MD5WITHRSA",
        "1.2.840.113549.1.1.5" => "SHA1WITHRSA",
        "1.2.840.113549.1.1.11" => "SHA256WITHRSA",
        "1.2.840.113549.1.1.12" => "SHA384WITHRSA",
        "1.2.840.113549.1.1.13" => "SHA512WITHRSA",
        // The hash stands in the parameters; the name used for all of them has none.
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.10045.4.1" => "SHA1WITHECDSA",
        "1.2.840.10045.4.3.2" => "SHA256WITHECDSA",
        "1.2.840.10045.4.3.3" => "SHA384WITHECDSA",
        "1.2.840.10045.4.3.4" => "SHA512WITHECDSA",
        "1.3.101.112" => "ED25519",
        _ => return oid,
    };
    name.to_owned()
}

fn key_usages(view: &View<'_>) -> Vec<&'static str> {
    let Some(usage) = &view.key_usage else { return Vec::new() };
    let rows = [
        (usage.digital_signature(), "DIGITAL_SIGNATURE"),
        (usage.non_repudiation(), "NON_REPUDIATION"),
        (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
        (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
        (usage.key_agreement(), "KEY_AGREEMENT"),
        (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
        (usage.crl_sign(), "CRL_SIGNING"),
        (usage.encipher_only(), "ENCIPHER_ONLY"),
        (usage.decipher_only(), "DECIPHER_ONLY"),
    ];
    rows.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}

fn extended_key_usages(view: &View<'_>) -> Vec<(&'static str, String)> {
    let Some(usage) = &view.extended else { return Vec::new() };
    let rows = [
        (usage.server_auth, "TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
        (usage.any, "ANY", "2.5.29.37.0"),
    ];
    let known = rows.into_iter().filter(|row| row.0).map(|(_, name, oid)| (name, oid.to_owned()));
    let others = usage.other.iter().map(|oid| {
        let oid = oid.to_id_string();
        let name = match oid.as_str() {
            "1.3.6.1.5.5.7.3.5" => "IPSEC_END_SYSTEM",
            "1.3.6.1.5.5.7.3.6" => "IPSEC_TUNNEL",
            "1.3.6.1.5.5.7.3.7" => "IPSEC_USER",
            _ => "CUSTOM",
        };
        (name, oid)
    });
    known.chain(others).collect()
}

fn hex_with_colons(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "00".to_owned();
    }
    let mut out = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(':');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}
