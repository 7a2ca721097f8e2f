//! Certificates of the upstream's Certificate Manager. It gives away no private key but by `ExportCertificate`, of
//! certificates that may be exported; for a trust anchor none is needed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Certificate, Key, Scope, Sealed};
use serde_json::json;
use store::typed;
use zeroize::Zeroizing;

use super::Networks;
use super::ask::Fault;
use super::judge::{Said, said};
use crate::arn;
use crate::error::ApiError;

/// The code that says for certain that a certificate is not there.
const NO_CERTIFICATE: [&str; 1] = ["ResourceNotFoundException"];

/// What is copied of a certificate.
struct Pem {
    certificate: String,
    chain: Option<String>,
}

impl Networks {
    /// Copies a certificate; with its key where one is needed and the upstream gives it. A copy that has a key is never
    /// followed by one without.
    pub(super) async fn copy_certificate(
        &self,
        scope: &Scope,
        arn: &str,
        with_key: bool,
    ) -> Result<Said<()>, ApiError> {
        let Some(id) = arn::certificate_id(arn, scope) else { return Ok(Said::Gone) };
        let pem = match self.ask_certificate(scope, arn).await {
            Said::Is(pem) => pem,
            Said::Gone => return Ok(Said::Gone),
            Said::Nothing(why) => return Ok(Said::Nothing(why)),
        };
        let key = Key::certificate(scope, id);
        let old = typed::get::<Certificate>(self.store.as_ref(), key.as_str()).await?;
        let old = old.map(|record| record.value);
        let same = |old: &Certificate| old.certificate_pem == pem.certificate && old.chain_pem == pem.chain;
        let had_key = old.as_ref().is_some_and(|old| old.private_key.is_some());
        let private_key = match &old {
            Some(old) if same(old) && (had_key || !with_key) => return Ok(Said::Is(())),
            _ if !had_key && !with_key => Sealed::nothing(),
            _ => match self.export_key(scope, arn, &pem).await {
                Ok(key) => self.seal(arn, &key)?,
                Err(fault) if had_key => return Ok(Said::Nothing(fault)),
                Err(fault) => {
                    tracing::info!(certificate = arn, why = %fault, "the upstream gives no private key");
                    Sealed::nothing()
                }
            },
        };
        let now = crate::clock::wall();
        self.put(key, |old: Option<&Certificate>| Certificate {
            id: id.to_owned(),
            arn: arn.to_owned(),
            scope: scope.clone(),
            certificate_pem: pem.certificate.clone(),
            chain_pem: pem.chain.clone(),
            private_key: private_key.clone(),
            tags: Default::default(),
            created_at: old.map_or(now, |old| old.created_at),
            imported_at: old.filter(|old| same(old)).map_or(now, |old| old.imported_at),
            mirrored: true,
        })
        .await?;
        Ok(Said::Is(()))
    }

    async fn ask_certificate(&self, scope: &Scope, arn: &str) -> Said<Pem> {
        let answer =
            self.acm(scope.region.as_str(), "GetCertificate", &json!({ "CertificateArn": arn })).await;
        let read = answer.and_then(|answer| {
            let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let certificate = text("Certificate").filter(|pem| pki::certificates_from_pem(pem).is_ok());
            let chain = text("CertificateChain");
            if chain.as_ref().is_some_and(|pem| pki::certificates_from_pem(pem).is_err()) {
                return Err(Fault::Unclear("a chain that is no certificates".to_owned()));
            }
            Ok(certificate.map(|certificate| Pem { certificate, chain }))
        });
        said(read, &NO_CERTIFICATE, arn)
    }

    /// The private key as PEM, if it is the certificate's.
    async fn export_key(&self, scope: &Scope, arn: &str, pem: &Pem) -> Result<Zeroizing<String>, Fault> {
        let uuid = || uuid::Uuid::new_v4().simple().to_string();
        let passphrase = Zeroizing::new(format!("{}{}", uuid(), uuid()));
        let body = json!({ "CertificateArn": arn, "Passphrase": STANDARD.encode(passphrase.as_bytes()) });
        let answer = self.acm(scope.region.as_str(), "ExportCertificate", &body).await;
        let unclear = |error: pki::PkiError| Fault::Unclear(format!("the exported key: {error}"));
        let answer = answer?;
        let text = answer["PrivateKey"].as_str().unwrap_or_default();
        let key_pem = pki::decrypted_key_pem(text, passphrase.as_bytes()).map_err(unclear)?;
        let key = pki::key_from_pem(&key_pem).map_err(unclear)?;
        let leaf = pki::certificates_from_pem(&pem.certificate).unwrap_or_default().into_iter().next();
        if leaf.is_some_and(|leaf| pki::key_matches(&leaf, &key)) {
            return Ok(key_pem);
        }
        Err(Fault::Unclear("the exported key is not the certificate's".to_owned()))
    }

    fn seal(&self, arn: &str, key_pem: &Zeroizing<String>) -> Result<Sealed, ApiError> {
        self.master_key.seal(arn, key_pem.as_bytes()).map(Sealed).map_err(|error| {
            tracing::error!(error = %error, "a private key could not be sealed");
            ApiError::internal()
        })
    }
}
