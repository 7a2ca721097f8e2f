//! `DescribeAvailabilityZones`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, ZoneName};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::network_shapes::{Nothing, zone_id, zones};
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::touch::Touch;

const FILTERS: &[&str] =
    &["group-name", "opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeAvailabilityZones {
    #[query(name = "ZoneName")]
    zone_names: Vec<String>,
    #[query(name = "ZoneId")]
    zone_ids: Vec<String>,
    all_availability_zones: Option<bool>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "availabilityZoneInfo")]
    availability_zones: Vec<Zone>,
}

#[derive(ToXml)]
struct Zone {
    opt_in_status: &'static str,
    #[xml(name = "messageSet")]
    messages: Vec<Nothing>,
    region_name: String,
    zone_name: String,
    zone_id: String,
    group_name: String,
    network_border_group: String,
    zone_type: &'static str,
    #[xml(name = "zoneState")]
    state: &'static str,
}

#[async_trait]
impl Action for DescribeAvailabilityZones {
    const NAME: &'static str = "DescribeAvailabilityZones";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, false, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        // Every zone is in use here, so asking for all changes nothing.
        let _ = self.all_availability_zones;
        let filters = Filters::new(&self.filters, FILTERS, false)?;
        let region = &cx.scope.region;
        let all: Vec<(ZoneName, String)> = zones(cx.config, region)
            .into_iter()
            .map(|zone| (zone.clone(), zone_id(region, zone.as_str())))
            .collect();
        let unknown_name =
            self.zone_names.iter().find(|name| !all.iter().any(|(zone, _)| zone.as_str() == name.as_str()));
        let unknown_id = self.zone_ids.iter().find(|id| !all.iter().any(|(_, other)| other == *id));
        if let Some(unknown) = unknown_name.or(unknown_id) {
            let message = format!("Invalid availability zone: [{}]", crate::error::short(unknown));
            return Err(ApiError::invalid(message));
        }
        let wanted = |(zone, id): &&(ZoneName, String)| {
            let facets = vec![
                ("group-name", vec![region.as_str()]),
                ("opt-in-status", vec!["opt-in-not-required"]),
                ("region-name", vec![region.as_str()]),
                ("state", vec!["available"]),
                ("zone-id", vec![id.as_str()]),
                ("zone-name", vec![zone.as_str()]),
                ("zone-type", vec!["availability-zone"]),
            ];
            (self.zone_names.is_empty() || self.zone_names.iter().any(|name| zone.as_str() == name))
                && (self.zone_ids.is_empty() || self.zone_ids.contains(id))
                && filters.pass(&facets, &BTreeMap::new())
        };
        let zone = |(zone, id): &(ZoneName, String)| Zone {
            opt_in_status: "opt-in-not-required",
            messages: Vec::new(),
            region_name: region.to_string(),
            zone_name: zone.to_string(),
            zone_id: id.clone(),
            group_name: region.to_string(),
            network_border_group: region.to_string(),
            zone_type: "availability-zone",
            state: "available",
        };
        let availability_zones = all.iter().filter(wanted).map(zone).collect();
        Ok(Decision::read(Answer { availability_zones }))
    }
}
