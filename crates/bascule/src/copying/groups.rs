//! Security groups with their rules, as an import makes them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::cloud::{Pairs, pair};
use super::landscape::{Group, GroupRule, Landscape, Peer, Says};
use super::near::{Near, marked, tagged};
use super::read;

/// Makes the groups of the VPCs that were copied; `fresh`: theirs of the VPCs that were made just now.
pub(super) fn make(near: &mut Near, far: &Landscape, fresh: &BTreeSet<String>) -> Result<()> {
    let mut exact = BTreeSet::new();
    for (id, group) in &far.groups {
        let Some(vpc) = near.id(&group.vpc).cloned() else { continue };
        if group.is_default() {
            let ours = default_of(near, &vpc)?;
            near.note(id, &ours);
            if fresh.contains(&group.vpc) {
                exact.insert(id.clone());
                tag(near, &ours, group)?;
            }
        } else if let Some(ours) = near.id(id).cloned() {
            near.kept("security group", id, &ours);
        } else {
            let mut pairs = vec![
                pair("GroupName", &group.name),
                pair("GroupDescription", &group.description),
                pair("VpcId", vpc),
            ];
            pairs.extend(marked("security-group", id, &group.tags));
            near.make("security group", id, "CreateSecurityGroup", &pairs, "groupId")?;
            exact.insert(id.clone());
        }
    }
    // Once all are there: rules speak of others.
    for (id, group) in &far.groups {
        if let Some(ours) = near.id(id).cloned() {
            rules(near, &ours, group, exact.contains(id))?;
        }
    }
    Ok(())
}

/// The default group of a VPC comes with it.
fn default_of(near: &Near, vpc: &str) -> Result<String> {
    let pairs = [
        pair("Filter.1.Name", "vpc-id"),
        pair("Filter.1.Value.1", vpc),
        pair("Filter.2.Name", "group-name"),
        pair("Filter.2.Value.1", "default"),
    ];
    let rows = near.cloud.list("DescribeSecurityGroups", &pairs, "securityGroupInfo")?;
    rows.first().context("a VPC without its default group")?.text("groupId")
}

fn tag(near: &mut Near, ours: &str, group: &Group) -> Result<()> {
    if group.tags.is_empty() {
        return Ok(());
    }
    let mut pairs = vec![pair("ResourceId.1", ours)];
    for (n, (key, value)) in group.tags.iter().enumerate() {
        pairs.push(pair(format!("Tag.{}.Key", n + 1), key));
        pairs.push(pair(format!("Tag.{}.Value", n + 1), value));
    }
    near.add(&format!("tags of {ours}"), "CreateTags", &pairs)?;
    Ok(())
}

/// Adds the rules that lack. Of a group made just now, those go that came with it and are not theirs.
fn rules(near: &mut Near, ours: &str, group: &Group, exact: bool) -> Result<()> {
    let present = read::rules_of(&near.cloud, &BTreeSet::from([ours.to_owned()]))?;
    let present = present.get(ours).cloned().unwrap_or_default();
    let mut wanted = Vec::new();
    for rule in &group.rules {
        match translated(near, &rule.says) {
            Some(says) => wanted.push((says, rule)),
            None => near.leave(format!(
                "a rule of {ours} speaks of {:?}, which is not copied: add it by hand",
                rule.says.peer
            )),
        }
    }
    for rule in present.iter().filter(|_| exact) {
        if wanted.iter().all(|(says, _)| *says != rule.says) {
            let action =
                if rule.says.egress { "RevokeSecurityGroupEgress" } else { "RevokeSecurityGroupIngress" };
            let pairs = [pair("GroupId", ours), pair("SecurityGroupRuleId.1", &rule.id)];
            near.cloud.ec2(action, &pairs).context(action)?;
        }
    }
    for (says, rule) in wanted {
        if present.iter().all(|there| there.says != says) {
            let action =
                if says.egress { "AuthorizeSecurityGroupEgress" } else { "AuthorizeSecurityGroupIngress" };
            near.add(&format!("rule of {ours} for {:?}", says.peer), action, &parameters(ours, &says, rule))?;
        }
    }
    Ok(())
}

/// The same with our groups; `None` if we do not have them.
fn translated(near: &Near, says: &Says) -> Option<Says> {
    let peer = match &says.peer {
        Peer::Group(theirs) => Peer::Group(near.id(theirs)?.clone()),
        Peer::PrefixList(_) => return None,
        peer => peer.clone(),
    };
    Some(Says { peer, ..says.clone() })
}

fn parameters(ours: &str, says: &Says, rule: &GroupRule) -> Pairs {
    let mut pairs = vec![pair("GroupId", ours), pair("IpPermissions.1.IpProtocol", &says.protocol)];
    if says.protocol != "-1" {
        pairs.push(pair("IpPermissions.1.FromPort", &says.from));
        pairs.push(pair("IpPermissions.1.ToPort", &says.to));
    }
    let (list, name, value) = match &says.peer {
        Peer::V4(cidr) => ("IpRanges", "CidrIp", cidr),
        Peer::V6(cidr) => ("Ipv6Ranges", "CidrIpv6", cidr),
        Peer::Group(id) => ("Groups", "GroupId", id),
        Peer::PrefixList(id) => ("PrefixListIds", "PrefixListId", id),
    };
    pairs.push(pair(format!("IpPermissions.1.{list}.1.{name}"), value));
    if let Some(description) = &says.description {
        pairs.push(pair(format!("IpPermissions.1.{list}.1.Description"), description));
    }
    pairs.extend(tagged("security-group-rule", &rule.tags));
    pairs
}
