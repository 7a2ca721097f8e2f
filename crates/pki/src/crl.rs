//! Certificate revocation lists.

use rustls_pki_types::pem::SectionKind;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::View;
use crate::identity::Refusal;
use crate::{PkiError, TrustAnchors, der, pem, signature};

/// Bytes of one list: far above the API's 20,000 entries (about a megabyte).
const MAX_CRL_BYTES: usize = 16 * 1024 * 1024;

/// A complete revocation list, read once and asked often.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    issuer: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    /// Serial numbers without leading zeros, sorted.
    revoked: Vec<Box<[u8]>>,
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crl")
            .field("next_update", &self.next_update)
            .field("entries", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

impl Crl {
    /// Takes PEM with exactly one list (`-----BEGIN X509 CRL-----`).
    ///
    /// # Errors
    /// Broken PEM, no list or several, or a list [`Crl::from_der`] does not take.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        // Base64 and line ends make a third more; twice the bytes is always enough.
        let mut lists = pem::sections(text.as_bytes(), 2 * MAX_CRL_BYTES, SectionKind::Crl)?;
        let list = lists.pop().ok_or(PkiError::Missing("certificate revocation list"))?;
        if !lists.is_empty() {
            return Err(PkiError::TooMany { what: "certificate revocation list", limit: 1 });
        }
        Self::from_der(&list)
    }

    /// Takes DER. A list that is only part of the truth (a delta, or limited to some certificates), or that
    /// has a critical extension, is refused: it could not be honoured. The signature is not checked here:
    /// see [`Crl::is_signed_by_any`] and [`crate::verify_client`].
    ///
    /// # Errors
    /// [`PkiError::Crl`] with the reason.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let broken = |reason: &str| PkiError::Crl(reason.to_owned());
        if der.len() > MAX_CRL_BYTES {
            return Err(broken("it is too large"));
        }
        let signed = der::signed(der).ok_or_else(|| broken("the outer structure is not DER"))?;
        let (rest, list) =
            CertificateRevocationList::from_der(der).map_err(|_| broken("it cannot be parsed"))?;
        if !rest.is_empty() || list.tbs_cert_list.as_ref() != signed.message {
            return Err(broken("it has bytes that belong to nothing"));
        }
        if list.signature_algorithm != list.tbs_cert_list.signature {
            return Err(broken("its two signature algorithms differ"));
        }
        if list.extensions().iter().any(|extension| !is_harmless(extension)) {
            return Err(broken("it is a partial list or has a critical extension that is not understood"));
        }
        let entries = list.iter_revoked_certificates();
        if entries.flat_map(|entry| entry.extensions()).any(|extension| extension.critical) {
            return Err(broken("an entry has a critical extension"));
        }
        let mut revoked: Vec<Box<[u8]>> = list
            .iter_revoked_certificates()
            .map(|entry| der::strip_zeros(entry.raw_serial()).into())
            .collect();
        revoked.sort_unstable();
        Ok(Self {
            der: der.to_vec(),
            issuer: list.issuer().as_raw().to_vec(),
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().map(|time| time.timestamp()),
            revoked,
        })
    }

    /// Its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// How many certificates it revokes.
    pub fn entries(&self) -> usize {
        self.revoked.len()
    }

    /// From when it holds, seconds since the Unix epoch.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Until when it holds, seconds since the Unix epoch; `None`: for ever.
    pub fn next_update(&self) -> Option<i64> {
        self.next_update
    }

    /// Whether it names that serial number (big endian). Says nothing about the issuer: who is let in is
    /// [`crate::verify_client`]'s to say.
    pub fn revokes(&self, serial: &[u8]) -> bool {
        let serial = der::strip_zeros(serial);
        self.revoked.binary_search_by(|entry| entry.as_ref().cmp(serial)).is_ok()
    }

    /// Whether one of the anchors issued and signed it: what an import asks. (A list signed by an
    /// intermediate authority that clients present is honoured too, but cannot be recognised at import.)
    pub fn is_signed_by_any(&self, anchors: &TrustAnchors) -> bool {
        let views = anchors.roots.iter().filter_map(|root| View::parse(root).ok());
        views.into_iter().any(|anchor| self.is_about(&anchor) && self.is_signed_by(&anchor))
    }

    /// # Errors
    /// The list's time has not come or is over; then nobody is let in (spec: aws-client-vpn §3.3).
    pub(crate) fn in_force(&self, now_unix: i64) -> Result<(), Refusal> {
        if self.next_update.is_some_and(|until| now_unix > until) {
            return Err(Refusal::CrlExpired);
        }
        if now_unix < self.this_update {
            return Err(Refusal::CrlNotYetValid);
        }
        Ok(())
    }

    /// Whether it names this authority as its issuer.
    pub(crate) fn is_about(&self, issuer: &View<'_>) -> bool {
        self.issuer == issuer.subject()
    }

    /// Whether this authority signed it and may.
    pub(crate) fn is_signed_by(&self, issuer: &View<'_>) -> bool {
        let may = issuer.key_usage.as_ref().is_none_or(|usage| usage.crl_sign());
        let signed = der::signed(&self.der);
        may && signed.is_some_and(|signed| signature::check(&signed, issuer.public_key).is_ok())
    }
}

/// Whether an extension of a list leaves its meaning as it is.
fn is_harmless(extension: &X509Extension<'_>) -> bool {
    let limits_it = matches!(extension.parsed_extension(), ParsedExtension::IssuingDistributionPoint(_))
        // Issuing distribution point (where it could not be parsed) and delta indicator.
        || matches!(extension.oid.to_id_string().as_str(), "2.5.29.28" | "2.5.29.27");
    !extension.critical && !limits_it
}
