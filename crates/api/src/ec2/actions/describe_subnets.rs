//! `DescribeSubnets`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, Subnet};

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::ec2::interfaces;
use crate::ec2::ipv6_blocks::SubnetBlock;
use crate::ec2::network_shapes::{SubnetAnswer, zone_id};
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "availability-zone",
    "availabilityZone",
    "availability-zone-id",
    "availabilityZoneId",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.state",
    "map-public-ip-on-launch",
    "owner-id",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeSubnets {
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(name = "SubnetId")]
    subnet_ids: Vec<String>,
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    next_token: Option<String>,
    #[xml(name = "subnetSet")]
    subnets: Vec<SubnetAnswer>,
}

#[async_trait]
impl Action for DescribeSubnets {
    const NAME: &'static str = "DescribeSubnets";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
        for id in &self.subnet_ids {
            check::keep(check::subnet_id(id), faults);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let mut rows: Vec<Subnet> = cx.subnets().await?.into_iter().map(|record| record.value).collect();
        if let Some(unknown) =
            self.subnet_ids.iter().find(|id| !rows.iter().any(|row| row.id.as_str() == id.as_str()))
        {
            let message = format!("The subnet ID '{unknown}' does not exist");
            return Err(ApiError::new("InvalidSubnetID.NotFound", message));
        }
        rows.retain(|row| {
            let asked = self.subnet_ids.is_empty() || self.subnet_ids.iter().any(|id| row.id.as_str() == id);
            asked && passes(row, &filters)
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        let associations: Vec<_> =
            cx.all_associations().await?.into_iter().map(|record| record.value).collect();
        let subnet = |row: &Subnet| SubnetAnswer::of(row, interfaces::count(&associations, &row.id));
        Ok(Decision::read(Answer { next_token, subnets: rows.iter().map(subnet).collect() }))
    }
}

fn passes(row: &Subnet, filters: &Filters<'_>) -> bool {
    let cidr = row.cidr.to_string();
    let v6 = row.ipv6_cidr.map(|block| block.to_string());
    let v6_id = row.ipv6_cidr.map(|block| SubnetBlock::id(row, &block));
    let zone_id = zone_id(&row.scope.region, row.zone.as_str());
    let arn = crate::arn::ec2(&row.scope, "subnet", row.id.as_str());
    let facets = vec![
        ("availability-zone", vec![row.zone.as_str()]),
        ("availabilityZone", vec![row.zone.as_str()]),
        ("availability-zone-id", vec![zone_id.as_str()]),
        ("availabilityZoneId", vec![zone_id.as_str()]),
        ("cidr", vec![cidr.as_str()]),
        ("cidr-block", vec![cidr.as_str()]),
        ("cidrBlock", vec![cidr.as_str()]),
        ("default-for-az", vec!["false"]),
        ("defaultForAz", vec!["false"]),
        ("ipv6-cidr-block-association.association-id", v6_id.iter().map(String::as_str).collect()),
        ("ipv6-cidr-block-association.ipv6-cidr-block", v6.iter().map(String::as_str).collect()),
        ("ipv6-cidr-block-association.state", v6.iter().map(|_| "associated").collect()),
        ("map-public-ip-on-launch", vec![if row.attributes.map_public_ip { "true" } else { "false" }]),
        ("owner-id", vec![row.scope.account.as_str()]),
        ("state", vec!["available"]),
        ("subnet-arn", vec![arn.as_str()]),
        ("subnet-id", vec![row.id.as_str()]),
        ("vpc-id", vec![row.vpc_id.as_str()]),
    ];
    filters.pass(&facets, &row.tags)
}
