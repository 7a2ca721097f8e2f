//! The actions of Certificate Manager, one file each.

mod describe_certificate;
mod import_certificate;
mod list_certificates;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<describe_certificate::DescribeCertificate>(),
    action::<import_certificate::ImportCertificate>(),
    action::<list_certificates::ListCertificates>(),
];
