//! The form of a line. Names are CloudTrail's where it has one.

use serde::Serialize;
use serde_json::Value;

use super::Forwarded;

/// One call.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line<'a> {
    /// When it came, UTC.
    pub event_time: String,
    /// `ec2.amazonaws.com`.
    pub event_source: String,
    /// The action; absent when the call named none that is known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub event_name: &'a str,
    /// The region of the credential scope.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub aws_region: &'a str,
    /// The account it acted on.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub recipient_account_id: &'a str,
    /// Where it came from.
    #[serde(rename = "sourceIPAddress")]
    pub source_ip_address: String,
    /// What the client says it is, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    /// Who; absent for strangers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_identity: Option<&'a Identity>,
    /// Whether only the permission was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The parameters without secrets; absent when they did not have the action's form.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub request_parameters: &'a Value,
    /// Parameters for which there was no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub parameters_left_out: usize,
    /// What decided: the statement that denied, else the last that allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'a Decided>,
    /// Every resource touched, with what was decided on it.
    #[serde(skip_serializing_if = "<[Judged]>::is_empty")]
    pub resources: &'a [Judged],
    /// Resources for which there was no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub resources_left_out: usize,
    /// What became of it at the upstream; absent when it was not sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<&'a Forwarded>,
    /// The error's code; absent for success.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub error_code: &'a str,
    /// HTTP status; 0 when the client went before its answer.
    pub http_status: u16,
    /// As in the answer.
    #[serde(rename = "requestID")]
    pub request_id: &'a str,
    /// How long it took, microseconds.
    pub duration_us: u64,
}

/// Who calls.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// `Root`, `IAMUser` or `AssumedRole`; absent when the signature did not hold.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The unique id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub principal_id: String,
    /// The ARN.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arn: String,
    /// The account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account_id: String,
    /// A user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Of temporary credentials: what they are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_context: Option<SessionContext>,
    /// The access key id it signed with; of known keys only.
    pub access_key_id: String,
}

/// What temporary credentials are of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionContext {
    /// The role, of a role's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_issuer: Option<SessionIssuer>,
    /// Since when.
    pub attributes: SessionAttributes,
}

/// A role that was assumed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionIssuer {
    /// `Role`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its unique id.
    pub principal_id: String,
    /// Its ARN.
    pub arn: String,
    /// Its account.
    pub account_id: String,
    /// Its name.
    pub user_name: String,
}

/// When a session began.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionAttributes {
    /// UTC.
    pub creation_date: String,
    /// Always `false`: there is no second factor here.
    pub mfa_authenticated: &'static str,
}

/// What was decided, and by what.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decided {
    /// `root`, `allow`, `explicit-deny` or `implicit-deny`.
    pub effect: &'static str,
    /// The policy's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The statement's `Sid`, else its index from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// A resource and what was decided on it.
#[derive(Serialize)]
pub(crate) struct Judged {
    /// The resource.
    #[serde(rename = "ARN")]
    pub arn: String,
    /// The permission asked for, such as `ec2:CreateTags`.
    pub action: String,
    /// What was decided.
    #[serde(flatten)]
    pub decided: Decided,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}
