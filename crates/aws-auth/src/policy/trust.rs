//! Trust policies: who may assume a role, under which conditions.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::Condition;
use super::document::{
    Cover, Effect, MAX_VALUES, PolicyError, actions, block, each_sid_once, effect, sid, statements, wrong,
};
use super::json::Json;

/// The policy of a role that says who may assume it (IAM's assume-role policy document).
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    sid: Option<String>,
    effect: Effect,
    principals: Vec<Principal>,
    actions: Cover,
    conditions: Vec<Condition>,
}

/// Whom a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Principal {
    /// `*`
    Anybody,
    /// Everybody of an account.
    Account(String),
    /// One user, role, or session of a role, by ARN.
    One(String),
}

/// Who asks for a role, and how.
#[derive(Copy, Clone, Debug)]
pub struct TrustRequest<'a> {
    /// `sts:AssumeRole` or `sts:TagSession`.
    pub action: &'a str,
    /// The caller's account.
    pub account: &'a str,
    /// The ARNs the caller goes by: a user's one; of a role's session its own and the role's.
    pub arns: &'a [String],
    /// Condition keys with their values.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// What a trust policy says; the statement by its `Sid`, else its index from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It names the caller itself: in the role's own account that is enough.
    Caller(String),
    /// It names the caller's account, whose own policies then decide.
    Account(String),
    /// It forbids.
    Denied(String),
    /// It does not speak of the caller.
    Silent,
}

impl TrustPolicy {
    /// Reads a document.
    ///
    /// # Errors
    /// The first thing that is not understood; nothing is passed over.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let statements = statements(json, Statement::parse)?;
        each_sid_once(statements.iter().filter_map(|statement| statement.sid.as_deref()))?;
        Ok(Self { statements })
    }

    /// The condition keys it asks for, as written, each once.
    pub fn condition_keys(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(|statement| &statement.conditions).map(Condition::key).collect()
    }

    /// The keys of its policy variables, as written, each once.
    pub fn variables(&self) -> BTreeSet<&str> {
        let conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
        conditions.flat_map(Condition::variables).collect()
    }

    /// What it says of a request: an explicit deny, else the closest allow, else nothing.
    pub fn judge(&self, request: &TrustRequest<'_>) -> Trust {
        if let Some(found) = self.find(request, Effect::Deny, |_| true) {
            return Trust::Denied(found);
        }
        if let Some(found) = self.find(request, Effect::Allow, |whom| matches!(whom, Principal::One(_))) {
            return Trust::Caller(found);
        }
        // UNVERIFIED: whether `*` alone is enough within the account; here it is not.
        self.find(request, Effect::Allow, |_| true).map_or(Trust::Silent, Trust::Account)
    }

    fn find(
        &self,
        request: &TrustRequest<'_>,
        effect: Effect,
        counts: impl Fn(&Principal) -> bool,
    ) -> Option<String> {
        let applies = |statement: &Statement| {
            statement.effect == effect
                && statement.principals.iter().any(|whom| counts(whom) && whom.is(request))
                && statement.actions.covers(request.action, request.context, effect)
                && statement.conditions.iter().all(|condition| condition.holds(request.context, effect))
        };
        let at = self.statements.iter().position(applies)?;
        let sid = self.statements.get(at).and_then(|statement| statement.sid.clone());
        Some(sid.unwrap_or_else(|| at.to_string()))
    }
}

