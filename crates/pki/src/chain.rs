//! From a client's certificates to who it is.
//!
//! An own chain builder rather than webpki's, because an anchor may be an intermediate or a version 1 root
//! here, an expired list must refuse everybody, and the reason must come out.
//!
//! Where it decides what OpenSSL leaves open or decides otherwise:
//! * a leaf without extended key usage is refused, as OpenVPN does under `remote-cert-tls`
//!   (UNVERIFIED: what AWS does; spec: aws-client-vpn §3.3 "EKU must allow client auth");
//!   `anyExtendedKeyUsage` alone is not enough, which is OpenSSL's rule too;
//! * an authority's own certificate is no client;
//! * names are compared byte for byte;
//! * an anchor that is no version 1 root must have basic constraints that make it an authority;
//! * certificates of issuers the list does not name are not touched by it (OpenVPN's rule), unless it has
//!   expired.

use crate::certificate::{MAX_CERTIFICATE_BYTES, View, fingerprint};
use crate::crl::Crl;
use crate::identity::{Identity, Refusal};
use crate::signature::{self, Fault};
use crate::{constraints, names};

/// Certificates of one chain, anchor included; also how many a client may present.
pub const MAX_PRESENTED_CERTIFICATES: usize = 8;

/// Signature checks one verification may cost: chains can be made so that a search never ends.
const MAX_SIGNATURE_CHECKS: u32 = 32;

/// The certificates an endpoint trusts to issue its clients' certificates. None: nobody is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustAnchors {
    /// DER. Roots or intermediates; one that cannot be parsed never matches.
    pub roots: Vec<Vec<u8>>,
}

/// Verifies a client's certificates (DER, leaf first, then intermediates in any order) at `now_unix`
/// (seconds since the Unix epoch).
///
/// Checked: a signed chain of at most [`MAX_PRESENTED_CERTIFICATES`] to an anchor; validity of all of it,
/// the anchor too; that every issuer is an authority that may issue such certificates (path length, key
/// usages, name constraints); no critical extension that is not understood; on the leaf, client
/// authentication and a usable common name; revocation of leaf and intermediates.
/// Rule source: spec aws-client-vpn §3.3 (3), §4.1.
///
/// # Errors
/// Why the client is refused.
pub fn verify_client(
    chain: &[Vec<u8>],
    anchors: &TrustAnchors,
    crl: Option<&Crl>,
    now_unix: i64,
) -> Result<Identity, Refusal> {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    verify_slices(&chain, anchors, crl, now_unix)
}

/// [`verify_client`] on borrowed certificates.
pub(crate) fn verify_slices(
    chain: &[&[u8]],
    anchors: &TrustAnchors,
    crl: Option<&Crl>,
    now_unix: i64,
) -> Result<Identity, Refusal> {
    if chain.is_empty() {
        return Err(Refusal::NoCertificate);
    }
    if chain.len() > MAX_PRESENTED_CERTIFICATES
        || chain.iter().any(|certificate| certificate.len() > MAX_CERTIFICATE_BYTES)
    {
        return Err(Refusal::TooLarge);
    }
    if let Some(crl) = crl {
        crl.in_force(now_unix)?;
    }
    let parsed: Result<Vec<View<'_>>, _> = chain.iter().map(|der| View::parse(der)).collect();
    let parsed = parsed.map_err(|_| Refusal::Malformed)?;
    let (leaf, intermediates) = parsed.split_first().ok_or(Refusal::NoCertificate)?;
    let common_name = judge_leaf(leaf, now_unix)?;

    let anchors: Vec<View<'_>> = anchors.roots.iter().filter_map(|root| View::parse(root).ok()).collect();
    let mut search = Search {
        anchors: &anchors,
        intermediates,
        crl,
        now_unix,
        checks_left: MAX_SIGNATURE_CHECKS,
        reason: Refusal::UnknownIssuer,
    };
    if !search.climb(&mut vec![leaf])? {
        return Err(search.reason);
    }
    Ok(Identity {
        common_name,
        serial: leaf.serial().to_vec(),
        not_after: leaf.validity().1,
        fingerprint: fingerprint(leaf.der),
    })
}

/// What the leaf alone must satisfy. Its common name, if it does.
fn judge_leaf(leaf: &View<'_>, now_unix: i64) -> Result<String, Refusal> {
    judge_any(leaf, now_unix)?;
    if leaf.basic.as_ref().is_some_and(|basic| basic.ca) {
        return Err(Refusal::Authority);
    }
    if !leaf.extended.as_ref().is_some_and(|usage| usage.client_auth) {
        return Err(Refusal::NotForClients);
    }
    let may_sign =
        |usage: &x509_parser::extensions::KeyUsage| usage.digital_signature() || usage.key_agreement();
    if leaf.key_usage.as_ref().is_some_and(|usage| !may_sign(usage)) {
        return Err(Refusal::NotForClients);
    }
    let common_name = names::common_name(leaf.x509.subject()).ok_or(Refusal::NoCommonName)?;
    let common_name = common_name.ok_or(Refusal::BadCommonName)?;
    if common_name.is_empty() {
        return Err(Refusal::NoCommonName);
    }
    if !names::is_usable_common_name(&common_name) {
        return Err(Refusal::BadCommonName);
    }
    Ok(common_name)
}

/// What every certificate of the chain must satisfy.
fn judge_any(certificate: &View<'_>, now_unix: i64) -> Result<(), Refusal> {
    if let Some(oid) = &certificate.unknown_critical {
        return Err(Refusal::UnknownCriticalExtension(oid.clone()));
    }
    let (not_before, not_after) = certificate.validity();
    if now_unix > not_after {
        return Err(Refusal::Expired);
    }
    if now_unix < not_before {
        return Err(Refusal::NotYetValid);
    }
    Ok(())
}

