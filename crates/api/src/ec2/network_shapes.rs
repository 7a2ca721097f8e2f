//! VPCs and subnets as answered, and their zones (spec: terraform-provider §3).

use aws_query::{FromQuery, ToXml};
use ipnet::Ipv4Net;
use model::{RegionName, Subnet, Vpc, ZoneName};

use crate::arn;
use crate::config::Config;
use crate::ec2::ipv6_blocks::{SubnetBlock, VpcBlock};
use crate::ec2::shapes::{TagAnswer, tag_set};

/// Addresses of a subnet that its VPC keeps: the first four and the last.
const RESERVED_ADDRESSES: u32 = 5;

#[derive(ToXml)]
pub(crate) struct VpcAnswer {
    owner_id: String,
    instance_tenancy: String,
    ipv6_cidr_block_association_set: Vec<VpcBlock>,
    cidr_block_association_set: Vec<CidrAssociation>,
    is_default: bool,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    vpc_id: String,
    state: &'static str,
    cidr_block: Option<String>,
    dhcp_options_id: &'static str,
}

/// Element of lists that are always empty.
#[derive(ToXml)]
pub(crate) struct Nothing {}

/// An attribute as the service takes it: a boolean in a structure.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct BoolValue {
    value: Option<bool>,
}

impl BoolValue {
    /// Puts the value in place, if one was given.
    pub(crate) fn set(given: &Option<Self>, place: &mut bool) {
        if let Some(value) = given.as_ref().and_then(|given| given.value) {
            *place = value;
        }
    }

    /// Whether it is set to true.
    pub(crate) fn is_true(&self) -> bool {
        self.value == Some(true)
    }
}

/// A block of a VPC.
#[derive(ToXml)]
pub(crate) struct CidrAssociation {
    association_id: String,
    cidr_block: String,
    cidr_block_state: CidrState,
}

#[derive(ToXml)]
struct CidrState {
    state: &'static str,
}

impl CidrAssociation {
    /// Made from the VPC and the block, so that it stays the same: the record keeps no id for a block.
    pub(crate) fn id(vpc: &Vpc, block: &Ipv4Net) -> String {
        const VPC_DIGITS: usize = 7;
        let digits = vpc.id.digits();
        let tail = digits.get(digits.len().saturating_sub(VPC_DIGITS)..).unwrap_or_default();
        let (network, length) = (u32::from(block.network()), block.prefix_len());
        format!("vpc-cidr-assoc-{network:08x}{length:02x}{tail}")
    }

    /// In some state.
    pub(crate) fn of(vpc: &Vpc, block: &Ipv4Net, state: &'static str) -> Self {
        Self {
            association_id: Self::id(vpc, block),
            cidr_block: block.to_string(),
            cidr_block_state: CidrState { state },
        }
    }
}

impl From<&Vpc> for VpcAnswer {
    fn from(vpc: &Vpc) -> Self {
        let association = |block: &Ipv4Net| CidrAssociation::of(vpc, block, "associated");
        Self {
            owner_id: vpc.scope.account.to_string(),
            instance_tenancy: vpc.instance_tenancy.clone(),
            ipv6_cidr_block_association_set: vpc
                .ipv6_cidrs
                .iter()
                .map(|block| VpcBlock::of(vpc, block, "associated"))
                .collect(),
            cidr_block_association_set: vpc.cidrs.iter().map(association).collect(),
            is_default: false,
            tags: tag_set(&vpc.tags),
            vpc_id: vpc.id.to_string(),
            state: "available",
            cidr_block: vpc.cidrs.first().map(ToString::to_string),
            dhcp_options_id: "default",
        }
    }
}

#[derive(ToXml)]
pub(crate) struct SubnetAnswer {
    availability_zone_id: String,
    map_customer_owned_ip_on_launch: bool,
    owner_id: String,
    assign_ipv6_address_on_creation: bool,
    ipv6_cidr_block_association_set: Vec<SubnetBlock>,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    subnet_arn: String,
    enable_dns64: bool,
    ipv6_native: bool,
    private_dns_name_options_on_launch: NameOptions,
    subnet_id: String,
    state: &'static str,
    vpc_id: String,
    cidr_block: String,
    available_ip_address_count: u32,
    availability_zone: String,
    default_for_az: bool,
    map_public_ip_on_launch: bool,
}