impl Principal {
    fn is(&self, request: &TrustRequest<'_>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Account(account) => account == request.account,
            Self::One(arn) => request.arns.contains(arn),
        }
    }

    /// `*`, an account's number, or an ARN of an account's root, a user, a role or a role's session.
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if text == "*" {
            return Ok(Self::Anybody);
        }
        if number(text) {
            return Ok(Self::Account(text.to_owned()));
        }
        let wrong = || format!("{text:?} is not an account, a user, a role, a session of a role, or \"*\"");
        let mut parts = text.splitn(6, ':');
        let head = [parts.next(), parts.next(), parts.next(), parts.next()];
        let (account, resource) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !number(account) || resource.contains(['*', '?']) {
            return Err(wrong());
        }
        let named = |kind: &str| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty());
        match head {
            [Some("arn"), Some("aws"), Some("iam"), Some("")] if resource == "root" => {
                Ok(Self::Account(account.to_owned()))
            }
            [Some("arn"), Some("aws"), Some("iam"), Some("")] if named("user/") || named("role/") => {
                Ok(Self::One(text.to_owned()))
            }
            [Some("arn"), Some("aws"), Some("sts"), Some("")] if named("assumed-role/") => {
                Ok(Self::One(text.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

impl Statement {
    fn parse(place: &str, json: Json, variables: bool) -> Result<Self, PolicyError> {
        let Json::Object(members) = json else { return wrong(place, "not a JSON object") };
        let (mut id, mut effected, mut covered, mut principals) = (None, None, None, None);
        let mut conditions = Vec::new();
        for (key, value) in &members {
            let here = format!("{place}.{key}");
            match (key.as_str(), value) {
                ("Sid", Json::String(text)) => id = sid(&here, text)?,
                ("Effect", Json::String(text)) => effected = Some(effect(&here, text)?),
                ("Action" | "NotAction", value) => {
                    if covered.replace(actions(&here, key, value)?).is_some() {
                        return wrong(place, "has both Action and NotAction");
                    }
                }
                ("Principal", value) => principals = Some(whom(&here, value)?),
                ("Condition", Json::Object(operators)) => conditions = block(&here, operators, variables)?,
                ("Sid" | "Effect" | "Condition", _) => return wrong(here, "has the wrong type"),
                ("Resource" | "NotResource", _) => return wrong(here, "has no place in a trust policy"),
                ("NotPrincipal", _) => return wrong(here, "is not supported: deny with a condition"),
                _ => return wrong(here, "is not an element of a statement"),
            }
        }
        match (effected, covered, principals) {
            (None, ..) => wrong(place, "Effect is missing"),
            (_, None, _) => wrong(place, "Action or NotAction is missing"),
            (.., None) => wrong(place, "Principal is missing"),
            (Some(effect), Some(actions), Some(principals)) => {
                Ok(Self { sid: id, effect, principals, actions, conditions })
            }
        }
    }
}

/// `"*"`, or `{"AWS": …}` with one or several.
fn whom(place: &str, json: &Json) -> Result<Vec<Principal>, PolicyError> {
    let members = match json {
        Json::String(text) if text == "*" => return Ok(vec![Principal::Anybody]),
        Json::Object(members) => members,
        _ => return wrong(place, "expecting \"*\" or an object"),
    };
    let mut found = Vec::new();
    for (kind, value) in members {
        if kind != "AWS" {
            return wrong(format!("{place}.{kind}"), "is not supported: only AWS principals call here");
        }
        let values = match value {
            Json::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Json::String(text) = value else { return wrong(format!("{place}.AWS"), "expecting strings") };
            match Principal::parse(text) {
                Ok(principal) => found.push(principal),
                Err(reason) => return wrong(format!("{place}.AWS"), reason),
            }
        }
    }
    if found.is_empty() || found.len() > MAX_VALUES {
        return wrong(place, format!("expecting between 1 and {MAX_VALUES} values"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "arn:aws:iam::111111111111:user/mary";

    fn document(principal: &str, more: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{principal},
                "Action":"sts:AssumeRole"{more}}}]}}"#
        )
    }

    fn judged(text: &str, account: &str, arn: &str, external: Option<&str>) -> Trust {
        let context =
            external.map(|id| ("sts:ExternalId".to_owned(), vec![id.to_owned()])).into_iter().collect();
        let arns = [arn.to_owned()];
        let request = TrustRequest { action: "sts:AssumeRole", account, arns: &arns, context: &context };
        TrustPolicy::parse(text).unwrap().judge(&request)
    }

    #[test]
    fn whoever_is_named_is_trusted() {
        let (caller, account) = (Trust::Caller("0".into()), Trust::Account("0".into()));
        for (principal, expected) in [
            (r#""*""#, account.clone()),
            (r#"{"AWS":"*"}"#, account.clone()),
            (r#"{"AWS":"111111111111"}"#, account.clone()),
            (r#"{"AWS":"arn:aws:iam::111111111111:root"}"#, account.clone()),
            (r#"{"AWS":"arn:aws:iam::222222222222:root"}"#, Trust::Silent),
            (r#"{"AWS":"arn:aws:iam::111111111111:user/mary"}"#, caller.clone()),
            (r#"{"AWS":["111111111111","arn:aws:iam::111111111111:user/mary"]}"#, caller.clone()),
            (r#"{"AWS":"arn:aws:iam::111111111111:user/Mary"}"#, Trust::Silent),
            (r#"{"AWS":"arn:aws:iam::111111111111:role/mary"}"#, Trust::Silent),
        ] {
            assert_eq!(judged(&document(principal, ""), "111111111111", USER, None), expected, "{principal}");
        }
    }

    #[test]
    fn conditions_and_denials_count() {
        let external = r#","Condition":{"StringEquals":{"sts:ExternalId":"x1"}}"#;
        let text = document(r#"{"AWS":"111111111111"}"#, external);
        for (id, expected) in
            [(Some("x1"), Trust::Account("0".into())), (Some("x2"), Trust::Silent), (None, Trust::Silent)]
        {
            assert_eq!(judged(&text, "111111111111", USER, id), expected, "{id:?}");
        }
        let denied = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Principal":"*","Action":"sts:*"},
            {"Sid":"NotMary","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111111111111:user/mary"},"Action":"*"}]}"#;
        assert_eq!(judged(denied, "111111111111", USER, None), Trust::Denied("NotMary".into()));
        assert_eq!(judged(denied, "1", "arn:aws:iam::1:user/bob", None), Trust::Account("0".into()));
        let tags = document(r#""*""#, "").replace("sts:AssumeRole", "sts:TagSession");
        assert_eq!(judged(&tags, "1", USER, None), Trust::Silent);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = document(r#""*""#, "");
        for bad in [
            document(r#"{"Service":"ec2.amazonaws.com"}"#, ""),
            document(r#"{"AWS":[]}"#, ""),
            document(r#"{"AWS":"mary"}"#, ""),
            document(r#"{"AWS":"arn:aws:iam::111111111111:user/*"}"#, ""),
            document(r#"{"AWS":"arn:aws:iam::1111:root"}"#, ""),
            document(r#"{"AWS":"arn:aws:iam::111111111111:group/a"}"#, ""),
            document(r#""me""#, ""),
            document(r#""*""#, r#","Resource":"*""#),
            document(r#""*""#, r#","Condition":{"Perhaps":{"sts:ExternalId":"x"}}"#),
            good.replace("\"Principal\"", "\"NotPrincipal\""),
            good.replace(r#""Principal":"*","#, ""),
            good.replace("Allow", "Perhaps"),
            "{}".to_owned(),
        ] {
            assert!(TrustPolicy::parse(&bad).is_err(), "{bad}");
        }
        TrustPolicy::parse(&good).unwrap();
    }
}
