//! `DescribeLogGroups`: by name.

use async_trait::async_trait;
use model::{Kind, LogGroup, LogStream};
use serde::{Deserialize, Serialize};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::logs::{groups, invalid};
use crate::page::page;
use crate::touch::Touch;

/// Most groups of a page, and the default.
const MAX_LIMIT: i32 = 50;
/// Most accounts, and most groups, named in a call.
const MAX_ACCOUNTS: usize = 20;
const MAX_NAMED: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DescribeLogGroups {
    account_identifiers: Option<Vec<String>>,
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<i32>,
    include_linked_accounts: Option<bool>,
    log_group_class: Option<String>,
    #[serde(default)]
    log_group_identifiers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    log_groups: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    log_group_name: String,
    creation_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_in_days: Option<u32>,
    metric_filter_count: i32,
    arn: String,
    stored_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<String>,
    log_group_class: String,
    log_group_arn: String,
    deletion_protection_enabled: bool,
}

#[async_trait]
impl Action for DescribeLogGroups {
    const NAME: &'static str = "DescribeLogGroups";
    type Answer = Answer;

    fn check(&self, _scope: &model::Scope, faults: &mut Vec<ApiError>) {
        if self.limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            faults.push(invalid(format!("limit must be between 1 and {MAX_LIMIT}")));
        }
        if self.account_identifiers.as_ref().is_some_and(|accounts| accounts.len() > MAX_ACCOUNTS) {
            faults.push(invalid(format!("accountIdentifiers must have at most {MAX_ACCOUNTS} members")));
        }
        if self.log_group_identifiers.len() > MAX_NAMED {
            faults.push(invalid(format!("logGroupIdentifiers must have at most {MAX_NAMED} members")));
        }
        if self.log_group_name_prefix.is_some() && self.log_group_name_pattern.is_some() {
            let message = "logGroupNamePrefix and logGroupNamePattern cannot be specified together";
            faults.push(invalid(message));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        // There is one account, and nothing is linked to it.
        let _ = (&self.account_identifiers, self.include_linked_accounts);
        let mut rows: Vec<LogGroup> =
            cx.all::<LogGroup>(Kind::LogGroup).await?.into_iter().map(|record| record.value).collect();
        rows.retain(|row| self.wants(row));
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let limit = self.limit.unwrap_or(MAX_LIMIT);
        let (rows, next_token) = page(rows, |row| &row.name, self.next_token.as_deref(), Some(limit))
            .map_err(|_| invalid("The specified nextToken is invalid."))?;
        let mut log_groups = Vec::new();
        for row in &rows {
            log_groups.push(shown(row, &groups::streams(cx, row).await?));
        }
        Ok(Decision::read(Answer { log_groups, next_token }))
    }
}

impl DescribeLogGroups {
    fn wants(&self, row: &LogGroup) -> bool {
        let named = |identifier: &String| groups::name_in(identifier) == row.name;
        self.log_group_name_prefix.as_ref().is_none_or(|prefix| row.name.starts_with(prefix.as_str()))
            && self.log_group_name_pattern.as_ref().is_none_or(|part| row.name.contains(part.as_str()))
            && self.log_group_class.as_ref().is_none_or(|class| row.class == *class)
            && (self.log_group_identifiers.is_empty() || self.log_group_identifiers.iter().any(named))
    }
}

fn shown(row: &LogGroup, streams: &[LogStream]) -> Row {
    let arn = groups::group_arn(&row.scope, &row.name);
    Row {
        log_group_name: row.name.clone(),
        creation_time: row.created_at_ms,
        retention_in_days: row.retention_days,
        metric_filter_count: 0,
        arn: format!("{arn}:*"),
        stored_bytes: streams.iter().map(|stream| stream.stored_bytes).sum(),
        kms_key_id: row.kms_key_id.clone(),
        log_group_class: row.class.clone(),
        log_group_arn: arn,
        deletion_protection_enabled: row.deletion_protected,
    }
}
