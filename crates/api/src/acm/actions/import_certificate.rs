//! `ImportCertificate`: a new certificate, or a new one under the same ARN. The private key is sealed before it is stored.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Certificate, Key, Sealed};
use serde::{Deserialize, Serialize};
use store::typed::Record;
use zeroize::Zeroizing;

use crate::acm::tags::{self, Tag};
use crate::acm::validation;
use crate::action::{Action, Decision};
use crate::arn;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::{ApiError, short};
use crate::touch::{Resource, Touch};

/// Largest certificate and key, bytes of PEM.
const MAX_CERTIFICATE_BYTES: usize = 32_768;
/// Largest key, bytes of PEM.
const MAX_KEY_BYTES: usize = 16_384;
/// Largest chain, bytes of PEM.
const MAX_CHAIN_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ImportCertificate {
    certificate_arn: Option<String>,
    certificate: String,
    private_key: Zeroed,
    certificate_chain: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Base64 of the key; wiped at the end.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Zeroed(Zeroizing<String>);

impl From<String> for Zeroed {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    certificate_arn: String,
}

/// What is stored, once every rule is met.
struct Material {
    certificate_pem: String,
    chain_pem: Option<String>,
    key_pem: Zeroizing<String>,
}

#[async_trait]
impl Action for ImportCertificate {
    const NAME: &'static str = "ImportCertificate";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        if let Err(fault) = tags::given(&self.tags) {
            faults.push(fault);
        }
        if self.certificate_arn.is_some() && !self.tags.is_empty() {
            faults.push(validation("Tagging is not permitted on re-import."));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let touch = Touch::of(Resource::Certificate(self.certificate_arn.clone()));
        vec![touch.tagged(&tags::given(&self.tags).unwrap_or_default())]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let material = self.material(cx.now.0)?;
        let mut draft = Draft::default();
        let certificate = match &self.certificate_arn {
            Some(arn) => {
                let found = cx.certificate(arn).await?.ok_or_else(|| unknown(arn))?;
                let mut certificate = found.value.clone();
                certificate.private_key = seal(cx, &certificate.arn, &material)?;
                certificate.certificate_pem = material.certificate_pem;
                certificate.chain_pem = material.chain_pem;
                certificate.imported_at = cx.now;
                // What came from an upstream without its key is from here on this server's own.
                certificate.mirrored = false;
                draft.replace(&found, &certificate);
                certificate
            }
            None => {
                let id = cx.uuid();
                let arn = arn::certificate(cx.scope, &id);
                let certificate = Certificate {
                    scope: cx.scope.clone(),
                    private_key: seal(cx, &arn, &material)?,
                    certificate_pem: material.certificate_pem,
                    chain_pem: material.chain_pem,
                    tags: tags::given(&self.tags)?,
                    created_at: cx.now,
                    imported_at: cx.now,
                    mirrored: false,
                    id,
                    arn,
                };
                draft.create(Key::certificate(cx.scope, &certificate.id), &certificate);
                certificate
            }
        };
        Ok(Decision::write(Answer { certificate_arn: certificate.arn }, draft))
    }
}

/// The ARN is the context: a sealed key opens for its own certificate only.
fn seal(cx: &Cx<'_>, arn: &str, material: &Material) -> Result<Sealed, ApiError> {
    match cx.master_key.seal(arn, material.key_pem.as_bytes()) {
        Ok(sealed) => Ok(Sealed(sealed)),
        Err(error) => {
            tracing::error!(error = %error, "a private key could not be sealed");
            Err(ApiError::internal())
        }
    }
}

/// A certificate, by the caller's word.
pub(crate) async fn known(cx: &Cx<'_>, arn: &str) -> Result<Record<Certificate>, ApiError> {
    if arn::parse(arn).is_none_or(|arn| arn.service != "acm") {
        let message = format!("The ARN {} is not valid.", short(arn));
        return Err(ApiError::new("InvalidArnException", message));
    }
    cx.certificate(arn).await?.ok_or_else(|| unknown(arn))
}

pub(crate) fn unknown(arn: &str) -> ApiError {
    let message = format!("Could not find certificate {}.", short(arn));
    ApiError::new("ResourceNotFoundException", message)
}

impl ImportCertificate {
    /// UNVERIFIED: the messages; the exception is the service's.
    fn material(&self, now: i64) -> Result<Material, ApiError> {
        let certificate_pem = text("certificate", &self.certificate, MAX_CERTIFICATE_BYTES)?;
        let key_pem = text("private key", &self.private_key.0, MAX_KEY_BYTES)?;
        let chain_pem = self
            .certificate_chain
            .as_deref()
            .map(|chain| text("certificate chain", chain, MAX_CHAIN_BYTES))
            .transpose()?;
        let certificates = pki::certificates_from_pem(&certificate_pem)
            .map_err(|error| validation(format!("The certificate field is not valid: {error}.")))?;
        let [leaf] = certificates.as_slice() else {
            return Err(validation(
                "The certificate field contains more than one certificate. You can specify only one.",
            ));
        };
        let facts = pki::facts(leaf)
            .map_err(|error| validation(format!("The certificate is not valid: {error}.")))?;
        pki::importable(leaf)
            .map_err(|reason| validation(format!("The certificate cannot be imported: {reason}.")))?;
        if now < facts.not_before || now > facts.not_after {
            return Err(validation("The certificate is not within its validity period."));
        }
        let key = pki::key_from_pem(&key_pem)
            .map_err(|error| validation(format!("The private key is not valid: {error}.")))?;
        if !pki::key_matches(leaf, &key) {
            return Err(validation("The private key does not match the certificate."));
        }
        if let Some(chain) = &chain_pem {
            for der in pki::certificates_from_pem(chain)
                .map_err(|error| validation(format!("The certificate chain is not valid: {error}.")))?
            {
                pki::facts(&der)
                    .map_err(|error| validation(format!("The certificate chain is not valid: {error}.")))?;
            }
        }
        Ok(Material {
            certificate_pem: certificate_pem.to_string(),
            chain_pem: chain_pem.map(|chain| chain.to_string()),
            key_pem,
        })
    }
}

/// The text of a blob; wiped at the end, as it may be a key.
fn text(what: &str, base64: &str, most_bytes: usize) -> Result<Zeroizing<String>, ApiError> {
    let wrong = || validation(format!("The {what} is not PEM-encoded text."));
    let bytes = STANDARD.decode(base64).map_err(|_| wrong())?;
    if bytes.len() > most_bytes {
        return Err(validation(format!("The {what} is longer than {most_bytes} bytes.")));
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        wrong()
    })
}
