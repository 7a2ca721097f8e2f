//! Filters of describe actions (spec: aws-client-vpn §2.0.4): values of one filter are alternatives, filters add up,
//! `*` and `?` stand for any text and any character, `\` takes their meaning.

use std::collections::BTreeMap;

use aws_query::FromQuery;

use crate::error::ApiError;

/// One filter.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct Filter {
    /// What to look at.
    pub name: Option<String>,
    /// Any of these.
    #[query(name = "Value", max = 200, over = "FilterLimitExceeded")]
    pub values: Vec<String>,
}

/// What one row shows to filters: name to values; a filter matches if any value does.
pub(crate) type Facets<'r> = Vec<(&'static str, Vec<&'r str>)>;

/// The filters of a call, checked against the names an action knows.
pub(crate) struct Filters<'f> {
    filters: Vec<(&'f str, &'f [String])>,
}

impl<'f> Filters<'f> {
    /// Reads the filters; `tags` says whether `tag:…` and `tag-key` are known.
    pub(crate) fn new(filters: &'f [Filter], names: &[&str], tags: bool) -> Result<Self, ApiError> {
        let read = |filter: &'f Filter| {
            let name = filter.name.as_deref().ok_or_else(|| ApiError::missing("Filter.1.Name"))?;
            let of_tags = tags && (name == "tag-key" || name.starts_with("tag:"));
            if names.contains(&name) || of_tags {
                Ok((name, filter.values.as_slice()))
            } else {
                Err(ApiError::invalid(format!("The filter '{}' is invalid", crate::error::short(name))))
            }
        };
        Ok(Self { filters: filters.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The values that a filter of this name lets through, where it names them without patterns: whoever has a key for
    /// them need not look at the others.
    pub(crate) fn exact(&self, name: &str) -> Option<&'f [String]> {
        let plain = |value: &String| !value.contains(['*', '?', '\\']);
        self.filters
            .iter()
            .find(|(found, values)| *found == name && values.iter().all(plain))
            .map(|(_, values)| *values)
    }

    /// Whether a row passes all filters.
    pub(crate) fn pass(&self, facets: &Facets<'_>, tags: &BTreeMap<String, String>) -> bool {
        self.filters.iter().all(|(name, wanted)| match name.strip_prefix("tag:") {
            Some(key) => tags.get(key).is_some_and(|value| any(wanted, [value.as_str()])),
            None if *name == "tag-key" => any(wanted, tags.keys().map(String::as_str)),
            None => {
                let values = facets.iter().filter(|(facet, _)| facet == name).flat_map(|(_, values)| values);
                any(wanted, values.copied())
            }
        })
    }
}

/// Faults of filters, for an action's check.
pub(crate) fn check(filters: &[Filter], names: &[&str], tags: bool, faults: &mut Vec<ApiError>) {
    if let Err(fault) = Filters::new(filters, names, tags) {
        faults.push(fault);
    }
}

fn any<'v>(patterns: &[String], values: impl IntoIterator<Item = &'v str>) -> bool {
    values.into_iter().any(|value| patterns.iter().any(|pattern| matches(pattern, value)))
}

/// Linear in both lengths but for stars, then their product; never exponential.
fn matches(pattern: &str, value: &str) -> bool {
    let pattern = tokens(pattern);
    let value: Vec<char> = value.chars().collect();
    let (mut at, mut seen, mut back) = (0, 0, None);
    while let Some(&c) = value.get(seen) {
        match pattern.get(at) {
            Some(Token::Any) => {
                back = Some((at, seen));
                at += 1;
            }
            Some(Token::One) => (at, seen) = (at + 1, seen + 1),
            Some(Token::Char(wanted)) if *wanted == c => (at, seen) = (at + 1, seen + 1),
            _ => match back {
                Some((star, from)) => {
                    (at, seen) = (star + 1, from + 1);
                    back = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|token| *token == Token::Any)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut chars = pattern.chars();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().unwrap_or('\\')),
            c => Token::Char(c),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let rows = [
            ("abc", "abc", true),
            ("abc", "ABC", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
        ];
        for (pattern, value, expected) in rows {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
        }
        assert!(!matches(&"*a".repeat(200), &"b".repeat(20_000)));
    }

    #[test]
    fn only_plain_values_are_exact() {
        let filter = |values: &[&str]| Filter {
            name: Some("id".to_owned()),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let rows = [
            (vec![filter(&["a", "b"])], Some(2)),
            (vec![filter(&["a", "b*"])], None),
            (vec![filter(&["a?"])], None),
            (vec![filter(&[r"a\*"])], None),
            (vec![filter(&["*"]), filter(&["c"])], Some(1)),
            (vec![], None),
        ];
        for (filters, expected) in rows {
            let read = Filters::new(&filters, &["id"], false).unwrap();
            assert_eq!(read.exact("id").map(<[String]>::len), expected, "{filters:?}");
        }
    }

    #[test]
    fn filters_add_up_and_values_are_alternatives() {
        let filter = |name: &str, values: &[&str]| Filter {
            name: Some(name.to_owned()),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let tags = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let facets: Facets<'_> =
            vec![("vpc-id", vec!["vpc-1"]), ("cidr", vec!["10.0.0.0/16", "10.1.0.0/16"])];
        let rows = [
            (vec![filter("vpc-id", &["vpc-2", "vpc-1"])], true),
            (vec![filter("vpc-id", &["vpc-1"]), filter("cidr", &["10.1.*"])], true),
            (vec![filter("vpc-id", &["vpc-1"]), filter("cidr", &["10.2.*"])], false),
            (vec![filter("tag:env", &["prod"])], true),
            (vec![filter("tag:env", &["dev"])], false),
            (vec![filter("tag-key", &["env"])], true),
            (vec![filter("vpc-id", &[])], false),
        ];
        for (filters, expected) in rows {
            let read = Filters::new(&filters, &["vpc-id", "cidr"], true).unwrap();
            assert_eq!(read.pass(&facets, &tags), expected, "{filters:?}");
        }
        assert_eq!(
            Filters::new(&[filter("other", &[])], &["cidr"], true).err().unwrap().code,
            "InvalidParameterValue"
        );
        assert!(Filters::new(&[filter("tag:x", &[])], &["cidr"], false).is_err());
    }
}
