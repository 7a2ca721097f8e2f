//! `AssumeRole`: of the roles in `users.toml`; session policies, session tags and external ids count. MFA,
//! `SourceIdentity` and `ProvidedContexts` are refused.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_auth::policy::Policy;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::arn;
use crate::check;
use crate::cx::Cx;
use crate::error::{ApiError, short};
use crate::identities::Role;
use crate::sessions::RoleGrant;
use crate::sts::credentials::{Credentials, constraint, grant, invalid, issue, no_second_factor};
use crate::touch::{Resource, Touch};

/// How long it is unless asked for otherwise, seconds; and longest session begun from a role's session (AWS's own).
const DEFAULT_SECONDS: i64 = 3_600;
const CHAINED_MAX_SECONDS: i64 = 3_600;
/// Most characters of a session policy (AWS's own).
const MAX_POLICY_CHARS: usize = 2_048;
/// Most characters of a tag's key and of its value (AWS's own).
const MAX_TAG_KEY_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;
/// Most bytes of policies, tags and names that a token carries, as its JSON. AWS does not say its own limit.
const MAX_PACKED_BYTES: usize = 6 * 1024;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AssumeRole {
    role_arn: String,
    role_session_name: String,
    #[query(name = "PolicyArns.member", model = "PolicyArns", max = 10)]
    policy_arns: Vec<PolicyDescriptor>,
    policy: Option<String>,
    #[query(range = "900..=43200")]
    duration_seconds: Option<i32>,
    #[query(name = "Tags.member", model = "Tags", max = 50)]
    tags: Vec<Tag>,
    #[query(name = "TransitiveTagKeys.member", model = "TransitiveTagKeys", max = 50)]
    transitive_tag_keys: Vec<String>,
    external_id: Option<String>,
    serial_number: Option<String>,
    token_code: Option<String>,
    source_identity: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct PolicyDescriptor {
    #[query(name = "arn", model = "arn")]
    arn: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct Tag {
    key: String,
    value: String,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
pub(crate) struct Answer {
    credentials: Credentials,
    assumed_role_user: AssumedRoleUser,
    packed_policy_size: Option<i32>,
}

#[derive(ToXml)]
#[xml(case = "pascal")]
struct AssumedRoleUser {
    assumed_role_id: String,
    arn: String,
}

impl AssumeRole {
    fn given_tags(&self) -> BTreeMap<String, String> {
        self.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect()
    }

    fn check_tags(&self) -> Result<(), ApiError> {
        for tag in &self.tags {
            let fits = (1..=MAX_TAG_KEY_CHARS).contains(&tag.key.chars().count())
                && tag.value.chars().nth(MAX_TAG_VALUE_CHARS).is_none();
            if !fits || tag.key.to_ascii_lowercase().starts_with("aws:") {
                return Err(invalid(format!("The tag '{}' is not valid", short(&tag.key))));
            }
        }
        let mut keys: Vec<String> = self.tags.iter().map(|tag| tag.key.to_lowercase()).collect();
        keys.sort();
        if keys.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
            // UNVERIFIED: code and text, here and for tags that go on.
            return Err(ApiError::invalid("Duplicate tag keys found. Tag keys are case insensitive."));
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), ApiError> {
        let Some(text) = &self.policy else { return Ok(()) };
        if text.chars().nth(MAX_POLICY_CHARS).is_some() {
            let rule = format!("have length less than or equal to {MAX_POLICY_CHARS}");
            return Err(constraint("policy", text, &rule));
        }
        match Policy::parse(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::new("MalformedPolicyDocument", error.to_string())),
        }
    }

    /// Names of the session's policies: those of `users.toml`, as managed policies of the role's account.
    fn policy_names(&self, cx: &Cx<'_>, role: &Role) -> Result<Vec<String>, ApiError> {
        let mut names = Vec::new();
        for arn in self.policy_arns.iter().filter_map(|descriptor| descriptor.arn.as_deref()) {
            let name = arn::parse(arn)
                .filter(|arn| arn.service == "iam" && arn.account == role.account.as_str())
                .and_then(|arn| arn.resource.strip_prefix("policy/"))
                .filter(|name| cx.identities.policy(name).is_some());
            // UNVERIFIED: code and text.
            let none = || ApiError::invalid(format!("Policy {} does not exist", short(arn)));
            names.push(name.ok_or_else(none)?.to_owned());
        }
        Ok(names)
    }

    /// Seconds it lives.
    fn life_s(&self, cx: &Cx<'_>, role: &Role) -> Result<i64, ApiError> {
        let life_s = self.duration_seconds.map_or(DEFAULT_SECONDS, i64::from);
        if cx.caller.role().is_some() && life_s > CHAINED_MAX_SECONDS {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        if life_s > i64::from(role.max_session_seconds) {
            return Err(invalid(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        Ok(life_s)
    }

    /// The session's tags with those that go on from the caller's session, and which of them go on further.
    fn session_tags(&self, cx: &Cx<'_>) -> Result<(BTreeMap<String, String>, Vec<String>), ApiError> {
        let mut tags = self.given_tags();
        let mut transitive = self.transitive_tag_keys.clone();
        if let Some(key) = transitive.iter().find(|key| !tags.contains_key(*key)) {
            let message = format!("The transitive tag key '{}' is not among the tags", short(key));
            return Err(ApiError::invalid(message));
        }
        let inherited = cx.caller.role().map(|session| session.transitive.clone()).unwrap_or_default();
        for (key, value) in inherited {
            if tags.keys().any(|given| given.eq_ignore_ascii_case(&key)) {
                return Err(ApiError::invalid(format!("The tag '{key}' is set by the calling session")));
            }
            transitive.push(key.clone());
            tags.insert(key, value);
        }
        Ok((tags, transitive))
    }
}

#[async_trait]
impl Action for AssumeRole {
    const NAME: &'static str = "AssumeRole";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        check::keep(role_of(&self.role_arn).map(|_| ()).ok_or_else(|| no_arn(&self.role_arn)), faults);
        check::keep(word("roleSessionName", &self.role_session_name, 64, b"_+=,.@-"), faults);
        check::keep(self.check_policy(), faults);
        check::keep(self.check_tags(), faults);
        if let Some(id) = &self.external_id {
            check::keep(word("externalId", id, 1_224, b"_+=,.@:/-"), faults);
        }
        no_second_factor(self.serial_number.as_deref(), self.token_code.as_deref(), faults);
        if self.source_identity.is_some() {
            faults.push(invalid("SourceIdentity is not supported"));
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let tags = self.given_tags();
        let touch = Touch::of(Resource::Role(self.role_arn.clone()))
            .with("sts:ExternalId", self.external_id.as_deref())
            .with("sts:RoleSessionName", Some(&self.role_session_name))
            .tagged(&tags);
        if tags.is_empty() {
            return vec![touch];
        }
        let mut tagging = touch.clone();
        tagging.action = Some("sts:TagSession");
        if !self.transitive_tag_keys.is_empty() {
            tagging.context.insert("sts:TransitiveTagKeys".to_owned(), self.transitive_tag_keys.clone());
        }
        vec![touch, tagging]
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let (account, name) = role_of(&self.role_arn).ok_or_else(|| no_arn(&self.role_arn))?;
        // It was there when permission was asked for.
        let role = account.parse().ok().and_then(|account| cx.identities.role(&account, name));
        let role = role.ok_or_else(ApiError::unavailable)?;
        let life_s = self.life_s(cx, &role)?;
        let (tags, transitive) = self.session_tags(cx)?;
        let held = RoleGrant {
            account: role.account.clone(),
            name: role.name.clone(),
            session: self.role_session_name.clone(),
            policy: self.policy.clone(),
            policies: self.policy_names(cx, &role)?,
            tags,
            transitive,
        };
        let packed_policy_size = packed_percent(&held)?;
        let grant = grant(cx, life_s, Some(held));
        let assumed = grant.caller(cx.identities).ok_or_else(ApiError::unavailable)?;
        let answer = Answer {
            credentials: issue(cx, &grant)?,
            assumed_role_user: AssumedRoleUser { assumed_role_id: assumed.user_id(), arn: assumed.arn() },
            packed_policy_size,
        };
        Ok(Decision::read(answer))
    }
}

/// How much of the room for policies and tags is taken, percent; `None` without any.
fn packed_percent(held: &RoleGrant) -> Result<Option<i32>, ApiError> {
    let packed = serde_json::to_string(&(&held.policy, &held.policies, &held.tags, &held.transitive));
    let bytes = packed.map_err(|_| ApiError::internal())?.len();
    if bytes > MAX_PACKED_BYTES {
        let message = format!(
            "Packed size of session policies and tags consumes {}% of allotted space.",
            bytes.saturating_mul(100) / MAX_PACKED_BYTES
        );
        return Err(ApiError::new("PackedPolicyTooLarge", message));
    }
    let nothing = held.policy.is_none() && held.policies.is_empty() && held.tags.is_empty();
    let percent = i32::try_from(bytes.saturating_mul(100).div_ceil(MAX_PACKED_BYTES)).unwrap_or(100);
    Ok((!nothing).then_some(percent))
}

/// Account and name of a role's ARN. Roles here have no paths.
pub(crate) fn role_of(text: &str) -> Option<(&str, &str)> {
    let arn = arn::parse(text)?;
    let name = arn.resource.strip_prefix("role/")?;
    let is_role = arn.service == "iam" && arn.region.is_empty() && !name.is_empty();
    is_role.then_some((arn.account, name))
}

fn no_arn(text: &str) -> ApiError {
    invalid(format!("{} is invalid", short(text)))
}

/// Letters, digits and these, at least two.
fn word(member: &str, text: &str, most: usize, marks: &[u8]) -> Result<(), ApiError> {
    if text.len() < 2 {
        return Err(constraint(member, text, "have length greater than or equal to 2"));
    }
    if text.len() > most {
        return Err(constraint(member, text, &format!("have length less than or equal to {most}")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte)) {
        let mut set = String::from("\\w");
        set.extend(marks.iter().skip(1).map(|&mark| char::from(mark)));
        return Err(constraint(member, text, &format!("satisfy regular expression pattern: [{set}]*")));
    }
    Ok(())
}