/// A depth-first search for a chain, anchors tried first at every step.
struct Search<'s, 'a> {
    anchors: &'s [View<'a>],
    intermediates: &'s [View<'a>],
    crl: Option<&'s Crl>,
    now_unix: i64,
    checks_left: u32,
    /// Why it failed, as far as known: the first thing that was more than "no such issuer".
    reason: Refusal,
}

impl<'s, 'a> Search<'s, 'a> {
    /// Whether the path (leaf first) can be completed to a good one.
    ///
    /// # Errors
    /// What ends the whole search: too much work, or a revoked certificate.
    fn climb(&mut self, path: &mut Vec<&'s View<'a>>) -> Result<bool, Refusal> {
        let Some(&child) = path.last() else { return Ok(false) };
        let (anchors, intermediates) = (self.anchors, self.intermediates);
        for anchor in anchors.iter().filter(|anchor| anchor.subject() == child.issuer()) {
            if self.may_issue(anchor, true, path)? {
                return Ok(true);
            }
        }
        for issuer in intermediates.iter().filter(|issuer| issuer.subject() == child.issuer()) {
            let is_known = |other: &&View<'a>| other.der == issuer.der;
            if path.iter().any(is_known) || anchors.iter().any(|anchor| anchor.der == issuer.der) {
                continue;
            }
            // One place is kept for the anchor.
            if path.len() + 2 > MAX_PRESENTED_CERTIFICATES {
                self.note(Refusal::PathTooLong);
                continue;
            }
            if self.may_issue(issuer, false, path)? {
                path.push(issuer);
                if self.climb(path)? {
                    return Ok(true);
                }
                path.pop();
            }
        }
        Ok(false)
    }

    /// Whether `issuer` issued the path's last certificate and may stand over all of the path.
    fn may_issue(&mut self, issuer: &View<'a>, is_anchor: bool, path: &[&View<'a>]) -> Result<bool, Refusal> {
        match self.judge_issuer(issuer, is_anchor, path) {
            Ok(()) => Ok(true),
            // These hold whatever other path there may be.
            Err(reason @ (Refusal::Revoked | Refusal::TooMuchWork)) => Err(reason),
            Err(reason) => {
                self.note(reason);
                Ok(false)
            }
        }
    }

    fn judge_issuer(
        &mut self,
        issuer: &View<'a>,
        is_anchor: bool,
        path: &[&View<'a>],
    ) -> Result<(), Refusal> {
        let Some(child) = path.last() else { return Err(Refusal::UnknownIssuer) };
        self.check_signature(child, issuer)?;
        judge_any(issuer, self.now_unix)?;
        // Path lengths do not count the leaf, nor certificates an authority issued to itself.
        let between = path.iter().skip(1).filter(|certificate| !certificate.is_self_issued()).count();
        judge_authority(issuer, is_anchor, between)?;
        if let Some(constraints) = &issuer.constraints {
            let judged =
                path.iter().enumerate().filter(|(depth, view)| *depth == 0 || !view.is_self_issued());
            for (_, certificate) in judged {
                if !constraints::permit(constraints, certificate) {
                    return Err(Refusal::NameConstraint);
                }
            }
        }
        self.check_revocation(child, issuer)
    }

    fn check_signature(&mut self, child: &View<'a>, issuer: &View<'a>) -> Result<(), Refusal> {
        self.checks_left = self.checks_left.checked_sub(1).ok_or(Refusal::TooMuchWork)?;
        signature::check(&child.signed, issuer.public_key).map_err(|fault| match fault {
            Fault::Wrong => Refusal::BadSignature,
            Fault::Unsupported => Refusal::UnsupportedAlgorithm,
        })
    }

    fn check_revocation(&mut self, child: &View<'a>, issuer: &View<'a>) -> Result<(), Refusal> {
        let Some(crl) = self.crl.filter(|crl| crl.is_about(issuer)) else { return Ok(()) };
        self.checks_left = self.checks_left.checked_sub(1).ok_or(Refusal::TooMuchWork)?;
        if !crl.is_signed_by(issuer) {
            return Err(Refusal::CrlUntrusted);
        }
        if crl.revokes(child.serial()) {
            return Err(Refusal::Revoked);
        }
        Ok(())
    }

    fn note(&mut self, reason: Refusal) {
        if self.reason == Refusal::UnknownIssuer {
            self.reason = reason;
        }
    }
}

/// Whether a certificate may issue clients' certificates with that many authorities between.
fn judge_authority(issuer: &View<'_>, is_anchor: bool, between: usize) -> Result<(), Refusal> {
    match &issuer.basic {
        Some(basic) if basic.ca => {
            let allowed = basic.path_len_constraint.map(usize::try_from);
            if allowed.is_some_and(|allowed| allowed.is_ok_and(|allowed| between > allowed)) {
                return Err(Refusal::PathTooLong);
            }
        }
        Some(_) => return Err(Refusal::NotAnAuthority),
        // Version 1 has no extensions; such a root is one because somebody named it as anchor.
        None if is_anchor && issuer.x509.version.0 == 0 && issuer.is_self_issued() => {}
        None => return Err(Refusal::NotAnAuthority),
    }
    let may_issue = issuer.key_usage.as_ref().is_none_or(|usage| usage.key_cert_sign());
    let for_clients = issuer.extended.as_ref().is_none_or(|usage| usage.client_auth);
    if may_issue && for_clients { Ok(()) } else { Err(Refusal::NotAnAuthority) }
}
