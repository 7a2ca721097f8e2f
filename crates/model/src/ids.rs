//! Typed ids. A bare string crosses no function boundary.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string that is no id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id")]
pub struct IdError {
    kind: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The id made from 17 hexadecimal digits' worth of entropy (the low 68 bits are used).
            pub fn from_entropy(entropy: u128) -> Self {
                Self(format!("{}{:017x}", $prefix, entropy & 0xf_ffff_ffff_ffff_ffff))
            }

            /// The whole id.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The hexadecimal digits behind the prefix.
            pub fn digits(&self) -> &str {
                self.0.get($prefix.len()..).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix($prefix).ok_or(IdError { kind: $prefix })?;
                let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if hex && matches!(digits.len(), 8 | 17) { Ok(Self(text.to_owned())) } else { Err(IdError { kind: $prefix }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(/// A Client VPN endpoint.
    EndpointId, "cvpn-endpoint-");
id!(/// A target network association of an endpoint.
    AssociationId, "cvpn-assoc-");
id!(/// The API's record of one client's stay.
    ConnectionId, "cvpn-connection-");
id!(/// A VPC.
    VpcId, "vpc-");
id!(/// A subnet of a VPC.
    SubnetId, "subnet-");
id!(/// A security group of a VPC.
    SecurityGroupId, "sg-");
id!(/// A rule of a security group.
    SecurityRuleId, "sgr-");
id!(/// A prefix list of an upstream.
    PrefixListId, "pl-");
id!(/// A transit gateway.
    TransitGatewayId, "tgw-");
id!(/// An endpoint's attachment to a transit gateway.
    AttachmentId, "tgw-attach-");

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(IdError { kind: stringify!($name) }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name!(/// An AWS account: twelve digits.
    AccountId, |t| t.len() == 12 && t.bytes().all(|b| b.is_ascii_digit()));
name!(/// A region name, as in the credential scope (lower-case letters, digits, hyphens; at most 64).
    RegionName, plain);
name!(/// An availability zone name such as `us-east-1a` (lower-case letters, digits, hyphens; at most 64).
    ZoneName, plain);

/// Whose a record is: account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The owning account.
    pub account: AccountId,
    /// The region the record lives in.
    pub region: RegionName,
}

impl Scope {
    /// The scope of services without regions (IAM).
    pub fn global(account: &AccountId) -> Self {
        Self { account: account.clone(), region: RegionName("aws-global".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_only_their_own_form() {
        let id = EndpointId::from_entropy(0x0000_0c5d_11fc_4729_f2a5);
        assert_eq!(id.as_str(), "cvpn-endpoint-00c5d11fc4729f2a5");
        assert_eq!(id.as_str().parse::<EndpointId>(), Ok(id.clone()));
        assert_eq!(id.digits(), "00c5d11fc4729f2a5");
        for bad in [
            "",
            "cvpn-endpoint-",
            "cvpn-assoc-00c5d11fc4729f2a5",
            "cvpn-endpoint-00C5D11FC4729F2A5",
            "cvpn-endpoint-zz",
        ] {
            assert!(bad.parse::<EndpointId>().is_err(), "{bad}");
        }
        assert!("vpc-12345678".parse::<VpcId>().is_ok());
    }

    #[test]
    fn names_are_plain() {
        assert!("000000000000".parse::<AccountId>().is_ok());
        assert!("00000000000a".parse::<AccountId>().is_err());
        assert!("us-east-1".parse::<RegionName>().is_ok());
        assert!("us/east".parse::<RegionName>().is_err());
    }
}
