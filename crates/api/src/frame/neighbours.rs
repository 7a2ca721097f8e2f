//! With `networks = "upstream"`: which calls are about the upstream's networks, and so go there as if they were not built
//! here; and having what a call names copied before permission is asked for it.

use aws_query::Form;
use model::{Certificate, Key, Scope};
use serde::Deserialize;
use store::typed;

use super::{Api, Call};
use crate::error::ApiError;
use crate::networks::Neighbour;
use crate::registry::Registered;
use crate::service::{Refusal, Service};
use crate::touch::Resource;
use crate::{acm, arn, ec2, upstream};

impl Api {
    /// The action that was found, unless its call is the upstream's: then as one that is not built.
    pub(super) async fn unless_theirs(
        &self,
        call: &Call,
        service: Service,
        found: Result<&'static Registered, Refusal>,
        form: &Form,
        scope: &Scope,
    ) -> Result<&'static Registered, Refusal> {
        let registered = found?;
        let here = self.networks.as_ref().is_none_or(|networks| !networks.serves(scope));
        if here || self.upstream_of(call).is_none() {
            return Ok(registered);
        }
        let theirs = match service {
            Service::Ec2 => ec2_is_theirs(registered.name, form)?,
            Service::Acm if acm::BY_ARN.contains(&registered.name) => {
                self.certificate_is_theirs(&call.body, scope).await?
            }
            _ => false,
        };
        match upstream::own(call, service, registered.name) {
            _ if !theirs => Ok(registered),
            Some(_) => Err(Refusal::NotBuilt(registered.name.to_owned())),
            None => Err(ApiError::combination(
                "This call is the upstream's, and its form can be read in more than one way: parameters stand in the query or in a body of type application/x-www-form-urlencoded",
            )
            .into()),
        }
    }

    /// Whether a call names a certificate that was not imported here.
    async fn certificate_is_theirs(&self, body: &[u8], scope: &Scope) -> Result<bool, ApiError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Named {
            certificate_arn: String,
        }
        let Ok(Named { certificate_arn }) = serde_json::from_slice(body) else { return Ok(false) };
        let Some(id) = arn::certificate_id(&certificate_arn, scope) else { return Ok(false) };
        let key = Key::certificate(scope, id);
        let known = typed::get::<Certificate>(self.store.as_ref(), key.as_str()).await?;
        Ok(known.is_none_or(|record| record.value.mirrored))
    }

    /// Has a copy made of what is about to be judged: a policy may speak of its tags.
    pub(super) async fn look_for(&self, resource: &Resource, scope: &Scope) -> Result<(), ApiError> {
        let Some(networks) = &self.networks else { return Ok(()) };
        let of = match resource {
            Resource::Vpc(Some(id)) => id.parse().ok().map(Neighbour::Vpc),
            Resource::Subnet(Some(id)) => id.parse().ok().map(Neighbour::Subnet),
            Resource::SecurityGroup(id) => id.parse().ok().map(Neighbour::Group),
            Resource::Certificate(Some(arn)) => Some(Neighbour::Certificate(arn.clone())),
            _ => None,
        };
        match of {
            Some(of) => Box::pin(networks.look(scope, &of)).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Whether an action of EC2 that is built here is about the upstream's networks.
fn ec2_is_theirs(action: &str, form: &Form) -> Result<bool, ApiError> {
    match action {
        "CreateTags" | "DeleteTags" => {
            let mut ids = form.iter().filter(|(name, _)| is_listed(name, "ResourceId")).map(|(_, id)| id);
            let Some(first) = ids.next() else { return Ok(false) };
            let theirs = !is_ours(first);
            if ids.all(|id| is_ours(id) != theirs) {
                return Ok(theirs);
            }
            Err(ApiError::combination(
                "What is Bascule's and what is the upstream's cannot be tagged in one call",
            ))
        }
        "DescribeTags" => Ok(tags_of_theirs(form)),
        action => Ok(ec2::OF_NETWORKS.contains(&action)),
    }
}

/// Whether a filter asks for the tags of such things only as are the upstream's.
fn tags_of_theirs(form: &Form) -> bool {
    form.iter().filter(|(_, value)| matches!(*value, "resource-id" | "resource-type")).any(|(name, kind)| {
        let Some(filter) = name.strip_suffix(".Name").filter(|_| name.starts_with("Filter.")) else {
            return false;
        };
        let values = format!("{filter}.Value");
        let mut asked = form.iter().filter(|(name, _)| is_listed(name, &values)).peekable();
        let ours = |value: &str| match kind {
            "resource-id" => is_ours(value),
            _ => matches!(value, "client-vpn-endpoint" | "transit-gateway"),
        };
        // A pattern may mean either.
        asked.peek().is_some() && asked.all(|(_, value)| !value.contains(['*', '?']) && !ours(value))
    })
}

/// Whether a parameter is `LIST.N`.
fn is_listed(name: &str, list: &str) -> bool {
    let number = name.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether an id is of a kind that this server alone has.
fn is_ours(id: &str) -> bool {
    ["cvpn-", "tgw-"].iter().any(|prefix| id.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use aws_query::Limits;

    use super::*;

    /// An action that is added must be judged: is it about networks alone?
    #[test]
    fn every_action_of_ec2_is_somebodys() {
        let ours = |name: &str| {
            name.contains("ClientVpn") || name.contains("TransitGateway") || name.ends_with("Tags")
        };
        for action in Service::Ec2.actions() {
            assert_ne!(ours(action.name), ec2::OF_NETWORKS.contains(&action.name), "{}", action.name);
        }
        let known = |name: &&str| Service::Ec2.actions().iter().any(|action| action.name == *name);
        assert!(ec2::OF_NETWORKS.iter().all(known));
        assert!(
            acm::BY_ARN.iter().all(|name| Service::Acm.actions().iter().any(|action| action.name == *name))
        );
    }

    #[test]
    fn tags_go_where_the_thing_is() {
        let theirs = |action: &str, body: &str| {
            ec2_is_theirs(action, &Form::parse(body.as_bytes(), &Limits::default()).unwrap())
        };
        let by = |kind: &str, value: &str| format!("Filter.1.Name={kind}&Filter.1.Value.1={value}");
        let two = "&Filter.1.Value.2=cvpn-endpoint-1";
        for (action, body, expected) in [
            ("CreateVpc", String::new(), true),
            ("DescribeSubnets", String::new(), true),
            ("CreateClientVpnEndpoint", String::new(), false),
            ("CreateTransitGateway", String::new(), false),
            ("CreateTags", String::new(), false),
            ("CreateTags", "ResourceId.1=vpc-1&Tag.1.Key=a".to_owned(), true),
            ("DeleteTags", "ResourceId.1=igw-1&ResourceId.2=subnet-1".to_owned(), true),
            ("CreateTags", "ResourceId.1=cvpn-endpoint-1&ResourceId.2=tgw-1".to_owned(), false),
            ("DescribeTags", String::new(), false),
            ("DescribeTags", by("key", "vpc-1"), false),
            ("DescribeTags", by("resource-id", "vpc-1"), true),
            ("DescribeTags", by("resource-id", "cvpn-endpoint-1"), false),
            ("DescribeTags", by("resource-id", "vpc-1") + two, false),
            ("DescribeTags", by("resource-id", "*"), false),
            ("DescribeTags", by("resource-type", "subnet"), true),
            ("DescribeTags", by("resource-type", "client-vpn-endpoint"), false),
        ] {
            assert_eq!(theirs(action, &body), Ok(expected), "{action} {body}");
        }
        let mixed = theirs("CreateTags", "ResourceId.1=cvpn-endpoint-1&ResourceId.2=vpc-1&Tag.1.Key=a");
        assert_eq!(mixed.unwrap_err().code, "InvalidParameterCombination");
    }
}
