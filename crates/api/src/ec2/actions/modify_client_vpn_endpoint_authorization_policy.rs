//! `ModifyClientVpnEndpointAuthorizationPolicy` (spec: aws-client-vpn, Appendix B): makes the endpoint's policy, or changes
//! it; what is absent stays. A gateway ends the sessions that it denies and no others.

use async_trait::async_trait;
use aws_auth::cedar::PolicySet;
use aws_query::{FromQuery, QueryEnum, ToXml};
use model::{AuthorizationPolicy, Key, PolicyCode, Scope, Status};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::{ApiError, short};
use crate::touch::Touch;

const PARAMETER: &str = "PolicyDocument";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ModifyClientVpnEndpointAuthorizationPolicy {
    client_vpn_endpoint_id: String,
    policy_document: Option<String>,
    description: Option<String>,
    shadow_mode: Option<ShadowMode>,
    #[query(token)]
    client_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum ShadowMode {
    Enabled,
    Disabled,
}

/// The status is a bare word here.
#[derive(ToXml)]
pub(crate) struct Answer {
    status: &'static str,
}

#[async_trait]
impl Action for ModifyClientVpnEndpointAuthorizationPolicy {
    const NAME: &'static str = "ModifyClientVpnEndpointAuthorizationPolicy";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        if let Some(document) = &self.policy_document
            && let Err(reason) = PolicySet::parse(document)
        {
            let reason = reason.to_string();
            faults.push(ApiError::invalid(format!(
                "The parameter {PARAMETER} is invalid: provide a valid Cedar policy document ({})",
                short(&reason)
            )));
        }
        check::at_most("Description", self.description.as_deref(), MAX_DESCRIPTION_CHARS, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::endpoint(&self.client_vpn_endpoint_id)
    }

    fn client_token(&self) -> Option<&str> {
        self.client_token.as_deref()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let endpoint = cx.endpoint(&self.client_vpn_endpoint_id).await?;
        let record = cx.authorization_policy(&endpoint.value.id).await?;
        // One that is on its way out is none any more: what was said of it does not come back.
        let stands = record.as_ref().map(|record| &record.value);
        let stands = stands.filter(|policy| policy.status.code != PolicyCode::Deleting);
        let mut policy = match stands {
            Some(policy) => policy.clone(),
            None => AuthorizationPolicy {
                endpoint: endpoint.value.id.clone(),
                scope: cx.scope.clone(),
                document: self.policy_document.clone().ok_or_else(|| ApiError::missing(PARAMETER))?,
                description: None,
                shadow: false,
                status: Status::of(PolicyCode::Creating),
                created_at: cx.now,
            },
        };
        if let Some(document) = &self.policy_document {
            policy.document.clone_from(document);
        }
        if self.description.is_some() {
            policy.description.clone_from(&self.description);
        }
        policy.shadow = self.shadow_mode.map_or(policy.shadow, |mode| mode == ShadowMode::Enabled);
        if let Some(stands) = stands {
            if policy == *stands {
                return Ok(Decision::read(Answer { status: stands.status.code.as_str() }));
            }
            if stands.status.code != PolicyCode::Creating {
                policy.status = Status::of(PolicyCode::Updating);
            }
        }
        let mut draft = Draft::of(&policy.endpoint);
        // A policy is no child of an endpoint that goes at the same moment.
        draft.unchanged(&endpoint);
        match &record {
            Some(record) => draft.replace(record, &policy),
            None => draft.create(Key::authorization_policy(cx.scope, &policy.endpoint), &policy),
        }
        Ok(Decision::write(Answer { status: policy.status.code.as_str() }, draft))
    }
}
