//! `DescribeTransitGateways`: the account's own.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, TransitGateway};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::transit_gateways::TransitGatewayAnswer;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "options.amazon-side-asn",
    "options.auto-accept-shared-attachments",
    "owner-id",
    "state",
    "transit-gateway-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeTransitGateways {
    transit_gateway_ids: Vec<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "transitGatewaySet")]
    transit_gateways: Vec<TransitGatewayAnswer>,
    next_token: Option<String>,
}

#[async_trait]
impl Action for DescribeTransitGateways {
    const NAME: &'static str = "DescribeTransitGateways";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        for id in &self.transit_gateway_ids {
            cx.transit_gateway(id).await?;
        }
        let mut rows: Vec<TransitGateway> =
            cx.transit_gateways().await?.into_iter().map(|record| record.value).collect();
        let ids = &self.transit_gateway_ids;
        rows.retain(|row| {
            let asked = ids.is_empty() || ids.iter().any(|id| row.id.as_str() == id);
            asked && passes(row, &filters)
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        let answer = |row: &TransitGateway| TransitGatewayAnswer::of(row, "available");
        Ok(Decision::read(Answer { transit_gateways: rows.iter().map(answer).collect(), next_token }))
    }
}

fn passes(row: &TransitGateway, filters: &Filters<'_>) -> bool {
    let asn = row.options.amazon_side_asn.to_string();
    let facets = vec![
        ("options.amazon-side-asn", vec![asn.as_str()]),
        (
            "options.auto-accept-shared-attachments",
            vec![if row.options.auto_accept { "enable" } else { "disable" }],
        ),
        ("owner-id", vec![row.scope.account.as_str()]),
        ("state", vec!["available"]),
        ("transit-gateway-id", vec![row.id.as_str()]),
    ];
    filters.pass(&facets, &row.tags)
}
