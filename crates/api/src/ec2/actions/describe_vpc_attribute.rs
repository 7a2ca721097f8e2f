//! `DescribeVpcAttribute`: one at a time.

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeVpcAttribute {
    attribute: Attribute,
    vpc_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum Attribute {
    #[query("enableDnsSupport")]
    DnsSupport,
    #[query("enableDnsHostnames")]
    DnsHostnames,
    #[query("enableNetworkAddressUsageMetrics")]
    AddressUsageMetrics,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    enable_dns_hostnames: Option<Value>,
    enable_dns_support: Option<Value>,
    enable_network_address_usage_metrics: Option<Value>,
    vpc_id: String,
}

#[derive(ToXml)]
struct Value {
    value: bool,
}

#[async_trait]
impl Action for DescribeVpcAttribute {
    const NAME: &'static str = "DescribeVpcAttribute";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Vpc(Some(self.vpc_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let vpc = cx.vpc(&self.vpc_id).await?.value;
        let asked =
            |attribute: Attribute, value: bool| (self.attribute == attribute).then_some(Value { value });
        let is = &vpc.attributes;
        Ok(Decision::read(Answer {
            enable_dns_hostnames: asked(Attribute::DnsHostnames, is.dns_hostnames),
            enable_dns_support: asked(Attribute::DnsSupport, is.dns_support),
            enable_network_address_usage_metrics: asked(
                Attribute::AddressUsageMetrics,
                is.address_usage_metrics,
            ),
            vpc_id: vpc.id.to_string(),
        }))
    }
}
