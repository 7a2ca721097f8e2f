//! `DescribeClientVpnTargetNetworks` (spec: aws-client-vpn §2.2.7).

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Association, AssociationCode, Endpoint, Scope, SubnetId, VpcId};

use super::disassociate_client_vpn_target_network::no_association;
use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::network_shapes::zone_id;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &["association-id", "target-network-id", "vpc-id"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeClientVpnTargetNetworks {
    client_vpn_endpoint_id: String,
    #[query(alias = "AssociationId")]
    association_ids: Vec<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    client_vpn_target_networks: Vec<TargetNetwork>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct TargetNetwork {
    association_id: String,
    vpc_id: Option<String>,
    target_network_id: Option<String>,
    client_vpn_endpoint_id: String,
    status: Status,
    security_groups: Vec<String>,
    #[xml(name = "availabilityZoneSet", omit_empty)]
    availability_zones: Vec<String>,
    #[xml(name = "availabilityZoneIdSet", omit_empty)]
    availability_zone_ids: Vec<String>,
}

#[async_trait]
impl Action for DescribeClientVpnTargetNetworks {
    const NAME: &'static str = "DescribeClientVpnTargetNetworks";
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
        let mut rows: Vec<Association> = Vec::new();
        for record in cx.associations(&endpoint.id).await? {
            if record.value.status.code != AssociationCode::Disassociated {
                rows.push(record.value);
            }
        }
        if let Some(unknown) =
            self.association_ids.iter().find(|id| !rows.iter().any(|row| row.id.as_str() == id.as_str()))
        {
            return Err(no_association(unknown));
        }
        rows.retain(|row| {
            let asked = self.association_ids.is_empty()
                || self.association_ids.iter().any(|id| row.id.as_str() == id);
            let facets = vec![
                ("association-id", vec![row.id.as_str()]),
                ("target-network-id", row.spec.subnet_id().map(SubnetId::as_str).into_iter().collect()),
                ("vpc-id", row.spec.vpc_id().map(VpcId::as_str).into_iter().collect()),
            ];
            asked && filters.pass(&facets, &BTreeMap::new())
        });
        let (rows, next_token) =
            page(rows, |row| row.id.as_str(), self.next_token.as_deref(), self.max_results)?;
        let networks = rows.iter().map(|row| network(row, &endpoint)).collect();
        Ok(Decision::read(Answer { client_vpn_target_networks: networks, next_token }))
    }
}

fn network(row: &Association, endpoint: &Endpoint) -> TargetNetwork {
    // Zones are told where they are what is associated.
    let zone = row.spec.subnet_id().is_none().then_some(&row.spec.zone);
    TargetNetwork {
        association_id: row.id.to_string(),
        vpc_id: row.spec.vpc_id().map(ToString::to_string),
        target_network_id: row.spec.subnet_id().map(ToString::to_string),
        client_vpn_endpoint_id: row.endpoint.to_string(),
        status: Status::from(&row.status),
        security_groups: endpoint.spec.security_group_ids.iter().map(ToString::to_string).collect(),
        availability_zones: zone.iter().map(ToString::to_string).collect(),
        availability_zone_ids: zone.iter().map(|zone| zone_id(&row.scope.region, zone.as_str())).collect(),
    }
}
