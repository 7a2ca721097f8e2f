//! `DescribeClientVpnAuthorizationRules` (spec: aws-client-vpn §2.2.14).

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Kind, RuleGroup, Scope};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::touch::Touch;

const FILTERS: &[&str] = &["description", "destination-cidr", "group-id"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeClientVpnAuthorizationRules {
    client_vpn_endpoint_id: String,
    next_token: Option<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "authorizationRule")]
    authorization_rules: Vec<Rule>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct Rule {
    client_vpn_endpoint_id: String,
    description: Option<String>,
    group_id: String,
    access_all: bool,
    destination_cidr: String,
    status: Status,
}

#[async_trait]
impl Action for DescribeClientVpnAuthorizationRules {
    const NAME: &'static str = "DescribeClientVpnAuthorizationRules";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, false, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint_in_any_state(&self.client_vpn_endpoint_id).await?.value;
        let filters = Filters::new(&self.filters, FILTERS, false)?;
        let keep = |row: &model::AuthorizationRule| {
            let destination = row.destination.to_string();
            let facets = vec![
                ("description", row.description.as_deref().into_iter().collect()),
                ("destination-cidr", vec![destination.as_str()]),
                ("group-id", vec![group_id(&row.group)]),
            ];
            filters.pass(&facets, &BTreeMap::new())
        };
        let next = self.next_token.as_deref();
        let (rows, next_token) =
            cx.page_under(Kind::Rule, &endpoint.id, keep, next, self.max_results).await?;
        let rule = |rule: &model::AuthorizationRule| Rule {
            client_vpn_endpoint_id: rule.endpoint.to_string(),
            description: rule.description.clone(),
            group_id: group_id(&rule.group).to_owned(),
            access_all: rule.group == RuleGroup::All,
            destination_cidr: rule.destination.to_string(),
            status: Status::from(&rule.status),
        };
        let rules = rows.iter().map(|row| rule(&row.value)).collect();
        Ok(Decision::read(Answer { authorization_rules: rules, next_token }))
    }
}

/// Empty for everyone's rules, as the service has it.
fn group_id(group: &RuleGroup) -> &str {
    match group {
        RuleGroup::All => "",
        RuleGroup::Group(id) => id,
    }
}
