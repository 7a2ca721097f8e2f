//! The networks a Client VPN refers to: VPCs, subnets, security groups.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::{Scope, SecurityGroupId, SubnetId, Timestamp, VpcId, ZoneName};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Whose it is.
    pub scope: Scope,
    /// Its CIDR blocks, the primary first.
    pub cidrs: Vec<Ipv4Net>,
    /// `default` or `dedicated`.
    pub instance_tenancy: String,
    /// Its default security group.
    pub default_security_group: SecurityGroupId,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Counts the changes of its set of subnets, so that two overlapping ones cannot be made at once.
    pub subnet_epoch: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Whose it is.
    pub scope: Scope,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Its block.
    pub cidr: Ipv4Net,
    /// Its zone.
    pub zone: ZoneName,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// `-1` for all protocols, else the protocol's number or AWS's name for it.
    pub protocol: String,
    /// First port, or ICMP type.
    pub from_port: Option<i32>,
    /// Last port, or ICMP code.
    pub to_port: Option<i32>,
    /// The far side; `None`: the group itself.
    pub cidr: Option<IpNet>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Whose it is.
    pub scope: Scope,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What may come in.
    pub ingress: Vec<SecurityRule>,
    /// What may go out.
    pub egress: Vec<SecurityRule>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}
