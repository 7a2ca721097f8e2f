//! `DescribeClientVpnRoutes` (spec: aws-client-vpn §2.2.11).

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Kind, Route, RouteTarget, Scope};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::touch::Touch;

const FILTERS: &[&str] = &["destination-cidr", "origin", "target-subnet"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeClientVpnRoutes {
    client_vpn_endpoint_id: String,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    routes: Vec<RouteAnswer>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct RouteAnswer {
    client_vpn_endpoint_id: String,
    destination_cidr: String,
    target_subnet: Option<String>,
    #[xml(name = "type", model = "Type")]
    kind: &'static str,
    origin: &'static str,
    status: Status,
    description: Option<String>,
    transit_gateway_attachment_id: Option<String>,
}

#[async_trait]
impl Action for DescribeClientVpnRoutes {
    const NAME: &'static str = "DescribeClientVpnRoutes";
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
        let keep = |row: &Route| {
            let destination = row.destination.to_string();
            let facets = vec![
                ("destination-cidr", vec![destination.as_str()]),
                ("origin", vec![row.origin.as_str()]),
                ("target-subnet", target_subnet(row).into_iter().collect()),
            ];
            filters.pass(&facets, &BTreeMap::new())
        };
        let next = self.next_token.as_deref();
        let (rows, next_token) =
            cx.page_under(Kind::Route, &endpoint.id, keep, next, self.max_results).await?;
        Ok(Decision::read(Answer { routes: rows.iter().map(|row| route(&row.value)).collect(), next_token }))
    }
}

/// A subnet, or `local`.
fn target_subnet(row: &Route) -> Option<&str> {
    match &row.target {
        RouteTarget::Subnet(_) | RouteTarget::Local => Some(row.target.as_str()),
        RouteTarget::TransitGateway(_) => None,
    }
}

fn route(row: &Route) -> RouteAnswer {
    RouteAnswer {
        client_vpn_endpoint_id: row.endpoint.to_string(),
        destination_cidr: row.destination.to_string(),
        target_subnet: target_subnet(row).map(str::to_owned),
        kind: match row.target {
            RouteTarget::Subnet(_) => "Nat",
            // UNVERIFIED: what the service calls a route to a transit gateway.
            RouteTarget::TransitGateway(_) => "TransitGateway",
            // UNVERIFIED: what the service calls a local route.
            RouteTarget::Local => "Local",
        },
        origin: row.origin.as_str(),
        status: Status::from(&row.status),
        description: row.description.clone(),
        transit_gateway_attachment_id: match &row.target {
            RouteTarget::TransitGateway(id) => Some(id.to_string()),
            RouteTarget::Subnet(_) | RouteTarget::Local => None,
        },
    }
}
