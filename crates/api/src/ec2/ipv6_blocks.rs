//! IPv6 blocks of VPCs and subnets: as asked for, as kept, as answered (spec: terraform-provider §3).

use std::net::Ipv6Addr;

use aws_query::ToXml;
use ipnet::{IpNet, Ipv6Net};
use model::{Subnet, Vpc};
use sha2::{Digest, Sha256};

use crate::check;
use crate::cx::Cx;
use crate::error::{ApiError, short};

/// Prefix length of a block that the service provides.
const PROVIDED_PREFIX: u8 = 56;
/// What it says of their origin.
const AMAZON: &str = "Amazon";
/// What it says of that of a block which was named without a pool. AWS asks for one.
const OWN: &str = "own";
/// Longest name of a pool.
const MAX_POOL_BYTES: usize = 255;

/// A block of a VPC.
#[derive(ToXml)]
pub(crate) struct VpcBlock {
    association_id: String,
    ipv6_cidr_block: String,
    ipv6_cidr_block_state: State,
    network_border_group: String,
    ipv6_pool: String,
}

/// A block of a subnet.
#[derive(ToXml)]
pub(crate) struct SubnetBlock {
    association_id: String,
    ipv6_cidr_block: String,
    ipv6_cidr_block_state: State,
}

#[derive(ToXml)]
struct State {
    state: &'static str,
}

impl VpcBlock {
    /// Made from the VPC and the block, so that it stays the same: the record keeps no id for a block.
    pub(crate) fn id(vpc: &Vpc, block: &Ipv6Net) -> String {
        format!("vpc-cidr-assoc-{}", digits(vpc.id.as_str(), block))
    }

    /// In some state.
    pub(crate) fn of(vpc: &Vpc, block: &Ipv6Net, state: &'static str) -> Self {
        Self {
            association_id: Self::id(vpc, block),
            ipv6_cidr_block: block.to_string(),
            ipv6_cidr_block_state: State { state },
            network_border_group: vpc.scope.region.to_string(),
            ipv6_pool: vpc.ipv6_pools.get(block).map_or(AMAZON, String::as_str).to_owned(),
        }
    }
}

impl SubnetBlock {
    /// As that of a VPC's block.
    pub(crate) fn id(subnet: &Subnet, block: &Ipv6Net) -> String {
        format!("subnet-cidr-assoc-{}", digits(subnet.id.as_str(), block))
    }

    /// In some state.
    pub(crate) fn of(subnet: &Subnet, block: &Ipv6Net, state: &'static str) -> Self {
        Self {
            association_id: Self::id(subnet, block),
            ipv6_cidr_block: block.to_string(),
            ipv6_cidr_block_state: State { state },
        }
    }
}

fn digits(id: &str, block: &Ipv6Net) -> String {
    const DIGITS: usize = 17;
    let hash = Sha256::digest(format!("{id} {block}"));
    let mut text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(DIGITS);
    text
}

/// A block for a VPC, as it may be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Any block.
    pub(crate) provided: Option<bool>,
    /// This block.
    pub(crate) block: Option<&'a str>,
    /// Of a pool, which is kept and answered: the operator's networks are the only ones there are.
    pub(crate) pool: Option<&'a str>,
    /// Of a pool of the address manager, of which there is none.
    pub(crate) ipam_pool: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether any is.
    pub(crate) fn any(&self) -> bool {
        self.provided == Some(true) || self.block.is_some() || self.ipam_pool.is_some()
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// Two kinds of block, or one that cannot be.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        match (self.provided == Some(true), self.block) {
            (true, Some(_)) => Err(ApiError::combination(
                "AmazonProvidedIpv6CidrBlock and Ipv6CidrBlock cannot be specified together",
            )),
            (_, Some(_)) if self.named_pool().len() > MAX_POOL_BYTES => {
                Err(ApiError::invalid(format!("The name of a pool has at most {MAX_POOL_BYTES} bytes")))
            }
            (_, Some(text)) => vpc_block(text).map(drop),
            (false, None) if self.ipam_pool.is_some() => {
                // There is no address manager to choose one.
                Err(ApiError::missing("Ipv6CidrBlock"))
            }
            (_, None) => Ok(()),
        }
    }

    fn named_pool(&self) -> &str {
        self.pool.or(self.ipam_pool).unwrap_or(OWN)
    }

    /// The block, with its pool if it was named; `None`: none is asked for.
    pub(crate) fn take(&self, cx: &Cx<'_>) -> Result<Option<(Ipv6Net, Option<String>)>, ApiError> {
        match self.block {
            Some(text) => Ok(Some((vpc_block(text)?, Some(self.named_pool().to_owned())))),
            None => Ok((self.provided == Some(true)).then(|| (provided(cx.entropy()), None))),
        }
    }
}

/// A block of nobody else: unique local addresses (RFC 4193), where AWS has global ones to give.
fn provided(entropy: u128) -> Ipv6Net {
    let random = (entropy & ((1 << 48) - 1)) << 72;
    Ipv6Net::new(Ipv6Addr::from((0xfd << 120) | random), PROVIDED_PREFIX).unwrap_or_default()
}

/// AWS takes /44 to /60; the operator's own network may be a single /64.
fn vpc_block(text: &str) -> Result<Ipv6Net, ApiError> {
    sized("Ipv6CidrBlock", "InvalidVpc.Range", text)
}

/// A subnet's block by its form.
pub(crate) fn subnet_block(text: &str) -> Result<Ipv6Net, ApiError> {
    sized("Ipv6CidrBlock", "InvalidSubnet.Range", text)
}

fn sized(parameter: &str, code: &'static str, text: &str) -> Result<Ipv6Net, ApiError> {
    match check::network(parameter, text)? {
        IpNet::V6(net) if (44..=64).contains(&net.prefix_len()) && net.prefix_len() % 4 == 0 => Ok(net),
        _ => Err(ApiError::new(code, format!("The CIDR '{}' is invalid.", short(text)))),
    }
}

/// Whether a subnet may have a block beside its siblings.
pub(crate) fn fits<'s>(
    block: &Ipv6Net,
    vpc: &Vpc,
    mut siblings: impl Iterator<Item = &'s Subnet>,
) -> Result<(), ApiError> {
    if !vpc.ipv6_cidrs.iter().any(|whole| whole.contains(block)) {
        return Err(ApiError::new("InvalidSubnet.Range", format!("The CIDR '{block}' is invalid.")));
    }
    let shares = |other: &Subnet| {
        other.ipv6_cidr.is_some_and(|other| check::overlap(&IpNet::V6(other), &IpNet::V6(*block)))
    };
    if siblings.any(shares) {
        let message = format!("The CIDR '{block}' conflicts with another subnet");
        return Err(ApiError::new("InvalidSubnet.Conflict", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_sizes() {
        for (text, good) in [
            ("2001:db8::/44", true),
            ("2001:db8::/56", true),
            ("2001:db8::/64", true),
            ("2001:db8::/40", false),
            ("2001:db8::/58", false),
            ("2001:db8::/68", false),
            ("2001:db8::1/64", false),
            ("10.0.0.0/16", false),
        ] {
            assert_eq!(vpc_block(text).is_ok(), good, "{text}");
            assert_eq!(subnet_block(text).is_ok(), good, "{text}");
        }
        assert_eq!(provided(u128::MAX).to_string(), "fdff:ffff:ffff:ff00::/56");
        assert_eq!(provided(0x0011_2233_4455_6677).to_string(), "fd22:3344:5566:7700::/56");
    }
}
