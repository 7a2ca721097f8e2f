//! Copies of single things: asked for by id, written as a record of the same kind. A record that was made here is left
//! alone, and one that says the same already is not written.

use std::collections::BTreeMap;

use model::{
    Certificate, Key, Scope, SecurityGroup, SecurityGroupId, Subnet, SubnetAttributes, SubnetId, Vpc, VpcId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::typed::{self, Record};
use store::{Check, Op, Outcome as Written, StoreError, Transaction};

use super::ask::{Fault, Pairs, filter};
use super::judge::{Said, said};
use super::prefix_lists::{self, Lists};
use super::remembered::Outcome;
use super::rows::{self, GroupRow, MAX_RULES, SubnetRow, VpcRow};
use super::{Neighbour, Networks};
use crate::error::ApiError;

/// How often a write is tried that met somebody else's.
const MAX_ATTEMPTS: usize = 8;
/// The codes that say for certain that a thing is not there.
pub(super) const NO_VPC: [&str; 1] = ["InvalidVpcID.NotFound"];
pub(super) const NO_SUBNET: [&str; 1] = ["InvalidSubnetID.NotFound"];
pub(super) const NO_GROUP: [&str; 2] = ["InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"];

/// A kind of record that may be a copy.
pub(super) trait Copied: Serialize + DeserializeOwned + PartialEq + Send + Sync {
    /// Whether it is one.
    fn is_copy(&self) -> bool;
}

macro_rules! copied {
    ($($record:ty),*) => {
        $(impl Copied for $record {
            fn is_copy(&self) -> bool {
                self.mirrored
            }
        })*
    };
}

copied!(Vpc, Subnet, SecurityGroup, Certificate);

impl Networks {
    /// Asks for one thing and writes what the upstream says of it.
    pub(super) async fn copy(&self, scope: &Scope, of: &Neighbour) -> Result<Outcome, ApiError> {
        let said = match of {
            Neighbour::Vpc(id) => match self.ask_vpc(scope, id).await {
                Said::Is(row) => self.put_vpc(scope, &row).await?,
                Said::Gone => Said::Gone,
                Said::Nothing(why) => Said::Nothing(why),
            },
            Neighbour::Subnet(id) => match self.ask_subnet(scope, id).await {
                Said::Is(row) => Said::Is(self.put_subnet(scope, &row).await?),
                Said::Gone => Said::Gone,
                Said::Nothing(why) => Said::Nothing(why),
            },
            Neighbour::Group(id) => match self.ask_group(scope, id).await {
                Said::Is(row) => Said::Is(self.put_group_alone(scope, &row).await?),
                Said::Gone => Said::Gone,
                Said::Nothing(why) => Said::Nothing(why),
            },
            Neighbour::Certificate(arn) => self.copy_certificate(scope, arn, false).await?,
            Neighbour::ServerCertificate(arn) => self.copy_certificate(scope, arn, true).await?,
        };
        Ok(match said {
            Said::Is(()) => Outcome::Known,
            Said::Gone => Outcome::Gone,
            Said::Nothing(fault) => Outcome::Unsaid(fault),
        })
    }

    pub(super) async fn ask_vpc(&self, scope: &Scope, id: &VpcId) -> Said<VpcRow> {
        let pairs = one("VpcId.1", id.as_str());
        let found = self.list(scope.region.as_str(), "DescribeVpcs", &pairs, "vpcSet", rows::vpc).await;
        said(found.map(|rows| rows.into_iter().find(|row| row.id == *id)), &NO_VPC, id.as_str())
    }

    pub(super) async fn ask_subnet(&self, scope: &Scope, id: &SubnetId) -> Said<SubnetRow> {
        let pairs = one("SubnetId.1", id.as_str());
        let found =
            self.list(scope.region.as_str(), "DescribeSubnets", &pairs, "subnetSet", rows::subnet).await;
        said(found.map(|rows| rows.into_iter().find(|row| row.id == *id)), &NO_SUBNET, id.as_str())
    }

    pub(super) async fn ask_group(&self, scope: &Scope, id: &SecurityGroupId) -> Said<GroupRow> {
        let pairs = one("GroupId.1", id.as_str());
        let list = "securityGroupInfo";
        let found =
            self.list(scope.region.as_str(), "DescribeSecurityGroups", &pairs, list, rows::group).await;
        said(found.map(|rows| rows.into_iter().find(|row| row.id == *id)), &NO_GROUP, id.as_str())
    }

    /// Writes a VPC. A new one needs its default group, which is asked for and written too.
    pub(super) async fn put_vpc(&self, scope: &Scope, row: &VpcRow) -> Result<Said<()>, StoreError> {
        let key = Key::vpc(scope, &row.id);
        let known = typed::get::<Vpc>(self.store.as_ref(), key.as_str()).await?;
        let default_group = match known {
            Some(known) => known.value.default_security_group,
            None => match self.ask_default_group(scope, &row.id).await {
                Ok(group) => {
                    self.put_group_alone(scope, &group).await?;
                    group.id
                }
                Err(why) => return Ok(Said::Nothing(why)),
            },
        };
        self.put(key, |old: Option<&Vpc>| Vpc {
            id: row.id.clone(),
            scope: scope.clone(),
            cidrs: row.cidrs.clone(),
            ipv6_cidrs: row.ipv6_cidrs.clone(),
            ipv6_pools: BTreeMap::new(),
            instance_tenancy: row.tenancy.clone(),
            default_security_group: default_group.clone(),
            tags: row.tags.clone(),
            subnet_epoch: old.map_or(0, |old| old.subnet_epoch),
            created_at: old.map_or_else(crate::clock::wall, |old| old.created_at),
            attributes: old.map(|old| old.attributes.clone()).unwrap_or_default(),
            mirrored: true,
        })
        .await?;
        Ok(Said::Is(()))
    }

    async fn ask_default_group(&self, scope: &Scope, vpc: &VpcId) -> Result<GroupRow, Fault> {
        let mut pairs = filter("vpc-id", [vpc.as_str()], 1);
        pairs.extend(filter("group-name", ["default"], 2));
        let list = "securityGroupInfo";
        let found =
            self.list(scope.region.as_str(), "DescribeSecurityGroups", &pairs, list, rows::group).await;
        let own = found?.into_iter().find(|row| row.vpc_id == *vpc && row.name == "default");
        own.ok_or_else(|| Fault::Unclear(format!("the upstream server tells of no default group of {vpc}")))
    }

    pub(super) async fn put_subnet(&self, scope: &Scope, row: &SubnetRow) -> Result<(), StoreError> {
        self.put(Key::subnet(scope, &row.id), |old: Option<&Subnet>| Subnet {
            id: row.id.clone(),
            scope: scope.clone(),
            vpc_id: row.vpc_id.clone(),
            cidr: row.cidr,
            ipv6_cidr: row.ipv6_cidr,
            zone: row.zone.clone(),
            tags: row.tags.clone(),
            created_at: old.map_or_else(crate::clock::wall, |old| old.created_at),
            attributes: SubnetAttributes { map_public_ip: row.public_addresses, ..Default::default() },
            mirrored: true,
        })
        .await
    }

    /// Writes a group, after the prefix lists that it speaks of were asked for.
    pub(super) async fn put_group_alone(&self, scope: &Scope, row: &GroupRow) -> Result<(), StoreError> {
        let (lists, failures) = self.lists_of(scope, std::iter::once(row)).await?;
        if !failures.is_empty() {
            let why = failures.join("; ");
            tracing::warn!(group = %row.id, why, "a security group's prefix lists cannot be read in full");
        }
        self.put_group(scope, row, &lists).await
    }

    /// Writes a group; its rules about prefix lists as the lists are.
    pub(super) async fn put_group(
        &self,
        scope: &Scope,
        row: &GroupRow,
        lists: &Lists,
    ) -> Result<(), StoreError> {
        let mut egress = prefix_lists::egress(row, lists);
        egress.truncate(MAX_RULES);
        let own = lists.iter().filter(|(id, _)| row.egress_to_lists.iter().any(|rule| rule.list == **id));
        let own: Lists = own.map(|(id, list)| (id.clone(), list.clone())).collect();
        self.put(Key::security_group(scope, &row.id), |_: Option<&SecurityGroup>| SecurityGroup {
            id: row.id.clone(),
            scope: scope.clone(),
            vpc_id: row.vpc_id.clone(),
            name: row.name.clone(),
            description: row.description.clone(),
            ingress: row.ingress.clone(),
            egress: egress.clone(),
            tags: row.tags.clone(),
            prefix_lists: own.clone(),
            mirrored: true,
        })
        .await
    }

    /// Writes a copy, unless what stands there was made here or says the same.
    pub(super) async fn put<T: Copied>(
        &self,
        key: Key,
        make: impl Fn(Option<&T>) -> T + Send + Sync,
    ) -> Result<(), StoreError> {
        let key: String = key.into();
        for _ in 0..MAX_ATTEMPTS {
            let old: Option<Record<T>> = typed::get(self.store.as_ref(), &key).await?;
            let made = make(old.as_ref().map(|old| &old.value));
            if old.as_ref().is_some_and(|old| !old.value.is_copy() || old.value == made) {
                return Ok(());
            }
            let check = match &old {
                Some(old) => Check::Modified(key.clone(), old.modified),
                None => Check::Absent(key.clone()),
            };
            let ops = vec![typed::put(key.clone(), &made)];
            if self.write(vec![check], ops).await? {
                return Ok(());
            }
        }
        // Whoever writes so much has read it meanwhile; the next refresh comes.
        Ok(())
    }

    /// Deletes a copy that is as it was read; whoever is about to refer to it has rewritten it.
    pub(super) async fn drop_copy<T: Copied>(&self, record: &Record<T>) -> Result<(), StoreError> {
        let check = Check::Modified(record.key.clone(), record.modified);
        self.write(vec![check], vec![Op::Delete(record.key.clone())]).await.map(drop)
    }

    async fn write(&self, checks: Vec<Check>, ops: Vec<Op>) -> Result<bool, StoreError> {
        let written = self.store.transact(Transaction { checks, ops, soft: false }).await?;
        Ok(matches!(written, Written::Committed(_)))
    }
}

fn one(name: &str, value: &str) -> Pairs {
    vec![(name.to_owned(), value.to_owned())]
}
