//! What an endpoint refers to is not deleted while it does: the endpoint's own transaction rewrites it as it was, so
//! that a deletion decided at the same time meets a conflict, looks again, and finds the endpoint.

use std::collections::BTreeSet;

use model::{Authentication, EndpointSpec};

use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;

/// Holds VPC, security groups and certificates of an endpoint that is made or changed.
///
/// # Errors
/// One of them is gone.
pub(crate) async fn hold(cx: &Cx<'_>, draft: &mut Draft, spec: &EndpointSpec) -> Result<(), ApiError> {
    if let Some(vpc) = &spec.vpc_id {
        draft.touch(&cx.vpc(vpc.as_str()).await?);
    }
    for id in spec.security_group_ids.iter().collect::<BTreeSet<_>>() {
        draft.touch(&cx.security_group(id.as_str()).await?);
    }
    for arn in certificates(spec) {
        let found = cx.certificate(arn).await?;
        draft.touch(&found.ok_or_else(|| no_certificate(arn))?);
    }
    Ok(())
}

/// The certificates an endpoint uses, each once.
pub(crate) fn certificates(spec: &EndpointSpec) -> BTreeSet<&str> {
    let roots = spec.authentication.iter().filter_map(|way| match way {
        Authentication::Certificate { client_root_arn } => Some(client_root_arn.as_str()),
        _ => None,
    });
    std::iter::once(spec.server_certificate_arn.as_str()).chain(roots).collect()
}

/// UNVERIFIED: the message for a certificate that does not exist.
pub(crate) fn no_certificate(arn: &str) -> ApiError {
    ApiError::invalid(format!("Certificate {} does not exist", crate::error::short(arn)))
}
