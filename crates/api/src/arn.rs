//! Amazon resource names: making ours, reading the caller's.

use model::Scope;

/// An ARN of an EC2 resource.
pub(crate) fn ec2(scope: &Scope, kind: &str, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:{kind}/{id}", scope.region, scope.account)
}

/// The ARN of a log group as permission is asked for it, or of one of its streams.
pub(crate) fn log_group(scope: &Scope, name: &str, stream: Option<&str>) -> String {
    let group = plain_log_group(scope, name);
    match stream {
        Some(stream) => format!("{group}:log-stream:{stream}"),
        None => format!("{group}:*"),
    }
}

/// The ARN of a log group itself.
pub(crate) fn plain_log_group(scope: &Scope, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", scope.region, scope.account)
}

/// The ARN of a directory.
pub(crate) fn directory(scope: &Scope, id: &str) -> String {
    format!("arn:aws:ds:{}:{}:directory/{id}", scope.region, scope.account)
}

/// The ARN of an ACM certificate.
pub(crate) fn certificate(scope: &Scope, id: &str) -> String {
    format!("arn:aws:acm:{}:{}:certificate/{id}", scope.region, scope.account)
}

/// The id of an ACM certificate of this scope.
pub(crate) fn certificate_id<'t>(arn: &'t str, scope: &Scope) -> Option<&'t str> {
    let arn = parse(arn)?;
    let ours =
        arn.service == "acm" && arn.region == scope.region.as_str() && arn.account == scope.account.as_str();
    arn.resource.strip_prefix("certificate/").filter(|id| ours && !id.is_empty())
}

/// The parts of an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'t> {
    pub service: &'t str,
    pub region: &'t str,
    pub account: &'t str,
    pub resource: &'t str,
}

/// Reads an ARN of any partition.
pub(crate) fn parse(text: &str) -> Option<Arn<'_>> {
    let mut parts = text.splitn(6, ':');
    if parts.next() != Some("arn") || !parts.next().is_some_and(|partition| partition.starts_with("aws")) {
        return None;
    }
    let arn = Arn {
        service: parts.next()?,
        region: parts.next()?,
        account: parts.next()?,
        resource: parts.next()?,
    };
    (!arn.resource.is_empty()).then_some(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_in_its_own_scope_only() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let arn = certificate(&scope, "abc");
        assert_eq!(certificate_id(&arn, &scope), Some("abc"));
        for other in [
            "",
            "arn:aws:acm:us-east-1:000000000000:certificate/",
            "arn:aws:acm:us-east-2:000000000000:certificate/abc",
            "arn:aws:acm:us-east-1:111111111111:certificate/abc",
            "arn:aws:iam:us-east-1:000000000000:certificate/abc",
            "certificate/abc",
        ] {
            assert_eq!(certificate_id(other, &scope), None, "{other}");
        }
    }
}
