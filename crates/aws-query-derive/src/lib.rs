//! Derives of `aws-query`; the attributes are described there.

mod attributes;
mod query_enum;
mod request;
mod response;
mod words;

use proc_macro::TokenStream;
use syn::{Data, DataStruct, DeriveInput, Field, Fields, parse_macro_input};

/// Reads a structure from parameters: `FromQuery`, `QueryValue` and `Members`.
#[proc_macro_derive(FromQuery, attributes(query))]
pub fn from_query(input: TokenStream) -> TokenStream {
    expand(parse_macro_input!(input as DeriveInput), request::derive)
}

/// Writes a structure as XML: `ToXml` and `Members`.
#[proc_macro_derive(ToXml, attributes(xml))]
pub fn to_xml(input: TokenStream) -> TokenStream {
    expand(parse_macro_input!(input as DeriveInput), response::derive)
}

/// An enumeration of texts, for requests and responses: `QueryEnum`, `QueryValue` and `ToXml`.
#[proc_macro_derive(QueryEnum, attributes(query))]
pub fn query_enum(input: TokenStream) -> TokenStream {
    expand(parse_macro_input!(input as DeriveInput), query_enum::derive)
}

fn expand(
    input: DeriveInput,
    derive: fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Fields of a structure with named fields (or none), without type parameters.
fn named_fields(input: &DeriveInput) -> syn::Result<Vec<&Field>> {
    if let Some(parameter) = input.generics.type_params().next() {
        return Err(syn::Error::new_spanned(parameter, "type parameters are not supported"));
    }
    match &input.data {
        Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) => Ok(fields.named.iter().collect()),
        Data::Struct(DataStruct { fields: Fields::Unit, .. }) => Ok(Vec::new()),
        _ => Err(syn::Error::new_spanned(&input.ident, "only structures with named fields are supported")),
    }
}
