//! `DisassociateSubnetCidrBlock`: refused while the subnet is the target network of an endpoint that carries IPv6.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Endpoint, IpType, Key};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks::SubnetBlock;
use crate::error::{ApiError, short};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DisassociateSubnetCidrBlock {
    association_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    ipv6_cidr_block_association: SubnetBlock,
    subnet_id: String,
}

#[async_trait]
impl Action for DisassociateSubnetCidrBlock {
    const NAME: &'static str = "DisassociateSubnetCidrBlock";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let id = &self.association_id;
        let subnets = cx.subnets().await?;
        let found = subnets.iter().find_map(|subnet| {
            let block =
                subnet.value.ipv6_cidr.filter(|block| SubnetBlock::id(&subnet.value, block) == *id)?;
            Some((subnet, block))
        });
        // UNVERIFIED: both codes.
        let (subnet, block) = found.ok_or_else(|| {
            let message = format!("The subnet CIDR block association ID '{}' does not exist", short(id));
            ApiError::new("InvalidSubnetCidrBlockAssociationID.NotFound", message)
        })?;
        for association in cx.all_associations().await? {
            if association.value.spec.subnet_id() != Some(&subnet.value.id) {
                continue;
            }
            let key = Key::endpoint(cx.scope, &association.value.endpoint);
            let endpoint = cx.get::<Endpoint>(&key).await?;
            if endpoint.is_some_and(|endpoint| endpoint.value.spec.traffic_ip_type != IpType::Ipv4) {
                let message =
                    format!("The subnet CIDR block '{block}' has dependencies and cannot be disassociated");
                return Err(ApiError::new("DependencyViolation", message));
            }
        }
        let mut changed = subnet.value.clone();
        changed.ipv6_cidr = None;
        changed.attributes.assign_ipv6 = false;
        let answer = Answer {
            ipv6_cidr_block_association: SubnetBlock::of(&changed, &block, "disassociating"),
            subnet_id: changed.id.to_string(),
        };
        let mut draft = Draft::default();
        // A new association touches the subnet: one made meanwhile is a conflict.
        draft.replace(subnet, &changed);
        Ok(Decision::write(answer, draft))
    }
}
