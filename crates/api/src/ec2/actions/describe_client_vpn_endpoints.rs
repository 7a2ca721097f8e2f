//! `DescribeClientVpnEndpoints` (spec: aws-client-vpn §2.2.2). Which members are absent decides whether a Terraform plan
//! settles (spec: terraform-provider §2).

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{
    Applying, AssociationSpec, Attachment, Authentication, Endpoint, EndpointCode, Kind, Scope, ZoneName,
    prefix,
};

use crate::action::{Action, Decision};
use crate::clock;
use crate::cx::{Cx, no_endpoint};
use crate::ec2::device_posture::DevicePostureAnswer;
use crate::ec2::network_shapes::zone_id;
use crate::ec2::shapes::{Status, TagAnswer, tag_set};
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::names;
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &["endpoint-id", "transport-protocol"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeClientVpnEndpoints {
    #[query(name = "ClientVpnEndpointId")]
    client_vpn_endpoint_ids: Vec<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "clientVpnEndpoint")]
    client_vpn_endpoints: Vec<EndpointAnswer>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct EndpointAnswer {
    client_vpn_endpoint_id: String,
    description: Option<String>,
    status: Status,
    creation_time: String,
    deletion_time: Option<String>,
    dns_name: String,
    client_cidr_block: Option<String>,
    #[xml(name = "dnsServer")]
    dns_servers: Vec<String>,
    split_tunnel: bool,
    vpn_protocol: &'static str,
    transport_protocol: &'static str,
    vpn_port: u16,
    #[xml(name = "associatedTargetNetwork")]
    associated_target_networks: Vec<AssociatedTargetNetwork>,
    server_certificate_arn: String,
    authentication_options: Vec<AuthenticationAnswer>,
    connection_log_options: ConnectionLogAnswer,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    #[xml(name = "securityGroupIdSet")]
    security_group_ids: Vec<String>,
    vpc_id: Option<String>,
    self_service_portal_url: Option<String>,
    client_connect_options: ClientConnectAnswer,
    session_timeout_hours: u8,
    client_login_banner_options: BannerAnswer,
    client_route_enforcement_options: EnforcementAnswer,
    disconnect_on_session_timeout: bool,
    endpoint_ip_address_type: &'static str,
    traffic_ip_address_type: &'static str,
    transit_gateway_configuration: Option<TransitGatewayAnswer>,
    device_posture_options: Option<DevicePostureAnswer>,
}

#[derive(ToXml)]
struct AssociatedTargetNetwork {
    network_id: String,
    network_type: &'static str,
}

#[derive(ToXml)]
struct AuthenticationAnswer {
    #[xml(name = "type", model = "Type")]
    kind: &'static str,
    active_directory: Option<DirectoryAnswer>,
    mutual_authentication: Option<MutualAnswer>,
    federated_authentication: Option<FederatedAnswer>,
}

#[derive(ToXml)]
struct DirectoryAnswer {
    directory_id: String,
}

#[derive(ToXml)]
struct MutualAnswer {
    client_root_certificate_chain: String,
}

#[derive(ToXml)]
struct FederatedAnswer {
    saml_provider_arn: String,
    self_service_saml_provider_arn: Option<String>,
}

/// The one structure whose members are PascalCase (spec: aws-client-vpn §2.0, the case trap).
#[derive(ToXml)]
#[xml(case = "pascal")]
struct ConnectionLogAnswer {
    enabled: bool,
    cloudwatch_log_group: Option<String>,
    cloudwatch_log_stream: Option<String>,
    /// UNVERIFIED: absent where it is off.
    include_authorization_policy_context: Option<bool>,
}

#[derive(ToXml)]
struct ClientConnectAnswer {
    enabled: bool,
    lambda_function_arn: Option<String>,
    status: Status,
}

#[derive(ToXml)]
struct BannerAnswer {
    enabled: bool,
    banner_text: Option<String>,
}

#[derive(ToXml)]
struct EnforcementAnswer {
    enforced: bool,
}

#[derive(ToXml)]
struct TransitGatewayAnswer {
    transit_gateway_id: Option<String>,
    transit_gateway_attachment_id: Option<String>,
    #[xml(name = "availabilityZoneSet")]
    availability_zones: Vec<String>,
    #[xml(name = "availabilityZoneIdSet")]
    availability_zone_ids: Vec<String>,
}

#[async_trait]
impl Action for DescribeClientVpnEndpoints {
    const NAME: &'static str = "DescribeClientVpnEndpoints";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let keep = |row: &Endpoint| {
            let facets = vec![
                ("endpoint-id", vec![row.id.as_str()]),
                ("transport-protocol", vec![row.spec.transport.as_str()]),
            ];
            row.status.code != EndpointCode::Deleted && filters.pass(&facets, &row.spec.tags)
        };
        let next = self.next_token.as_deref();
        let (rows, next_token) = match self.named(cx, &filters).await? {
            Some(mut rows) => {
                rows.retain(&keep);
                page(rows, |row| row.id.as_str(), next, self.max_results)?
            }
            None => {
                let prefix = prefix::of(cx.scope, Kind::Endpoint);
                let (rows, token) = cx.page(&prefix, keep, next, self.max_results).await?;
                (rows.into_iter().map(|record| record.value).collect(), token)
            }
        };
        let mut answers = Vec::new();
        for row in &rows {
            let associations = cx.associations(&row.id).await?;
            let held = associations.iter().filter(|record| record.value.status.code.holds_endpoint());
            let networks: Vec<&AssociationSpec> = held.map(|record| &record.value.spec).collect();
            answers.push(endpoint(row, &networks, cx));
        }
        Ok(Decision::read(Answer { client_vpn_endpoints: answers, next_token }))
    }
}

