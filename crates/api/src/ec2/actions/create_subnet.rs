//! `CreateSubnet`.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Key, Scope, Subnet, SubnetId, Vpc, ZoneName};

use crate::action::{Action, Decision};
use crate::check;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::ipv6_blocks;
use crate::ec2::network_shapes::{SubnetAnswer, zone_id, zones};
use crate::ec2::shapes::TagSpecification;
use crate::error::{ApiError, short};
use crate::tags;
use crate::touch::{Resource, Touch};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateSubnet {
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    vpc_id: String,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    subnet: SubnetAnswer,
}

#[async_trait]
impl Action for CreateSubnet {
    const NAME: &'static str = "CreateSubnet";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        tags::read(&self.tag_specifications, "subnet", faults);
        if self.availability_zone.is_some() && self.availability_zone_id.is_some() {
            let message = "AvailabilityZone and AvailabilityZoneId cannot be specified together";
            faults.push(ApiError::combination(message));
        }
        check::keep(self.cidr(), faults);
        check::keep(self.ipv6_cidr(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let tags = tags::valid(&self.tag_specifications, "subnet");
        let mut touches = Touch::of(Resource::Subnet(None)).created(Self::NAME, &tags);
        touches.push(Touch::of(Resource::Vpc(Some(self.vpc_id.clone()))));
        touches
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let vpc = cx.vpc(&self.vpc_id).await?;
        let cidr = self.cidr()?;
        let mut siblings: Vec<Subnet> = cx.subnets().await?.into_iter().map(|record| record.value).collect();
        siblings.retain(|subnet| subnet.vpc_id == vpc.value.id);
        if siblings.len() >= cx.config.quotas.subnets_per_vpc {
            let message = "The maximum number of subnets for the VPC has been reached.";
            return Err(ApiError::new("SubnetLimitExceeded", message));
        }
        fits(&cidr, &vpc.value, &siblings)?;
        let ipv6_cidr = self.ipv6_cidr()?;
        if let Some(block) = &ipv6_cidr {
            ipv6_blocks::fits(block, &vpc.value, siblings.iter())?;
        }
        let subnet = Subnet {
            id: SubnetId::from_entropy(cx.entropy()),
            scope: cx.scope.clone(),
            vpc_id: vpc.value.id.clone(),
            cidr,
            ipv6_cidr,
            zone: self.zone(cx, &siblings)?,
            tags: tags::valid(&self.tag_specifications, "subnet"),
            created_at: cx.now,
            attributes: Default::default(),
            mirrored: false,
        };
        let mut counted = vpc.value.clone();
        counted.subnet_epoch = counted.subnet_epoch.saturating_add(1);
        let mut draft = Draft::default();
        draft.replace(&vpc, &counted);
        draft.create(Key::subnet(cx.scope, &subnet.id), &subnet);
        Ok(Decision::write(Answer { subnet: SubnetAnswer::of(&subnet, 0) }, draft))
    }
}

impl CreateSubnet {
    fn cidr(&self) -> Result<Ipv4Net, ApiError> {
        let text = self.cidr_block.as_deref().ok_or_else(|| ApiError::missing("CidrBlock"))?;
        match check::network("CidrBlock", text)? {
            IpNet::V4(net) if (16..=28).contains(&net.prefix_len()) => Ok(net),
            _ => Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{}' is invalid.", short(text)))),
        }
    }

    fn ipv6_cidr(&self) -> Result<Option<Ipv6Net>, ApiError> {
        self.ipv6_cidr_block.as_deref().map(ipv6_blocks::subnet_block).transpose()
    }

    /// The zone asked for, else the one with the fewest subnets of the VPC: two subnets made without a zone can both be
    /// target networks of one endpoint.
    fn zone(&self, cx: &Cx<'_>, siblings: &[Subnet]) -> Result<ZoneName, ApiError> {
        let zones = zones(cx.config, &cx.scope.region);
        let (parameter, asked) = match (&self.availability_zone, &self.availability_zone_id) {
            (Some(name), _) => ("availabilityZone", name),
            (None, Some(id)) => ("availabilityZoneId", id),
            (None, None) => {
                let used = |zone: &&ZoneName| siblings.iter().filter(|subnet| subnet.zone == **zone).count();
                return zones.iter().min_by_key(used).cloned().ok_or_else(ApiError::internal);
            }
        };
        let matches =
            |zone: &&ZoneName| zone.as_str() == asked || zone_id(&cx.scope.region, zone.as_str()) == *asked;
        zones.iter().find(matches).cloned().ok_or_else(|| {
            let names: Vec<&str> = zones.iter().map(ZoneName::as_str).collect();
            let list = names.join(", ");
            let expected =
                format!("Subnets can currently only be created in the following availability zones: {list}.");
            ApiError::value(parameter, asked, &expected)
        })
    }
}

fn fits(cidr: &Ipv4Net, vpc: &Vpc, siblings: &[Subnet]) -> Result<(), ApiError> {
    if !vpc.cidrs.iter().any(|block| block.contains(cidr)) {
        return Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{cidr}' is invalid.")));
    }
    if siblings.iter().any(|other| check::overlap(&IpNet::V4(other.cidr), &IpNet::V4(*cidr))) {
        let message = format!("The CIDR '{cidr}' conflicts with another subnet");
        return Err(ApiError::new("InvalidSubnet.Conflict", message));
    }
    Ok(())
}
