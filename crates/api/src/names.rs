//! Names the API makes up: DNS names, portal URLs, log streams (spec: aws-client-vpn §2.1, §2.2.1).

use model::{ConnectionLog, EndpointId, Scope};

use crate::config::Config;
use crate::cx::Cx;

/// The domain of AWS-style names.
const AWS_DOMAIN: &str = "amazonaws.com";

/// An endpoint's name, as the create answer and profiles have it; the describe answer puts `*.` before it.
pub(crate) fn dns_name(endpoint: &EndpointId, scope: &Scope, config: &Config) -> String {
    let domain = config.domain.as_deref().unwrap_or(AWS_DOMAIN);
    format!("{endpoint}.prod.clientvpn.{}.{domain}", scope.region)
}

/// Where the self-service portal of an endpoint is.
pub(crate) fn portal_url(endpoint: &EndpointId) -> String {
    format!("https://self-service.clientvpn.amazonaws.com/endpoints/{endpoint}")
}

/// A stream is made up when logging is on and none is named.
pub(crate) fn with_stream(mut log: ConnectionLog, endpoint: &EndpointId, cx: &Cx<'_>) -> ConnectionLog {
    const RANDOM_CHARS: usize = 12;
    if log.enabled && log.stream.is_none() {
        let day = crate::clock::with_t(cx.now).get(..10).unwrap_or_default().replace('-', "/");
        let random: String = cx.uuid().chars().filter(|c| *c != '-').take(RANDOM_CHARS).collect();
        log.stream = Some(format!("{endpoint}-{}-{day}-{random}", cx.scope.region));
    }
    log
}
