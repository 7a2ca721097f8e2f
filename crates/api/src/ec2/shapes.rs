//! Structures several EC2 actions share.

use std::collections::BTreeMap;

use aws_query::{FromQuery, Member, Members, ToXml};

/// The namespace of EC2 answers.
pub(crate) const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// The one version of the EC2 API.
pub(crate) const VERSION: &str = "2016-11-15";

/// A status: code and, if there is something to say, a message.
#[derive(Clone, Debug, PartialEq, Eq, ToXml)]
pub(crate) struct Status {
    pub code: &'static str,
    pub message: Option<String>,
}

impl Status {
    /// Without a message.
    pub(crate) fn of(code: &'static str) -> Self {
        Self { code, message: None }
    }
}

macro_rules! status_from {
    ($($code:ty),*) => {$(
        impl From<&model::Status<$code>> for Status {
            fn from(status: &model::Status<$code>) -> Self {
                Self { code: status.code.as_str(), message: status.message.clone() }
            }
        }
    )*};
}
status_from!(
    model::EndpointCode,
    model::AssociationCode,
    model::RouteCode,
    model::RuleCode,
    model::RevocationCode,
    model::ConnectionCode
);

/// A tag, given or answered.
#[derive(Clone, Debug, PartialEq, Eq, FromQuery)]
pub(crate) struct Tag {
    pub key: Option<String>,
    pub value: Option<String>,
}

/// The answer of actions that answer nothing: AWS's model gives them no output, its service says `return` all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToXml)]
#[xml(no_members)]
pub(crate) struct Silent {
    #[xml(name = "return")]
    done: bool,
}

impl Silent {
    /// It is done.
    pub(crate) fn yes() -> Self {
        Self { done: true }
    }
}

impl Members for Silent {
    fn members() -> Vec<Member> {
        Vec::new()
    }
}

/// The answer of actions that say that they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToXml)]
pub(crate) struct Done {
    #[xml(name = "return", model = "Return")]
    done: bool,
}

impl Done {
    /// It is done.
    pub(crate) fn yes() -> Self {
        Self { done: true }
    }
}

/// Tags for a resource to be made.
#[derive(Clone, Debug, PartialEq, Eq, FromQuery)]
pub(crate) struct TagSpecification {
    pub resource_type: Option<String>,
    #[query(name = "Tag")]
    pub tags: Vec<Tag>,
}

/// A tag as answered.
#[derive(Clone, Debug, PartialEq, Eq, ToXml)]
pub(crate) struct TagAnswer {
    pub key: String,
    pub value: String,
}

/// Stored tags as answered.
pub(crate) fn tag_set(tags: &BTreeMap<String, String>) -> Vec<TagAnswer> {
    tags.iter().map(|(key, value)| TagAnswer { key: key.clone(), value: value.clone() }).collect()
}
