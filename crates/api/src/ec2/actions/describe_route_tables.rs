//! `DescribeRouteTables`: the main one of each VPC, which has the local routes only and cannot be changed.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, Vpc};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::derived;
use crate::ec2::network_shapes::Nothing;
use crate::ec2::shapes::TagAnswer;
use crate::error::{ApiError, short};
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "association.gateway-id",
    "association.main",
    "association.route-table-association-id",
    "association.route-table-id",
    "association.subnet-id",
    "owner-id",
    "route-table-id",
    "route.destination-cidr-block",
    "route.destination-ipv6-cidr-block",
    "route.gateway-id",
    "route.origin",
    "route.state",
    "vpc-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeRouteTables {
    next_token: Option<String>,
    #[query(range = "5..=100")]
    max_results: Option<i32>,
    #[query(name = "RouteTableId")]
    route_table_ids: Vec<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "routeTableSet")]
    route_tables: Vec<RouteTable>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct RouteTable {
    #[xml(name = "associationSet")]
    associations: Vec<Association>,
    #[xml(name = "propagatingVgwSet")]
    propagating_vgws: Vec<Nothing>,
    route_table_id: String,
    #[xml(name = "routeSet")]
    routes: Vec<Route>,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    vpc_id: String,
    owner_id: String,
}

#[derive(ToXml)]
struct Association {
    main: bool,
    route_table_association_id: String,
    route_table_id: String,
    association_state: State,
}

#[derive(ToXml)]
struct State {
    state: &'static str,
}

#[derive(ToXml)]
struct Route {
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    gateway_id: &'static str,
    origin: &'static str,
    state: &'static str,
}

#[async_trait]
impl Action for DescribeRouteTables {
    const NAME: &'static str = "DescribeRouteTables";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let vpcs = cx.vpcs().await?;
        let mut rows: Vec<RouteTable> = vpcs.iter().map(|vpc| route_table(&vpc.value)).collect();
        if let Some(unknown) =
            self.route_table_ids.iter().find(|id| !rows.iter().any(|row| row.route_table_id == **id))
        {
            let message = format!("The routeTable ID '{}' does not exist", short(unknown));
            return Err(ApiError::new("InvalidRouteTableID.NotFound", message));
        }
        rows.retain(|row| {
            let asked = self.route_table_ids.is_empty() || self.route_table_ids.contains(&row.route_table_id);
            asked && passes(row, &filters)
        });
        rows.sort_by(|a, b| a.route_table_id.cmp(&b.route_table_id));
        let (rows, next_token) =
            page(rows, |row| &row.route_table_id, self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { route_tables: rows, next_token }))
    }
}

fn route_table(vpc: &Vpc) -> RouteTable {
    let id = derived::route_table(&vpc.id);
    let route = |cidr: ipnet::IpNet| Route {
        destination_cidr_block: matches!(cidr, ipnet::IpNet::V4(_)).then(|| cidr.to_string()),
        destination_ipv6_cidr_block: matches!(cidr, ipnet::IpNet::V6(_)).then(|| cidr.to_string()),
        gateway_id: "local",
        origin: "CreateRouteTable",
        state: "active",
    };
    RouteTable {
        associations: vec![Association {
            main: true,
            route_table_association_id: derived::route_table_association(&vpc.id),
            route_table_id: id.clone(),
            association_state: State { state: "associated" },
        }],
        propagating_vgws: Vec::new(),
        route_table_id: id,
        routes: vpc.blocks().map(route).collect(),
        tags: Vec::new(),
        vpc_id: vpc.id.to_string(),
        owner_id: vpc.scope.account.to_string(),
    }
}

fn passes(row: &RouteTable, filters: &Filters<'_>) -> bool {
    let facets = vec![
        ("association.main", vec!["true"]),
        (
            "association.route-table-association-id",
            row.associations.iter().map(|a| a.route_table_association_id.as_str()).collect(),
        ),
        ("association.route-table-id", vec![row.route_table_id.as_str()]),
        ("owner-id", vec![row.owner_id.as_str()]),
        ("route-table-id", vec![row.route_table_id.as_str()]),
        (
            "route.destination-cidr-block",
            row.routes.iter().filter_map(|route| route.destination_cidr_block.as_deref()).collect(),
        ),
        (
            "route.destination-ipv6-cidr-block",
            row.routes.iter().filter_map(|route| route.destination_ipv6_cidr_block.as_deref()).collect(),
        ),
        ("route.gateway-id", vec!["local"]),
        ("route.origin", vec!["CreateRouteTable"]),
        ("route.state", vec!["active"]),
        ("vpc-id", vec![row.vpc_id.as_str()]),
    ];
    filters.pass(&facets, &Default::default())
}
