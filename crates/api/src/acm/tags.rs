//! Tags of certificates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, short};

/// Most tags of a certificate.
pub(crate) const MAX_TAGS: usize = 50;
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 256;

/// A tag, given or answered.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Tag {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The tags given.
pub(crate) fn given(tags: &[Tag]) -> Result<BTreeMap<String, String>, ApiError> {
    if tags.len() > MAX_TAGS {
        return Err(too_many());
    }
    let mut read = BTreeMap::new();
    for tag in tags {
        let value = tag.value.clone().unwrap_or_default();
        let fits = (1..=MAX_KEY_CHARS).contains(&tag.key.chars().count())
            && value.chars().nth(MAX_VALUE_CHARS).is_none();
        if !fits || tag.key.to_ascii_lowercase().starts_with("aws:") {
            let message = format!("The tag '{}' is not valid.", short(&tag.key));
            return Err(ApiError::new("InvalidTagException", message));
        }
        read.insert(tag.key.clone(), value);
    }
    Ok(read)
}

/// Tags as answered.
pub(crate) fn answered(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: Some(value.clone()) }).collect()
}

/// More than a certificate may have.
pub(crate) fn too_many() -> ApiError {
    ApiError::new("TooManyTagsException", format!("A certificate has at most {MAX_TAGS} tags."))
}
