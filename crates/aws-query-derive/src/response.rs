//! `#[derive(ToXml)]`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::{attributes, named_fields, words};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let of_type = attributes::xml_field(&input.attrs)?;
    let (mut writes, mut members) = (Vec::new(), Vec::new());
    let mut wires = BTreeSet::new();
    for field in named_fields(input)? {
        let Some(ident) = &field.ident else { continue };
        let ty = &field.ty;
        let attribute = attributes::xml_field(&field.attrs)?;
        let pascal = words::pascal(&ident.to_string());
        let cased = if of_type.pascal || attribute.pascal {
            pascal.clone()
        } else {
            words::camel(&ident.to_string())
        };
        let wire = attribute.name.unwrap_or(cased);
        let model = attribute.model.unwrap_or(pascal);
        let item = attribute.item.unwrap_or_else(|| "item".to_owned());
        if !wires.insert(wire.clone()) {
            return Err(syn::Error::new_spanned(ident, "two fields have the same element name"));
        }
        let write = quote!(::aws_query::ToXml::element(&self.#ident, #wire, #item, out););
        writes.push(if attribute.omit_empty {
            quote!(if !::aws_query::ToXml::is_empty(&self.#ident) { #write })
        } else {
            write
        });
        members.push(quote! {
            ::aws_query::Member {
                name: #model,
                wire: #wire,
                required: false,
                token: false,
                range: ::core::option::Option::None,
                kind: <#ty as ::aws_query::ToXml>::kind(),
            }
        });
    }
    let unused = writes.is_empty().then(|| quote!(let _ = out;));
    let members_impl = (!of_type.no_members).then(|| {
        quote! {
            #[automatically_derived]
            impl ::aws_query::Members for #name {
                fn members() -> ::std::vec::Vec<::aws_query::Member> {
                    match <Self as ::aws_query::ToXml>::kind() {
                        ::aws_query::Kind::Structure(members) => members,
                        _ => ::std::vec::Vec::new(),
                    }
                }
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::aws_query::ToXml for #name {
            fn content(&self, out: &mut ::std::string::String) {
                #unused
                #(#writes)*
            }

            fn kind() -> ::aws_query::Kind {
                ::aws_query::Kind::Structure(::std::vec![#(#members),*])
            }
        }

        #members_impl
    })
}
