//! Whether the server is the one that the profile means: its chain, its purpose, its name.
//!
//! Clients look at the common name or the whole subject, never at subject alternative names.
//! spec: openvpn-protocol §6

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::profile::{NameRule, Profile};

/// The check behind rustls.
#[derive(Debug)]
pub(crate) struct ServerCheck {
    roots: RootCertStore,
    name: Option<NameRule>,
    purpose: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    /// What a profile asks for.
    ///
    /// # Errors
    /// An authority's certificate cannot be used.
    pub(crate) fn new(profile: &Profile) -> Result<Arc<Self>, Error> {
        let mut roots = RootCertStore::empty();
        for authority in &profile.authorities {
            roots.add(CertificateDer::from(authority.clone()))?;
        }
        Ok(Arc::new(Self {
            roots,
            name: profile.server_name.clone(),
            purpose: profile.server_purpose,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }))
    }

    /// What the certificate says about itself.
    fn judge(&self, leaf: &[u8]) -> Result<(), Error> {
        let refused = |why: String| Err(Error::General(format!("the server's certificate: {why}")));
        let facts = pki::facts(leaf).map_err(|error| Error::General(error.to_string()))?;
        if self.purpose {
            let for_servers =
                facts.extended_key_usages.iter().any(|(name, _)| *name == "TLS_WEB_SERVER_AUTHENTICATION");
            if !for_servers || facts.key_usages.is_empty() {
                return refused("it is not for servers (remote-cert-tls)".to_owned());
            }
        }
        let common_name = facts.common_name.as_deref().unwrap_or_default();
        match &self.name {
            Some(NameRule::Name(name)) if common_name != name => {
                refused(format!("its name is {common_name:?}, not {name:?} (verify-x509-name)"))
            }
            Some(NameRule::Prefix(prefix)) if !common_name.starts_with(prefix.as_str()) => refused(format!(
                "its name is {common_name:?}, without {prefix:?} in front (verify-x509-name)"
            )),
            Some(NameRule::Subject(subject)) if facts.subject != *subject => {
                refused(format!("its subject is {:?}, not {subject:?} (verify-x509-name)", facts.subject))
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
        self.judge(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use pki::issue;

    use super::*;

    const DAY_S: i64 = 86_400;

    fn verdict(change: impl FnOnce(&mut Profile), as_client: bool) -> Result<(), String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(since.as_secs()).unwrap();
        let (from, until) = (now - DAY_S, now + DAY_S);
        let ca = issue::ca("Test CA", from, until).unwrap();
        let issue = if as_client { issue::client } else { issue::server };
        let kind = issue::KeyKind::P256;
        let leaf = issue(&ca.certificate_pem, &ca.key_pem, "vpn.example.com", from, until, kind).unwrap();
        let mut profile = Profile::for_tests();
        profile.authorities = pki::certificates_from_pem(&ca.certificate_pem).unwrap();
        change(&mut profile);
        let check = ServerCheck::new(&profile).unwrap();
        let leaf = CertificateDer::from(pki::certificates_from_pem(&leaf.certificate_pem).unwrap().remove(0));
        let name = ServerName::try_from("unused").unwrap();
        let outcome = check.verify_server_cert(&leaf, &[], &name, &[], UnixTime::since_unix_epoch(since));
        outcome.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn chain_purpose_and_name() {
        assert_eq!(verdict(|_| {}, false), Ok(()));
        assert_eq!(verdict(|profile| profile.server_purpose = true, false), Ok(()));
        for (rule, fits) in [
            (NameRule::Name("vpn.example.com".to_owned()), true),
            (NameRule::Name("vpn.example".to_owned()), false),
            (NameRule::Prefix("vpn.".to_owned()), true),
            (NameRule::Prefix("www.".to_owned()), false),
            (NameRule::Subject("CN=vpn.example.com".to_owned()), true),
            (NameRule::Subject("CN=other".to_owned()), false),
        ] {
            let outcome = verdict(|profile| profile.server_name = Some(rule.clone()), false);
            assert_eq!(outcome.is_ok(), fits, "{rule:?}: {outcome:?}");
        }
        assert!(verdict(|_| {}, true).is_err(), "a client's certificate");
        let stranger = issue::ca("Other CA", 0, 4_000_000_000).unwrap();
        let other = pki::certificates_from_pem(&stranger.certificate_pem).unwrap();
        assert!(verdict(|profile| profile.authorities = other, false).is_err(), "another authority");
    }
}
