//! `DescribeCertificate` (members: spec: terraform-provider §3).

use async_trait::async_trait;
use model::Certificate;
use serde::{Deserialize, Serialize};

use super::import_certificate::known;
use crate::action::{Action, Decision};
use crate::arn;
use crate::cx::Cx;
use crate::ec2::references;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCertificate {
    certificate_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    certificate: Detail,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Detail {
    certificate_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_name: Option<String>,
    subject_alternative_names: Vec<String>,
    serial: String,
    subject: String,
    issuer: String,
    created_at: i64,
    imported_at: i64,
    status: &'static str,
    not_before: i64,
    not_after: i64,
    key_algorithm: String,
    signature_algorithm: String,
    in_use_by: Vec<String>,
    r#type: &'static str,
    key_usages: Vec<Usage>,
    extended_key_usages: Vec<ExtendedUsage>,
    renewal_eligibility: &'static str,
    options: Options,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    name: &'static str,
}

#[derive(Serialize)]
struct ExtendedUsage {
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "OID")]
    oid: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Options {
    certificate_transparency_logging_preference: &'static str,
}

#[async_trait]
impl Action for DescribeCertificate {
    const NAME: &'static str = "DescribeCertificate";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Certificate(Some(self.certificate_arn.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let certificate = known(cx, &self.certificate_arn).await?;
        let in_use_by = users(cx, &certificate.value).await?;
        Ok(Decision::read(Answer { certificate: detail(&certificate.value, in_use_by)? }))
    }
}

/// ARNs of the endpoints that use a certificate.
pub(crate) async fn users(cx: &Cx<'_>, certificate: &Certificate) -> Result<Vec<String>, ApiError> {
    let endpoints = cx.endpoints().await?;
    let users = endpoints
        .iter()
        .map(|record| &record.value)
        .filter(|endpoint| references::certificates(&endpoint.spec).contains(certificate.arn.as_str()));
    Ok(users.map(|e| arn::ec2(&e.scope, "client-vpn-endpoint", e.id.as_str())).collect())
}

/// What a stored certificate says.
pub(crate) fn facts(certificate: &Certificate) -> Result<pki::Facts, ApiError> {
    let der = pki::certificates_from_pem(&certificate.certificate_pem).unwrap_or_default();
    der.first().and_then(|leaf| pki::facts(leaf).ok()).ok_or_else(|| {
        tracing::error!(certificate = %certificate.arn, "a stored certificate cannot be read");
        ApiError::internal()
    })
}

/// The common name first, then the other DNS names.
pub(crate) fn names(facts: &pki::Facts) -> Vec<String> {
    let mut names: Vec<String> = facts.common_name.iter().cloned().collect();
    names.extend(facts.dns_names.iter().filter(|name| Some(*name) != facts.common_name.as_ref()).cloned());
    names
}

fn detail(certificate: &Certificate, in_use_by: Vec<String>) -> Result<Detail, ApiError> {
    let facts = facts(certificate)?;
    let names = names(&facts);
    Ok(Detail {
        certificate_arn: certificate.arn.clone(),
        domain_name: names.first().cloned(),
        subject_alternative_names: names,
        serial: facts.serial,
        subject: facts.subject,
        issuer: facts.issuer,
        created_at: certificate.created_at.0,
        imported_at: certificate.imported_at.0,
        status: "ISSUED",
        not_before: facts.not_before,
        not_after: facts.not_after,
        key_algorithm: facts.key_algorithm,
        signature_algorithm: facts.signature_algorithm,
        in_use_by,
        r#type: "IMPORTED",
        key_usages: facts.key_usages.into_iter().map(|name| Usage { name }).collect(),
        extended_key_usages: facts
            .extended_key_usages
            .into_iter()
            .map(|(name, oid)| ExtendedUsage { name, oid })
            .collect(),
        renewal_eligibility: "INELIGIBLE",
        options: Options { certificate_transparency_logging_preference: "DISABLED" },
    })
}
