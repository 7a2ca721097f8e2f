//! Permission for every resource a call touches (spec: aws-client-vpn §4.7). The root may do everything.

use std::collections::BTreeMap;

use aws_auth::policy::{self, Policy};
use model::{Authentication, Endpoint, Key, Scope, SecurityGroup, Subnet, Vpc};
use serde::de::DeserializeOwned;
use store::typed;

use super::{Api, Authentic, Call, Decoded};
use crate::arn;
use crate::clock;
use crate::error::ApiError;
use crate::identities::{Caller, Rights};
use crate::service::{Refusal, Service};
use crate::touch::Resource;

type Context = BTreeMap<String, Vec<String>>;

impl Api {
    /// Refuses unless the caller may do the action on each resource; says nothing about whether a resource exists.
    pub(super) async fn authorize(
        &self,
        call: &Call,
        service: Service,
        decoded: &Decoded,
        authentic: &Authentic,
    ) -> Result<(), Refusal> {
        let policies = match &authentic.caller.rights {
            Rights::Root => return Ok(()),
            Rights::Policies(policies) => policies,
        };
        let base = self.global_context(call, service, authentic);
        let own = format!("{}:{}", service.name(), decoded.name);
        for touch in decoded.action.touches() {
            let mut context = base.clone();
            let resource = self.resolve(&touch.resource, &authentic.scope, &mut context).await?;
            context.extend(touch.context.clone());
            if !allowed(policies, touch.action.unwrap_or(&own), &resource, &context) {
                return Err(Refusal::Denied);
            }
        }
        Ok(())
    }

    fn global_context(&self, call: &Call, service: Service, authentic: &Authentic) -> Context {
        let now = (self.clock)();
        let Caller { name, account, .. } = &authentic.caller;
        let region = authentic.scope.region.to_string();
        let mut pairs = vec![
            ("aws:SourceIp", call.peer.to_canonical().to_string()),
            ("aws:CurrentTime", clock::iso(now)),
            ("aws:EpochTime", now.0.to_string()),
            ("aws:SecureTransport", call.secure.to_string()),
            ("aws:username", name.clone()),
            ("aws:userid", authentic.caller.user_id()),
            ("aws:PrincipalArn", authentic.caller.arn()),
            ("aws:PrincipalAccount", account.to_string()),
            ("aws:PrincipalType", "User".to_owned()),
            ("aws:RequestedRegion", region.clone()),
        ];
        if service == Service::Ec2 {
            pairs.push(("ec2:Region", region));
        }
        if let Some(agent) = call.header("user-agent") {
            pairs.push(("aws:UserAgent", agent.to_owned()));
        }
        pairs.into_iter().map(|(key, value)| (key.to_owned(), vec![value])).collect()
    }

