//! Codec of the EC2 Query protocol: a form becomes a typed request with every fault collected,
//! a typed response becomes XML. It knows no action and does no IO.
//!
//! The road of a request: [`Form::parse`], [`Form::strip_common`], [`decode`]. The road of an answer:
//! [`response_xml`], or [`ec2_error_xml`]. Types take part by the derives [`FromQuery`], [`ToXml`] and
//! [`QueryEnum`]; [`Members`] lists what a type looks like on the wire, for comparison with a service model.
//!
//! Attributes of `#[derive(FromQuery)]` fields, `#[query(..)]`:
//!
//! | attribute | meaning |
//! |---|---|
//! | `name = "Wire"` | wire name; default: PascalCase of the field. Lists are `Wire.1`, `Wire.2`… |
//! | `model = "Name"` | name in the service model; default: PascalCase of the field |
//! | `alias = "Other"` | read from here when nothing came under the wire name |
//! | `required` | a list must have an element (other types without `Option` are always required) |
//! | `max = 5` | most elements of a list; default [`MAX_LIST_ELEMENTS`] |
//! | `over = "Code"` | fault code for more than `max` elements; default `InvalidParameterValue` |
//! | `range = "5..=1000"` | bounds of an integer, or of each integer in a list |
//! | `max_length = 255` | most characters of a string, or of each string in a list |
//! | `token` | an idempotency token; only recorded in [`Members`] |
//!
//! Attributes of `#[derive(ToXml)]`, `#[xml(..)]`:
//!
//! | attribute | where | meaning |
//! |---|---|---|
//! | `name = "element"` | field | element name; default: camelCase of the field |
//! | `model = "Name"` | field | name in the service model; default: PascalCase of the field |
//! | `case = "pascal"` | field or type | element names are PascalCase |
//! | `item = "member"` | field | element name of list items; default `item` |
//! | `omit_empty` | field | an empty list is left out instead of written as `<name/>` |
//! | `no_members` | type | do not implement [`Members`] (for a type that also derives `FromQuery`) |
//!
//! `#[derive(QueryEnum)]` variants: `#[query("wire-value")]`; default: kebab-case of the variant.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

extern crate self as aws_query;

mod decode;
mod envelope;
mod fault;
mod form;
mod schema;
mod value;
mod xml;

pub use aws_query_derive::{FromQuery, QueryEnum, ToXml};
pub use decode::{
    Decoder, FromQuery, MAX_FAULTS, MAX_LIST_ELEMENTS, MAX_LIST_INDEX, Unknown, decode, decode_with,
};
pub use envelope::{
    XML_DECLARATION, ec2_error_xml, query_error_xml, query_response_xml, response_body_xml, response_xml,
    wrap_response,
};
pub use fault::Fault;
pub use form::{Common, Form, Limits, encode};
pub use schema::{Kind, Member, Members};
pub use value::{QueryEnum, QueryValue, Read, Rules};
pub use xml::{ToXml, escape};
