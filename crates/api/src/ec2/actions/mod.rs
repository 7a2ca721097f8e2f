//! The actions of EC2, one file each. Registering one is one line here.

mod accept_transit_gateway_client_vpn_attachment;
mod apply_security_groups_to_client_vpn_target_network;
mod associate_client_vpn_target_network;
mod associate_subnet_cidr_block;
mod associate_vpc_cidr_block;
mod authorize_client_vpn_ingress;
mod authorize_security_group_egress;
mod authorize_security_group_ingress;
mod create_client_vpn_endpoint;
mod create_client_vpn_route;
mod create_security_group;
mod create_subnet;
mod create_tags;
mod create_transit_gateway;
mod create_vpc;
mod delete_client_vpn_endpoint;
mod delete_client_vpn_endpoint_authorization_policy;
mod delete_client_vpn_route;
mod delete_security_group;
mod delete_subnet;
mod delete_tags;
mod delete_transit_gateway;
mod delete_transit_gateway_client_vpn_attachment;
mod delete_vpc;
mod describe_account_attributes;
mod describe_availability_zones;
mod describe_client_vpn_authorization_rules;
mod describe_client_vpn_connections;
mod describe_client_vpn_endpoints;
mod describe_client_vpn_routes;
mod describe_client_vpn_target_networks;
mod describe_network_acls;
mod describe_network_interfaces;
mod describe_route_tables;
mod describe_security_group_rules;
mod describe_security_groups;
mod describe_subnets;
mod describe_tags;
mod describe_transit_gateway_attachments;
mod describe_transit_gateways;
mod describe_vpc_attribute;
mod describe_vpcs;
mod disassociate_client_vpn_target_network;
mod disassociate_subnet_cidr_block;
mod disassociate_vpc_cidr_block;
mod export_client_vpn_client_certificate_revocation_list;
mod export_client_vpn_client_configuration;
mod get_client_vpn_endpoint_authorization_policy;
mod import_client_vpn_client_certificate_revocation_list;
mod modify_client_vpn_endpoint;
mod modify_client_vpn_endpoint_authorization_policy;
mod modify_security_group_rules;
mod modify_subnet_attribute;
mod modify_transit_gateway;
mod modify_vpc_attribute;
mod reject_transit_gateway_client_vpn_attachment;
mod revoke_client_vpn_ingress;
mod revoke_security_group_egress;
mod revoke_security_group_ingress;
mod terminate_client_vpn_connections;
mod update_security_group_rule_descriptions_egress;
mod update_security_group_rule_descriptions_ingress;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<accept_transit_gateway_client_vpn_attachment::AcceptTransitGatewayClientVpnAttachment>(),
    action::<apply_security_groups_to_client_vpn_target_network::ApplySecurityGroupsToClientVpnTargetNetwork>(
    ),
    action::<associate_client_vpn_target_network::AssociateClientVpnTargetNetwork>(),
    action::<associate_subnet_cidr_block::AssociateSubnetCidrBlock>(),
    action::<associate_vpc_cidr_block::AssociateVpcCidrBlock>(),
    action::<authorize_client_vpn_ingress::AuthorizeClientVpnIngress>(),
    action::<authorize_security_group_egress::AuthorizeSecurityGroupEgress>(),
    action::<authorize_security_group_ingress::AuthorizeSecurityGroupIngress>(),
    action::<create_client_vpn_endpoint::CreateClientVpnEndpoint>(),
    action::<create_client_vpn_route::CreateClientVpnRoute>(),
    action::<create_security_group::CreateSecurityGroup>(),
    action::<create_subnet::CreateSubnet>(),
    action::<create_tags::CreateTags>(),
    action::<create_transit_gateway::CreateTransitGateway>(),
    action::<create_vpc::CreateVpc>(),
    action::<delete_client_vpn_endpoint::DeleteClientVpnEndpoint>(),
    action::<delete_client_vpn_endpoint_authorization_policy::DeleteClientVpnEndpointAuthorizationPolicy>(),
    action::<delete_client_vpn_route::DeleteClientVpnRoute>(),
    action::<delete_security_group::DeleteSecurityGroup>(),
    action::<delete_subnet::DeleteSubnet>(),
    action::<delete_tags::DeleteTags>(),
    action::<delete_transit_gateway::DeleteTransitGateway>(),
    action::<delete_transit_gateway_client_vpn_attachment::DeleteTransitGatewayClientVpnAttachment>(),
    action::<delete_vpc::DeleteVpc>(),
    action::<describe_account_attributes::DescribeAccountAttributes>(),
    action::<describe_availability_zones::DescribeAvailabilityZones>(),
    action::<describe_client_vpn_authorization_rules::DescribeClientVpnAuthorizationRules>(),
    action::<describe_client_vpn_connections::DescribeClientVpnConnections>(),
    action::<describe_client_vpn_endpoints::DescribeClientVpnEndpoints>(),
    action::<describe_client_vpn_routes::DescribeClientVpnRoutes>(),
    action::<describe_client_vpn_target_networks::DescribeClientVpnTargetNetworks>(),
    action::<describe_network_acls::DescribeNetworkAcls>(),
    action::<describe_network_interfaces::DescribeNetworkInterfaces>(),
    action::<describe_route_tables::DescribeRouteTables>(),
    action::<describe_security_group_rules::DescribeSecurityGroupRules>(),
    action::<describe_security_groups::DescribeSecurityGroups>(),
    action::<describe_subnets::DescribeSubnets>(),
    action::<describe_tags::DescribeTags>(),
    action::<describe_transit_gateway_attachments::DescribeTransitGatewayAttachments>(),
    action::<describe_transit_gateways::DescribeTransitGateways>(),
    action::<describe_vpc_attribute::DescribeVpcAttribute>(),
    action::<describe_vpcs::DescribeVpcs>(),
    action::<disassociate_client_vpn_target_network::DisassociateClientVpnTargetNetwork>(),
    action::<disassociate_subnet_cidr_block::DisassociateSubnetCidrBlock>(),
    action::<disassociate_vpc_cidr_block::DisassociateVpcCidrBlock>(),
    action::<
        export_client_vpn_client_certificate_revocation_list::ExportClientVpnClientCertificateRevocationList,
    >(),
    action::<export_client_vpn_client_configuration::ExportClientVpnClientConfiguration>(),
    action::<get_client_vpn_endpoint_authorization_policy::GetClientVpnEndpointAuthorizationPolicy>(),
    action::<
        import_client_vpn_client_certificate_revocation_list::ImportClientVpnClientCertificateRevocationList,
    >(),
    action::<modify_client_vpn_endpoint::ModifyClientVpnEndpoint>(),
    action::<modify_client_vpn_endpoint_authorization_policy::ModifyClientVpnEndpointAuthorizationPolicy>(),
    action::<modify_security_group_rules::ModifySecurityGroupRules>(),
    action::<modify_subnet_attribute::ModifySubnetAttribute>(),
    action::<modify_transit_gateway::ModifyTransitGateway>(),
    action::<modify_vpc_attribute::ModifyVpcAttribute>(),
    action::<reject_transit_gateway_client_vpn_attachment::RejectTransitGatewayClientVpnAttachment>(),
    action::<revoke_client_vpn_ingress::RevokeClientVpnIngress>(),
    action::<revoke_security_group_egress::RevokeSecurityGroupEgress>(),
    action::<revoke_security_group_ingress::RevokeSecurityGroupIngress>(),
    action::<terminate_client_vpn_connections::TerminateClientVpnConnections>(),
    action::<update_security_group_rule_descriptions_egress::UpdateSecurityGroupRuleDescriptionsEgress>(),
    action::<update_security_group_rule_descriptions_ingress::UpdateSecurityGroupRuleDescriptionsIngress>(),
];

