//! Quotas (spec: aws-client-vpn §6). Each is a setting; these are AWS's defaults.

use serde::{Deserialize, Serialize};

/// How much of each thing an account may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Client VPN endpoints per region.
    pub endpoints_per_region: usize,
    /// Authorization rules per endpoint.
    pub rules_per_endpoint: usize,
    /// Routes per target network association.
    pub routes_per_association: usize,
    /// Entries of a client certificate revocation list.
    pub revocation_list_entries: usize,
    /// VPCs per region.
    pub vpcs_per_region: usize,
    /// Subnets per VPC.
    pub subnets_per_vpc: usize,
    /// IPv4 blocks per VPC.
    pub blocks_per_vpc: usize,
    /// Security groups per region.
    pub security_groups_per_region: usize,
    /// Rules per security group and direction.
    pub rules_per_security_group: usize,
    /// Transit gateways per region.
    pub transit_gateways_per_region: usize,
    /// Connections ended by one call with a user name.
    pub terminate_by_username: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            endpoints_per_region: 5,
            rules_per_endpoint: 200,
            routes_per_association: 100,
            revocation_list_entries: 20_000,
            vpcs_per_region: 5,
            subnets_per_vpc: 200,
            blocks_per_vpc: 5,
            security_groups_per_region: 2500,
            rules_per_security_group: 60,
            transit_gateways_per_region: 5,
            terminate_by_username: 5,
        }
    }
}
