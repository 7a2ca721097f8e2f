//! The IPv6 block of an endpoint's clients: assigned here, as AWS assigns it, and kept until the endpoint is deleted.
//!
//! UNVERIFIED: where AWS takes it from (the console speaks of the associated subnet) and how large it is. Here each endpoint
//! gets a /64 of one prefix: the operator's, or unique local addresses (RFC 4193) drawn once for this installation, so that
//! one route back is right for all endpoints.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use model::{ClientBlockClaim, EndpointId, Key};

use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;

/// Prefix length of an endpoint's block.
const BLOCK_PREFIX: u8 = 64;
/// Prefix length of what is drawn for an installation.
const DRAWN_PREFIX: u8 = 48;
/// Blocks looked at before there is none.
const MAX_BLOCKS: u64 = 1 << 20;

/// A block that nobody has.
pub(crate) struct Free {
    /// The block.
    pub(crate) block: Ipv6Net,
    /// The prefix it is of, where that was drawn for it.
    drawn: Option<Ipv6Net>,
}

/// The first free block.
pub(crate) async fn free(cx: &Cx<'_>) -> Result<Free, ApiError> {
    let noted = cx.get::<Ipv6Net>(&Key::client_prefix()).await?.map(|record| record.value);
    let (prefix, drawn) = match cx.config.client_ipv6_prefix.or(noted) {
        Some(prefix) => (prefix, None),
        None => {
            let drawn = draw(cx.entropy());
            (drawn, Some(drawn))
        }
    };
    let taken = cx.client_block_keys().await?;
    let free = blocks(prefix).find(|block| !taken.contains(Key::client_block(block).as_str()));
    // UNVERIFIED: AWS does not run out of them.
    let block = free.ok_or_else(|| {
        let message = format!("All blocks of {prefix} for clients' IPv6 addresses are in use");
        ApiError::new("ClientVpnEndpointLimitExceeded", message)
    })?;
    Ok(Free { block, drawn })
}

/// Makes it the endpoint's.
pub(crate) fn claim(cx: &Cx<'_>, draft: &mut Draft, endpoint: &EndpointId, free: &Free) {
    if let Some(drawn) = &free.drawn {
        draft.create(Key::client_prefix(), drawn);
    }
    let claim = ClientBlockClaim { endpoint: endpoint.clone(), scope: cx.scope.clone() };
    draft.create(Key::client_block(&free.block), &claim);
    tracing::info!(
        endpoint = %endpoint, block = %free.block,
        "clients have IPv6 addresses of this block; what they reach needs a route to it by this host"
    );
}

/// Forty random bits after `fd` (RFC 4193, 3.2).
fn draw(entropy: u128) -> Ipv6Net {
    let random = (entropy & ((1 << 40) - 1)) << 80;
    Ipv6Net::new(Ipv6Addr::from((0xfd << 120) | random), DRAWN_PREFIX).unwrap_or_default()
}

fn blocks(prefix: Ipv6Net) -> impl Iterator<Item = Ipv6Net> {
    let bits = u32::from(BLOCK_PREFIX.saturating_sub(prefix.prefix_len()));
    let many = 1_u64.checked_shl(bits).unwrap_or(MAX_BLOCKS).min(MAX_BLOCKS);
    let first = u128::from(prefix.network());
    (0..many).filter_map(move |number| {
        Ipv6Net::new(Ipv6Addr::from(first | u128::from(number) << 64), BLOCK_PREFIX).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_of_the_prefix() {
        for (prefix, first, second, many) in [
            ("fd12:3456:789a::/48", "fd12:3456:789a::/64", Some("fd12:3456:789a:1::/64"), 1 << 16),
            ("2001:db8::/62", "2001:db8::/64", Some("2001:db8:0:1::/64"), 4),
            ("2001:db8:0:7::/64", "2001:db8:0:7::/64", None, 1),
        ] {
            let all: Vec<String> = blocks(prefix.parse().unwrap()).map(|block| block.to_string()).collect();
            assert_eq!((all[0].as_str(), all.get(1).map(String::as_str), all.len()), (first, second, many));
        }
        assert_eq!(blocks("fd00::/8".parse().unwrap()).count(), 1 << 20);
    }

    #[test]
    fn what_is_drawn_is_unique_local() {
        assert_eq!(draw(0x1234_5678_9abc_def0).to_string(), "fd78:9abc:def0::/48");
        assert_eq!(draw(u128::MAX).to_string(), "fdff:ffff:ffff::/48");
    }
}