#[derive(ToXml)]
struct NameOptions {
    hostname_type: &'static str,
    #[xml(name = "enableResourceNameDnsARecord", model = "EnableResourceNameDnsARecord")]
    a: bool,
    #[xml(name = "enableResourceNameDnsAAAARecord", model = "EnableResourceNameDnsAAAARecord")]
    aaaa: bool,
}

impl SubnetAnswer {
    /// A subnet with so many interfaces in it.
    pub(crate) fn of(subnet: &Subnet, interfaces: u32) -> Self {
        let is = &subnet.attributes;
        Self {
            map_customer_owned_ip_on_launch: false,
            private_dns_name_options_on_launch: NameOptions {
                hostname_type: if is.resource_names { "resource-name" } else { "ip-name" },
                a: is.resource_name_a,
                aaaa: is.resource_name_aaaa,
            },
            availability_zone_id: zone_id(&subnet.scope.region, subnet.zone.as_str()),
            owner_id: subnet.scope.account.to_string(),
            assign_ipv6_address_on_creation: is.assign_ipv6,
            ipv6_cidr_block_association_set: subnet
                .ipv6_cidr
                .iter()
                .map(|block| SubnetBlock::of(subnet, block, "associated"))
                .collect(),
            tags: tag_set(&subnet.tags),
            subnet_arn: arn::ec2(&subnet.scope, "subnet", subnet.id.as_str()),
            enable_dns64: false,
            ipv6_native: false,
            subnet_id: subnet.id.to_string(),
            state: "available",
            vpc_id: subnet.vpc_id.to_string(),
            cidr_block: subnet.cidr.to_string(),
            available_ip_address_count: addresses(subnet).saturating_sub(interfaces),
            availability_zone: subnet.zone.to_string(),
            default_for_az: false,
            map_public_ip_on_launch: is.map_public_ip,
        }
    }
}

/// Addresses of an empty subnet.
fn addresses(subnet: &Subnet) -> u32 {
    let bits = 32_u32.saturating_sub(u32::from(subnet.cidr.prefix_len()));
    1_u32.checked_shl(bits).unwrap_or(u32::MAX).saturating_sub(RESERVED_ADDRESSES)
}

/// The zones of a region.
pub(crate) fn zones(config: &Config, region: &RegionName) -> Vec<ZoneName> {
    config.zone_letters.iter().filter_map(|letter| format!("{region}{letter}").parse().ok()).collect()
}

/// A zone's id: `use1-az1` for `us-east-1a`. Directions shorten as AWS does it.
pub(crate) fn zone_id(region: &RegionName, zone: &str) -> String {
    let letter = zone.bytes().next_back().unwrap_or(b'a');
    let number = letter.saturating_sub(b'a').saturating_add(1);
    let short: String = region.as_str().split('-').map(shorten).collect();
    format!("{short}-az{number}")
}

fn shorten(word: &str) -> &str {
    const DIRECTIONS: [(&str, &str); 9] = [
        ("north", "n"),
        ("south", "s"),
        ("east", "e"),
        ("west", "w"),
        ("central", "c"),
        ("northeast", "ne"),
        ("northwest", "nw"),
        ("southeast", "se"),
        ("southwest", "sw"),
    ];
    match DIRECTIONS.iter().find(|(long, _)| *long == word) {
        Some((_, short)) => short,
        None if word == "gov" => "g",
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_awss() {
        let rows = [
            ("us-east-1", "us-east-1a", "use1-az1"),
            ("ap-southeast-2", "ap-southeast-2c", "apse2-az3"),
            ("eu-central-1", "eu-central-1b", "euc1-az2"),
            ("us-gov-west-1", "us-gov-west-1a", "usgw1-az1"),
        ];
        for (region, zone, expected) in rows {
            assert_eq!(zone_id(&region.parse().unwrap(), zone), expected);
        }
    }
}
