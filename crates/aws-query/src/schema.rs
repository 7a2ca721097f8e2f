//! What a derived type looks like on the wire, as data: for comparison with a service model.

/// A type whose members can be listed. Implemented by both derives.
pub trait Members {
    /// The members in declaration order.
    fn members() -> Vec<Member>;
}

/// One member of a request or response type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name in the service model.
    pub name: &'static str,
    /// Wire name: parameter name (without list index), or element name.
    pub wire: &'static str,
    /// Whether a request without it is refused. Always `false` in responses.
    pub required: bool,
    /// Whether it is an idempotency token.
    pub token: bool,
    /// Bounds of an integer.
    pub range: Option<(i64, i64)>,
    /// What it is.
    pub kind: Kind,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Free text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A whole number of 64 bits.
    Long,
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// A list of these.
    List(Box<Kind>),
    /// A structure with these members.
    Structure(Vec<Member>),
}

impl Kind {
    /// Members of the structure, or of the structures in the list; empty for scalars.
    pub fn children(&self) -> &[Member] {
        match self {
            Self::Structure(members) => members,
            Self::List(element) => element.children(),
            Self::String | Self::Boolean | Self::Integer | Self::Long | Self::Enum(_) => &[],
        }
    }
}
