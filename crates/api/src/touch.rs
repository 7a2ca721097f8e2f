//! The resources an action touches, as permission is asked for them (spec: aws-client-vpn §4.7).

use std::collections::BTreeMap;

/// One resource of a call.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// The action permission is asked for, if another than the call's own.
    pub action: Option<&'static str>,
    /// The resource.
    pub resource: Resource,
    /// Condition keys the request itself gives.
    pub context: BTreeMap<String, Vec<String>>,
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
}

impl Touch {
    /// A resource under the call's own action.
    pub(crate) fn of(resource: Resource) -> Self {
        Self { action: None, resource, context: BTreeMap::new() }
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
        for (key, value) in tags {
            self.context.insert(format!("aws:RequestTag/{key}"), vec![value.clone()]);
        }
        if !tags.is_empty() {
            self.context.insert("aws:TagKeys".to_owned(), tags.keys().cloned().collect());
        }
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
