//! Transit gateways as endpoints use them (spec: aws-client-vpn §1.10, §2.2.20): who has one, its zones, and the
//! associations of an endpoint with it.

use aws_query::ToXml;
use ipnet::IpNet;
use model::{
    Association, AssociationCode, AssociationId, AssociationSpec, Attachment, AttachmentCode,
    AttachmentEntry, AttachmentId, ClientNets, Endpoint, Key, Kind, RegionName, Scope, TargetNetwork,
    TransitGateway, TransitGatewayId, TransitGatewayOwner, ZoneName,
};
use store::typed::Record;

use crate::config::Config;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::network_shapes::{zone_id, zones};
use crate::ec2::shapes::{TagAnswer, tag_set};
use crate::error::{ApiError, short};
use crate::{arn, clock};

/// Zones that an endpoint is associated in when none is named.
const DEFAULT_ZONES: usize = 2;

/// A transit gateway as answered.
#[derive(ToXml)]
pub(crate) struct TransitGatewayAnswer {
    transit_gateway_id: String,
    transit_gateway_arn: String,
    state: &'static str,
    owner_id: String,
    description: Option<String>,
    creation_time: String,
    options: OptionsAnswer,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
}

#[derive(ToXml)]
struct OptionsAnswer {
    amazon_side_asn: u64,
    #[xml(omit_empty)]
    transit_gateway_cidr_blocks: Vec<String>,
    auto_accept_shared_attachments: &'static str,
    default_route_table_association: &'static str,
    association_default_route_table_id: Option<String>,
    default_route_table_propagation: &'static str,
    propagation_default_route_table_id: Option<String>,
    vpn_ecmp_support: &'static str,
    dns_support: &'static str,
    security_group_referencing_support: &'static str,
    multicast_support: &'static str,
    encryption_support: Option<EncryptionAnswer>,
}

#[derive(ToXml)]
struct EncryptionAnswer {
    encryption_state: &'static str,
    state_message: Option<String>,
}

impl TransitGatewayAnswer {
    /// In some state. Its default route table is a view: an id made from the gateway's own.
    pub(crate) fn of(gateway: &TransitGateway, state: &'static str) -> Self {
        let is = &gateway.options;
        let table = format!("tgw-rtb-{}", gateway.id.digits());
        Self {
            transit_gateway_id: gateway.id.to_string(),
            transit_gateway_arn: arn::ec2(&gateway.scope, "transit-gateway", gateway.id.as_str()),
            state,
            owner_id: gateway.scope.account.to_string(),
            description: gateway.description.clone(),
            creation_time: clock::iso(gateway.created_at),
            options: OptionsAnswer {
                amazon_side_asn: is.amazon_side_asn,
                transit_gateway_cidr_blocks: is.cidrs.iter().map(ToString::to_string).collect(),
                auto_accept_shared_attachments: switch(is.auto_accept),
                default_route_table_association: switch(is.default_association),
                association_default_route_table_id: is.default_association.then(|| table.clone()),
                default_route_table_propagation: switch(is.default_propagation),
                propagation_default_route_table_id: is.default_propagation.then_some(table),
                vpn_ecmp_support: switch(is.vpn_ecmp),
                dns_support: switch(is.dns),
                security_group_referencing_support: switch(is.security_group_referencing),
                multicast_support: switch(is.multicast),
                encryption_support: None,
            },
            tags: tag_set(&gateway.tags),
        }
    }
}

fn switch(on: bool) -> &'static str {
    if on { "enable" } else { "disable" }
}

impl Cx<'_> {
    /// All transit gateways of the scope.
    pub(crate) async fn transit_gateways(&self) -> Result<Vec<Record<TransitGateway>>, ApiError> {
        self.all(Kind::TransitGateway).await
    }

    /// A transit gateway of the scope, by the caller's word.
    pub(crate) async fn transit_gateway(&self, id: &str) -> Result<Record<TransitGateway>, ApiError> {
        let unknown = || no_gateway(id);
        let parsed: TransitGatewayId = id.parse().map_err(|_| unknown())?;
        self.get(&Key::transit_gateway(self.scope, &parsed)).await?.ok_or_else(unknown)
    }

    /// A transit gateway of any account in the region, by the caller's word. To know the id of another account's is to
    /// be allowed to ask for an attachment; whether it is granted is the owner's word.
    pub(crate) async fn any_transit_gateway(&self, id: &str) -> Result<Record<TransitGateway>, ApiError> {
        let unknown = || no_gateway(id);
        let parsed: TransitGatewayId = id.parse().map_err(|_| unknown())?;
        let key = Key::transit_gateway_owner(&self.scope.region, &parsed);
        let owner: Record<TransitGatewayOwner> = self.get(&key).await?.ok_or_else(unknown)?;
        self.get(&Key::transit_gateway(&owner.value.scope, &parsed)).await?.ok_or_else(unknown)
    }

    /// Where the attachments to the scope's transit gateways are found.
    pub(crate) async fn attachment_entries(&self) -> Result<Vec<Record<AttachmentEntry>>, ApiError> {
        self.all(Kind::AttachmentEntry).await
    }
}

