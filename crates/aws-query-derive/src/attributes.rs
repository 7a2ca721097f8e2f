//! Reading the attributes of fields and types.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitInt, LitStr};

/// `#[query(..)]` of a field.
#[derive(Default)]
pub(crate) struct QueryField {
    pub(crate) name: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) alias: Option<String>,
    pub(crate) over: Option<String>,
    pub(crate) required: bool,
    pub(crate) token: bool,
    pub(crate) max: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) range: Option<(i64, i64)>,
}

/// `#[xml(..)]` of a field or a type.
#[derive(Default)]
pub(crate) struct XmlField {
    pub(crate) name: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) item: Option<String>,
    pub(crate) pascal: bool,
    pub(crate) omit_empty: bool,
    pub(crate) no_members: bool,
}

pub(crate) fn query_field(attributes: &[Attribute]) -> syn::Result<QueryField> {
    let mut out = QueryField::default();
    each(attributes, "query", |meta| {
        let Some(key) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(meta.error("expecting a word"));
        };
        match key.as_str() {
            "name" => out.name = Some(text(&meta)?),
            "model" => out.model = Some(text(&meta)?),
            "alias" => out.alias = Some(text(&meta)?),
            "over" => out.over = Some(text(&meta)?),
            "required" => out.required = true,
            "token" => out.token = true,
            "max" => out.max = Some(number(&meta)?),
            "max_length" => out.max_length = Some(number(&meta)?),
            "range" => out.range = Some(range(&meta)?),
            _ => return Err(meta.error("unknown query attribute")),
        }
        Ok(())
    })?;
    Ok(out)
}

pub(crate) fn xml_field(attributes: &[Attribute]) -> syn::Result<XmlField> {
    let mut out = XmlField::default();
    each(attributes, "xml", |meta| {
        let Some(key) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(meta.error("expecting a word"));
        };
        match key.as_str() {
            "name" => out.name = Some(text(&meta)?),
            "model" => out.model = Some(text(&meta)?),
            "item" => out.item = Some(text(&meta)?),
            "omit_empty" => out.omit_empty = true,
            "no_members" => out.no_members = true,
            "case" => {
                out.pascal = match text(&meta)?.as_str() {
                    "pascal" => true,
                    "camel" => false,
                    _ => return Err(meta.error("case is \"pascal\" or \"camel\"")),
                }
            }
            _ => return Err(meta.error("unknown xml attribute")),
        }
        Ok(())
    })?;
    Ok(out)
}

/// `#[query("value")]` of a variant.
pub(crate) fn variant_text(attributes: &[Attribute]) -> syn::Result<Option<String>> {
    let mut out = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("query")) {
        out = Some(attribute.parse_args::<LitStr>()?.value());
    }
    Ok(out)
}

fn each(
    attributes: &[Attribute],
    word: &str,
    mut take: impl FnMut(ParseNestedMeta<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident(word))
        .try_for_each(|attribute| attribute.parse_nested_meta(&mut take))
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<String> {
    Ok(meta.value()?.parse::<LitStr>()?.value())
}

fn number(meta: &ParseNestedMeta<'_>) -> syn::Result<usize> {
    meta.value()?.parse::<LitInt>()?.base10_parse()
}

/// `"5..=1000"`.
fn range(meta: &ParseNestedMeta<'_>) -> syn::Result<(i64, i64)> {
    let text = text(meta)?;
    text.split_once("..=")
        .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)))
        .filter(|(low, high): &(i64, i64)| low <= high)
        .ok_or_else(|| meta.error("expecting a range like \"5..=1000\""))
}
