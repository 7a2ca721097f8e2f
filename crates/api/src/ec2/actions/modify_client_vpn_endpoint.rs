//! `ModifyClientVpnEndpoint` (spec: aws-client-vpn §1.12, §2.2.3): what is absent stays. A gateway cuts sessions only where
//! they could not go on: another port; other DNS servers, split tunnel on or off, for clients that take no updates.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum};
use model::{Applying, Endpoint, EndpointSpec, IpType, Key, Listen, Scope};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::actions::create_client_vpn_endpoint::claim_places;
use crate::ec2::device_posture::DevicePostureOptions;
use crate::ec2::endpoint_options::{
    self as options, ClientConnectOptions, ClientLoginBannerOptions, ClientRouteEnforcementOptions,
    ConnectionLogOptions, TransitGatewayConfiguration,
};
use crate::ec2::references;
use crate::ec2::shapes::Done;
use crate::endpoint_keys::EndpointKeys;
use crate::error::ApiError;
use crate::touch::{Resource, Touch};
use crate::{names, not_yet};

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifyClientVpnEndpoint {
    client_vpn_endpoint_id: String,
    server_certificate_arn: Option<String>,
    connection_log_options: Option<ConnectionLogOptions>,
    dns_servers: Option<DnsServers>,
    vpn_port: Option<i32>,
    description: Option<String>,
    split_tunnel: Option<bool>,
    #[query(name = "SecurityGroupId", max = 5)]
    security_group_ids: Vec<String>,
    vpc_id: Option<String>,
    self_service_portal: Option<SelfServicePortal>,
    client_connect_options: Option<ClientConnectOptions>,
    session_timeout_hours: Option<i32>,
    client_login_banner_options: Option<ClientLoginBannerOptions>,
    client_route_enforcement_options: Option<ClientRouteEnforcementOptions>,
    disconnect_on_session_timeout: Option<bool>,
    transit_gateway_configuration: Option<TransitGatewayConfiguration>,
    device_posture_options: Option<DevicePostureOptions>,
}

#[derive(Clone, Debug, FromQuery)]
struct DnsServers {
    #[query(max = 2)]
    custom_dns_servers: Vec<String>,
    enabled: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum SelfServicePortal {
    Enabled,
    Disabled,
}

#[async_trait]
impl Action for ModifyClientVpnEndpoint {
    const NAME: &'static str = "ModifyClientVpnEndpoint";
    type Answer = Done;

    fn check(&self, scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.dns(), faults);
        check::keep(self.port(), faults);
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
        if !self.security_group_ids.is_empty() && self.vpc_id.is_none() {
            faults.push(ApiError::invalid("Security Groups cannot be modified without specifying Vpc Id"));
        }
        check::keep(self.client_connect_options.as_ref().map_or(Ok(()), |o| o.check(scope)), faults);
        check::keep(options::session_timeout_hours(self.session_timeout_hours), faults);
        check::keep(self.client_login_banner_options.as_ref().map_or(Ok(()), |o| o.check()), faults);
        check::keep(self.device_posture_options.as_ref().map(|o| o.stored()).transpose(), faults);
        if self.transit_gateway_configuration.is_some() {
            // AWS's model says of this parameter that it is currently not supported.
            let message = "The transit gateway of an endpoint cannot be modified";
            faults.push(ApiError::new("UnsupportedOperation", message));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let endpoint =
            Touch::of(Resource::Endpoint(Some(self.client_vpn_endpoint_id.clone()))).brings(EndpointKeys {
                server_certificate_arn: self.server_certificate_arn.clone(),
                authentication: Vec::new(),
                log: self.connection_log_options.as_ref().map(|log| log.keys()).unwrap_or_default(),
            });
        let vpc = self.vpc_id.iter().map(|id| Touch::of(Resource::Vpc(Some(id.clone()))));
        let groups = self.security_group_ids.iter().map(|id| Touch::of(Resource::SecurityGroup(id.clone())));
        [endpoint].into_iter().chain(vpc).chain(groups).collect()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Done>, ApiError> {
        let record = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let mut endpoint = record.value.clone();
        let mut draft = Draft::of(&endpoint.id);
        self.values(cx, &mut endpoint)?;
        if let Some(arn) = &self.server_certificate_arn {
            cx.server_certificate(arn).await?;
            endpoint.spec.server_certificate_arn.clone_from(arn);
        }
        self.network(cx, &mut endpoint).await?;
        self.listen(cx, &mut endpoint, &mut draft).await?;
        let (spec, before) = (&endpoint.spec, &record.value.spec);
        if spec == before {
            return Ok(Decision::read(Done::yes()));
        }
        not_yet::log(&endpoint.id, spec);
        endpoint.applying = match record.value.applying {
            Applying::ClientConnect => Applying::ClientConnect,
            _ if spec.client_connect != before.client_connect => Applying::ClientConnect,
            _ => Applying::Change,
        };
        draft.replace(&record, &endpoint);
        references::hold(cx, &mut draft, &endpoint.spec).await?;
        Ok(Decision::write(Done::yes(), draft))
    }
}

impl ModifyClientVpnEndpoint {
    /// The DNS servers from now on; `None`: as they are.
    fn dns(&self) -> Result<Option<Vec<IpAddr>>, ApiError> {
        let Some(given) = &self.dns_servers else { return Ok(None) };
        let servers = options::dns_servers(&given.custom_dns_servers)?;
        match given.enabled {
            Some(false) => Ok(Some(Vec::new())),
            // UNVERIFIED: the answer to servers that are switched on without naming any.
            Some(true) | None if servers.is_empty() => Ok(None),
            // A list without the switch switches them on.
            Some(true) | None => Ok(Some(servers)),
        }
    }

