//! Names of resources in a configuration: readable, and each once of its kind.

use std::collections::BTreeSet;

/// Longest name made, characters.
const MAX_NAME_CHARS: usize = 60;

/// The names given so far.
#[derive(Default)]
pub(super) struct Names(BTreeSet<(String, String)>);

impl Names {
    /// A name of that kind after this wish.
    pub(super) fn take(&mut self, kind: &str, wish: &str) -> String {
        let plain = plain(wish);
        let mut name = plain.clone();
        let mut number = 2_usize;
        while !self.0.insert((kind.to_owned(), name.clone())) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        name
    }
}

/// Letters, digits and `_`, beginning with a letter.
fn plain(wish: &str) -> String {
    let mut name = String::new();
    for c in wish.chars().take(MAX_NAME_CHARS) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.ends_with('_') || name.is_empty() => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_end_matches('_');
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name.to_owned(),
        Some(_) => format!("n_{name}"),
        None => "unnamed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_different() {
        let mut names = Names::default();
        for (wish, expected) in [
            ("Main VPC", "main_vpc"),
            ("main/vpc!", "main_vpc_2"),
            ("10.0.0.0/16", "n_10_0_0_0_16"),
            ("", "unnamed"),
            ("é", "unnamed_2"),
        ] {
            assert_eq!(names.take("aws_vpc", wish), expected);
        }
        assert_eq!(names.take("aws_subnet", "Main VPC"), "main_vpc");
    }
}
