//! What a PUSH_UPDATE says: which options it names, and what becomes of a client's options by it.
//!
//! An option without a sign replaces all options of its name; `-name` takes them away; `?` before the name lets a client
//! that cannot update it go on as it is. A name belongs to the former options until the update first names it, over all
//! messages of one update. spec: openvpn-protocol §9.5

use std::collections::BTreeSet;

use super::{PushError, check_option};

/// What OpenVPN 2.7 and OpenVPN 3 both change while the tunnel is up.
const UPDATABLE: [&str; 13] = [
    "block-ipv6",
    "block-outside-dns",
    "dhcp-option",
    "dns",
    "ifconfig",
    "ifconfig-ipv6",
    "redirect-gateway",
    "redirect-private",
    "route",
    "route-gateway",
    "route-ipv6",
    "route-metric",
    "tun-mtu",
];
/// What is said for people to read: whoever does not show it goes on as before.
const SHOWN: &str = "echo";

fn name(option: &str) -> &str {
    option.split(' ').next().unwrap_or(option)
}

/// Which way everything goes: forgotten by 2.7 as soon as an update names its routes (seen with 2.7.6), so it is said after
/// them, and said again where it has not changed.
const REDIRECTS: [&str; 2] = ["redirect-gateway", "redirect-private"];
const ROUTES: [&str; 2] = ["route", "route-ipv6"];

/// The options of an update that makes what a client was told into what is wanted; empty if that is the same.
/// `None`: something differs that cannot be updated, so the client has to connect anew.
#[must_use]
pub fn update(told: &[String], wanted: &[String]) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut names: Vec<&str> =
        wanted.iter().chain(told).map(|option| name(option)).filter(|of| seen.insert(*of)).collect();
    names.sort_by_key(|of| REDIRECTS.contains(of));
    let of = |list: &'_ [String], of: &str| -> Vec<String> {
        list.iter().filter(|option| name(option) == of).cloned().collect()
    };
    let mut changes = Vec::new();
    let mut routes_change = false;
    for named in names {
        let latter = of(wanted, named);
        let again = routes_change && REDIRECTS.contains(&named) && !latter.is_empty();
        if of(told, named) == latter && !again {
            continue;
        }
        routes_change |= ROUTES.contains(&named);
        if named == SHOWN {
            changes.extend(latter.iter().map(|option| format!("?{option}")));
        } else if !UPDATABLE.contains(&named) {
            return None;
        } else if latter.is_empty() {
            changes.push(format!("-{named}"));
        } else {
            changes.extend(latter);
        }
    }
    changes.iter().all(|option| check_option(option).is_ok()).then_some(changes)
}

/// The client's side: carries out a whole update on the options in force.
///
/// # Errors
/// An option that is not optional cannot be updated: clients connect anew then.
pub fn apply(options: &mut Vec<String>, update: Vec<String>) -> Result<(), PushError> {
    let mut named = BTreeSet::new();
    for given in update {
        let refused = || PushError::NotUpdatable(given.clone());
        let (removes, rest) = given.strip_prefix('-').map_or((false, given.as_str()), |rest| (true, rest));
        let (optional, option) = rest.strip_prefix('?').map_or((false, rest), |rest| (true, rest));
        let of = name(option);
        if of.is_empty() || of.starts_with(['-', '?']) {
            return Err(refused());
        }
        if of != SHOWN && !UPDATABLE.contains(&of) {
            if optional {
                continue;
            }
            return Err(refused());
        }
        if of == SHOWN && !optional {
            return Err(refused());
        }
        if removes || named.insert(of.to_owned()) {
            options.retain(|option| name(option) != of);
        }
        if !removes {
            options.push(option.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
    }

    /// What is told, what is wanted, and the update.
    const ROWS: [(&str, &str, Option<&str>); 12] = [
        ("route 10.0.0.0 255.0.0.0,ping 1", "route 10.0.0.0 255.0.0.0,ping 1", Some("")),
        (
            "route 10.0.0.0 255.0.0.0,ping 1",
            "route 10.0.0.0 255.0.0.0,route 11.0.0.0 255.0.0.0,ping 1",
            Some("route 10.0.0.0 255.0.0.0,route 11.0.0.0 255.0.0.0"),
        ),
        ("route 10.0.0.0 255.0.0.0,ping 1", "ping 1", Some("-route")),
        (
            "dhcp-option DNS 10.0.0.2,ping 1",
            "redirect-gateway def1 bypass-dhcp,block-outside-dns,ping 1",
            Some("block-outside-dns,-dhcp-option,redirect-gateway def1 bypass-dhcp"),
        ),
        ("route 10.0.0.0 255.0.0.0", "redirect-gateway def1", Some("-route,redirect-gateway def1")),
        (
            "redirect-gateway def1",
            "route 10.0.0.0 255.0.0.0",
            Some("route 10.0.0.0 255.0.0.0,-redirect-gateway"),
        ),
        (
            "redirect-gateway def1,route 10.0.0.0 255.0.0.0",
            "redirect-gateway def1,route 11.0.0.0 255.0.0.0",
            Some("route 11.0.0.0 255.0.0.0,redirect-gateway def1"),
        ),
        ("route-ipv6 fd00::/64", "route-ipv6 fd01::/64", Some("route-ipv6 fd01::/64")),
        ("echo msg \"a\"", "echo msg \"b\"", Some("?echo msg \"b\"")),
        ("echo msg \"a\",ping 1", "ping 1", Some("")),
        ("ping 1", "ping 2", None),
        ("explicit-exit-notify 1", "", None),
    ];

    #[test]
    fn an_update_says_what_differs_and_does_it() {
        for (told, wanted, expected) in ROWS {
            let (told, wanted) = (list(told), list(wanted));
            let said = update(&told, &wanted);
            assert_eq!(said, expected.map(list), "{told:?} to {wanted:?}");
            let Some(said) = said else { continue };
            let mut options = told.clone();
            apply(&mut options, said).unwrap();
            let sorted = |mut list: Vec<String>| {
                list.retain(|option| !option.starts_with("echo"));
                list.sort();
                list
            };
            assert_eq!(sorted(options), sorted(wanted), "{told:?}");
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        for bad in ["ping 7", "-ping", "?-route", "-", "?", "", "echo msg x", "topologist"] {
            let mut options = list("ping 1,route 10.0.0.0 255.0.0.0");
            assert!(apply(&mut options, vec![bad.to_owned()]).is_err(), "{bad:?}");
        }
        for ignored in ["?ping 7", "-?ping", "?unheard of"] {
            let mut options = list("ping 1,route 10.0.0.0 255.0.0.0");
            apply(&mut options, vec![ignored.to_owned()]).unwrap();
            assert_eq!(options, list("ping 1,route 10.0.0.0 255.0.0.0"), "{ignored:?}");
        }
        let mut options = list("route 10.0.0.0 255.0.0.0,dhcp-option DNS 10.0.0.2");
        apply(&mut options, list("-?route,?dhcp-option DNS 10.0.0.3,dhcp-option DNS 10.0.0.4")).unwrap();
        assert_eq!(options, list("dhcp-option DNS 10.0.0.3,dhcp-option DNS 10.0.0.4"));
    }
}
