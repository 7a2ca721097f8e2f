//! `AssociateSubnetCidrBlock`: the IPv6 block of a subnet. Existing Client VPN associations learn of it when they are made anew.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::Ipv6Net;
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks::{self, SubnetBlock};
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AssociateSubnetCidrBlock {
    subnet_id: String,
    ipv6_cidr_block: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    ipv6_cidr_block_association: SubnetBlock,
    subnet_id: String,
}

#[async_trait]
impl Action for AssociateSubnetCidrBlock {
    const NAME: &'static str = "AssociateSubnetCidrBlock";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(check::subnet_id(&self.subnet_id), faults);
        check::keep(self.block(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Subnet(Some(self.subnet_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let block = self.block()?;
        let subnet = cx.known_subnet(&self.subnet_id).await?;
        // UNVERIFIED: the code for a second one.
        if let Some(has) = subnet.value.ipv6_cidr {
            let message = format!("The subnet '{}' has the IPv6 CIDR block {has} already", subnet.value.id);
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        let vpc = cx.vpc(subnet.value.vpc_id.as_str()).await?;
        let subnets = cx.subnets().await?;
        let siblings = subnets.iter().map(|record| &record.value);
        ipv6_blocks::fits(&block, &vpc.value, siblings.filter(|other| other.vpc_id == vpc.value.id))?;
        let mut changed = subnet.value.clone();
        changed.ipv6_cidr = Some(block);
        // So that two that overlap, and the end of the VPC's block, meet a conflict.
        let mut counted = vpc.value.clone();
        counted.subnet_epoch = counted.subnet_epoch.saturating_add(1);
        let mut draft = Draft::default();
        draft.replace(&vpc, &counted);
        draft.replace(&subnet, &changed);
        let answer = Answer {
            ipv6_cidr_block_association: SubnetBlock::of(&changed, &block, "associating"),
            subnet_id: changed.id.to_string(),
        };
        Ok(Decision::write(answer, draft))
    }
}

impl AssociateSubnetCidrBlock {
    fn block(&self) -> Result<Ipv6Net, ApiError> {
        let text = self.ipv6_cidr_block.as_deref().ok_or_else(|| ApiError::missing("Ipv6CidrBlock"))?;
        ipv6_blocks::subnet_block(text)
    }
}
