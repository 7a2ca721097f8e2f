//! Client certificate revocation lists on their way to the gateway, and what the operator must hear of them: an expired
//! list locks everybody out (spec: aws-client-vpn §7).

use std::collections::BTreeMap;
use std::sync::Arc;

use controllers::{EndpointWorld, World};
use model::{Key, RevocationList};

/// How often the same trouble is told again, seconds.
pub(crate) const TELL_AGAIN_S: i64 = 60;
/// How long before its end a list is told of, and how often then, seconds.
pub(crate) const ENDS_SOON_S: i64 = 7 * 24 * 60 * 60;
pub(crate) const REMIND_S: i64 = 24 * 60 * 60;

/// Lists as the gateway takes them, kept between snapshots so that an unchanged one stays the same.
#[derive(Default)]
pub(crate) struct Lists {
    held: BTreeMap<String, Held>,
}

struct Held {
    modified: u64,
    bytes: Arc<Vec<u8>>,
    /// `Err`: it cannot be read. `Ok(None)`: it never ends.
    until: Result<Option<i64>, String>,
    told_at: Option<i64>,
}

/// What the operator must hear.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Unreadable,
    Expired,
    EndsSoon,
}

impl Lists {
    /// Forgets lists that are gone.
    pub(crate) fn retain(&mut self, world: &World) {
        self.held.retain(|key, _| {
            let of = Key::owner_of(key).and_then(|owner| world.endpoints.get(&owner));
            of.is_some_and(|of| of.revocations.contains_key(key))
        });
    }

    /// The list of an endpoint, PEM.
    pub(crate) fn of(&mut self, of: &EndpointWorld, now_unix: i64) -> Option<Arc<Vec<u8>>> {
        let (key, record) = of.revocations.iter().next()?;
        if self.held.get(key).is_none_or(|held| held.modified != record.modified) {
            self.held.insert(key.clone(), Held::read(&record.value, record.modified));
        }
        let held = self.held.get_mut(key)?;
        if let Some(trouble) = held.trouble(now_unix) {
            held.told_at = Some(now_unix);
            tell(&trouble, &record.value, &held.until);
        }
        Some(Arc::clone(&held.bytes))
    }
}

impl Held {
    fn read(list: &RevocationList, modified: u64) -> Self {
        let until = pki::Crl::from_pem(&list.pem).map(|crl| crl.next_update()).map_err(|e| e.to_string());
        Self { modified, bytes: Arc::new(list.pem.clone().into_bytes()), until, told_at: None }
    }

    /// What is to be told now.
    fn trouble(&self, now_unix: i64) -> Option<Trouble> {
        let (trouble, again) = match self.until {
            Err(_) => (Trouble::Unreadable, TELL_AGAIN_S),
            Ok(Some(until)) if now_unix > until => (Trouble::Expired, TELL_AGAIN_S),
            Ok(Some(until)) if now_unix > until.saturating_sub(ENDS_SOON_S) => (Trouble::EndsSoon, REMIND_S),
            Ok(_) => return None,
        };
        self.told_at.is_none_or(|told| now_unix.saturating_sub(told) >= again).then_some(trouble)
    }
}

fn tell(trouble: &Trouble, list: &RevocationList, until: &Result<Option<i64>, String>) {
    let endpoint = &list.endpoint;
    let until_unix = until.as_ref().ok().copied().flatten();
    match trouble {
        Trouble::Unreadable => tracing::error!(
            %endpoint,
            reason = until.as_ref().err().map(String::as_str),
            "the client certificate revocation list cannot be read: NOBODY can connect until another one is imported"
        ),
        Trouble::Expired => tracing::error!(
            %endpoint,
            until_unix,
            "the client certificate revocation list has EXPIRED: NOBODY can connect until another one is imported"
        ),
        Trouble::EndsSoon => tracing::warn!(
            %endpoint,
            until_unix,
            "the client certificate revocation list ends soon: from then on nobody can connect"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_at_once_and_again() {
        let day = 24 * 60 * 60;
        let rows = [
            (Ok(None), None, 0, None),
            (Ok(Some(30 * day)), None, 0, None),
            (Ok(Some(30 * day)), None, 24 * day, Some(Trouble::EndsSoon)),
            (Ok(Some(30 * day)), Some(24 * day), 24 * day + 60, None),
            (Ok(Some(30 * day)), Some(24 * day), 25 * day, Some(Trouble::EndsSoon)),
            (Ok(Some(30 * day)), Some(30 * day), 30 * day + 1, None),
            (Ok(Some(30 * day)), Some(29 * day), 30 * day + 1, Some(Trouble::Expired)),
            (Ok(Some(30 * day)), Some(30 * day + 1), 30 * day + 61, Some(Trouble::Expired)),
            (Err("broken".to_owned()), None, 0, Some(Trouble::Unreadable)),
        ];
        for (until, told_at, now, expected) in rows {
            let held = Held { modified: 1, bytes: Arc::default(), until, told_at };
            assert_eq!(held.trouble(now), expected, "{:?} {told_at:?} {now}", held.until);
        }
    }
}
