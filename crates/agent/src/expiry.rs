//! Certificates that end by themselves, and lock people out when they do: what the operator must hear, before and after.

use std::collections::BTreeMap;

use controllers::{Versioned, World};
use model::Certificate;

use crate::revocation::{ENDS_SOON_S, REMIND_S, TELL_AGAIN_S};

/// What an endpoint uses a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It is shown to clients.
    Server,
    /// Clients' certificates are checked with it.
    Clients,
}

/// The ends of the certificates in use. No longer than the certificates there are, twice.
#[derive(Default)]
pub(crate) struct Ends {
    held: BTreeMap<(String, Role), Held>,
}

struct Held {
    modified: u64,
    /// When the first of its chain ends, seconds since 1970; `None` if nothing of it can be read.
    until: Option<i64>,
    told: Option<(Trouble, i64)>,
}

/// What the operator must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Expired,
    EndsSoon,
}

impl Ends {
    /// Forgets certificates that are gone.
    pub(crate) fn retain(&mut self, world: &World) {
        self.held.retain(|(arn, _), _| world.certificates.contains_key(arn));
    }

    /// Looks at a certificate that is in use.
    pub(crate) fn look(&mut self, record: &Versioned<Certificate>, role: Role, now_unix: i64) {
        let key = (record.value.arn.clone(), role);
        if self.held.get(&key).is_none_or(|held| held.modified != record.modified) {
            let Certificate { certificate_pem, chain_pem, .. } = &record.value;
            let until = first_end(certificate_pem, chain_pem.as_deref(), role);
            self.held.insert(key.clone(), Held { modified: record.modified, until, told: None });
        }
        let Some(held) = self.held.get_mut(&key) else { return };
        if let Some(trouble) = held.trouble(now_unix) {
            held.told = Some((trouble, now_unix));
            tell(trouble, role, &record.value.arn, held.until);
        }
    }
}

impl Held {
    /// What is to be told now.
    fn trouble(&self, now_unix: i64) -> Option<Trouble> {
        let until = self.until?;
        let (trouble, again) = if now_unix > until {
            (Trouble::Expired, TELL_AGAIN_S)
        } else if now_unix > until.saturating_sub(ENDS_SOON_S) {
            (Trouble::EndsSoon, REMIND_S)
        } else {
            return None;
        };
        let told = self.told.is_some_and(|(told, at)| told == trouble && now_unix.saturating_sub(at) < again);
        (!told).then_some(trouble)
    }
}

/// The trust anchors of clients are the chain, or the certificate if it has none (spec: aws-client-vpn §4.1).
fn first_end(certificate: &str, chain: Option<&str>, role: Role) -> Option<i64> {
    let texts = match role {
        Role::Server => [Some(certificate), chain],
        Role::Clients => [Some(chain.unwrap_or(certificate)), None],
    };
    let parts = texts.into_iter().flatten().filter_map(|pem| pki::certificates_from_pem(pem).ok()).flatten();
    parts.filter_map(|der| pki::facts(&der).ok()).map(|facts| facts.not_after).min()
}

fn tell(trouble: Trouble, role: Role, arn: &str, until_unix: Option<i64>) {
    match (trouble, role) {
        (Trouble::Expired, Role::Server) => tracing::error!(
            arn,
            until_unix,
            "the server certificate has EXPIRED: clients refuse it until another one is imported under its ARN"
        ),
        (Trouble::Expired, Role::Clients) => tracing::error!(
            arn,
            until_unix,
            "the authority of clients' certificates has EXPIRED: NOBODY can connect until another one is imported"
        ),
        (Trouble::EndsSoon, Role::Server) => tracing::warn!(
            arn,
            until_unix,
            "the server certificate ends soon: from then on clients refuse it"
        ),
        (Trouble::EndsSoon, Role::Clients) => tracing::warn!(
            arn,
            until_unix,
            "the authority of clients' certificates ends soon: from then on nobody can connect"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_before_at_once_and_again() {
        let day = 24 * 60 * 60;
        let end = 30 * day;
        let (soon, expired) = (Trouble::EndsSoon, Trouble::Expired);
        let rows = [
            (None, None, 0, None),
            (Some(end), None, 20 * day, None),
            (Some(end), None, 24 * day, Some(soon)),
            (Some(end), Some((soon, 24 * day)), 24 * day + 60, None),
            (Some(end), Some((soon, 24 * day)), 25 * day, Some(soon)),
            (Some(end), Some((soon, end)), end + 1, Some(expired)),
            (Some(end), Some((expired, end + 1)), end + 2, None),
            (Some(end), Some((expired, end + 1)), end + 61, Some(expired)),
        ];
        for (until, told, now, expected) in rows {
            assert_eq!(Held { modified: 1, until, told }.trouble(now), expected, "{until:?} {told:?} {now}");
        }
    }

    #[test]
    fn the_first_of_a_chain_to_end_counts() {
        let ca = pki::issue::ca("ca", 0, 1_000).unwrap();
        let kind = pki::issue::KeyKind::P256;
        let issue = |until| {
            pki::issue::server(&ca.certificate_pem, &ca.key_pem, "vpn.example.com", 0, until, kind).unwrap()
        };
        let end = |until, role| {
            let certificate = issue(until).certificate_pem;
            first_end(&certificate, Some(&ca.certificate_pem), role)
        };
        assert_eq!(end(500, Role::Server), Some(500));
        assert_eq!(end(2_000, Role::Server), Some(1_000));
        assert_eq!(end(500, Role::Clients), Some(1_000));
        assert_eq!(first_end(&issue(500).certificate_pem, None, Role::Clients), Some(500));
        assert_eq!(first_end("no certificate", None, Role::Server), None);
    }
}
