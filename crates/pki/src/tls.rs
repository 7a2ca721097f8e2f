//! [`verify_client`](crate::verify_client) behind rustls.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

use crate::certificate::View;
use crate::chain::{TrustAnchors, verify_slices};
use crate::crl::Crl;
use crate::identity::Refusal;
use crate::signature;

/// Bytes of authority names told to clients. The list is a hint; above this it is left out.
const MAX_HINT_BYTES: usize = 16 * 1024;

/// Demands a client certificate and judges it by the anchors and the revocation list, at rustls's time.
/// A change of either needs a new one.
#[derive(Debug)]
pub struct ClientVerifier {
    anchors: Arc<TrustAnchors>,
    crl: Option<Arc<Crl>>,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    /// No anchors: every client is refused.
    pub fn new(anchors: Arc<TrustAnchors>, crl: Option<Arc<Crl>>) -> Self {
        let views = anchors.roots.iter().filter_map(|root| View::parse(root).ok());
        let mut subjects: Vec<Vec<u8>> = views.map(|view| view.subject().to_vec()).collect();
        subjects.dedup();
        if subjects.iter().map(Vec::len).sum::<usize>() > MAX_HINT_BYTES {
            subjects.clear();
        }
        let hints = subjects.into_iter().map(DistinguishedName::from).collect();
        Self { anchors, crl, hints }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now_unix = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let chain: Vec<&[u8]> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.as_ref())
            .collect();
        match verify_slices(&chain, &self.anchors, self.crl.as_deref(), now_unix) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => Err(Error::InvalidCertificate(alert_reason(refusal))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let view = View::parse(cert).map_err(|_| CertificateError::BadEncoding)?;
        let (key_algorithm, key) = view.public_key;
        // In TLS 1.2 a scheme leaves the curve open: the certificate's key says which.
        let schemes = signature::algorithms();
        let known = schemes.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let (_, candidates) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let algorithm = candidates
            .iter()
            .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        algorithm
            .verify_signature(key, message, dss.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the bare key: rustls's own way parses the certificate anew, by rules that are not ours.
        let view = View::parse(cert).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(view.x509.tbs_certificate.subject_pki.raw);
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, dss, &signature::algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::algorithms().supported_schemes()
    }
}

/// The refusal in rustls's terms, which choose the TLS alert; the refusal itself where rustls has no word.
fn alert_reason(refusal: Refusal) -> CertificateError {
    match refusal {
        Refusal::Malformed => CertificateError::BadEncoding,
        Refusal::Expired => CertificateError::Expired,
        Refusal::NotYetValid => CertificateError::NotValidYet,
        Refusal::UnknownCriticalExtension(_) => CertificateError::UnhandledCriticalExtension,
        Refusal::NotForClients => CertificateError::InvalidPurpose,
        Refusal::UnknownIssuer => CertificateError::UnknownIssuer,
        Refusal::BadSignature => CertificateError::BadSignature,
        Refusal::Revoked => CertificateError::Revoked,
        Refusal::CrlExpired => CertificateError::ExpiredRevocationList,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
