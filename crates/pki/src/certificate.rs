//! One parsed certificate.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, ParsedExtension, SubjectAlternativeName,
};
use x509_parser::prelude::FromDer;

use crate::der::{self, Signed};
use crate::{Facts, PkiError, facts};

/// Bytes of one certificate. ACM takes 32 KiB; nothing real comes near.
pub(crate) const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The version field's value for version 3, the only one with extensions.
const V3: u32 = 2;

/// A certificate that could be parsed; owns its DER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    der: Vec<u8>,
}

impl Certificate {
    /// Takes DER that is one certificate and nothing else.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] with the reason.
    pub fn from_der(der: Vec<u8>) -> Result<Self, PkiError> {
        View::parse(&der)?;
        Ok(Self { der })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What it says.
    ///
    /// # Errors
    /// [`PkiError::Certificate`]; not for one that [`Certificate::from_der`] took.
    pub fn facts(&self) -> Result<Facts, PkiError> {
        facts(&self.der)
    }

    /// SHA-256 of its DER.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.der)
    }
}

/// SHA-256.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().first_chunk().copied().expect("SHA-256 is 32 bytes")
}

/// A certificate taken apart: its meaning, and the exact bytes signatures are about.
pub(crate) struct View<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) x509: X509Certificate<'a>,
    pub(crate) signed: Signed<'a>,
    /// Algorithm (inside of its SEQUENCE) and key.
    pub(crate) public_key: (&'a [u8], &'a [u8]),
    pub(crate) basic: Option<BasicConstraints>,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) extended: Option<ExtendedKeyUsage<'a>>,
    pub(crate) names: Option<SubjectAlternativeName<'a>>,
    pub(crate) constraints: Option<NameConstraints<'a>>,
    /// The first critical extension that nothing here honours, dotted.
    pub(crate) unknown_critical: Option<String>,
}

impl<'a> View<'a> {
    /// # Errors
    /// Why it is no certificate; the reason never quotes it.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, PkiError> {
        let broken = |reason: &str| PkiError::Certificate(reason.to_owned());
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(broken("it is too large"));
        }
        let signed = der::signed(der).ok_or_else(|| broken("the outer structure is not DER"))?;
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| broken("it cannot be parsed"))?;
        // Two parsers read it; they must have read the same.
        if !rest.is_empty() || x509.tbs_certificate.as_ref() != signed.message {
            return Err(broken("it has bytes that belong to nothing"));
        }
        if x509.signature_algorithm != x509.tbs_certificate.signature {
            return Err(broken("its two signature algorithms differ"));
        }
        let public_key = der::public_key(x509.tbs_certificate.subject_pki.raw)
            .ok_or_else(|| broken("its key is not DER"))?;
        if x509.version.0 != V3 && !x509.extensions().is_empty() {
            return Err(broken("it has extensions but is not version 3"));
        }
        if x509.extensions_map().is_err() {
            return Err(broken("an extension is there twice"));
        }
        let mut view = Self {
            der,
            signed,
            public_key,
            basic: None,
            key_usage: None,
            extended: None,
            names: None,
            constraints: None,
            unknown_critical: None,
            x509,
        };
        view.read_extensions()?;
        Ok(view)
    }

    fn read_extensions(&mut self) -> Result<(), PkiError> {
        for extension in self.x509.extensions().iter() {
            let oid = || extension.oid.to_id_string();
            let understood = match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(value) => {
                    self.basic = Some(value.clone());
                    true
                }
                ParsedExtension::KeyUsage(value) => {
                    self.key_usage = Some(*value);
                    true
                }
                ParsedExtension::ExtendedKeyUsage(value) => {
                    self.extended = Some(value.clone());
                    true
                }
                ParsedExtension::SubjectAlternativeName(value) => {
                    self.names = Some(value.clone());
                    true
                }
                ParsedExtension::NameConstraints(value) => {
                    self.constraints = Some(value.clone());
                    true
                }
                // Nobody here asks for a policy, so any will do; where a list is to be had changes nothing.
                ParsedExtension::CertificatePolicies(_) | ParsedExtension::CRLDistributionPoints(_) => true,
                ParsedExtension::ParseError { .. } if is_judged(&oid()) => {
                    return Err(PkiError::Certificate(format!("extension {} cannot be parsed", oid())));
                }
                _ => false,
            };
            if extension.critical && !understood && self.unknown_critical.is_none() {
                self.unknown_critical = Some(oid());
            }
        }
        Ok(())
    }

    /// The serial number's bytes without leading zeros.
    pub(crate) fn serial(&self) -> &'a [u8] {
        der::strip_zeros(self.x509.raw_serial())
    }

    /// The subject, as DER.
    pub(crate) fn subject(&self) -> &'a [u8] {
        self.x509.tbs_certificate.subject.as_raw()
    }

    /// The issuer, as DER.
    pub(crate) fn issuer(&self) -> &'a [u8] {
        self.x509.tbs_certificate.issuer.as_raw()
    }

    /// Whether subject and issuer are the same name.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// First and last second it is valid in, since the Unix epoch.
    pub(crate) fn validity(&self) -> (i64, i64) {
        let validity = &self.x509.tbs_certificate.validity;
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    }
}

/// Extensions whose content decides something: broken ones cannot be passed over.
fn is_judged(oid: &str) -> bool {
    matches!(oid, "2.5.29.15" | "2.5.29.17" | "2.5.29.19" | "2.5.29.30" | "2.5.29.37")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_its_der_and_named_by_the_digest_of_it() {
        let pem = include_str!("../tests/certs/ca-ecdsa.pem");
        let der = crate::certificates_from_pem(pem).unwrap().remove(0);
        let certificate = Certificate::from_der(der.clone()).unwrap();
        assert_eq!(certificate.der(), der);
        let other =
            crate::certificates_from_pem(include_str!("../tests/certs/ca-rsa.pem")).unwrap().remove(0);
        assert_ne!(certificate.fingerprint(), Certificate::from_der(other).unwrap().fingerprint());
        assert_eq!(certificate.fingerprint(), fingerprint(&der));
        // SHA-256 of nothing, as FIPS 180-4 has it.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(fingerprint(b"").map(|byte| format!("{byte:02x}")).concat(), nothing);
    }

    #[test]
    fn size_is_looked_at_first() {
        for (bytes, reason) in [
            (MAX_CERTIFICATE_BYTES, "the outer structure is not DER"),
            (MAX_CERTIFICATE_BYTES + 1, "it is too large"),
            (MAX_CERTIFICATE_BYTES + 2, "it is too large"),
        ] {
            let told = Certificate::from_der(vec![0; bytes]).unwrap_err();
            assert!(matches!(&told, PkiError::Certificate(why) if why == reason), "{bytes}: {told}");
        }
    }
}
