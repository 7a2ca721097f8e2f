//! `#[derive(QueryEnum)]`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields};

use crate::{attributes, words};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let Data::Enum(data) = &input.data else {
        return Err(syn::Error::new_spanned(name, "only enumerations are supported"));
    };
    let (mut variants, mut texts, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new_spanned(variant, "variants cannot hold data"));
        }
        let text = attributes::variant_text(&variant.attrs)?
            .unwrap_or_else(|| words::kebab(&variant.ident.to_string()));
        if !seen.insert(text.clone()) {
            return Err(syn::Error::new_spanned(variant, "two variants have the same text"));
        }
        variants.push(&variant.ident);
        texts.push(text);
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::aws_query::QueryEnum for #name {
            const VALUES: &'static [&'static str] = &[#(#texts),*];

            fn as_str(self) -> &'static str {
                match self { #(Self::#variants => #texts),* }
            }

            fn from_wire(text: &str) -> ::core::option::Option<Self> {
                match text {
                    #(#texts => ::core::option::Option::Some(Self::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }
        }

        #[automatically_derived]
        impl ::aws_query::QueryValue for #name {
            fn read(
                decoder: &mut ::aws_query::Decoder<'_>,
                path: &str,
                _: &::aws_query::Rules,
            ) -> ::aws_query::Read<Self> {
                <Self as ::aws_query::QueryEnum>::read_enum(decoder, path)
            }

            fn kind() -> ::aws_query::Kind {
                ::aws_query::Kind::Enum(<Self as ::aws_query::QueryEnum>::VALUES)
            }
        }

        #[automatically_derived]
        impl ::aws_query::ToXml for #name {
            fn content(&self, out: &mut ::std::string::String) {
                ::aws_query::escape(<Self as ::aws_query::QueryEnum>::as_str(*self), out);
            }

            fn kind() -> ::aws_query::Kind {
                ::aws_query::Kind::Enum(<Self as ::aws_query::QueryEnum>::VALUES)
            }
        }
    })
}
