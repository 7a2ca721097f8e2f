//! `ModifyVpcAttribute`: one at a time. Kept and answered; there is no resolver and no instance here.

use async_trait::async_trait;
use aws_query::FromQuery;
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::network_shapes::BoolValue;
use crate::ec2::shapes::Silent;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifyVpcAttribute {
    enable_dns_hostnames: Option<BoolValue>,
    enable_dns_support: Option<BoolValue>,
    vpc_id: String,
    enable_network_address_usage_metrics: Option<BoolValue>,
}

#[async_trait]
impl Action for ModifyVpcAttribute {
    const NAME: &'static str = "ModifyVpcAttribute";
    type Answer = Silent;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        let given = [
            &self.enable_dns_hostnames,
            &self.enable_dns_support,
            &self.enable_network_address_usage_metrics,
        ];
        match given.iter().filter(|value| value.is_some()).count() {
            0 => faults.push(ApiError::missing("EnableDnsSupport")),
            1 => {}
            _ => faults.push(ApiError::combination("Only one attribute can be modified at a time")),
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Vpc(Some(self.vpc_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        let vpc = cx.vpc(&self.vpc_id).await?;
        let mut changed = vpc.value.clone();
        let attributes = &mut changed.attributes;
        BoolValue::set(&self.enable_dns_hostnames, &mut attributes.dns_hostnames);
        BoolValue::set(&self.enable_dns_support, &mut attributes.dns_support);
        BoolValue::set(&self.enable_network_address_usage_metrics, &mut attributes.address_usage_metrics);
        let mut draft = Draft::default();
        draft.replace(&vpc, &changed);
        Ok(Decision::write(Silent::yes(), draft))
    }
}
