//! The condition keys of a Client VPN endpoint (spec: aws-client-vpn §4.7): of one that stands, and of what a request
//! brings to it.

use model::{Authentication, EndpointSpec, Scope};

use crate::arn;

/// What the keys speak of.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointKeys {
    /// The server certificate.
    pub server_certificate_arn: Option<String>,
    /// The ways to authenticate; a change cannot bring any.
    pub authentication: Vec<Authentication>,
    /// Where connections are logged.
    pub log: LogKeys,
}

/// Where connections are logged. In a request every member may be absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogKeys {
    /// Whether they are logged at all.
    pub enabled: Option<bool>,
    /// Name of the log group.
    pub group: Option<String>,
    /// Name of the log stream.
    pub stream: Option<String>,
}

impl EndpointKeys {
    /// Those of an endpoint that stands.
    pub(crate) fn of(spec: &EndpointSpec) -> Self {
        let log = &spec.connection_log;
        Self {
            server_certificate_arn: Some(spec.server_certificate_arn.clone()),
            authentication: spec.authentication.clone(),
            log: LogKeys { enabled: Some(log.enabled), group: log.group.clone(), stream: log.stream.clone() },
        }
    }

    /// What stands, changed by this request.
    // UNVERIFIED: whether the service judges a change by what it brings, as here, or by what stands.
    pub(crate) fn over(self, stands: Self) -> Self {
        let authentication =
            if self.authentication.is_empty() { stands.authentication } else { self.authentication };
        Self {
            server_certificate_arn: self.server_certificate_arn.or(stands.server_certificate_arn),
            authentication,
            log: self.log.over(stands.log),
        }
    }

    /// The keys with their values. Without logging there is no log group.
    pub(crate) fn pairs(&self, scope: &Scope) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if let Some(arn) = &self.server_certificate_arn {
            pairs.push(("ec2:ServerCertificateArn", arn.clone()));
        }
        for way in &self.authentication {
            pairs.push(match way {
                Authentication::Certificate { client_root_arn } => {
                    ("ec2:ClientRootCertificateChainArn", client_root_arn.clone())
                }
                Authentication::Directory { directory_id } => {
                    ("ec2:DirectoryArn", arn::directory(scope, directory_id))
                }
                // UNVERIFIED: that the provider of the self-service portal is not meant by the key.
                Authentication::Federated { provider_arn, .. } => {
                    ("ec2:SamlProviderArn", provider_arn.clone())
                }
            });
        }
        if let (Some(true), Some(group)) = (self.log.enabled, &self.log.group) {
            // UNVERIFIED: the form of both ARNs; the group's is that of its own resource without `:*`.
            let group = arn::plain_log_group(scope, group);
            if let Some(stream) = &self.log.stream {
                pairs.push(("ec2:CloudwatchLogStreamArn", format!("{group}:log-stream:{stream}")));
            }
            pairs.push(("ec2:CloudwatchLogGroupArn", group));
        }
        pairs
    }
}

impl LogKeys {
    fn over(self, stands: Self) -> Self {
        let same_group = self.group.is_none() || self.group == stands.group;
        Self {
            enabled: self.enabled.or(stands.enabled),
            stream: self.stream.or(stands.stream.filter(|_| same_group)),
            group: self.group.or(stands.group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
    }

    fn log(enabled: Option<bool>, group: Option<&str>, stream: Option<&str>) -> EndpointKeys {
        let log = LogKeys { enabled, group: group.map(Into::into), stream: stream.map(Into::into) };
        EndpointKeys { log, ..EndpointKeys::default() }
    }

    #[test]
    fn what_a_request_brings_lies_over_what_stands() {
        let group = "arn:aws:logs:us-east-1:000000000000:log-group:";
        let rows: &[(EndpointKeys, &[String])] = &[
            (log(None, None, None), &[format!("{group}g:log-stream:s"), format!("{group}g")]),
            (log(None, None, Some("t")), &[format!("{group}g:log-stream:t"), format!("{group}g")]),
            // Another group has no stream yet.
            (log(None, Some("h"), None), &[format!("{group}h")]),
            (log(Some(true), Some("g"), None), &[format!("{group}g:log-stream:s"), format!("{group}g")]),
            (log(Some(false), None, None), &[]),
        ];
        for (asked, expected) in rows {
            let found = asked.clone().over(log(Some(true), Some("g"), Some("s"))).pairs(&scope());
            let values: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
            assert_eq!(&values, expected, "{asked:?}");
        }
        assert!(log(None, Some("g"), None).over(EndpointKeys::default()).pairs(&scope()).is_empty());
    }

    #[test]
    fn every_way_to_authenticate_has_its_key() {
        let keys = EndpointKeys {
            server_certificate_arn: Some("server".into()),
            authentication: vec![
                Authentication::Certificate { client_root_arn: "root".into() },
                Authentication::Directory { directory_id: "d-1".into() },
                Authentication::Federated { provider_arn: "saml".into(), self_service_provider_arn: None },
            ],
            log: LogKeys::default(),
        };
        assert_eq!(
            keys.pairs(&scope()),
            [
                ("ec2:ServerCertificateArn", "server".to_owned()),
                ("ec2:ClientRootCertificateChainArn", "root".to_owned()),
                ("ec2:DirectoryArn", "arn:aws:ds:us-east-1:000000000000:directory/d-1".to_owned()),
                ("ec2:SamlProviderArn", "saml".to_owned()),
            ]
        );
    }
}