    fn port(&self) -> Result<Option<u16>, ApiError> {
        self.vpn_port.map(|port| options::vpn_port(Some(port))).transpose()
    }

    /// Everything that needs no look at other records.
    fn values(&self, cx: &Cx<'_>, endpoint: &mut Endpoint) -> Result<(), ApiError> {
        let spec: &mut EndpointSpec = &mut endpoint.spec;
        if let Some(given) = &self.connection_log_options {
            let log = given.modified(&spec.connection_log)?;
            spec.connection_log = names::with_stream(log, &endpoint.id, cx);
        }
        if let Some(servers) = self.dns()? {
            spec.dns_servers = servers;
        }
        if let Some(description) = &self.description {
            spec.description = Some(description.clone());
        }
        if let Some(given) = &self.client_connect_options {
            spec.client_connect = given.modified(&spec.client_connect, cx.scope)?;
        }
        if self.session_timeout_hours.is_some() {
            spec.session_timeout_hours = options::session_timeout_hours(self.session_timeout_hours)?;
        }
        if let Some(given) = &self.client_login_banner_options {
            spec.banner = given.modified(&spec.banner)?;
        }
        if let Some(given) = &self.device_posture_options {
            spec.device_posture = given.stored()?;
        }
        let enforced = self.client_route_enforcement_options.as_ref().and_then(|o| o.enforced);
        spec.split_tunnel = self.split_tunnel.unwrap_or(spec.split_tunnel);
        spec.self_service_portal =
            self.self_service_portal.map_or(spec.self_service_portal, |on| on == SelfServicePortal::Enabled);
        spec.route_enforcement = enforced.unwrap_or(spec.route_enforcement);
        spec.disconnect_on_session_timeout =
            self.disconnect_on_session_timeout.unwrap_or(spec.disconnect_on_session_timeout);
        Ok(())
    }

    /// VPC and security groups. Another VPC only while nothing of the old one is associated; its default group, if none
    /// is named.
    async fn network(&self, cx: &Cx<'_>, endpoint: &mut Endpoint) -> Result<(), ApiError> {
        let Some(vpc) = &self.vpc_id else { return Ok(()) };
        if endpoint.attachment.is_some() {
            let message =
                "VpcId and SecurityGroupId cannot be specified for an endpoint with a transit gateway";
            return Err(ApiError::combination(message));
        }
        let vpc = cx.vpc(vpc).await?.value;
        let moves = endpoint.spec.vpc_id.as_ref() != Some(&vpc.id);
        if moves && let Some(held) = cx.associations(&endpoint.id).await?.first() {
            // UNVERIFIED: the code for this.
            let message = format!("The endpoint has associations {} in another VPC", held.value.id);
            return Err(ApiError::new("ClientVpnEndpointAssociationExists", message));
        }
        if !self.security_group_ids.is_empty() {
            endpoint.spec.security_group_ids = cx.groups_of(&vpc, &self.security_group_ids).await?;
        } else if moves {
            endpoint.spec.security_group_ids = vec![vpc.default_security_group];
        }
        endpoint.spec.vpc_id = Some(vpc.id);
        Ok(())
    }

    /// Another port: the claim moves with it. The address stays if it can, so that a profile needs one number changed.
    /// Where endpoints share addresses, the port is the gateway's to give, and nothing moves.
    async fn listen(&self, cx: &Cx<'_>, endpoint: &mut Endpoint, draft: &mut Draft) -> Result<(), ApiError> {
        let Some(port) = self.port()?.filter(|port| *port != endpoint.spec.vpn_port) else { return Ok(()) };
        let (transport, old) = (endpoint.spec.transport, endpoint.spec.listen.clone());
        endpoint.spec.vpn_port = port;
        if old.address.is_some() && cx.config.addresses.has_port(port, old.port) {
            return Ok(());
        }
        let taken = cx.listener_keys().await?;
        let free = |at: &SocketAddr| !taken.contains(Key::listener(at.ip(), transport, at.port()).as_str());
        // The same address comes first, even if it is of the pool no more.
        let same = old.address.map(|address| SocketAddr::new(address, port));
        let same = same.filter(|at| cx.config.addresses.has_port(port, at.port()));
        let outside = endpoint.spec.endpoint_ip_type;
        let pool = || cx.config.addresses.places_for(outside, port);
        let near = pool().filter(|at| Some(at.ip()) == old.address);
        let place = same.into_iter().chain(near).chain(pool()).find(free);
        if place.is_none() && old.address.is_some() {
            let message = format!("Port {port} of every gateway address belongs to another endpoint");
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        // The other one of a dual-stack endpoint goes along, to the same address if it can.
        let wants_second = outside == IpType::DualStack && place.is_some_and(|at| at.is_ipv4());
        let same = old.second.map(|second| SocketAddr::new(second.ip(), port));
        let same = same.filter(|at| cx.config.addresses.has_port(port, at.port()));
        let others = cx.config.addresses.ipv6_places(port);
        let second = wants_second.then(|| same.into_iter().chain(others).find(free)).flatten();
        // The gateway closes what goes before it opens what comes: the old places may be claimed at once.
        for at in old.places() {
            draft.remove(Key::listener(at.ip(), transport, at.port()));
        }
        endpoint.spec.listen = Listen {
            address: place.map(|place| place.ip()),
            port: place.map_or(port, |place| place.port()),
            second,
        };
        claim_places(draft, endpoint);
        Ok(())
    }
}
