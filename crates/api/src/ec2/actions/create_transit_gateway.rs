//! `CreateTransitGateway`: as much of one as an endpoint can be attached to. Its own routing is the host's.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Key, Scope, TransitGateway, TransitGatewayId, TransitGatewayOptions, TransitGatewayOwner};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::TagSpecification;
use crate::ec2::transit_gateway_options::{Switch, asn, blocks};
use crate::ec2::transit_gateways::{self, TransitGatewayAnswer};
use crate::error::ApiError;
use crate::tags;
use crate::touch::{Resource, Touch};

const TAGGED: &str = "transit-gateway";
/// AWS's default.
const DEFAULT_ASN: u64 = 64_512;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateTransitGateway {
    description: Option<String>,
    options: Option<Options>,
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
}

#[derive(Clone, Debug, Default, FromQuery)]
struct Options {
    amazon_side_asn: Option<i64>,
    auto_accept_shared_attachments: Option<Switch>,
    default_route_table_association: Option<Switch>,
    default_route_table_propagation: Option<Switch>,
    vpn_ecmp_support: Option<Switch>,
    dns_support: Option<Switch>,
    security_group_referencing_support: Option<Switch>,
    multicast_support: Option<Switch>,
    #[query(max = 5)]
    transit_gateway_cidr_blocks: Vec<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    transit_gateway: TransitGatewayAnswer,
}

#[async_trait]
impl Action for CreateTransitGateway {
    const NAME: &'static str = "CreateTransitGateway";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
        check::keep(self.options(), faults);
        tags::read(&self.tag_specifications, TAGGED, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::of(Resource::New(TAGGED)).created(Self::NAME, &tags::valid(&self.tag_specifications, TAGGED))
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        if cx.transit_gateways().await?.len() >= cx.config.quotas.transit_gateways_per_region {
            let message = "The maximum number of transit gateways has been reached.";
            return Err(ApiError::new("TransitGatewayLimitExceeded", message));
        }
        let gateway = TransitGateway {
            id: TransitGatewayId::from_entropy(cx.entropy()),
            scope: cx.scope.clone(),
            description: self.description.clone(),
            options: self.options()?,
            created_at: cx.now,
            tags: tags::valid(&self.tag_specifications, TAGGED),
        };
        let mut draft = Draft::default();
        draft.create(Key::transit_gateway(cx.scope, &gateway.id), &gateway);
        let owner = TransitGatewayOwner { scope: cx.scope.clone() };
        draft.create(transit_gateways::owner_key(cx.scope, &gateway.id), &owner);
        let answer = Answer { transit_gateway: TransitGatewayAnswer::of(&gateway, "pending") };
        Ok(Decision::write(answer, draft))
    }
}

impl CreateTransitGateway {
    fn options(&self) -> Result<TransitGatewayOptions, ApiError> {
        let given = self.options.clone().unwrap_or_default();
        let on = |given: Option<Switch>| given == Some(Switch::Enable);
        let on_unless = |given: Option<Switch>| given != Some(Switch::Disable);
        Ok(TransitGatewayOptions {
            amazon_side_asn: given.amazon_side_asn.map_or(Ok(DEFAULT_ASN), asn)?,
            cidrs: blocks("TransitGatewayCidrBlocks", &given.transit_gateway_cidr_blocks)?,
            auto_accept: on(given.auto_accept_shared_attachments),
            default_association: on_unless(given.default_route_table_association),
            default_propagation: on_unless(given.default_route_table_propagation),
            vpn_ecmp: on_unless(given.vpn_ecmp_support),
            dns: on_unless(given.dns_support),
            security_group_referencing: on(given.security_group_referencing_support),
            multicast: on(given.multicast_support),
        })
    }
}
