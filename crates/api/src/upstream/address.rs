//! Where an upstream is: one URL for all services, or one with `{service}` and `{region}` in its host name, as AWS has it.

use std::fmt;

use http::uri::{Authority, Scheme, Uri};

/// Services whose host name has no region (as botocore's endpoint data has it). UNVERIFIED: no live service was
/// asked.
const GLOBAL: [&str; 3] = ["cloudfront", "iam", "route53"];
/// Services whose host name begins otherwise than their signing name.
const HOSTS: [(&str, &str); 1] = [("ecr", "api.ecr")];

/// The URL of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    tls: bool,
    authority: String,
}

/// A text that is no URL of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expecting http:// or https:// with a host and perhaps a port, and {{service}} and {{region}} where they belong"
)]
pub struct AddressFault;

/// Whether the calls of the service are signed for one region, whichever they are meant for.
pub(crate) fn is_global(service: &str) -> bool {
    GLOBAL.contains(&service)
}

/// Where one call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whether over TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For the `Host` header.
    pub authority: String,
}

impl UpstreamUrl {
    /// Reads `http[s]://HOST[:PORT]`.
    ///
    /// # Errors
    /// Anything else, such as a path or a user name.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressFault)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(AddressFault),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_owned();
        let url = Self { tls, authority };
        url.destination("ec2", "us-east-1").map(|_| url)
    }

    /// Where the calls of a service in a region go.
    ///
    /// # Errors
    /// The name that comes of it is none.
    pub(crate) fn destination(&self, service: &str, region: &str) -> Result<Destination, AddressFault> {
        let host = HOSTS.iter().find(|(name, _)| *name == service).map_or(service, |(_, host)| host);
        let template = match GLOBAL.contains(&service) {
            true => self.authority.replace(".{region}", ""),
            false => self.authority.clone(),
        };
        let authority = template.replace("{service}", host).replace("{region}", region);
        let scheme = if self.tls { Scheme::HTTPS } else { Scheme::HTTP };
        let parsed: Authority = authority.parse().map_err(|_| AddressFault)?;
        let plain = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query("/").build();
        if plain.is_err() || authority.contains(['@', '{', '}']) || parsed.host().is_empty() {
            return Err(AddressFault);
        }
        let port = match (parsed.port(), self.tls) {
            (Some(port), _) => port.as_u16(),
            (None, true) => 443,
            (None, false) => 80,
        };
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Destination { tls: self.tls, host, port, authority })
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Where it is if it has one place for all services.
    pub fn fixed(&self) -> Option<Destination> {
        let one = self.destination("ec2", "us-east-1").ok()?;
        (one.authority == self.authority).then_some(one)
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_no_more() {
        let aws = "https://{service}.{region}.amazonaws.com";
        for (url, service, authority, host, port) in [
            ("http://127.0.0.1:5000", "ssm", "127.0.0.1:5000", "127.0.0.1", 5000),
            ("http://[::1]:5000/", "ssm", "[::1]:5000", "::1", 5000),
            ("https://moto.example.com", "s3", "moto.example.com", "moto.example.com", 443),
            (aws, "ssm", "ssm.eu-west-1.amazonaws.com", "ssm.eu-west-1.amazonaws.com", 443),
            (aws, "iam", "iam.amazonaws.com", "iam.amazonaws.com", 443),
            (aws, "ecr", "api.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com", 443),
        ] {
            let to = UpstreamUrl::parse(url).unwrap().destination(service, "eu-west-1").unwrap();
            assert_eq!((to.authority.as_str(), to.host.as_str(), to.port), (authority, host, port), "{url}");
        }
        for bad in [
            "",
            "127.0.0.1:5000",
            "ftp://x",
            "http://",
            "http://x/path",
            "http://x?y",
            "http://user:secret@x",
            "http://{host}",
            "http://x y",
        ] {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(UpstreamUrl::parse(aws).unwrap().fixed().is_none());
        assert_eq!(UpstreamUrl::parse("http://x:1").unwrap().fixed().unwrap().port, 1);
    }
}
