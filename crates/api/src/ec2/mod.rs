//! EC2 (Query, with its own error form): Client VPN and the networks it refers to.

mod actions;
mod attachment_shapes;
mod client_ipv6;
mod derived;
mod device_posture;
pub(crate) mod disassociation;
mod endpoint_options;
mod interfaces;
mod ipv6_blocks;
mod network_shapes;
pub(crate) mod references;
mod security;
pub(crate) mod shapes;
mod transit_gateway_options;
mod transit_gateways;

use aws_query::{FromQuery, Members, ToXml};

use crate::action::{Action, Encoded};
use crate::registry::{Input, Read, Registered, from_form, members};

pub(crate) use actions::{ACTIONS, NOT_BUILT, OF_NETWORKS};
pub(crate) use security::read_rule as security_rule;

/// One line for each action.
pub(crate) const fn action<A>() -> Registered
where
    A: Action + FromQuery,
    A::Answer: ToXml + Members,
{
    Registered { name: A::NAME, decode: decode::<A>, members: members::<A> }
}

fn decode<A>(input: &Input<'_>) -> Read
where
    A: Action + FromQuery,
    A::Answer: ToXml,
{
    let action: A = from_form(input)?;
    Ok(Box::new(Encoded { action, encode: |answer| Ok(aws_query::response_body_xml(answer)) }))
}
