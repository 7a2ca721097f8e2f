//! Ids of what every VPC and subnet has and nobody can change: made from the id of the VPC or subnet, so that no record
//! is needed and they stay the same.

use model::{SubnetId, VpcId};

/// The default network ACL of a VPC.
pub(crate) fn network_acl(vpc: &VpcId) -> String {
    format!("acl-{}", vpc.digits())
}

/// The tie between a subnet and its VPC's network ACL.
pub(crate) fn network_acl_association(subnet: &SubnetId) -> String {
    format!("aclassoc-{}", subnet.digits())
}

/// The main route table of a VPC.
pub(crate) fn route_table(vpc: &VpcId) -> String {
    format!("rtb-{}", vpc.digits())
}

/// The tie between a VPC and its main route table.
pub(crate) fn route_table_association(vpc: &VpcId) -> String {
    format!("rtbassoc-{}", vpc.digits())
}
