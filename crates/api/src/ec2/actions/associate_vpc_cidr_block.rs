//! `AssociateVpcCidrBlock`: one more IPv4 block. Existing Client VPN associations get no route to it by themselves.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::{IpNet, Ipv4Net};
use model::Scope;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::network_shapes::CidrAssociation;
use crate::error::{ApiError, short};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AssociateVpcCidrBlock {
    cidr_block: Option<String>,
    vpc_id: String,
    amazon_provided_ipv6_cidr_block: Option<bool>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    cidr_block_association: CidrAssociation,
    vpc_id: String,
}

#[async_trait]
impl Action for AssociateVpcCidrBlock {
    const NAME: &'static str = "AssociateVpcCidrBlock";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        if self.amazon_provided_ipv6_cidr_block == Some(true) {
            faults.push(ApiError::new("UnsupportedOperation", "VPCs with IPv6 blocks are not built yet"));
        } else {
            check::keep(self.cidr(), faults);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Vpc(Some(self.vpc_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let cidr = self.cidr()?;
        let vpc = cx.vpc(&self.vpc_id).await?;
        let mut changed = vpc.value.clone();
        // UNVERIFIED: the code for an overlap with a block the VPC has.
        if changed.cidrs.iter().any(|block| check::overlap(&IpNet::V4(*block), &IpNet::V4(cidr))) {
            let message = format!("The CIDR '{cidr}' conflicts with another CIDR block of the VPC");
            return Err(ApiError::new("InvalidVpc.Range", message));
        }
        let most = cx.config.quotas.blocks_per_vpc;
        if changed.cidrs.len() >= most {
            let message =
                format!("This network '{}' has met its maximum number of allowed CIDRs: {most}", changed.id);
            return Err(ApiError::new("CidrLimitExceeded", message));
        }
        changed.cidrs.push(cidr);
        let answer = Answer {
            cidr_block_association: CidrAssociation::of(&changed, &cidr, "associating"),
            vpc_id: changed.id.to_string(),
        };
        let mut draft = Draft::default();
        draft.replace(&vpc, &changed);
        Ok(Decision::write(answer, draft))
    }
}

impl AssociateVpcCidrBlock {
    fn cidr(&self) -> Result<Ipv4Net, ApiError> {
        let text = self.cidr_block.as_deref().ok_or_else(|| ApiError::missing("CidrBlock"))?;
        match check::network("CidrBlock", text)? {
            IpNet::V4(net) if (16..=28).contains(&net.prefix_len()) => Ok(net),
            _ => Err(ApiError::new("InvalidVpc.Range", format!("The CIDR '{}' is invalid.", short(text)))),
        }
    }
}