    /// The resource's ARN; its tags and its own condition keys go into the context.
    async fn resolve(
        &self,
        resource: &Resource,
        scope: &Scope,
        context: &mut Context,
    ) -> Result<String, ApiError> {
        let name = |id: &Option<String>| id.clone().unwrap_or_else(|| "*".to_owned());
        Ok(match resource {
            Resource::Any => "*".to_owned(),
            Resource::Endpoint(id) => {
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::endpoint(scope, &id));
                if let Some(endpoint) = self.read::<Endpoint>(key).await? {
                    tags(&endpoint.spec.tags, context);
                    endpoint_keys(&endpoint, context);
                }
                arn::ec2(scope, "client-vpn-endpoint", &name(id))
            }
            Resource::Vpc(id) => {
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::vpc(scope, &id));
                if let Some(vpc) = self.read::<Vpc>(key).await? {
                    tags(&vpc.tags, context);
                }
                arn::ec2(scope, "vpc", &name(id))
            }
            Resource::Subnet(id) => {
                let key = id.as_deref().and_then(|id| id.parse().ok()).map(|id| Key::subnet(scope, &id));
                if let Some(subnet) = self.read::<Subnet>(key).await? {
                    tags(&subnet.tags, context);
                    put(context, "ec2:Vpc", &arn::ec2(scope, "vpc", subnet.vpc_id.as_str()));
                    put(context, "ec2:AvailabilityZone", subnet.zone.as_str());
                }
                arn::ec2(scope, "subnet", &name(id))
            }
            Resource::SecurityGroup(id) => {
                let key = id.parse().ok().map(|id| Key::security_group(scope, &id));
                if let Some(group) = self.read::<SecurityGroup>(key).await? {
                    tags(&group.tags, context);
                    put(context, "ec2:Vpc", &arn::ec2(scope, "vpc", group.vpc_id.as_str()));
                }
                arn::ec2(scope, "security-group", id)
            }
            Resource::SamlProvider(Some(arn), _) => {
                let name = arn.rsplit('/').next().unwrap_or_default();
                if let Some(provider) =
                    self.read::<model::SamlProvider>(Some(Key::saml_provider(scope, name))).await?
                {
                    tags(&provider.tags, context);
                }
                arn.clone()
            }
            Resource::SamlProvider(None, name) => {
                format!("arn:aws:iam::{}:saml-provider/{name}", scope.account)
            }
            Resource::User(None) => context
                .get("aws:PrincipalArn")
                .and_then(|values| values.first().cloned())
                .unwrap_or_else(|| "*".to_owned()),
            Resource::User(Some(name)) => format!("arn:aws:iam::{}:user/{name}", scope.account),
            Resource::LogGroup(name, stream) => {
                if let Some(group) = self.read::<model::LogGroup>(Some(Key::log_group(scope, name))).await? {
                    tags(&group.tags, context);
                }
                arn::log_group(scope, name, stream.as_deref())
            }
            Resource::New(kind) => arn::ec2(scope, kind, "*"),
            Resource::Named(id) => match crate::taggable::of(id) {
                Some(row) => {
                    let key = format!("{}{id}", model::prefix::of(scope, row.kind));
                    if let Some(entry) = self.store.get(&key).await? {
                        tags(&(row.read)(&entry.value)?, context);
                    }
                    arn::ec2(scope, row.resource, id)
                }
                None => arn::ec2(scope, "*", id),
            },
            Resource::TransitGatewayAttachment(id) => arn::ec2(scope, "transit-gateway-attachment", id),
            Resource::Certificate(arn) => {
                let key = arn.as_deref().and_then(|arn| arn::certificate_id(arn, scope));
                let key = key.map(|id| Key::certificate(scope, id));
                if let Some(certificate) = self.read::<model::Certificate>(key).await? {
                    tags(&certificate.tags, context);
                }
                arn.clone().unwrap_or_else(|| arn::certificate(scope, "*"))
            }
        })
    }

    async fn read<T: DeserializeOwned>(&self, key: Option<Key>) -> Result<Option<T>, ApiError> {
        match key {
            Some(key) => Ok(typed::get(self.store.as_ref(), key.as_str()).await?.map(|record| record.value)),
            None => Ok(None),
        }
    }
}

fn put(context: &mut Context, key: &str, value: &str) {
    context.entry(key.to_owned()).or_default().push(value.to_owned());
}

fn tags(tags: &BTreeMap<String, String>, context: &mut Context) {
    for (key, value) in tags {
        put(context, &format!("aws:ResourceTag/{key}"), value);
        put(context, &format!("ec2:ResourceTag/{key}"), value);
    }
}

fn endpoint_keys(endpoint: &Endpoint, context: &mut Context) {
    put(context, "ec2:ServerCertificateArn", &endpoint.spec.server_certificate_arn);
    for way in &endpoint.spec.authentication {
        match way {
            Authentication::Certificate { client_root_arn } => {
                put(context, "ec2:ClientRootCertificateChainArn", client_root_arn);
            }
            Authentication::Directory { directory_id } => put(context, "ec2:DirectoryArn", directory_id),
            Authentication::Federated { provider_arn, .. } => {
                put(context, "ec2:SamlProviderArn", provider_arn)
            }
        }
    }
}

fn allowed(policies: &[Policy], action: &str, resource: &str, context: &Context) -> bool {
    let request = policy::Request { action, resource, context };
    policy::evaluate(policies, &request).is_allowed()
}
