//! Spelling of names: snake_case fields to wire names, variants to wire values.

/// `max_results` to `MaxResults`; a raw identifier loses its prefix.
pub(crate) fn pascal(field: &str) -> String {
    field
        .trim_start_matches("r#")
        .split('_')
        .flat_map(|word| {
            let mut chars = word.chars();
            chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars)
        })
        .collect()
}

/// `max_results` to `maxResults`.
pub(crate) fn camel(field: &str) -> String {
    let name = pascal(field);
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// `PendingAssociate` to `pending-associate`.
pub(crate) fn kebab(variant: &str) -> String {
    let mut out = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(pascal("client_vpn_endpoint_id"), "ClientVpnEndpointId");
        assert_eq!(pascal("r#type"), "Type");
        assert_eq!(camel("client_ipv6_address"), "clientIpv6Address");
        assert_eq!(camel("r#return"), "return");
        assert_eq!(kebab("PendingAssociate"), "pending-associate");
        assert_eq!(kebab("Tcp"), "tcp");
    }
}
