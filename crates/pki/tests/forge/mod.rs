//! Builds certificates of any shape, good and bad, for the other test files.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// A moment in January 2027: every fixture is made for it.
pub const NOW: i64 = 1_800_000_000;

/// A certificate with its parameters and key, able to issue.
pub struct Forged {
    pub der: Vec<u8>,
    pub pem: String,
    pub params: CertificateParams,
    pub key: KeyPair,
}

impl Forged {
    /// Issued by itself.
    pub fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { der: certificate.der().to_vec(), pem: certificate.pem(), params, key }
    }

    /// Issues, whether it may or not.
    pub fn issue(&self, params: CertificateParams) -> Self {
        self.issue_for(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    pub fn issue_for(&self, params: CertificateParams, key: KeyPair) -> Self {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { der: certificate.der().to_vec(), pem: certificate.pem(), params, key }
    }
}

/// Valid from 2020 to the end of 2049.
pub fn blank(common_name: impl Into<DnValue>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

pub fn authority(common_name: &str) -> CertificateParams {
    let mut params = blank(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub fn client(common_name: impl Into<DnValue>) -> CertificateParams {
    let mut params = blank(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The same parameters with a change.
pub fn with<T>(mut params: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut params);
    params
}
