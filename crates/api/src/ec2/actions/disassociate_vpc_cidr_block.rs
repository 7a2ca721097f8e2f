//! `DisassociateVpcCidrBlock`: any block but the first, once no subnet is in it.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::network_shapes::CidrAssociation;
use crate::error::{ApiError, short};
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DisassociateVpcCidrBlock {
    association_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    cidr_block_association: CidrAssociation,
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
            let message =
                format!("The vpc CIDR block '{block}' has dependencies and cannot be disassociated");
            return Err(ApiError::new("DependencyViolation", message));
        }
        let mut changed = vpc.value.clone();
        changed.cidrs.retain(|other| *other != block);
        let answer = Answer {
            cidr_block_association: CidrAssociation::of(&changed, &block, "disassociating"),
            vpc_id: changed.id.to_string(),
        };
        let mut draft = Draft::default();
        draft.replace(vpc, &changed);
        Ok(Decision::write(answer, draft))
    }
}
