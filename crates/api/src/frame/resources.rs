//! What the condition keys say of a resource that exists: its tags, and what belongs to its kind (spec: aws-client-vpn
//! §4.7). A resource that does not exist says nothing, so that permission tells nobody what exists.

use std::collections::BTreeMap;

use model::{Certificate, Endpoint, Key, LogGroup, SamlProvider, Scope, SecurityGroup, Subnet, Vpc};
use serde::de::DeserializeOwned;
use store::typed;

use super::Api;
use crate::arn;
use crate::condition_keys;
use crate::endpoint_keys::EndpointKeys;
use crate::error::ApiError;
use crate::iam::saml;
use crate::touch::{Resource, Touch};

/// Condition keys with their values.
pub(super) type Context = BTreeMap<String, Vec<String>>;

/// Adds a value of a key.
pub(super) fn put(context: &mut Context, key: &str, value: &str) {
    debug_assert!(condition_keys::known(key), "{key} is not in the list of known keys");
    context.entry(key.to_owned()).or_default().push(value.to_owned());
}

impl Api {
    /// Adds what is known of the touched resource, and what the request itself brings.
    pub(super) async fn describe(
        &self,
        touch: &Touch,
        scope: &Scope,
        context: &mut Context,
    ) -> Result<(), ApiError> {
        self.look_for(&touch.resource, scope).await?;
        match &touch.resource {
            Resource::Endpoint(id) => {
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::endpoint(scope, &id));
                let mut keys = EndpointKeys::default();
                if let Some(endpoint) = self.read::<Endpoint>(key).await? {
                    tags(&endpoint.spec.tags, "ec2", context);
                    keys = EndpointKeys::of(&endpoint.spec);
                }
                for (key, value) in touch.endpoint.clone().over(keys).pairs(scope) {
                    put(context, key, &value);
                }
            }
            Resource::Vpc(id) => {
                if let Some(id) = id {
                    put(context, "ec2:VpcID", id);
                }
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::vpc(scope, &id));
                if let Some(vpc) = self.read::<Vpc>(key).await? {
                    tags(&vpc.tags, "ec2", context);
                }
            }
            Resource::Subnet(id) => {
                if let Some(id) = id {
                    put(context, "ec2:SubnetID", id);
                }
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::subnet(scope, &id));
                if let Some(subnet) = self.read::<Subnet>(key).await? {
                    tags(&subnet.tags, "ec2", context);
                    put(context, "ec2:Vpc", &arn::ec2(scope, "vpc", subnet.vpc_id.as_str()));
                    put(context, "ec2:AvailabilityZone", subnet.zone.as_str());
                }
            }
            Resource::SecurityGroup(id) => {
                put(context, "ec2:SecurityGroupID", id);
                let key = id.parse().ok().map(|id| Key::security_group(scope, &id));
                if let Some(group) = self.read::<SecurityGroup>(key).await? {
                    tags(&group.tags, "ec2", context);
                    put(context, "ec2:Vpc", &arn::ec2(scope, "vpc", group.vpc_id.as_str()));
                }
            }
            Resource::SamlProvider(Some(arn), _) => {
                // Another account's provider may have the same name.
                let name = arn.rsplit('/').next().filter(|name| saml::arn(scope, name) == *arn);
                let key = name.map(|name| Key::saml_provider(scope, name));
                if let Some(provider) = self.read::<SamlProvider>(key).await? {
                    tags(&provider.tags, "iam", context);
                }
            }
            Resource::LogGroup(name, _) => {
                if let Some(group) = self.read::<LogGroup>(Some(Key::log_group(scope, name))).await? {
                    tags(&group.tags, "aws", context);
                }
            }
            Resource::Named(id) => {
                if let Some(row) = crate::taggable::of(id) {
                    let key = format!("{}{id}", model::prefix::of(scope, row.kind));
                    if let Some(entry) = self.store.get(&key).await? {
                        tags(&(row.read)(&entry.value)?, "ec2", context);
                    }
                }
            }
            Resource::Role(arn) => {
                if let Some(role) = self.role(arn) {
                    tags(&role.tags, "iam", context);
                }
            }
            Resource::Certificate(arn) => {
                let key = arn.as_deref().and_then(|arn| arn::certificate_id(arn, scope));
                let key = key.map(|id| Key::certificate(scope, id));
                if let Some(certificate) = self.read::<Certificate>(key).await? {
                    tags(&certificate.tags, "aws", context);
                }
            }
            Resource::Any
            | Resource::New(_)
            | Resource::User(_)
            | Resource::SamlProvider(None, _)
            | Resource::TransitGatewayAttachment(_) => {}
        }
        for (key, values) in &touch.context {
            for value in values {
                put(context, key, value);
            }
        }
        Ok(())
    }

    async fn read<T: DeserializeOwned>(&self, key: Option<Key>) -> Result<Option<T>, ApiError> {
        match key {
            Some(key) => Ok(typed::get(self.store.as_ref(), key.as_str()).await?.map(|record| record.value)),
            None => Ok(None),
        }
    }
}

/// The resource's tags, under the global key and that of the service that has one of its own.
fn tags(tags: &BTreeMap<String, String>, service: &str, context: &mut Context) {
    for (key, value) in tags.iter().filter(|(key, _)| !key.is_empty()) {
        put(context, &format!("aws:ResourceTag/{key}"), value);
        if service != "aws" {
            put(context, &format!("{service}:ResourceTag/{key}"), value);
        }
    }
}
