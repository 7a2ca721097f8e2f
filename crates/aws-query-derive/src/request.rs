//! `#[derive(FromQuery)]`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::DeriveInput;

use crate::{attributes, named_fields, words};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let (mut reads, mut moves, mut members) = (Vec::new(), Vec::new(), Vec::new());
    let mut wires = BTreeSet::new();
    for field in named_fields(input)? {
        let Some(ident) = &field.ident else { continue };
        let ty = &field.ty;
        let attribute = attributes::query_field(&field.attrs)?;
        let pascal = words::pascal(&ident.to_string());
        let wire = attribute.name.unwrap_or_else(|| pascal.clone());
        let model = attribute.model.unwrap_or(pascal);
        if !wires.insert(wire.clone())
            || attribute.alias.as_ref().is_some_and(|alias| !wires.insert(alias.clone()))
        {
            return Err(syn::Error::new_spanned(ident, "two fields have the same wire name"));
        }
        let local = format_ident!("member_{}", ident.to_string().trim_start_matches("r#"));
        let (required, token) = (attribute.required, attribute.token);
        let alias = option(attribute.alias.map(|alias| quote!(#alias)));
        let range = option(attribute.range.map(|(low, high)| quote!((#low, #high))));
        let max_length = option(attribute.max_length.map(|most| quote!(#most)));
        let max = attribute.max.map(|max| quote!(max: #max,));
        let over = attribute.over.map(|over| quote!(over: #over,));
        reads.push(quote! {
            let #local: ::core::option::Option<#ty> = {
                const RULES: ::aws_query::Rules = ::aws_query::Rules {
                    alias: #alias, required: #required, range: #range, max_length: #max_length, #max #over
                    ..::aws_query::Rules::new(#wire)
                };
                decoder.member::<#ty>(prefix, &RULES)
            };
        });
        moves.push(quote!(#ident: #local?));
        members.push(quote! {
            ::aws_query::Member {
                name: #model,
                wire: #wire,
                required: #required || <#ty as ::aws_query::QueryValue>::absent().is_none(),
                token: #token,
                range: #range,
                kind: <#ty as ::aws_query::QueryValue>::kind(),
            }
        });
    }
    let unused = reads.is_empty().then(|| quote!(let _ = (decoder, prefix);));
    Ok(quote! {
        #[automatically_derived]
        impl ::aws_query::FromQuery for #name {
            fn from_query(
                decoder: &mut ::aws_query::Decoder<'_>,
                prefix: &str,
            ) -> ::core::option::Option<Self> {
                #unused
                #(#reads)*
                ::core::option::Option::Some(Self { #(#moves),* })
            }
        }

        #[automatically_derived]
        impl ::aws_query::QueryValue for #name {
            fn read(
                decoder: &mut ::aws_query::Decoder<'_>,
                path: &str,
                _: &::aws_query::Rules,
            ) -> ::aws_query::Read<Self> {
                decoder.structure::<Self>(path)
            }

            fn kind() -> ::aws_query::Kind {
                ::aws_query::Kind::Structure(<Self as ::aws_query::Members>::members())
            }
        }

        #[automatically_derived]
        impl ::aws_query::Members for #name {
            fn members() -> ::std::vec::Vec<::aws_query::Member> {
                ::std::vec![#(#members),*]
            }
        }
    })
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
