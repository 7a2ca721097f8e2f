//! How a service lists its actions: name, decoder, members.

use aws_query::{Form, FromQuery, Kind, Member, Members, ToXml};
use serde_json::{Value, json};

use crate::action::{Action, AnyAction};
use crate::error::ApiError;

/// What an action is read from.
pub(crate) enum Input<'a> {
    /// Parameters, without those of the protocol and of signing.
    Form(&'a Form),
    /// A JSON body.
    Json(&'a [u8]),
}

/// An action that has been read, or every fault in it.
pub(crate) type Read = Result<Box<dyn AnyAction>, Vec<ApiError>>;

/// One action of a service.
pub(crate) struct Registered {
    pub name: &'static str,
    pub decode: fn(&Input<'_>) -> Read,
    pub members: fn(&'static str) -> Value,
}

/// Reads an action from parameters: all faults, in the order of its members.
pub(crate) fn from_form<A: FromQuery>(input: &Input<'_>) -> Result<A, Vec<ApiError>> {
    let Input::Form(form) = input else { return Err(vec![ApiError::internal()]) };
    let fault = |fault: aws_query::Fault| {
        let status = fault.http_status();
        ApiError::new(fault.code, fault.message).status(status)
    };
    aws_query::decode(form).map_err(|faults| faults.into_iter().map(fault).collect())
}

/// The members of an action's request and answer.
pub(crate) fn members<A>(name: &'static str) -> Value
where
    A: Action + FromQuery,
    A::Answer: ToXml + Members,
{
    json!({ "action": name, "request": list(&A::members()), "response": list(&<A::Answer as Members>::members()) })
}

fn list(members: &[Member]) -> Value {
    members.iter().map(member).collect()
}

fn member(member: &Member) -> Value {
    json!({
        "name": member.name,
        "wire": member.wire,
        "required": member.required,
        "token": member.token,
        "range": member.range,
        "type": kind(&member.kind),
    })
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::String => json!("string"),
        Kind::Boolean => json!("boolean"),
        Kind::Integer => json!("integer"),
        Kind::Long => json!("long"),
        Kind::Enum(values) => json!({ "enum": values }),
        Kind::List(element) => json!({ "list": kind(element) }),
        Kind::Structure(members) => json!({ "structure": list(members) }),
    }
}

/// Every Query action's members (name, wire name, required, order, types, nested), for comparison with AWS's own model.
/// `DryRun`, which the frame reads, is not among them.
pub fn members_json() -> Value {
    let of = |service: &str, actions: &'static [Registered]| -> Value {
        let rows: Vec<Value> = actions.iter().map(|action| (action.members)(action.name)).collect();
        json!({ "service": service, "actions": rows })
    };
    json!([of("ec2", crate::ec2::ACTIONS), of("sts", crate::sts::ACTIONS), of("iam", crate::iam::ACTIONS)])
}
