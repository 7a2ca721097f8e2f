//! `AssociateVpcCidrBlock`: one more block, of either IP version. Existing Client VPN associations get no route to it by themselves.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Scope, Vpc};
use store::typed::Record;

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks::{VpcBlock, Wanted};
use crate::ec2::network_shapes::CidrAssociation;
use crate::ec2::security;
use crate::error::{ApiError, short};
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AssociateVpcCidrBlock {
    cidr_block: Option<String>,
    ipv6_pool: Option<String>,
    ipv6_cidr_block: Option<String>,
    ipv6_ipam_pool_id: Option<String>,
    vpc_id: String,
    amazon_provided_ipv6_cidr_block: Option<bool>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    ipv6_cidr_block_association: Option<VpcBlock>,
    cidr_block_association: Option<CidrAssociation>,
    vpc_id: String,
}

#[async_trait]
impl Action for AssociateVpcCidrBlock {
    const NAME: &'static str = "AssociateVpcCidrBlock";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        if !self.ipv6().any() {
            check::keep(self.cidr(), faults);
        } else if self.cidr_block.is_some() {
            let message = "An IPv4 and an IPv6 CIDR block cannot be specified together";
            faults.push(ApiError::combination(message));
        } else {
            check::keep(self.ipv6().check(), faults);
        }
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Vpc(Some(self.vpc_id.clone())))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let vpc = cx.vpc(&self.vpc_id).await?;
        if let Some((block, pool)) = self.ipv6().take(cx)? {
            return ipv6(cx, &vpc, block, pool).await;
        }
        let cidr = self.cidr()?;
        let mut changed = vpc.value.clone();
        // UNVERIFIED: the code for an overlap with a block the VPC has.
        if changed.cidrs.iter().any(|block| check::overlap(&IpNet::V4(*block), &IpNet::V4(cidr))) {
            let message = format!("The CIDR '{cidr}' conflicts with another CIDR block of the VPC");
            return Err(ApiError::new("InvalidVpc.Range", message));
        }
        room(cx, &changed, changed.cidrs.len())?;
        changed.cidrs.push(cidr);
        let answer = Answer {
            ipv6_cidr_block_association: None,
            cidr_block_association: Some(CidrAssociation::of(&changed, &cidr, "associating")),
            vpc_id: changed.id.to_string(),
        };
        let mut draft = Draft::default();
        draft.replace(&vpc, &changed);
        Ok(Decision::write(answer, draft))
    }
}

/// An IPv6 block. The default security group lets it out, if it still is as it was made.
async fn ipv6(
    cx: &Cx<'_>,
    vpc: &Record<Vpc>,
    block: Ipv6Net,
    pool: Option<String>,
) -> Result<Decision<Answer>, ApiError> {
    let mut changed = vpc.value.clone();
    if changed.ipv6_cidrs.iter().any(|has| check::overlap(&IpNet::V6(*has), &IpNet::V6(block))) {
        let message = format!("The CIDR '{block}' conflicts with another CIDR block of the VPC");
        return Err(ApiError::new("InvalidVpc.Range", message));
    }
    room(cx, &changed, changed.ipv6_cidrs.len())?;
    changed.ipv6_cidrs.push(block);
    changed.ipv6_pools.extend(pool.map(|pool| (block, pool)));
    let mut draft = Draft::default();
    draft.replace(vpc, &changed);
    let group = cx.security_group(changed.default_security_group.as_str()).await?;
    security::let_ipv6_out(cx, &mut draft, &group);
    let answer = Answer {
        ipv6_cidr_block_association: Some(VpcBlock::of(&changed, &block, "associating")),
        cidr_block_association: None,
        vpc_id: changed.id.to_string(),
    };
    Ok(Decision::write(answer, draft))
}

fn room(cx: &Cx<'_>, vpc: &Vpc, blocks: usize) -> Result<(), ApiError> {
    let most = cx.config.quotas.blocks_per_vpc;
    if blocks < most {
        return Ok(());
    }
    let message = format!("This network '{}' has met its maximum number of allowed CIDRs: {most}", vpc.id);
    Err(ApiError::new("CidrLimitExceeded", message))
}

impl AssociateVpcCidrBlock {
    fn ipv6(&self) -> Wanted<'_> {
        Wanted {
            provided: self.amazon_provided_ipv6_cidr_block,
            block: self.ipv6_cidr_block.as_deref(),
            pool: self.ipv6_pool.as_deref(),
            ipam_pool: self.ipv6_ipam_pool_id.as_deref(),
        }
    }

    fn cidr(&self) -> Result<Ipv4Net, ApiError> {
        let text = self.cidr_block.as_deref().ok_or_else(|| ApiError::missing("CidrBlock"))?;
        match check::network("CidrBlock", text)? {
            IpNet::V4(net) if (16..=28).contains(&net.prefix_len()) => Ok(net),
            _ => Err(ApiError::new("InvalidVpc.Range", format!("The CIDR '{}' is invalid.", short(text)))),
        }
    }
}
