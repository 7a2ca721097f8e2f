//! The actions of Identity and Access Management, one file each.

mod create_saml_provider;
mod delete_saml_provider;
mod get_saml_provider;
mod get_user;
mod list_saml_provider_tags;
mod list_saml_providers;
mod tag_saml_provider;
mod untag_saml_provider;
mod update_saml_provider;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<create_saml_provider::CreateSamlProvider>(),
    action::<delete_saml_provider::DeleteSamlProvider>(),
    action::<get_saml_provider::GetSamlProvider>(),
    action::<get_user::GetUser>(),
    action::<list_saml_provider_tags::ListSamlProviderTags>(),
    action::<list_saml_providers::ListSamlProviders>(),
    action::<tag_saml_provider::TagSamlProvider>(),
    action::<untag_saml_provider::UntagSamlProvider>(),
    action::<update_saml_provider::UpdateSamlProvider>(),
];
