//! Certificates: what they are for, and which of ours is one of theirs. Private keys are never asked for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::landscape::{Endpoint, Landscape, Way};

/// Most pages of the list of certificates.
const MAX_PAGES: usize = 1_000;

/// A certificate as anybody may read it.
#[derive(Default)]
pub(super) struct Certificate {
    pub domain: String,
    /// DER, the leaf first.
    leaf: Option<Vec<u8>>,
    /// DER of the chain.
    chain: Vec<Vec<u8>>,
}

/// The domains of all certificates a landscape refers to, by ARN; of one that cannot be read, the end of its ARN.
pub(super) fn domains(cloud: &Cloud, landscape: &Landscape) -> BTreeMap<String, String> {
    let mut arns = BTreeSet::new();
    for Endpoint { options, .. } in landscape.endpoints.values() {
        arns.insert(options.server_certificate.clone());
        arns.extend(options.ways.iter().filter_map(|way| match way {
            Way::Certificate { root } => Some(root.clone()),
            Way::Directory { .. } | Way::Federated { .. } => None,
        }));
    }
    arns.into_iter().map(|arn| (arn.clone(), domain(cloud, &arn))).collect()
}

fn domain(cloud: &Cloud, arn: &str) -> String {
    let told = cloud.acm("DescribeCertificate", &json!({ "CertificateArn": arn }));
    let told = told.ok().and_then(|answer| answer["Certificate"]["DomainName"].as_str().map(str::to_owned));
    told.filter(|domain| !domain.is_empty())
        .unwrap_or_else(|| arn.rsplit('/').next().unwrap_or_default().to_owned())
}

/// What can be read of one.
pub(super) fn read(cloud: &Cloud, arn: &str) -> Certificate {
    let answer = cloud.acm("GetCertificate", &json!({ "CertificateArn": arn })).unwrap_or(Value::Null);
    let ders = |name: &str| {
        let pem = answer[name].as_str().unwrap_or_default();
        pki::certificates_from_pem(pem).unwrap_or_default()
    };
    Certificate {
        domain: domain(cloud, arn),
        leaf: ders("Certificate").into_iter().next(),
        chain: ders("CertificateChain"),
    }
}

/// All certificates of a region, by ARN.
pub(super) fn all(cloud: &Cloud) -> Result<BTreeMap<String, Certificate>> {
    let mut found = BTreeMap::new();
    let mut token = Value::Null;
    for _ in 0..MAX_PAGES {
        let mut body = json!({});
        if !token.is_null() {
            body["NextToken"] = token.clone();
        }
        let answer = cloud.acm("ListCertificates", &body)?;
        for row in answer["CertificateSummaryList"].as_array().into_iter().flatten() {
            if let Some(arn) = row["CertificateArn"].as_str() {
                found.insert(arn.to_owned(), read(cloud, arn));
            }
        }
        token = answer["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    Ok(found)
}

impl Certificate {
    /// What clients' certificates are traced to.
    fn anchors(&self) -> Vec<&Vec<u8>> {
        if self.chain.is_empty() { self.leaf.iter().collect() } else { self.chain.iter().collect() }
    }

    /// Whether clients of one are clients of the other.
    fn has_anchors_of(&self, other: &Self) -> bool {
        !other.anchors().is_empty() && self.anchors() == other.anchors()
    }
}

/// Ours that does what theirs does for the server: the same one, else the only one for its domain.
pub(super) fn server<'c>(
    theirs: &Certificate,
    ours: &'c BTreeMap<String, Certificate>,
) -> Option<&'c String> {
    let same = ours.iter().find(|(_, one)| one.leaf.is_some() && one.leaf == theirs.leaf);
    let mut of_domain = ours.iter().filter(|(_, one)| one.domain == theirs.domain);
    let only = || match (of_domain.next(), of_domain.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    };
    same.or_else(only).map(|(arn, _)| arn)
}

/// Ours whose chain lets the same clients in.
pub(super) fn root<'c>(theirs: &Certificate, ours: &'c BTreeMap<String, Certificate>) -> Option<&'c String> {
    let same = ours.iter().find(|(_, one)| one.leaf == theirs.leaf && one.has_anchors_of(theirs));
    same.or_else(|| ours.iter().find(|(_, one)| one.has_anchors_of(theirs))).map(|(arn, _)| arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(domain: &str, leaf: u8, chain: &[u8]) -> Certificate {
        let chain = chain.iter().map(|&byte| vec![byte]).collect();
        Certificate { domain: domain.to_owned(), leaf: Some(vec![leaf]), chain }
    }

    #[test]
    fn ours_stand_for_theirs() {
        let ours: BTreeMap<String, Certificate> = [
            ("a", certificate("vpn.example.com", 1, &[9])),
            ("b", certificate("vpn.example.com", 2, &[9])),
            ("c", certificate("other.example.com", 3, &[8])),
        ]
        .map(|(arn, one)| (arn.to_owned(), one))
        .into();
        // Theirs, ours for the server, ours for the clients.
        for (theirs, for_server, for_clients) in [
            (certificate("vpn.example.com", 2, &[9]), Some("b"), Some("b")),
            (certificate("vpn.example.com", 5, &[9]), None, Some("a")),
            (certificate("other.example.com", 5, &[7]), Some("c"), None),
            (certificate("other.example.com", 8, &[]), Some("c"), Some("c")),
            (Certificate { domain: "x".to_owned(), ..Certificate::default() }, None, None),
        ] {
            assert_eq!(server(&theirs, &ours).map(String::as_str), for_server);
            assert_eq!(root(&theirs, &ours).map(String::as_str), for_clients);
        }
    }
}
