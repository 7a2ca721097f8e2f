//! `DisassociateVpcCidrBlock`: any block but the first IPv4 one, once no subnet is in it.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::Ipv6Net;
use model::Vpc;
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks::VpcBlock;
use crate::ec2::network_shapes::CidrAssociation;
use crate::error::{ApiError, short};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DisassociateVpcCidrBlock {
    association_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    ipv6_cidr_block_association: Option<VpcBlock>,
    cidr_block_association: Option<CidrAssociation>,
    vpc_id: String,
}

#[async_trait]
impl Action for DisassociateVpcCidrBlock {
    const NAME: &'static str = "DisassociateVpcCidrBlock";
    type Answer = Answer;

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let id = &self.association_id;
        let vpcs = cx.vpcs().await?;
        let found = vpcs.iter().find_map(|vpc| {
            let mut blocks = vpc.value.ipv6_cidrs.iter();
            Some((vpc, *blocks.find(|block| VpcBlock::id(&vpc.value, block) == *id)?))
        });
        if let Some((vpc, block)) = found {
            return ipv6(cx, vpc, block).await;
        }
        let found = vpcs.iter().find_map(|vpc| {
            let block = vpc.value.cidrs.iter().find(|block| CidrAssociation::id(&vpc.value, block) == *id)?;
            Some((vpc, *block))
        });
        let (vpc, block) = found.ok_or_else(|| {
            let message = format!("The vpc CIDR block association ID '{}' does not exist", short(id));
            ApiError::new("InvalidVpcCidrBlockAssociationID.NotFound", message)
        })?;
        // UNVERIFIED: both codes.
        if vpc.value.cidrs.first() == Some(&block) {
            let message = format!("The vpc CIDR block with association ID {id} may not be disassociated");
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        let inside = |subnet: &model::Subnet| subnet.vpc_id == vpc.value.id && block.contains(&subnet.cidr);
        if cx.subnets().await?.iter().any(|subnet| inside(&subnet.value)) {
            return Err(depended_on(&block));
        }
        let mut changed = vpc.value.clone();
        changed.cidrs.retain(|other| *other != block);
        let answer = Answer {
            ipv6_cidr_block_association: None,
            cidr_block_association: Some(CidrAssociation::of(&changed, &block, "disassociating")),
            vpc_id: changed.id.to_string(),
        };
        let mut draft = Draft::default();
        draft.replace(vpc, &changed);
        Ok(Decision::write(answer, draft))
    }
}

async fn ipv6(cx: &Cx<'_>, vpc: &Record<Vpc>, block: Ipv6Net) -> Result<Decision<Answer>, ApiError> {
    let inside = |subnet: &model::Subnet| {
        subnet.vpc_id == vpc.value.id && subnet.ipv6_cidr.is_some_and(|part| block.contains(&part))
    };
    if cx.subnets().await?.iter().any(|subnet| inside(&subnet.value)) {
        return Err(depended_on(&block));
    }
    let mut changed = vpc.value.clone();
    changed.ipv6_cidrs.retain(|other| *other != block);
    changed.ipv6_pools.remove(&block);
    let answer = Answer {
        ipv6_cidr_block_association: Some(VpcBlock::of(&vpc.value, &block, "disassociating")),
        cidr_block_association: None,
        vpc_id: changed.id.to_string(),
    };
    let mut draft = Draft::default();
    draft.replace(vpc, &changed);
    Ok(Decision::write(answer, draft))
}

fn depended_on(block: &dyn std::fmt::Display) -> ApiError {
    let message = format!("The vpc CIDR block '{block}' has dependencies and cannot be disassociated");
    ApiError::new("DependencyViolation", message)
}
