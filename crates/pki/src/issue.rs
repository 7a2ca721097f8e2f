//! A small certificate authority: for the `pki` command, the tests and the demonstration.
//!
//! The one place of this crate with randomness: private keys are drawn here.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    RsaKeySize, SerialNumber,
};
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::{PkiError, certificates_from_pem, facts, key_from_pem, key_matches, names};

/// A new certificate and its key.
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 PEM.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// The kind of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// RSA with 2048 bits: what AWS's own tutorial makes.
    Rsa2048,
}

/// A new root authority with a P-256 key, valid between two moments (seconds since the Unix epoch).
///
/// # Errors
/// [`PkiError::Issue`]: the name or the validity is not usable.
pub fn ca(common_name: &str, not_before: i64, not_after: i64) -> Result<Issued, PkiError> {
    ca_with(common_name, not_before, not_after, KeyKind::P256)
}

/// [`ca`] with a key of that kind.
///
/// # Errors
/// [`PkiError::Issue`]: the name or the validity is not usable.
pub fn ca_with(
    common_name: &str,
    not_before: i64,
    not_after: i64,
    kind: KeyKind,
) -> Result<Issued, PkiError> {
    let mut params = params(common_name, not_before, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = draw(kind)?;
    let certificate = params.self_signed(&key).map_err(refused)?;
    Ok(Issued { certificate_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
}

/// A server certificate for a domain: the name stands in the common name and the subject alternative names,
/// because OpenVPN clients look at the one and everybody else at the other.
///
/// # Errors
/// [`PkiError`]: the name has no dot (an endpoint would not take the certificate), the validity is not
/// usable, or the authority's certificate and key do not go together.
pub fn server(
    ca_cert_pem: &str,
    ca_key_pem: &str,
    common_name: &str,
    not_before: i64,
    not_after: i64,
    kind: KeyKind,
) -> Result<Issued, PkiError> {
    if !names::is_dotted_domain(common_name) {
        let reason = format!("a server certificate needs a domain name with a dot, not {common_name:?}");
        return Err(PkiError::Issue(reason));
    }
    let mut params = params(common_name, not_before, not_after)?;
    let name = common_name.try_into().map_err(refused)?;
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    // Clients with `remote-cert-tls server` want both.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(ca_cert_pem, ca_key_pem, params, kind)
}

/// A client certificate; the common name is who the client will be.
///
/// # Errors
/// [`PkiError`]: the name or the validity is not usable, or the authority's certificate and key do not go
/// together.
pub fn client(
    ca_cert_pem: &str,
    ca_key_pem: &str,
    common_name: &str,
    not_before: i64,
    not_after: i64,
    kind: KeyKind,
) -> Result<Issued, PkiError> {
    let mut params = params(common_name, not_before, not_after)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(ca_cert_pem, ca_key_pem, params, kind)
}

/// A revocation list of that authority, PEM. Serial numbers are big endian
/// ([`Identity::serial`](crate::Identity)); times are seconds since the Unix epoch; `number` rises from list
/// to list.
///
/// # Errors
/// [`PkiError`]: the times are not usable, or the authority's certificate and key do not go together.
pub fn crl(
    ca_cert_pem: &str,
    ca_key_pem: &str,
    revoked_serials: &[Vec<u8>],
    this_update: i64,
    next_update: i64,
    number: u64,
) -> Result<String, PkiError> {
    let issuer = issuer(ca_cert_pem, ca_key_pem)?;
    let at = ASN1Time::from_timestamp(this_update).map_err(refused)?.to_datetime();
    let revoked_certs = revoked_serials
        .iter()
        .map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: at,
            reason_code: None,
            invalidity_date: None,
        })
        .collect();
    let params = CertificateRevocationListParams {
        this_update: at,
        next_update: ASN1Time::from_timestamp(next_update).map_err(refused)?.to_datetime(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).and_then(|list| list.pem()).map_err(refused)
}

fn sign(
    ca_cert_pem: &str,
    ca_key_pem: &str,
    mut params: CertificateParams,
    kind: KeyKind,
) -> Result<Issued, PkiError> {
    let issuer = issuer(ca_cert_pem, ca_key_pem)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    let key = draw(kind)?;
    let certificate = params.signed_by(&key, &issuer).map_err(refused)?;
    Ok(Issued { certificate_pem: certificate.pem(), key_pem: Zeroizing::new(key.serialize_pem()) })
}

/// The authority, once its certificate and key are seen to go together.
fn issuer(cert_pem: &str, key_pem: &str) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let certificates = certificates_from_pem(cert_pem)?;
    let certificate = certificates.into_iter().next().ok_or(PkiError::Missing("certificate"))?;
    if !facts(&certificate)?.is_ca {
        return Err(PkiError::Issue("the issuer's certificate is not an authority's".to_owned()));
    }
    if !key_matches(&certificate, &key_from_pem(key_pem)?) {
        return Err(PkiError::Issue("the issuer's key does not belong to its certificate".to_owned()));
    }
    let key = KeyPair::from_pem(key_pem).map_err(refused)?;
    Issuer::from_ca_cert_der(&certificate.into(), key).map_err(refused)
}

fn params(common_name: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, PkiError> {
    if !names::is_usable_common_name(common_name) {
        return Err(PkiError::Issue(
            "a common name has 1 to 64 characters, none of them a control".to_owned(),
        ));
    }
    if not_after <= not_before {
        return Err(PkiError::Issue("the validity ends before it begins".to_owned()));
    }
    let mut params = CertificateParams::default();
    params.not_before = ASN1Time::from_timestamp(not_before).map_err(refused)?.to_datetime();
    params.not_after = ASN1Time::from_timestamp(not_after).map_err(refused)?.to_datetime();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn draw(kind: KeyKind) -> Result<KeyPair, PkiError> {
    match kind {
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
    }
    .map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> PkiError {
    PkiError::Issue(error.to_string())
}
