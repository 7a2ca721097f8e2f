//! The actions of Certificate Manager, one file each.

mod add_tags_to_certificate;
mod delete_certificate;
mod describe_certificate;
mod get_certificate;
mod import_certificate;
mod list_certificates;
mod list_tags_for_certificate;
mod remove_tags_from_certificate;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<add_tags_to_certificate::AddTagsToCertificate>(),
    action::<delete_certificate::DeleteCertificate>(),
    action::<describe_certificate::DescribeCertificate>(),
    action::<get_certificate::GetCertificate>(),
    action::<import_certificate::ImportCertificate>(),
    action::<list_certificates::ListCertificates>(),
    action::<list_tags_for_certificate::ListTagsForCertificate>(),
    action::<remove_tags_from_certificate::RemoveTagsFromCertificate>(),
];
