//! `ListCertificates`. Where the networks are an upstream's, its certificates come after those that were imported here, in
//! pages of their own as it answers them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::Certificate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::describe_certificate::{facts, names};
use crate::acm::validation;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::references;
use crate::error::ApiError;
use crate::networks::Networks;
use crate::page::page;
use crate::touch::Touch;

const STATUSES: [&str; 7] =
    ["PENDING_VALIDATION", "ISSUED", "INACTIVE", "EXPIRED", "VALIDATION_TIMED_OUT", "REVOKED", "FAILED"];
const ORIGINS: [&str; 3] = ["AWS_MANAGED", "ACME", "CUSTOMER_PROVIDED"];
const HIERARCHIES: [&str; 2] = ["N2_AMAZON_MANAGED", "N2_SFG2_AMAZON_MANAGED"];

/// Begins the tokens of an upstream's pages.
const THEIRS: &str = "upstream:";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCertificates {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificate_statuses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<Includes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificate_key_pair_origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    root_hierarchy_types: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_order: Option<String>,
}

/// camelCase on the wire, unlike everything else of the service.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Includes {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extended_key_usage: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key_usage: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key_types: Vec<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Ours(Page),
    Theirs(Value),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    certificate_summary_list: Vec<Summary>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    certificate_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain_name: Option<String>,
    subject_alternative_name_summaries: Vec<String>,
    has_additional_subject_alternative_names: bool,
    status: &'static str,
    r#type: &'static str,
    key_algorithm: String,
    key_usages: Vec<&'static str>,
    extended_key_usages: Vec<&'static str>,
    in_use: bool,
    renewal_eligibility: &'static str,
    not_before: i64,
    not_after: i64,
    created_at: i64,
    imported_at: i64,
}

#[async_trait]
impl Action for ListCertificates {
    const NAME: &'static str = "ListCertificates";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        let lists: [(&str, &[String], &[&str]); 3] = [
            ("CertificateStatuses", &self.certificate_statuses, &STATUSES),
            ("CertificateKeyPairOrigins", &self.certificate_key_pair_origins, &ORIGINS),
            ("RootHierarchyTypes", &self.root_hierarchy_types, &HIERARCHIES),
        ];
        for (name, given, known) in lists {
            if given.iter().any(|value| !known.contains(&value.as_str())) {
                faults.push(validation(format!("{name} must be of [{}].", known.join(", "))));
            }
        }
        if self.max_items.is_some_and(|most| !(1..=1000).contains(&most)) {
            faults.push(validation("MaxItems must be between 1 and 1000."));
        }
        if self.sort_by.as_deref().is_some_and(|by| by != "CREATED_AT") {
            faults.push(validation("SortBy must be CREATED_AT."));
        }
        if self.sort_order.as_deref().is_some_and(|order| !matches!(order, "ASCENDING" | "DESCENDING")) {
            faults.push(validation("SortOrder must be ASCENDING or DESCENDING."));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let theirs = cx.upstream_networks();
        if let (Some(networks), Some(token)) = (theirs, self.next_token.as_deref())
            && let Some(token) = token.strip_prefix(THEIRS)
        {
            return self.page_of(networks, cx, Some(token)).await;
        }
        let mut rows: Vec<Certificate> =
            cx.certificates().await?.into_iter().map(|record| record.value).collect();
        // The upstream lists its own.
        rows.retain(|row| theirs.is_none() || !row.mirrored);
        // All that are imported are issued. Without `keyTypes` every type is listed: the service hides all but RSA then,
        // which would hide the certificates our own tools make.
        if !self.certificate_statuses.is_empty()
            && !self.certificate_statuses.iter().any(|status| status == "ISSUED")
        {
            rows.clear();
        }
        // The keys of all that are imported came from the customer, and no root is Amazon's.
        let origins = &self.certificate_key_pair_origins;
        let ours = origins.is_empty() || origins.iter().any(|origin| origin == "CUSTOMER_PROVIDED");
        if !ours || !self.root_hierarchy_types.is_empty() {
            rows.clear();
        }
        let endpoints = cx.endpoints().await?;
        let used: BTreeSet<&str> =
            endpoints.iter().flat_map(|endpoint| references::certificates(&endpoint.value.spec)).collect();
        let mut summaries = Vec::new();
        for row in &rows {
            let summary = summary(row, used.contains(row.arn.as_str()))?;
            if self.includes.as_ref().is_none_or(|includes| includes.admit(&summary)) {
                summaries.push(summary);
            }
        }
        let next = self.next_token.as_deref();
        let (mut summaries, mut next_token) =
            page(summaries, |row| &row.certificate_arn, next, self.max_items)?;
        match theirs {
            Some(networks) if next_token.is_none() && summaries.is_empty() => {
                return self.page_of(networks, cx, None).await;
            }
            Some(_) if next_token.is_none() => next_token = Some(THEIRS.to_owned()),
            _ => {}
        }
        if self.sort_by.is_some() {
            summaries.sort_by_key(|row| row.created_at);
            if self.sort_order.as_deref() == Some("DESCENDING") {
                summaries.reverse();
            }
        }
        Ok(Decision::read(Answer::Ours(Page { next_token, certificate_summary_list: summaries })))
    }
}

impl ListCertificates {
    /// A page of the upstream's, from this token of its own.
    async fn page_of(
        &self,
        networks: &Networks,
        cx: &Cx<'_>,
        token: Option<&str>,
    ) -> Result<Decision<Answer>, ApiError> {
        let mut asked = serde_json::to_value(self).map_err(|_| ApiError::internal())?;
        if let Some(members) = asked.as_object_mut() {
            members.remove("NextToken");
            if let Some(token) = token.filter(|token| !token.is_empty()) {
                members.insert("NextToken".to_owned(), token.into());
            }
        }
        let mut answer = networks.list_certificates(cx.scope, &asked).await?;
        if let Some(next) = answer.get_mut("NextToken") {
            *next = next.as_str().map(|token| format!("{THEIRS}{token}")).into();
        }
        Ok(Decision::read(Answer::Theirs(answer)))
    }
}

impl Includes {
    fn admit(&self, row: &Summary) -> bool {
        let any = |wanted: &[String], found: &[&str]| {
            wanted.is_empty() || wanted.iter().any(|one| one == "ANY" || found.contains(&one.as_str()))
        };
        any(&self.key_types, &[row.key_algorithm.as_str()])
            && any(&self.key_usage, &row.key_usages)
            && any(&self.extended_key_usage, &row.extended_key_usages)
    }
}

fn summary(certificate: &Certificate, in_use: bool) -> Result<Summary, ApiError> {
    let facts = facts(certificate)?;
    let names = names(&facts);
    Ok(Summary {
        certificate_arn: certificate.arn.clone(),
        domain_name: names.first().cloned(),
        subject_alternative_name_summaries: names,
        has_additional_subject_alternative_names: false,
        status: "ISSUED",
        r#type: "IMPORTED",
        key_algorithm: facts.key_algorithm,
        key_usages: facts.key_usages,
        extended_key_usages: facts.extended_key_usages.into_iter().map(|(name, _)| name).collect(),
        in_use,
        renewal_eligibility: "INELIGIBLE",
        not_before: facts.not_before,
        not_after: facts.not_after,
        created_at: certificate.created_at.0,
        imported_at: certificate.imported_at.0,
    })
}
