//! `CreateVpc`, with the default security group every VPC has. An IPv6 block may be named, of whatever pool; one that the
//! service provides is of unique local addresses.

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum, ToXml};
use ipnet::IpNet;
use model::{Key, Scope, SecurityGroupId, Vpc, VpcId};

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks::Wanted;
use crate::ec2::network_shapes::VpcAnswer;
use crate::ec2::security;
use crate::ec2::shapes::TagSpecification;
use crate::error::ApiError;
use crate::tags;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateVpc {
    cidr_block: Option<String>,
    ipv6_pool: Option<String>,
    ipv6_cidr_block: Option<String>,
    ipv6_ipam_pool_id: Option<String>,
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
    instance_tenancy: Option<Tenancy>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum Tenancy {
    Default,
    Dedicated,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    vpc: VpcAnswer,
}

#[async_trait]
impl Action for CreateVpc {
    const NAME: &'static str = "CreateVpc";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.cidr(), faults);
        tags::read(&self.tag_specifications, "vpc", faults);
        check::keep(self.ipv6().check(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::of(Resource::Vpc(None)).created(Self::NAME, &tags::valid(&self.tag_specifications, "vpc"))
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        if cx.vpcs().await?.len() >= cx.config.quotas.vpcs_per_region {
            return Err(ApiError::new("VpcLimitExceeded", "The maximum number of VPCs has been reached."));
        }
        let id = VpcId::from_entropy(cx.entropy());
        let group_id = SecurityGroupId::from_entropy(cx.entropy());
        let ipv6 = self.ipv6().take(cx)?;
        let pool = ipv6.as_ref().and_then(|(block, pool)| Some((*block, pool.clone()?)));
        let vpc = Vpc {
            id: id.clone(),
            scope: cx.scope.clone(),
            cidrs: vec![self.cidr()?],
            ipv6_cidrs: ipv6.into_iter().map(|(block, _)| block).collect(),
            ipv6_pools: pool.into_iter().collect(),
            instance_tenancy: self.instance_tenancy.unwrap_or(Tenancy::Default).as_str().to_owned(),
            default_security_group: group_id.clone(),
            tags: tags::valid(&self.tag_specifications, "vpc"),
            subnet_epoch: 0,
            created_at: cx.now,
            attributes: Default::default(),
            mirrored: false,
        };
        let mut draft = Draft::default();
        draft.create(Key::vpc(cx.scope, &id), &vpc);
        security::create(&mut draft, &security::default_group(cx, group_id, &vpc));
        Ok(Decision::write(Answer { vpc: VpcAnswer::from(&vpc) }, draft))
    }
}

impl CreateVpc {
    fn ipv6(&self) -> Wanted<'_> {
        Wanted {
            provided: self.amazon_provided_ipv6_cidr_block,
            block: self.ipv6_cidr_block.as_deref(),
            pool: self.ipv6_pool.as_deref(),
            ipam_pool: self.ipv6_ipam_pool_id.as_deref(),
        }
    }

    fn cidr(&self) -> Result<ipnet::Ipv4Net, ApiError> {
        let text = self.cidr_block.as_deref().ok_or_else(|| ApiError::missing("CidrBlock"))?;
        match check::network("CidrBlock", text)? {
            IpNet::V4(net) if (16..=28).contains(&net.prefix_len()) => Ok(net),
            _ => Err(ApiError::new(
                "InvalidVpc.Range",
                format!("The CIDR '{}' is invalid.", crate::error::short(text)),
            )),
        }
    }
}
