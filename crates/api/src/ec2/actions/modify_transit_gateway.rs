//! `ModifyTransitGateway`: kept and answered; only `AutoAcceptSharedAttachments` has an effect.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::IpNet;
use model::{AttachmentCode, Endpoint, Key, Scope, TransitGateway, TransitGatewayOptions};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::transit_gateway_options::{MAX_BLOCKS, Switch, asn, blocks};
use crate::ec2::transit_gateways::{self, TransitGatewayAnswer};
use crate::error::ApiError;
use crate::touch::{Resource, Touch};

const ADDED: &str = "AddTransitGatewayCidrBlocks";
const REMOVED: &str = "RemoveTransitGatewayCidrBlocks";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifyTransitGateway {
    transit_gateway_id: String,
    description: Option<String>,
    options: Option<Options>,
}

#[derive(Clone, Debug, Default, FromQuery)]
struct Options {
    #[query(max = 5)]
    add_transit_gateway_cidr_blocks: Vec<String>,
    #[query(max = 5)]
    remove_transit_gateway_cidr_blocks: Vec<String>,
    vpn_ecmp_support: Option<Switch>,
    dns_support: Option<Switch>,
    security_group_referencing_support: Option<Switch>,
    auto_accept_shared_attachments: Option<Switch>,
    default_route_table_association: Option<Switch>,
    default_route_table_propagation: Option<Switch>,
    amazon_side_asn: Option<i64>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    transit_gateway: TransitGatewayAnswer,
}

#[async_trait]
impl Action for ModifyTransitGateway {
    const NAME: &'static str = "ModifyTransitGateway";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
        let Some(options) = &self.options else { return };
        check::keep(blocks(ADDED, &options.add_transit_gateway_cidr_blocks), faults);
        check::keep(blocks(REMOVED, &options.remove_transit_gateway_cidr_blocks), faults);
        check::keep(options.amazon_side_asn.map(asn).transpose(), faults);
    }

    fn touches(&self) -> Vec<Touch> {
        vec![Touch::of(Resource::Named(self.transit_gateway_id.clone()))]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let gateway = cx.transit_gateway(&self.transit_gateway_id).await?;
        let mut changed = gateway.value.clone();
        if self.description.is_some() {
            changed.description.clone_from(&self.description);
        }
        if let Some(options) = &self.options {
            options.apply(&mut changed.options)?;
        }
        if changed.options.cidrs != gateway.value.options.cidrs {
            suits_those_attached(cx, &changed).await?;
        }
        let mut draft = Draft::default();
        draft.replace(&gateway, &changed);
        let answer = Answer { transit_gateway: TransitGatewayAnswer::of(&changed, "modifying") };
        Ok(Decision::write(answer, draft))
    }
}

impl Options {
    fn apply(&self, to: &mut TransitGatewayOptions) -> Result<(), ApiError> {
        for block in blocks(REMOVED, &self.remove_transit_gateway_cidr_blocks)? {
            remove(&mut to.cidrs, block)?;
        }
        for block in blocks(ADDED, &self.add_transit_gateway_cidr_blocks)? {
            if !to.cidrs.contains(&block) {
                to.cidrs.push(block);
            }
        }
        if to.cidrs.len() > MAX_BLOCKS {
            // UNVERIFIED: the code and the message.
            let message = format!("A transit gateway has at most {MAX_BLOCKS} CIDR blocks");
            return Err(ApiError::invalid(message));
        }
        Switch::set(self.vpn_ecmp_support, &mut to.vpn_ecmp);
        Switch::set(self.dns_support, &mut to.dns);
        Switch::set(self.security_group_referencing_support, &mut to.security_group_referencing);
        Switch::set(self.auto_accept_shared_attachments, &mut to.auto_accept);
        Switch::set(self.default_route_table_association, &mut to.default_association);
        Switch::set(self.default_route_table_propagation, &mut to.default_propagation);
        if let Some(given) = self.amazon_side_asn {
            to.amazon_side_asn = asn(given)?;
        }
        Ok(())
    }
}

fn remove(blocks: &mut Vec<IpNet>, block: IpNet) -> Result<(), ApiError> {
    let found = blocks.iter().position(|known| *known == block).ok_or_else(|| {
        // UNVERIFIED: the code and the message.
        ApiError::value(REMOVED, &block.to_string(), "The transit gateway does not have this block.")
    })?;
    blocks.remove(found);
    Ok(())
}

/// What an endpoint needed of the gateway when it was made, it needs for as long as it is attached. An endpoint rewrites
/// the gateway as it is attached: one attached meanwhile is a conflict.
async fn suits_those_attached(cx: &Cx<'_>, gateway: &TransitGateway) -> Result<(), ApiError> {
    let entries = cx.attachment_entries().await?;
    for entry in entries.iter().filter(|entry| entry.value.gateway == gateway.id) {
        let key = Key::endpoint(&entry.value.endpoint_scope, &entry.value.endpoint);
        let Some(endpoint) = cx.get::<Endpoint>(&key).await? else { continue };
        let ended = |code| matches!(code, AttachmentCode::Rejected | AttachmentCode::Deleted);
        if endpoint.value.attachment.is_some_and(|attachment| !ended(attachment.status)) {
            transit_gateways::suits(gateway, endpoint.value.spec.client_nets())?;
        }
    }
    Ok(())
}
