//! The actions of EC2, one file each. Registering one is one line here.

mod associate_client_vpn_target_network;
mod authorize_client_vpn_ingress;
mod create_client_vpn_endpoint;
mod create_client_vpn_route;
mod create_subnet;
mod create_tags;
mod create_vpc;
mod delete_client_vpn_endpoint;
mod delete_client_vpn_route;
mod delete_tags;
mod describe_availability_zones;
mod describe_client_vpn_authorization_rules;
mod describe_client_vpn_connections;
mod describe_client_vpn_endpoints;
mod describe_client_vpn_routes;
mod describe_client_vpn_target_networks;
mod describe_security_groups;
mod describe_subnets;
mod describe_tags;
mod describe_vpcs;
mod disassociate_client_vpn_target_network;
mod export_client_vpn_client_configuration;
mod revoke_client_vpn_ingress;
mod terminate_client_vpn_connections;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<associate_client_vpn_target_network::AssociateClientVpnTargetNetwork>(),
    action::<authorize_client_vpn_ingress::AuthorizeClientVpnIngress>(),
    action::<create_client_vpn_endpoint::CreateClientVpnEndpoint>(),
    action::<create_client_vpn_route::CreateClientVpnRoute>(),
    action::<create_subnet::CreateSubnet>(),
    action::<create_tags::CreateTags>(),
    action::<create_vpc::CreateVpc>(),
    action::<delete_client_vpn_endpoint::DeleteClientVpnEndpoint>(),
    action::<delete_client_vpn_route::DeleteClientVpnRoute>(),
    action::<delete_tags::DeleteTags>(),
    action::<describe_availability_zones::DescribeAvailabilityZones>(),
    action::<describe_client_vpn_authorization_rules::DescribeClientVpnAuthorizationRules>(),
    action::<describe_client_vpn_connections::DescribeClientVpnConnections>(),
    action::<describe_client_vpn_endpoints::DescribeClientVpnEndpoints>(),
    action::<describe_client_vpn_routes::DescribeClientVpnRoutes>(),
    action::<describe_client_vpn_target_networks::DescribeClientVpnTargetNetworks>(),
    action::<describe_security_groups::DescribeSecurityGroups>(),
    action::<describe_subnets::DescribeSubnets>(),
    action::<describe_tags::DescribeTags>(),
    action::<describe_vpcs::DescribeVpcs>(),
    action::<disassociate_client_vpn_target_network::DisassociateClientVpnTargetNetwork>(),
    action::<export_client_vpn_client_configuration::ExportClientVpnClientConfiguration>(),
    action::<revoke_client_vpn_ingress::RevokeClientVpnIngress>(),
    action::<terminate_client_vpn_connections::TerminateClientVpnConnections>(),
];

/// Actions clients of a Client VPN know and that are not built yet: told apart from words that are no action.
pub(crate) const NOT_BUILT: &[&str] = &[
    "AcceptTransitGatewayClientVpnAttachment",
    "AllocateAddress",
    "ApplySecurityGroupsToClientVpnTargetNetwork",
    "AssociateRouteTable",
    "AttachInternetGateway",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateInternetGateway",
    "CreateNatGateway",
    "CreateRoute",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "DeleteClientVpnEndpointAuthorizationPolicy",
    "DeleteInternetGateway",
    "DeleteNatGateway",
    "DeleteRoute",
    "DeleteRouteTable",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DeleteTransitGatewayClientVpnAttachment",
    "DeleteVpc",
    "DescribeInternetGateways",
    "DescribeNatGateways",
    "DescribeNetworkAcls",
    "DescribeNetworkInterfaces",
    "DescribeRegions",
    "DescribeRouteTables",
    "DescribeSecurityGroupRules",
    "DescribeTransitGatewayAttachments",
    "DescribeVpcAttribute",
    "ExportClientVpnClientCertificateRevocationList",
    "GetClientVpnEndpointAuthorizationPolicy",
    "ImportClientVpnClientCertificateRevocationList",
    "ModifyClientVpnEndpoint",
    "ModifyClientVpnEndpointAuthorizationPolicy",
    "ModifySubnetAttribute",
    "ModifyVpcAttribute",
    "RejectTransitGatewayClientVpnAttachment",
    "ReplaceRoute",
    "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
];
