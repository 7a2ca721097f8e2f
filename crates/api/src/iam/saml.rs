//! SAML providers: names, metadata and tags as the actions share them.

use std::collections::BTreeMap;

use aws_query::{FromQuery, ToXml};
use model::{Key, SamlProvider, Scope, Timestamp};
use store::typed::Record;

use crate::arn;
use crate::cx::Cx;
use crate::error::{ApiError, short};

/// Most SAML providers of an account.
pub(crate) const MAX_PROVIDERS: usize = 100;
/// Most tags of a provider.
const MAX_TAGS: usize = 50;
/// Shortest metadata, characters.
const MIN_METADATA_CHARS: usize = 1_000;
/// Largest metadata, bytes: it must fit one record of the store, written as JSON.
const MAX_METADATA_BYTES: usize = 2 << 20;
/// How long metadata without a date of its own is good, seconds: a hundred years.
const FOR_EVER_SECONDS: i64 = 100 * 365 * 24 * 60 * 60;

const METADATA_NAMESPACE: &str = "urn:oasis:names:tc:SAML:2.0:metadata";

/// A tag as given.
#[derive(Clone, Debug, FromQuery)]
pub(crate) struct Tag {
    key: String,
    value: String,
}

/// A tag as answered.
#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct TagAnswer {
    key: String,
    value: String,
}

/// The tags given.
pub(crate) fn tags(given: &[Tag]) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for tag in given {
        let fits = (1..=128).contains(&tag.key.chars().count()) && tag.value.chars().nth(256).is_none();
        if !fits || tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(format!("The tag '{}' is not valid", short(&tag.key))));
        }
        if tags.insert(tag.key.clone(), tag.value.clone()).is_some() {
            return Err(invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive."));
        }
    }
    few(&tags)?;
    Ok(tags)
}

/// Not more tags than a provider may have.
pub(crate) fn few(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        let message = format!("The number of tags has reached the maximum limit of {MAX_TAGS}.");
        return Err(ApiError::new("LimitExceeded", message).status(409));
    }
    Ok(())
}

/// Tags as answered.
pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> Vec<TagAnswer> {
    tags.iter().map(|(key, value)| TagAnswer { key: key.clone(), value: value.clone() }).collect()
}

/// The service's word for a value it does not take.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidInput", message)
}

/// A name of a provider.
pub(crate) fn name(text: &str) -> Result<&str, ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text);
    }
    let message = format!(
        "1 validation error detected: Value '{}' at 'name' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [\\w._-]+ and have length less than or equal to 128",
        short(text)
    );
    Err(ApiError::new("ValidationError", message))
}

/// Until when metadata is good, if it is that of an identity provider.
pub(crate) fn valid_until(metadata: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    if metadata.len() > MAX_METADATA_BYTES || metadata.chars().nth(MIN_METADATA_CHARS - 1).is_none() {
        let message = format!(
            "The metadata document has at least {MIN_METADATA_CHARS} characters and at most \
             {MAX_METADATA_BYTES} bytes"
        );
        return Err(ApiError::new("ValidationError", message));
    }
    let wrong = || invalid("Could not parse metadata");
    let document = roxmltree::Document::parse(metadata).map_err(|_| wrong())?;
    let is = |node: &roxmltree::Node<'_, '_>, name: &str| node.has_tag_name((METADATA_NAMESPACE, name));
    let root = document.root_element();
    if !is(&root, "EntityDescriptor") || root.attribute("entityID").is_none() {
        return Err(wrong());
    }
    if !root.children().any(|child| is(&child, "IDPSSODescriptor")) {
        return Err(invalid("The metadata document is not that of an identity provider"));
    }
    match root.attribute("validUntil") {
        None => Ok(Timestamp(now.0.saturating_add(FOR_EVER_SECONDS))),
        Some(text) => {
            let until: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
            if until.as_second() <= now.0 {
                return Err(invalid("The metadata document has expired"));
            }
            Ok(Timestamp(until.as_second()))
        }
    }
}

/// A provider's ARN.
pub(crate) fn arn(scope: &Scope, name: &str) -> String {
    format!("arn:aws:iam::{}:saml-provider/{name}", scope.account)
}

/// A provider, by the caller's word.
pub(crate) async fn known(cx: &Cx<'_>, text: &str) -> Result<Record<SamlProvider>, ApiError> {
    let name = arn::parse(text)
        .filter(|arn| arn.service == "iam" && arn.region.is_empty())
        .and_then(|arn| Some((arn.account, arn.resource.strip_prefix("saml-provider/")?)));
    let Some((account, name)) = name else {
        return Err(invalid(format!("Invalid ARN: {}", short(text))));
    };
    let none = || {
        let message = format!("Manifest not found for arn {}", short(text));
        ApiError::new("NoSuchEntity", message).status(404)
    };
    if account != cx.scope.account.as_str() {
        return Err(none());
    }
    cx.get(&Key::saml_provider(cx.scope, name)).await?.ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(root: &str, more: &str) -> String {
        let padding = "x".repeat(MIN_METADATA_CHARS);
        format!(
            "<{root} xmlns=\"{METADATA_NAMESPACE}\" entityID=\"idp\" {more}><!--{padding}-->\
             <IDPSSODescriptor/></{root}>"
        )
    }

    #[test]
    fn metadata_has_rules() {
        let now = Timestamp(1_800_000_000);
        let rows = [
            (metadata("EntityDescriptor", ""), Ok(Timestamp(now.0 + FOR_EVER_SECONDS))),
            (
                metadata("EntityDescriptor", "validUntil=\"2030-01-01T00:00:00Z\""),
                Ok(Timestamp(1_893_456_000)),
            ),
            (metadata("EntityDescriptor", "validUntil=\"2020-01-01T00:00:00Z\""), Err("InvalidInput")),
            (metadata("EntityDescriptor", "validUntil=\"soon\""), Err("InvalidInput")),
            (metadata("Other", ""), Err("InvalidInput")),
            (metadata("EntityDescriptor", "").replace("IDPSSO", "SPSSO"), Err("InvalidInput")),
            ("<x/>".to_owned(), Err("ValidationError")),
            ("x".repeat(2_000), Err("InvalidInput")),
        ];
        for (text, expected) in rows {
            let found = valid_until(&text, now);
            assert_eq!(found.map_err(|error| error.code.to_string()), expected.map_err(str::to_owned));
        }
    }
}
