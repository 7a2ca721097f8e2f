//! `ModifySubnetAttribute`. Kept and answered; there are no instances here.

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum};
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::network_shapes::BoolValue;
use crate::ec2::shapes::Silent;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifySubnetAttribute {
    assign_ipv6_address_on_creation: Option<BoolValue>,
    map_public_ip_on_launch: Option<BoolValue>,
    subnet_id: String,
    map_customer_owned_ip_on_launch: Option<BoolValue>,
    enable_dns64: Option<BoolValue>,
    private_dns_hostname_type_on_launch: Option<HostnameType>,
    #[query(name = "EnableResourceNameDnsARecordOnLaunch", model = "EnableResourceNameDnsARecordOnLaunch")]
    resource_name_a: Option<BoolValue>,
    #[query(
        name = "EnableResourceNameDnsAAAARecordOnLaunch",
        model = "EnableResourceNameDnsAAAARecordOnLaunch"
    )]
    resource_name_aaaa: Option<BoolValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum HostnameType {
    IpName,
    ResourceName,
}

#[async_trait]
impl Action for ModifySubnetAttribute {
    const NAME: &'static str = "ModifySubnetAttribute";
    type Answer = Silent;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(check::subnet_id(&self.subnet_id), faults);
        let refused = [
            ("MapCustomerOwnedIpOnLaunch", &self.map_customer_owned_ip_on_launch),
            ("EnableDns64", &self.enable_dns64),
        ];
        for (name, value) in refused {
            if value.as_ref().is_some_and(BoolValue::is_true) {
                faults.push(ApiError::new("UnsupportedOperation", format!("{name} is not built yet")));
            }
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Subnet(Some(self.subnet_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Silent>, ApiError> {
        let subnet = cx.known_subnet(&self.subnet_id).await?;
        let mut changed = subnet.value.clone();
        if self.assign_ipv6_address_on_creation.as_ref().is_some_and(BoolValue::is_true)
            && changed.ipv6_cidr.is_none()
        {
            // UNVERIFIED: the code and the message.
            let message = format!("The subnet '{}' does not have an IPv6 CIDR block", changed.id);
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        let attributes = &mut changed.attributes;
        BoolValue::set(&self.assign_ipv6_address_on_creation, &mut attributes.assign_ipv6);
        BoolValue::set(&self.map_public_ip_on_launch, &mut attributes.map_public_ip);
        BoolValue::set(&self.resource_name_a, &mut attributes.resource_name_a);
        BoolValue::set(&self.resource_name_aaaa, &mut attributes.resource_name_aaaa);
        if let Some(kind) = self.private_dns_hostname_type_on_launch {
            attributes.resource_names = kind == HostnameType::ResourceName;
        }
        let mut draft = Draft::default();
        draft.replace(&subnet, &changed);
        Ok(Decision::write(Silent::yes(), draft))
    }
}
