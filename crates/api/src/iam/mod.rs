//! Identity and Access Management (Query): SAML providers, and who calls. It has no regions.

mod actions;
mod nothing;
pub(crate) mod saml;

use aws_query::{FromQuery, Members, ToXml};

use crate::action::{Action, Encoded};
use crate::registry::{Input, Read, Registered, from_form, members};

pub(crate) use actions::ACTIONS;

/// The namespace of answers.
pub(crate) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// The one version of the API.
pub(crate) const VERSION: &str = "2010-05-08";

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
