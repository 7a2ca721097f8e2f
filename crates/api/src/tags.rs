//! Tags as given (spec: aws-client-vpn §2.0.6).

use std::collections::BTreeMap;

use crate::ec2::shapes::{Tag, TagSpecification};
use crate::error::ApiError;

/// Most tags of a resource.
pub(crate) const MAX_TAGS: usize = 50;
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 256;

/// The tags for a resource of `kind`; faults of specifications for other kinds, of keys and of values.
pub(crate) fn read(
    specifications: &[TagSpecification],
    kind: &str,
    faults: &mut Vec<ApiError>,
) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for specification in specifications {
        match specification.resource_type.as_deref() {
            Some(given) if given == kind => {}
            Some(given) => {
                let message = format!(
                    "'{}' is not a valid taggable resource type for this operation.",
                    crate::error::short(given)
                );
                faults.push(ApiError::invalid(message));
            }
            None => faults.push(ApiError::missing("TagSpecification.1.ResourceType")),
        }
        for tag in &specification.tags {
            take(tag, &mut tags, faults);
        }
    }
    if tags.len() > MAX_TAGS {
        faults.push(ApiError::new("TagLimitExceeded", format!("More than {MAX_TAGS} tags specified")));
    }
    tags
}

/// The tags given for things that exist; faults of keys, of values and of their number.
pub(crate) fn given(tags: &[Tag], faults: &mut Vec<ApiError>) -> BTreeMap<String, String> {
    let mut taken = BTreeMap::new();
    for tag in tags {
        take(tag, &mut taken, faults);
    }
    if taken.len() > MAX_TAGS {
        faults.push(ApiError::new("TagLimitExceeded", format!("More than {MAX_TAGS} tags specified")));
    }
    taken
}

fn take(tag: &Tag, tags: &mut BTreeMap<String, String>, faults: &mut Vec<ApiError>) {
    let (key, value) = (tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default());
    if key.is_empty() {
        faults.push(ApiError::invalid("Tag keys must not be empty"));
    } else if key.to_ascii_lowercase().starts_with("aws:") {
        faults.push(ApiError::invalid("Tag keys starting with 'aws:' are reserved for internal use"));
    } else if key.chars().nth(MAX_KEY_CHARS).is_some() {
        faults.push(ApiError::invalid(format!("Tag keys have at most {MAX_KEY_CHARS} characters")));
    } else if value.chars().nth(MAX_VALUE_CHARS).is_some() {
        faults.push(ApiError::invalid(format!("Tag values have at most {MAX_VALUE_CHARS} characters")));
    } else if tags.insert(key.clone(), value).is_some() {
        faults.push(ApiError::invalid(format!("Duplicate tag key '{key}' specified.")));
    }
}

/// For a request's touches, where faults have already been answered.
pub(crate) fn valid(specifications: &[TagSpecification], kind: &str) -> BTreeMap<String, String> {
    read(specifications, kind, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_rules() {
        let spec = |kind: &str, tags: &[(&str, &str)]| TagSpecification {
            resource_type: Some(kind.to_owned()),
            tags: tags
                .iter()
                .map(|(k, v)| Tag { key: Some((*k).to_owned()), value: Some((*v).to_owned()) })
                .collect(),
        };
        let long = "k".repeat(129);
        let rows: Vec<(Vec<TagSpecification>, usize, usize)> = vec![
            (vec![spec("vpc", &[("a", "1"), ("b", "")])], 2, 0),
            (vec![spec("subnet", &[("a", "1")])], 1, 1),
            (vec![spec("vpc", &[("aws:x", "1")])], 0, 1),
            (vec![spec("vpc", &[("", "1")])], 0, 1),
            (vec![spec("vpc", &[("a", "1"), ("a", "2")])], 1, 1),
            (vec![spec("vpc", &[(&long, "1")])], 0, 1),
            (vec![spec("vpc", &[("a", &"v".repeat(257))])], 0, 1),
        ];
        for (specs, count, wrong) in rows {
            let mut faults = Vec::new();
            assert_eq!(
                (read(&specs, "vpc", &mut faults).len(), faults.len()),
                (count, wrong),
                "{specs:?} {faults:?}"
            );
        }
    }
}
