//! What an open development server refuses: anything a web page could send. Its only defence, as it takes any credentials.

use std::net::IpAddr;

use super::Call;
use crate::error::ApiError;

/// A loopback `Host`, no `Origin`, no cross-site `Sec-Fetch-Site`.
pub(crate) fn check(call: &Call) -> Result<(), ApiError> {
    let hosts: Vec<&str> =
        call.headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str()).collect();
    let local = matches!(hosts.as_slice(), [host] if is_loopback(host));
    let from_a_page = call.header("origin").is_some()
        || call.header("sec-fetch-site").is_some_and(|site| !matches!(site, "none" | "same-origin"));
    if local && !from_a_page {
        Ok(())
    } else {
        let message = "An open development server answers local programs only, not web pages";
        Err(ApiError::new("OperationNotPermitted", message).status(403))
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_programs() {
        let rows: &[(&[(&str, &str)], bool)] = &[
            (&[("host", "127.0.0.1:8585")], true),
            (&[("host", "localhost")], true),
            (&[("host", "[::1]:8585")], true),
            (&[("host", "127.0.0.1"), ("sec-fetch-site", "none")], true),
            (&[], false),
            (&[("host", "evil.example:8585")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[("host", "127.0.0.1"), ("host", "evil.example")], false),
            (&[("host", "127.0.0.1"), ("origin", "http://evil.example")], false),
            (&[("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "127.0.0.1"), ("sec-fetch-site", "same-site")], false),
        ];
        for (headers, allowed) in rows {
            let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let call = Call {
                method: "POST".into(),
                path: "/".into(),
                query: String::new(),
                headers,
                body: Default::default(),
                peer: IpAddr::from([127, 0, 0, 1]),
                secure: false,
            };
            assert_eq!(check(&call).is_ok(), *allowed, "{:?}", call.headers);
        }
    }
}
