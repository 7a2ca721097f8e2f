//! `AuthorizeClientVpnIngress` (spec: aws-client-vpn §2.2.12, §4.4).

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use ipnet::IpNet;
use model::{AuthorizationRule, Key, Kind, RuleCode, RuleGroup, Scope, prefix};

use crate::action::{Action, Decision};
use crate::check::{self, MAX_DESCRIPTION_CHARS, MAX_GROUP_CHARS};
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::shapes::Status;
use crate::error::ApiError;
use crate::touch::Touch;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AuthorizeClientVpnIngress {
    client_vpn_endpoint_id: String,
    target_network_cidr: String,
    access_group_id: Option<String>,
    authorize_all_groups: Option<bool>,
    description: Option<String>,
    #[query(token)]
    client_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    status: Status,
}

#[async_trait]
impl Action for AuthorizeClientVpnIngress {
    const NAME: &'static str = "AuthorizeClientVpnIngress";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(self.destination(), faults);
        check::keep(
            group(self.access_group_id.as_deref(), self.authorize_all_groups, "AuthorizeAllGroups"),
            faults,
        );
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
        let destination = self.destination()?;
        let group = group(self.access_group_id.as_deref(), self.authorize_all_groups, "AuthorizeAllGroups")?;
        let traffic = endpoint.value.spec.traffic_ip_type;
        if !traffic.carries(&destination) {
            let expected = format!("The endpoint carries {} traffic only.", traffic.only());
            return Err(ApiError::value("TargetNetworkCidr", &self.target_network_cidr, &expected));
        }
        let key = Key::rule(cx.scope, &endpoint.value.id, &destination, &group);
        if cx.get::<AuthorizationRule>(&key).await?.is_some() {
            return Err(ApiError::new(
                "InvalidClientVpnDuplicateAuthorizationRule",
                "Authorization rule already exists",
            ));
        }
        let (rules, most) =
            (prefix::under(cx.scope, Kind::Rule, &endpoint.value.id), cx.config.quotas.rules_per_endpoint);
        if cx.keys(&rules, most).await?.len() >= most {
            let message = "The maximum number of authorization rules for the endpoint has been reached";
            return Err(ApiError::new("ClientVpnAuthorizationRuleLimitExceeded", message));
        }
        let rule = AuthorizationRule {
            endpoint: endpoint.value.id.clone(),
            scope: cx.scope.clone(),
            destination,
            group,
            description: self.description.clone(),
            status: model::Status::of(RuleCode::Authorizing),
            created_at: cx.now,
        };
        let mut draft = Draft::of(&rule.endpoint);
        // So that no rule outlives its endpoint's deletion.
        draft.unchanged(&endpoint);
        draft.create(key, &rule);
        Ok(Decision::write(Answer { status: Status::from(&rule.status) }, draft))
    }
}

impl AuthorizeClientVpnIngress {
    fn destination(&self) -> Result<IpNet, ApiError> {
        check::network("TargetNetworkCidr", &self.target_network_cidr)
    }
}

/// Whom a rule is for: exactly one of a group and everyone. `all_name` is the wire name of the flag for everyone.
pub(crate) fn group(
    group_id: Option<&str>,
    all: Option<bool>,
    all_name: &str,
) -> Result<RuleGroup, ApiError> {
    match (group_id, all.unwrap_or(false)) {
        (Some(_), true) => {
            Err(ApiError::combination(format!("AccessGroupId and {all_name} cannot be specified together")))
        }
        (None, true) => Ok(RuleGroup::All),
        (None, false) => Err(ApiError::missing(all_name)),
        (Some(id), false) if id.is_empty() || id.chars().nth(MAX_GROUP_CHARS).is_some() => {
            let expected = format!("Expecting 1 to {MAX_GROUP_CHARS} characters.");
            Err(ApiError::value("AccessGroupId", id, &expected))
        }
        (Some(id), false) => Ok(RuleGroup::Group(id.to_owned())),
    }
}