impl DescribeClientVpnEndpoints {
    /// The endpoints that the call names, by id or by an exact filter of it, each once and in order; `None`: it names none.
    /// An id that does not exist is a mistake, a filter's value is not.
    async fn named(&self, cx: &Cx<'_>, filters: &Filters<'_>) -> Result<Option<Vec<Endpoint>>, ApiError> {
        let asked = &self.client_vpn_endpoint_ids;
        let ids = if asked.is_empty() { filters.exact("endpoint-id") } else { Some(asked.as_slice()) };
        let Some(ids) = ids else { return Ok(None) };
        let mut rows = BTreeMap::new();
        for id in ids {
            match cx.endpoint_in_any_state(id).await {
                Ok(record) if record.value.status.code != EndpointCode::Deleted => {
                    rows.insert(record.value.id.clone(), record.value);
                }
                Ok(_) if asked.is_empty() => {}
                Err(error) if asked.is_empty() && error.code == no_endpoint(id).code => {}
                Ok(_) => return Err(no_endpoint(id)),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(rows.into_values().collect()))
    }
}

fn endpoint(row: &Endpoint, networks: &[&AssociationSpec], cx: &Cx<'_>) -> EndpointAnswer {
    let spec = &row.spec;
    EndpointAnswer {
        client_vpn_endpoint_id: row.id.to_string(),
        description: spec.description.clone(),
        status: Status::from(&row.status),
        creation_time: clock::with_t(row.created_at),
        deletion_time: None,
        dns_name: format!("*.{}", names::dns_name(&row.id, &row.scope, cx.config)),
        client_cidr_block: spec.client_cidr.map(|cidr| cidr.to_string()),
        dns_servers: spec.dns_servers.iter().map(ToString::to_string).collect(),
        split_tunnel: spec.split_tunnel,
        vpn_protocol: "openvpn",
        transport_protocol: spec.transport.as_str(),
        vpn_port: spec.vpn_port,
        associated_target_networks: networks
            .iter()
            .filter_map(|network| network.subnet_id())
            .map(|subnet| AssociatedTargetNetwork { network_id: subnet.to_string(), network_type: "vpc" })
            .collect(),
        server_certificate_arn: spec.server_certificate_arn.clone(),
        authentication_options: spec.authentication.iter().map(authentication).collect(),
        connection_log_options: ConnectionLogAnswer {
            enabled: spec.connection_log.enabled,
            cloudwatch_log_group: spec.connection_log.group.clone(),
            cloudwatch_log_stream: spec.connection_log.stream.clone(),
            include_authorization_policy_context: spec.connection_log.include_policy_context.then_some(true),
        },
        tags: tag_set(&spec.tags),
        security_group_ids: spec.security_group_ids.iter().map(ToString::to_string).collect(),
        vpc_id: spec.vpc_id.as_ref().map(ToString::to_string),
        self_service_portal_url: spec.self_service_portal.then(|| names::portal_url(&row.id)),
        client_connect_options: ClientConnectAnswer {
            enabled: spec.client_connect.enabled,
            lambda_function_arn: spec.client_connect.function_arn.clone(),
            status: Status::of(match row.applying {
                Applying::ClientConnect => "applying",
                Applying::Nothing | Applying::Change => "applied",
            }),
        },
        session_timeout_hours: spec.session_timeout_hours,
        client_login_banner_options: BannerAnswer {
            enabled: spec.banner.enabled,
            banner_text: spec.banner.text.clone(),
        },
        client_route_enforcement_options: EnforcementAnswer { enforced: spec.route_enforcement },
        disconnect_on_session_timeout: spec.disconnect_on_session_timeout,
        endpoint_ip_address_type: spec.endpoint_ip_type.as_str(),
        traffic_ip_address_type: spec.traffic_ip_type.as_str(),
        transit_gateway_configuration: row.attachment.as_ref().map(|it| transit_gateway(it, networks)),
        device_posture_options: DevicePostureAnswer::of(&spec.device_posture),
    }
}

fn transit_gateway(attachment: &Attachment, networks: &[&AssociationSpec]) -> TransitGatewayAnswer {
    // The zones in use; those asked for, as long as none is.
    let used: Vec<&ZoneName> = networks.iter().map(|network| &network.zone).collect();
    let zones = if used.is_empty() { attachment.zones.iter().collect() } else { used };
    let region = &attachment.gateway_scope.region;
    TransitGatewayAnswer {
        transit_gateway_id: Some(attachment.gateway.to_string()),
        transit_gateway_attachment_id: Some(attachment.id.to_string()),
        availability_zones: zones.iter().map(ToString::to_string).collect(),
        availability_zone_ids: zones.iter().map(|zone| zone_id(region, zone.as_str())).collect(),
    }
}

fn authentication(way: &Authentication) -> AuthenticationAnswer {
    let mut answer = AuthenticationAnswer {
        kind: "certificate-authentication",
        active_directory: None,
        mutual_authentication: None,
        federated_authentication: None,
    };
    match way {
        Authentication::Certificate { client_root_arn } => {
            answer.mutual_authentication =
                Some(MutualAnswer { client_root_certificate_chain: client_root_arn.clone() });
        }
        Authentication::Directory { directory_id } => {
            answer.kind = "directory-service-authentication";
            answer.active_directory = Some(DirectoryAnswer { directory_id: directory_id.clone() });
        }
        Authentication::Federated { provider_arn, self_service_provider_arn } => {
            answer.kind = "federated-authentication";
            answer.federated_authentication = Some(FederatedAnswer {
                saml_provider_arn: provider_arn.clone(),
                self_service_saml_provider_arn: self_service_provider_arn.clone(),
            });
        }
    }
    answer
}
