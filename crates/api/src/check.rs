//! Rules about values that several actions share (spec: aws-client-vpn §2.1). None of them reads the store.

use ipnet::{IpNet, Ipv4Net};
use model::SubnetId;

use crate::error::ApiError;

/// Most characters of a description (spec: aws-client-vpn §2.1).
pub(crate) const MAX_DESCRIPTION_CHARS: usize = 255;
/// Most characters of a group id (spec: aws-client-vpn §6).
pub(crate) const MAX_GROUP_CHARS: usize = 255;

/// A CIDR block in network form.
pub(crate) fn network(parameter: &str, text: &str) -> Result<IpNet, ApiError> {
    let net: IpNet =
        text.parse().map_err(|_| ApiError::value(parameter, text, "This is not a valid CIDR block."))?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(ApiError::value(parameter, text, "The address of the CIDR block has host bits set."))
    }
}

/// An IPv4 block in network form, its mask within bounds.
pub(crate) fn ipv4_network(
    parameter: &str,
    text: &str,
    largest: u8,
    smallest: u8,
) -> Result<Ipv4Net, ApiError> {
    match network(parameter, text)? {
        IpNet::V4(net) if (largest..=smallest).contains(&net.prefix_len()) => Ok(net),
        IpNet::V4(_) => {
            let expected = format!("The block size must be between a /{smallest} and a /{largest}.");
            Err(ApiError::value(parameter, text, &expected))
        }
        IpNet::V6(_) => Err(ApiError::value(parameter, text, "Expecting an IPv4 CIDR block.")),
    }
}

/// Whether two blocks share an address.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A subnet id by its form (spec: aws-client-vpn §2.0.2).
pub(crate) fn subnet_id(text: &str) -> Result<SubnetId, ApiError> {
    text.parse().map_err(|_| {
        let message = format!("Invalid id: \"{}\" (expecting \"subnet-...\")", crate::error::short(text));
        ApiError::new("InvalidSubnetID.Malformed", message)
    })
}

/// At most so many characters.
pub(crate) fn at_most(parameter: &str, text: Option<&str>, most: usize, faults: &mut Vec<ApiError>) {
    if let Some(text) = text.filter(|text| text.chars().nth(most).is_some()) {
        faults.push(ApiError::value(parameter, text, &format!("Expecting at most {most} characters.")));
    }
}

/// Keeps the value, or its fault.
pub(crate) fn keep<T>(result: Result<T, ApiError>, faults: &mut Vec<ApiError>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// A value that an earlier check has already read without a fault.
pub(crate) fn checked<T>(value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| {
        tracing::error!("an action ran with a value its own check refuses");
        ApiError::internal()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for good in ["10.0.0.0/16", "0.0.0.0/0", "2001:db8::/32"] {
            assert!(network("X", good).is_ok(), "{good}");
        }
        for bad in ["", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/33", "x/8"] {
            assert_eq!(network("X", bad).unwrap_err().code, "InvalidParameterValue", "{bad}");
        }
        for (text, good) in
            [("10.0.0.0/12", true), ("10.0.0.0/11", false), ("10.0.0.0/22", true), ("10.0.0.0/23", false)]
        {
            assert_eq!(ipv4_network("X", text, 12, 22).is_ok(), good, "{text}");
        }
        assert!(overlap(&"10.0.0.0/8".parse().unwrap(), &"10.1.0.0/16".parse().unwrap()));
        assert!(!overlap(&"10.0.0.0/16".parse().unwrap(), &"10.1.0.0/16".parse().unwrap()));
    }

    #[test]
    fn lengths_are_characters() {
        let mut faults = Vec::new();
        at_most("Description", Some("ééé"), 3, &mut faults);
        at_most("Description", None, 3, &mut faults);
        assert!(faults.is_empty());
        at_most("Description", Some("éééé"), 3, &mut faults);
        assert_eq!(faults.len(), 1);
    }
}