/// What is asked of a transit gateway when an endpoint is made.
pub(crate) fn ask(cx: &Cx<'_>, gateway: &TransitGateway, zones: Vec<ZoneName>) -> Attachment {
    let granted = gateway.scope == *cx.scope || gateway.options.auto_accept;
    Attachment {
        id: AttachmentId::from_entropy(cx.entropy()),
        gateway: gateway.id.clone(),
        gateway_scope: gateway.scope.clone(),
        status: if granted { AttachmentCode::Pending } else { AttachmentCode::PendingAcceptance },
        created_at: cx.now,
        zones,
    }
}

/// Refuses a transit gateway that cannot carry an endpoint's clients (spec: aws-client-vpn §2.2.20).
pub(crate) fn suits(gateway: &TransitGateway, clients: ClientNets) -> Result<(), ApiError> {
    if !gateway.options.cidrs.iter().any(|block| matches!(block, IpNet::V4(_))) {
        // UNVERIFIED: the code and the message.
        let message = format!("The transit gateway {} does not have an IPv4 CIDR block", gateway.id);
        return Err(ApiError::invalid(message));
    }
    if clients.v6.is_some() && !gateway.options.cidrs.iter().any(|block| matches!(block, IpNet::V6(_))) {
        let message = format!("The transit gateway {} does not have an IPv6 CIDR block", gateway.id);
        return Err(ApiError::invalid(message));
    }
    let overlapping = |block: &&IpNet| clients.iter().any(|client| crate::check::overlap(block, &client));
    match gateway.options.cidrs.iter().find(overlapping) {
        Some(block) => {
            let message = format!("The client CIDR block overlaps with {block} of the transit gateway");
            Err(ApiError::invalid(message))
        }
        None => Ok(()),
    }
}

/// The zones named, by name or by id, each once; where none is named, the region's first ones.
pub(crate) fn chosen_zones(
    config: &Config,
    region: &RegionName,
    names: &[String],
    ids: &[String],
) -> Result<Vec<ZoneName>, ApiError> {
    let all = zones(config, region);
    if names.is_empty() && ids.is_empty() {
        return Ok(all.into_iter().take(DEFAULT_ZONES).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let zone = all.iter().find(|zone| zone.as_str() == name);
        chosen.push(zone.ok_or_else(|| no_zone("AvailabilityZone", name, &all))?.clone());
    }
    for id in ids {
        let zone = all.iter().find(|zone| zone_id(region, zone.as_str()) == *id);
        chosen.push(zone.ok_or_else(|| no_zone("AvailabilityZoneId", id, &all))?.clone());
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

fn no_zone(parameter: &str, text: &str, all: &[ZoneName]) -> ApiError {
    let names: Vec<&str> = all.iter().map(ZoneName::as_str).collect();
    ApiError::value(parameter, text, &format!("Valid zones: {}.", names.join(", ")))
}

/// Writes an association of an endpoint with its transit gateway in a zone. Whoever calls rewrites the endpoint too.
pub(crate) fn associate(
    cx: &Cx<'_>,
    draft: &mut Draft,
    endpoint: &Endpoint,
    zone: &ZoneName,
) -> AssociationId {
    let id = AssociationId::from_entropy(cx.entropy());
    let association = Association {
        id: id.clone(),
        endpoint: endpoint.id.clone(),
        scope: endpoint.scope.clone(),
        spec: AssociationSpec { network: TargetNetwork::TransitGateway, zone: zone.clone() },
        status: model::Status::of(AssociationCode::Associating),
        created_at: cx.now,
    };
    draft.create(Key::association(&endpoint.scope, &endpoint.id, &id), &association);
    draft.create(Key::zone_claim(&endpoint.scope, &endpoint.id, zone), &id);
    id
}

/// Lets the owner of the transit gateway find the attachment.
pub(crate) fn enter(draft: &mut Draft, endpoint: &Endpoint, attachment: &Attachment) {
    let entry = AttachmentEntry {
        id: attachment.id.clone(),
        gateway: attachment.gateway.clone(),
        endpoint: endpoint.id.clone(),
        endpoint_scope: endpoint.scope.clone(),
    };
    draft.create(Key::attachment_entry(&attachment.gateway_scope, &attachment.id), &entry);
}

/// The key under which a transit gateway's owner is found.
pub(crate) fn owner_key(scope: &Scope, id: &TransitGatewayId) -> Key {
    Key::transit_gateway_owner(&scope.region, id)
}

fn no_gateway(id: &str) -> ApiError {
    let message = format!("Transit Gateway {} was deleted or does not exist.", short(id));
    ApiError::new("InvalidTransitGatewayID.NotFound", message)
}
