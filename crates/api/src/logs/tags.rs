//! Tags of log groups: a map, unlike elsewhere.

use std::collections::BTreeMap;

use super::invalid;
use crate::error::{ApiError, short};

/// Most tags of a group.
const MAX_TAGS: usize = 50;

/// Refuses tags that cannot be.
pub(crate) fn check(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for (key, value) in tags {
        let fits = (1..=128).contains(&key.chars().count()) && value.chars().nth(256).is_none();
        if !fits || key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(format!("The tag '{}' is not valid", short(key))));
        }
    }
    few(tags)
}

/// Refuses more tags than a group may have.
pub(crate) fn few(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        let message = format!("A resource can have at most {MAX_TAGS} tags");
        return Err(ApiError::new("TooManyTagsException", message));
    }
    Ok(())
}