/// Actions about networks alone: the upstream's where the networks are.
pub(crate) const OF_NETWORKS: &[&str] = &[
    "AssociateVpcCidrBlock",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateVpc",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DeleteVpc",
    "DescribeAccountAttributes",
    "DescribeAvailabilityZones",
    "DescribeNetworkAcls",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroupRules",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVpcAttribute",
    "DescribeVpcs",
    "DisassociateVpcCidrBlock",
    "ModifySecurityGroupRules",
    "ModifySubnetAttribute",
    "ModifyVpcAttribute",
    "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "UpdateSecurityGroupRuleDescriptionsEgress",
    "UpdateSecurityGroupRuleDescriptionsIngress",
];

/// Actions clients of a Client VPN know and that are not built yet: told apart from words that are no action.
pub(crate) const NOT_BUILT: &[&str] = &[
    "AllocateAddress",
    "AssociateRouteTable",
    "AttachInternetGateway",
    "CreateInternetGateway",
    "CreateNatGateway",
    "CreateRoute",
    "CreateRouteTable",
    "DeleteInternetGateway",
    "DeleteNatGateway",
    "DeleteRoute",
    "DeleteRouteTable",
    "DescribeInternetGateways",
    "DescribeNatGateways",
    "DescribeRegions",
    "ReplaceRoute",
];
