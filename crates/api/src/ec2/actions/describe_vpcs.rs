//! `DescribeVpcs`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, Vpc};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::ipv6_blocks::VpcBlock;
use crate::ec2::network_shapes::{CidrAssociation, VpcAnswer};
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "cidr",
    "cidr-block",
    "cidrBlock",
    "cidr-block-association.association-id",
    "cidr-block-association.cidr-block",
    "cidr-block-association.state",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.state",
    "dhcp-options-id",
    "is-default",
    "isDefault",
    "owner-id",
    "state",
    "vpc-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeVpcs {
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(name = "VpcId")]
    vpc_ids: Vec<String>,
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    next_token: Option<String>,
    #[xml(name = "vpcSet")]
    vpcs: Vec<VpcAnswer>,
}

#[async_trait]
impl Action for DescribeVpcs {
    const NAME: &'static str = "DescribeVpcs";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        for id in &self.vpc_ids {
            cx.vpc(id).await?;
        }
        let mut rows: Vec<Vpc> = cx.vpcs().await?.into_iter().map(|record| record.value).collect();
        rows.retain(|row| {
            let asked = self.vpc_ids.is_empty() || self.vpc_ids.iter().any(|id| row.id.as_str() == id);
            asked && passes(row, &filters)
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { next_token, vpcs: rows.iter().map(VpcAnswer::from).collect() }))
    }
}

fn passes(row: &Vpc, filters: &Filters<'_>) -> bool {
    let cidrs: Vec<String> = row.cidrs.iter().map(ToString::to_string).collect();
    let all: Vec<&str> = cidrs.iter().map(String::as_str).collect();
    let v6: Vec<String> = row.ipv6_cidrs.iter().map(ToString::to_string).collect();
    let v6_ids: Vec<String> = row.ipv6_cidrs.iter().map(|block| VpcBlock::id(row, block)).collect();
    let ids: Vec<String> = row.cidrs.iter().map(|block| CidrAssociation::id(row, block)).collect();
    let primary: Vec<&str> = all.iter().take(1).copied().collect();
    let facets = vec![
        ("cidr", primary.clone()),
        ("cidr-block", primary.clone()),
        ("cidrBlock", primary),
        ("cidr-block-association.association-id", ids.iter().map(String::as_str).collect()),
        ("cidr-block-association.cidr-block", all),
        ("cidr-block-association.state", vec!["associated"]),
        ("ipv6-cidr-block-association.association-id", v6_ids.iter().map(String::as_str).collect()),
        ("ipv6-cidr-block-association.ipv6-cidr-block", v6.iter().map(String::as_str).collect()),
        ("ipv6-cidr-block-association.state", v6.iter().map(|_| "associated").collect()),
        ("dhcp-options-id", vec!["default"]),
        ("is-default", vec!["false"]),
        ("isDefault", vec!["false"]),
        ("owner-id", vec![row.scope.account.as_str()]),
        ("state", vec!["available"]),
        ("vpc-id", vec![row.id.as_str()]),
    ];
    filters.pass(&facets, &row.tags)
}
