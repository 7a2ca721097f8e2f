//! `DescribeAccountAttributes`: what a VPC account without a default VPC says.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::touch::Touch;

/// Attributes and their values.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("supported-platforms", "VPC"),
    ("vpc-max-security-groups-per-interface", "5"),
    ("max-elastic-ips", "0"),
    ("max-instances", "0"),
    ("vpc-max-elastic-ips", "0"),
    ("default-vpc", "none"),
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeAccountAttributes {
    #[query(name = "AttributeName")]
    attribute_names: Vec<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "accountAttributeSet")]
    account_attributes: Vec<Attribute>,
}

#[derive(ToXml)]
struct Attribute {
    attribute_name: &'static str,
    #[xml(name = "attributeValueSet")]
    attribute_values: Vec<Value>,
}

#[derive(ToXml)]
struct Value {
    attribute_value: &'static str,
}

#[async_trait]
impl Action for DescribeAccountAttributes {
    const NAME: &'static str = "DescribeAccountAttributes";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        for name in &self.attribute_names {
            if !ATTRIBUTES.iter().any(|(known, _)| known == name) {
                faults.push(ApiError::value("attributeName", name, "There is no such attribute."));
            }
        }
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, _cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let asked = |name: &str| {
            self.attribute_names.is_empty() || self.attribute_names.iter().any(|asked| asked == name)
        };
        let found = ATTRIBUTES.into_iter().filter(|(name, _)| asked(name));
        let attribute = |(attribute_name, attribute_value)| Attribute {
            attribute_name,
            attribute_values: vec![Value { attribute_value }],
        };
        Ok(Decision::read(Answer { account_attributes: found.map(attribute).collect() }))
    }
}
