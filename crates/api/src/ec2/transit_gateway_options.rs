//! What may be asked of a transit gateway when it is made and when it is changed (spec: aws-client-vpn §1.10).

use aws_query::QueryEnum;
use ipnet::IpNet;

use crate::check;
use crate::error::ApiError;

/// Blocks of addresses that a transit gateway may have of its own.
pub(crate) const MAX_BLOCKS: usize = 5;
/// Private autonomous system numbers, of 16 and of 32 bits.
const PRIVATE_ASNS: [std::ops::RangeInclusive<u64>; 2] = [64_512..=65_534, 4_200_000_000..=4_294_967_294];
/// Largest prefix length of a block of its own: IPv4, IPv6.
const LONGEST: (u8, u8) = (24, 64);

/// AWS's spelling of on and off here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
pub(crate) enum Switch {
    Enable,
    Disable,
}

impl Switch {
    /// Changes what is on or off, if it is given.
    pub(crate) fn set(given: Option<Self>, option: &mut bool) {
        if let Some(given) = given {
            *option = given == Self::Enable;
        }
    }
}

/// The autonomous system number of its side.
pub(crate) fn asn(given: i64) -> Result<u64, ApiError> {
    let number = u64::try_from(given).ok();
    number.filter(|asn| PRIVATE_ASNS.iter().any(|range| range.contains(asn))).ok_or_else(|| {
        let expected = "Expecting a private number: 64512 to 65534 or 4200000000 to 4294967294.";
        ApiError::value("AmazonSideAsn", &given.to_string(), expected)
    })
}

/// Blocks of its own, as the caller writes them.
pub(crate) fn blocks(parameter: &str, texts: &[String]) -> Result<Vec<IpNet>, ApiError> {
    texts.iter().map(|text| block(parameter, text)).collect()
}

fn block(parameter: &str, text: &str) -> Result<IpNet, ApiError> {
    let net = check::network(parameter, text)?;
    let longest = match net {
        IpNet::V4(_) => LONGEST.0,
        IpNet::V6(_) => LONGEST.1,
    };
    if net.prefix_len() > longest {
        let expected = format!("The block must be a /{longest} or larger.");
        return Err(ApiError::value(parameter, text, &expected));
    }
    Ok(net)
}
