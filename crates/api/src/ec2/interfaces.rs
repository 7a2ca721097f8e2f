//! The network interfaces of target network associations. They are views of the associations: an interface is there as
//! long as its association is, and so keeps its subnet and its security groups from being deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::{Association, AssociationCode, SecurityGroupId, Subnet, SubnetId, UplinkSource};

use crate::cx::Cx;
use crate::error::ApiError;

/// Addresses at the start of a subnet that the VPC keeps.
const RESERVED_FIRST: u32 = 4;

/// An association's interface.
pub(crate) struct Interface {
    /// Whose it is.
    pub association: Association,
    /// The subnet it is in.
    pub subnet: Subnet,
    /// The address traffic leaves with, where the operator has given the subnet one. Else an address of the subnet that
    /// stands for the association in answers; traffic leaves with the gateway's own.
    pub address: Ipv4Addr,
    /// Groups of the endpoint, with their names.
    pub groups: Vec<(SecurityGroupId, String)>,
}

impl Interface {
    /// Its id.
    pub(crate) fn id(&self) -> String {
        format!("eni-{}", self.association.id.digits())
    }

    /// Its hardware address, locally administered.
    pub(crate) fn mac_address(&self) -> String {
        let digits = self.association.id.digits();
        let pair = |at: usize| digits.get(at..at + 2).unwrap_or("00");
        format!("02:{}:{}:{}:{}:{}", pair(0), pair(2), pair(4), pair(6), pair(8))
    }
}

/// All interfaces.
pub(crate) async fn all(cx: &Cx<'_>) -> Result<Vec<Interface>, ApiError> {
    let subnets: BTreeMap<SubnetId, Subnet> =
        cx.subnets().await?.into_iter().map(|record| (record.value.id.clone(), record.value)).collect();
    let groups: BTreeMap<SecurityGroupId, String> =
        cx.security_groups().await?.into_iter().map(|record| (record.value.id, record.value.name)).collect();
    let of_endpoints: BTreeMap<_, _> = cx
        .endpoints()
        .await?
        .into_iter()
        .map(|record| (record.value.id, record.value.spec.security_group_ids))
        .collect();
    let mut associations: Vec<Association> =
        cx.all_associations().await?.into_iter().map(|record| record.value).collect();
    associations.retain(|association| has_interface(association.status.code));
    // The oldest first, so that a newer one does not take an older one's address.
    associations.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let mut taken = BTreeSet::new();
    let mut found = Vec::new();
    for association in associations {
        let Some(subnet) = association.spec.subnet_id().and_then(|id| subnets.get(id)) else { continue };
        let address = match cx.config.uplinks.of(subnet).map(|uplink| uplink.source) {
            // Two endpoints in one subnet leave with the same one.
            Some(UplinkSource::Address(address)) => address,
            Some(UplinkSource::Interface | UplinkSource::Client) | None => {
                let address = free_address(&association, subnet, &taken);
                taken.insert((subnet.id.clone(), address));
                address
            }
        };
        let ids = of_endpoints.get(&association.endpoint).into_iter().flatten();
        let groups = ids.filter_map(|id| Some((id.clone(), groups.get(id)?.clone()))).collect();
        found.push(Interface { association, subnet: subnet.clone(), address, groups });
    }
    Ok(found)
}

/// How many interfaces are in a subnet.
pub(crate) fn count(associations: &[Association], subnet: &SubnetId) -> u32 {
    let here = |a: &&Association| a.spec.subnet_id() == Some(subnet) && has_interface(a.status.code);
    u32::try_from(associations.iter().filter(here).count()).unwrap_or(u32::MAX)
}

fn has_interface(code: AssociationCode) -> bool {
    match code {
        AssociationCode::Associating | AssociationCode::Associated | AssociationCode::Disassociating => true,
        AssociationCode::AssociationFailed | AssociationCode::Disassociated => false,
    }
}

/// Made from the association's id, so that it stays; the next free one if that is taken.
fn free_address(
    association: &Association,
    subnet: &Subnet,
    taken: &BTreeSet<(SubnetId, Ipv4Addr)>,
) -> Ipv4Addr {
    let first = u32::from(subnet.cidr.network()).saturating_add(RESERVED_FIRST);
    let size = u32::from(subnet.cidr.broadcast()).saturating_sub(first).max(1);
    let digits = association.id.digits();
    let tail = digits.get(digits.len().saturating_sub(7)..).unwrap_or_default();
    let start = u32::from_str_radix(tail, 16).unwrap_or_default();
    let nth = |step: u32| Ipv4Addr::from(first.saturating_add(start.wrapping_add(step) % size));
    (0..size).map(nth).find(|address| !taken.contains(&(subnet.id.clone(), *address))).unwrap_or(nth(0))
}
