//! `CreateTransitGateway`: as much of one as an endpoint can be attached to. Its own routing is the host's.

use async_trait::async_trait;
use aws_query::{FromQuery, QueryEnum, ToXml};
use ipnet::IpNet;
use model::{Key, Scope, TransitGateway, TransitGatewayId, TransitGatewayOptions, TransitGatewayOwner};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::TagSpecification;
use crate::ec2::transit_gateways::{self, TransitGatewayAnswer};
use crate::error::ApiError;
use crate::tags;
use crate::touch::{Resource, Touch};

const TAGGED: &str = "transit-gateway";
/// AWS's default.
const DEFAULT_ASN: u64 = 64_512;
/// Private autonomous system numbers, of 16 and of 32 bits.
const PRIVATE_ASNS: [std::ops::RangeInclusive<u64>; 2] = [64_512..=65_534, 4_200_000_000..=4_294_967_294];
/// Largest block of its own, by prefix length: IPv4, IPv6.
const LARGEST: (u8, u8) = (24, 64);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum Switch {
    Enable,
    Disable,
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
        let asn = match given.amazon_side_asn.map(u64::try_from) {
            None => DEFAULT_ASN,
            Some(Ok(asn)) if PRIVATE_ASNS.iter().any(|range| range.contains(&asn)) => asn,
            Some(_) => {
                let text = given.amazon_side_asn.unwrap_or_default().to_string();
                let expected = "Expecting a private number: 64512 to 65534 or 4200000000 to 4294967294.";
                return Err(ApiError::value("AmazonSideAsn", &text, expected));
            }
        };
        let mut cidrs = Vec::new();
        for text in &given.transit_gateway_cidr_blocks {
            cidrs.push(block(text)?);
        }
        let on = |given: Option<Switch>| given == Some(Switch::Enable);
        let on_unless = |given: Option<Switch>| given != Some(Switch::Disable);
        Ok(TransitGatewayOptions {
            amazon_side_asn: asn,
            cidrs,
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

fn block(text: &str) -> Result<IpNet, ApiError> {
    const PARAMETER: &str = "TransitGatewayCidrBlocks";
    let net = check::network(PARAMETER, text)?;
    let largest = match net {
        IpNet::V4(_) => LARGEST.0,
        IpNet::V6(_) => LARGEST.1,
    };
    if net.prefix_len() > largest {
        let expected = format!("The block must be a /{largest} or larger.");
        return Err(ApiError::value(PARAMETER, text, &expected));
    }
    Ok(net)
}
