//! Security Token Service (Query): who calls, and temporary credentials.

mod actions;
mod credentials;

use aws_query::{FromQuery, Members, ToXml};

use crate::action::{Action, Encoded};
use crate::error::ApiError;
use crate::registry::{Input, Read, Registered, from_form, members};

pub(crate) use actions::ACTIONS;
pub(crate) use actions::assume_role::role_of;

/// The namespace of answers.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The one version of the API.
pub(crate) const VERSION: &str = "2011-06-15";

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
    // The service's own word for a value out of its bounds.
    let own = |mut fault: ApiError| {
        if fault.code == "InvalidParameterValue" {
            fault.code = "ValidationError".into();
        }
        fault
    };
    let action: A = from_form(input).map_err(|faults| faults.into_iter().map(own).collect::<Vec<_>>())?;
    Ok(Box::new(Encoded { action, encode: |answer| Ok(aws_query::response_body_xml(answer)) }))
}

/// The answer of a Query service around its encoded members.
pub(crate) fn wrap(action: &str, namespace: &str, request_id: &str, body: &str) -> String {
    let mut id = String::new();
    aws_query::escape(request_id, &mut id);
    let result = match body {
        "" => String::new(),
        body => format!("<{action}Result>{body}</{action}Result>"),
    };
    format!(
        "{}<{action}Response xmlns=\"{namespace}\">{result}\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>",
        aws_query::XML_DECLARATION
    )
}
