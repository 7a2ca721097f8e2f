//! Name constraints: which names an issuer may put into certificates below it (RFC 5280 §4.2.1.10).
//!
//! Understood are DNS names and permitted directory names. A constraint of another kind refuses a
//! certificate that has a name of that kind; excluded directory names refuse everything, because names
//! that mean the same can be written in several ways.

use x509_parser::extensions::{GeneralName, NameConstraints};

use crate::certificate::View;
use crate::names;

/// Whether every name of `subject` is within `constraints`.
pub(crate) fn permit(constraints: &NameConstraints<'_>, subject: &View<'_>) -> bool {
    let permitted: Vec<&GeneralName<'_>> =
        constraints.permitted_subtrees.iter().flatten().map(|subtree| &subtree.base).collect();
    let excluded: Vec<&GeneralName<'_>> =
        constraints.excluded_subtrees.iter().flatten().map(|subtree| &subtree.base).collect();
    if excluded.iter().any(|name| matches!(name, GeneralName::DirectoryName(_))) {
        return false;
    }
    // What cannot be read cannot be judged.
    let unreadable = |name: &&GeneralName<'_>| matches!(name, GeneralName::Invalid(..));
    let alternative = || subject.names.iter().flat_map(|names| &names.general_names);
    let mut all = permitted.iter().chain(&excluded).copied().chain(alternative());
    if all.any(|name| unreadable(&name)) {
        return false;
    }
    let directory = GeneralName::DirectoryName(subject.x509.subject().clone());
    if subject.x509.subject().iter().next().is_some() && !within(&directory, &permitted, &excluded) {
        return false;
    }
    // The common name is who the client is: where it is written as a domain name it is judged as one.
    if let Some(Some(common_name)) = names::common_name(subject.x509.subject())
        && names::is_dotted_domain(&common_name)
        && !within(&GeneralName::DNSName(&common_name), &permitted, &excluded)
    {
        return false;
    }
    if subject.x509.subject().iter_email().next().is_some()
        && permitted.iter().chain(&excluded).any(|name| matches!(name, GeneralName::RFC822Name(_)))
    {
        return false;
    }
    alternative().all(|name| within(name, &permitted, &excluded))
}

fn within(name: &GeneralName<'_>, permitted: &[&GeneralName<'_>], excluded: &[&GeneralName<'_>]) -> bool {
    let same_kind = |base: &&&GeneralName<'_>| std::mem::discriminant(**base) == std::mem::discriminant(name);
    let mut bases = permitted.iter().filter(same_kind).peekable();
    let is_excluded = excluded.iter().filter(same_kind).any(|base| covers(base, name) != Some(false));
    let is_permitted = bases.peek().is_none() || bases.any(|base| covers(base, name) == Some(true));
    is_permitted && !is_excluded
}

/// Whether the subtree at `base` has `name`; `None` if that cannot be told.
fn covers(base: &GeneralName<'_>, name: &GeneralName<'_>) -> Option<bool> {
    match (base, name) {
        (GeneralName::DNSName(base), GeneralName::DNSName(name)) => {
            if !base.is_ascii() || !name.is_ascii() {
                return None;
            }
            let base = base.strip_prefix('.').unwrap_or(base).to_ascii_lowercase();
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let below = name.strip_suffix(&base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            Some(base.is_empty() || below)
        }
        (GeneralName::DirectoryName(base), GeneralName::DirectoryName(name)) => {
            let mut theirs = name.iter();
            Some(base.iter().all(|rdn| theirs.next() == Some(rdn)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_subtrees() {
        let rows = [
            ("example.com", "example.com", Some(true)),
            ("example.com", "a.b.Example.COM", Some(true)),
            (".example.com", "a.example.com", Some(true)),
            ("example.com", "badexample.com", Some(false)),
            ("example.com", "example.com.evil.org", Some(false)),
            ("example.com", "com", Some(false)),
            ("", "anything.org", Some(true)),
            ("example.com", "exämple.com", None),
        ];
        for (base, name, expected) in rows {
            let answer = covers(&GeneralName::DNSName(base), &GeneralName::DNSName(name));
            assert_eq!(answer, expected, "{name} in {base}");
        }
    }
}
