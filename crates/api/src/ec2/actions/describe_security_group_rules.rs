//! `DescribeSecurityGroupRules`: each rule alone, with its id.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{GroupRule, Kind, RuleTags, Scope, SecurityGroup};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::security::{Direction, RuleAnswer, no_rule, rule_answer};
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &["group-id", "security-group-rule-id"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeSecurityGroupRules {
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(name = "SecurityGroupRuleId")]
    security_group_rule_ids: Vec<String>,
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "securityGroupRuleSet")]
    security_group_rules: Vec<RuleAnswer>,
    next_token: Option<String>,
}

struct Row {
    rule: GroupRule,
    group: usize,
    direction: Direction,
}

#[async_trait]
impl Action for DescribeSecurityGroupRules {
    const NAME: &'static str = "DescribeSecurityGroupRules";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let groups: Vec<SecurityGroup> =
            cx.security_groups().await?.into_iter().map(|record| record.value).collect();
        let tags = tags(cx).await?;
        let mut rows = rows(&groups);
        let ids = &self.security_group_rule_ids;
        if let Some(unknown) = ids.iter().find(|id| !rows.iter().any(|row| row.rule.id.as_str() == **id)) {
            return Err(no_rule(unknown));
        }
        let none = BTreeMap::new();
        let tags_of = |row: &Row| tags.get(row.rule.id.as_str()).unwrap_or(&none);
        rows.retain(|row| {
            let group = groups.get(row.group).map_or("", |group| group.id.as_str());
            let facets =
                vec![("group-id", vec![group]), ("security-group-rule-id", vec![row.rule.id.as_str()])];
            let asked = ids.is_empty() || ids.iter().any(|id| row.rule.id.as_str() == id);
            asked && filters.pass(&facets, tags_of(row))
        });
        rows.sort_by(|a, b| a.rule.id.cmp(&b.rule.id));
        let (rows, next_token) =
            page(rows, |row| row.rule.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        let answer = |row: &Row| {
            let group = groups.get(row.group)?;
            Some(rule_answer(&row.rule, group, row.direction, tags_of(row)))
        };
        Ok(Decision::read(Answer {
            security_group_rules: rows.iter().filter_map(answer).collect(),
            next_token,
        }))
    }
}

fn rows(groups: &[SecurityGroup]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for direction in [Direction::Ingress, Direction::Egress] {
            let row = |rule: &GroupRule| Row { rule: rule.clone(), group: at, direction };
            rows.extend(direction.rules(group).iter().map(row));
        }
    }
    rows
}

/// Tags by rule id.
async fn tags(cx: &Cx<'_>) -> Result<BTreeMap<String, BTreeMap<String, String>>, ApiError> {
    let records = cx.all::<RuleTags>(Kind::SecurityRule).await?;
    let id = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(records.into_iter().map(|record| (id(&record.key), record.value.tags)).collect())
}
