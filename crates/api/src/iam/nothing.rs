//! The answer of actions that answer nothing.

use aws_query::ToXml;

/// Nothing.
#[derive(ToXml)]
pub(crate) struct Nothing {}
