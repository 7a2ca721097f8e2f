//! Every kind of record that has tags. `CreateTags`, `DeleteTags` and `DescribeTags` know nothing else: a new kind joins
//! by one line here.

use std::collections::BTreeMap;

use model::Kind;
use store::{StoreError, typed};

use crate::error::{ApiError, short};
use crate::touch::Resource;

/// Tags as stored.
pub(crate) type Tags = BTreeMap<String, String>;

/// A kind of record that has tags.
pub(crate) struct Taggable {
    /// AWS's name of the resource type, as in ARNs.
    pub resource: &'static str,
    /// What its ids start with.
    pub prefix: &'static str,
    /// Where its records stand.
    pub kind: Kind,
    /// The code of an id that names nothing.
    pub absent: &'static str,
    /// The tags of a stored record.
    pub read: fn(&[u8]) -> Result<Tags, StoreError>,
    /// The stored record with other tags.
    pub write: fn(&[u8], Tags) -> Result<Vec<u8>, StoreError>,
}

macro_rules! taggable {
    ($resource:literal, $prefix:literal, $kind:ident, $record:ty, $($tags:ident).+, $absent:literal) => {
        Taggable {
            resource: $resource,
            prefix: $prefix,
            kind: Kind::$kind,
            absent: $absent,
            read: |value| Ok(typed::decode::<$record>(value)?.$($tags).+),
            write: |value, tags| {
                let mut record: $record = typed::decode(value)?;
                record.$($tags).+ = tags;
                Ok(typed::encode(&record))
            },
        }
    };
}

/// All of them. A record stands under its id.
pub(crate) static TAGGABLE: &[Taggable] = &[
    taggable!(
        "client-vpn-endpoint",
        "cvpn-endpoint-",
        Endpoint,
        model::Endpoint,
        spec.tags,
        "InvalidClientVpnEndpointId.NotFound"
    ),
    taggable!("security-group", "sg-", SecurityGroup, model::SecurityGroup, tags, "InvalidGroup.NotFound"),
    taggable!(
        "security-group-rule",
        "sgr-",
        SecurityRule,
        model::RuleTags,
        tags,
        "InvalidSecurityGroupRuleId.NotFound"
    ),
    taggable!("subnet", "subnet-", Subnet, model::Subnet, tags, "InvalidSubnetID.NotFound"),
    taggable!(
        "transit-gateway",
        "tgw-",
        TransitGateway,
        model::TransitGateway,
        tags,
        "InvalidTransitGatewayID.NotFound"
    ),
    taggable!("vpc", "vpc-", Vpc, model::Vpc, tags, "InvalidVpcID.NotFound"),
];

/// The kind an id is of, by its form alone.
pub(crate) fn of(id: &str) -> Option<&'static Taggable> {
    TAGGABLE.iter().find(|row| {
        let digits = id.strip_prefix(row.prefix).unwrap_or_default();
        let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex && matches!(digits.len(), 8 | 17)
    })
}

/// The resource an id names, as permission is asked for it.
pub(crate) fn resource(id: &str) -> Resource {
    let owned = id.to_owned();
    match of(id).map(|row| row.kind) {
        Some(Kind::Endpoint) => Resource::Endpoint(Some(owned)),
        Some(Kind::Vpc) => Resource::Vpc(Some(owned)),
        Some(Kind::Subnet) => Resource::Subnet(Some(owned)),
        Some(Kind::SecurityGroup) => Resource::SecurityGroup(owned),
        _ => Resource::Named(owned),
    }
}

impl Taggable {
    /// The answer to an id that names nothing.
    pub(crate) fn no_such(&self, id: &str) -> ApiError {
        match self.kind {
            Kind::Endpoint => crate::cx::no_endpoint(id),
            _ => {
                ApiError::new(self.absent, format!("The {} ID '{}' does not exist", self.resource, short(id)))
            }
        }
    }
}

/// The answer to a text that is no id of anything that has tags.
pub(crate) fn no_id(text: &str) -> ApiError {
    ApiError::new("InvalidID", format!("The ID '{}' is not valid", short(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_kind() {
        let rows = [
            ("vpc-0123456789abcdef0", Some("vpc")),
            ("sg-01234567", Some("security-group")),
            ("cvpn-endpoint-0123456789abcdef0", Some("client-vpn-endpoint")),
            ("vpc-", None),
            ("vpc-0123456789abcdef0/../x", None),
            ("vpc-0123456789ABCDEF0", None),
            ("eni-0123456789abcdef0", None),
            ("", None),
        ];
        for (id, expected) in rows {
            assert_eq!(of(id).map(|row| row.resource), expected, "{id}");
        }
    }
}
