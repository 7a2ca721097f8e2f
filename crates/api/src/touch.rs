//! The resources an action touches, as permission is asked for them (spec: aws-client-vpn §4.7).

use std::collections::BTreeMap;

use model::Scope;

use crate::arn;
use crate::endpoint_keys::EndpointKeys;

/// One resource of a call.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// The action permission is asked for, if another than the call's own.
    pub action: Option<&'static str>,
    /// The resource.
    pub resource: Resource,
    /// Condition keys the request itself gives.
    pub context: BTreeMap<String, Vec<String>>,
    /// What the request brings to an endpoint.
    pub endpoint: EndpointKeys,
}

/// A resource by kind; ids are the caller's words and may name nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `*`: the action knows no resource.
    Any,
    /// A Client VPN endpoint; `None`: one to be made.
    Endpoint(Option<String>),
    /// A VPC.
    Vpc(Option<String>),
    /// A subnet.
    Subnet(Option<String>),
    /// A security group.
    SecurityGroup(String),
    /// A resource of this type to be made.
    New(&'static str),
    /// Anything else of EC2, by its id.
    Named(String),
    /// A SAML provider by ARN, else one to be made by its name.
    SamlProvider(Option<String>, String),
    /// A user by name; `None`: the caller.
    User(Option<String>),
    /// A role to be assumed, by ARN.
    Role(String),
    /// A log group by name, and one of its streams.
    LogGroup(String, Option<String>),
    /// A transit gateway attachment.
    TransitGatewayAttachment(String),
    /// An ACM certificate, by ARN.
    Certificate(Option<String>),
}

impl Resource {
    /// A security group by its id, or any if it is named otherwise.
    pub(crate) fn group(id: Option<&str>) -> Self {
        Self::SecurityGroup(id.unwrap_or("*").to_owned())
    }

    /// Its ARN as permission is asked for it; `caller` is the caller's own.
    pub(crate) fn arn(&self, scope: &Scope, caller: &str) -> String {
        let ec2 = |kind: &str, id: &Option<String>| arn::ec2(scope, kind, id.as_deref().unwrap_or("*"));
        match self {
            Self::Any => "*".to_owned(),
            Self::Endpoint(id) => ec2("client-vpn-endpoint", id),
            Self::Vpc(id) => ec2("vpc", id),
            Self::Subnet(id) => ec2("subnet", id),
            Self::SecurityGroup(id) => arn::ec2(scope, "security-group", id),
            Self::New(kind) => arn::ec2(scope, kind, "*"),
            Self::Named(id) => arn::ec2(scope, crate::taggable::of(id).map_or("*", |row| row.resource), id),
            Self::SamlProvider(Some(arn), _) => arn.clone(),
            Self::SamlProvider(None, name) => format!("arn:aws:iam::{}:saml-provider/{name}", scope.account),
            Self::User(None) => caller.to_owned(),
            Self::Role(arn) => arn.clone(),
            Self::User(Some(name)) => format!("arn:aws:iam::{}:user/{name}", scope.account),
            Self::LogGroup(name, stream) => arn::log_group(scope, name, stream.as_deref()),
            Self::TransitGatewayAttachment(id) => arn::ec2(scope, "transit-gateway-attachment", id),
            Self::Certificate(arn) => arn.clone().unwrap_or_else(|| arn::certificate(scope, "*")),
        }
    }
}

impl Touch {
    /// A resource under the call's own action.
    pub(crate) fn of(resource: Resource) -> Self {
        Self { action: None, resource, context: BTreeMap::new(), endpoint: EndpointKeys::default() }
    }

    /// A describe action's only touch.
    pub(crate) fn any() -> Vec<Self> {
        vec![Self::of(Resource::Any)]
    }

    /// One existing endpoint and nothing else.
    pub(crate) fn endpoint(id: &str) -> Vec<Self> {
        vec![Self::of(Resource::Endpoint(Some(id.to_owned())))]
    }

    /// With a condition key; nothing if the value is absent.
    pub(crate) fn with(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.context.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        self
    }

    /// With the tags the request gives to the resource.
    pub(crate) fn tagged(mut self, tags: &BTreeMap<String, String>) -> Self {
        for (key, value) in tags.iter().filter(|(key, _)| !key.is_empty()) {
            self.context.insert(format!("aws:RequestTag/{key}"), vec![value.clone()]);
        }
        self.keyed(tags.keys())
    }

    /// With the keys of tags the request names.
    pub(crate) fn keyed<'k>(mut self, keys: impl IntoIterator<Item = &'k String>) -> Self {
        let keys: Vec<String> = keys.into_iter().filter(|key| !key.is_empty()).cloned().collect();
        if !keys.is_empty() {
            self.context.insert("aws:TagKeys".to_owned(), keys);
        }
        self
    }

    /// With what the request brings to the endpoint.
    pub(crate) fn brings(mut self, endpoint: EndpointKeys) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// A resource made with tags: itself and, if there are tags, `ec2:CreateTags` on it.
    pub(crate) fn created(self, action: &'static str, tags: &BTreeMap<String, String>) -> Vec<Self> {
        let made = self.tagged(tags);
        if tags.is_empty() {
            return vec![made];
        }
        let mut tagging = made.clone().with("ec2:CreateAction", Some(action));
        tagging.action = Some("ec2:CreateTags");
        vec![made, tagging]
    }
}
