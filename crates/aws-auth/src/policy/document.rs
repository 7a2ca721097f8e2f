//! Reading a policy document.

use std::collections::BTreeSet;

use super::condition::Condition;
use super::json::Json;
use super::pattern::{Context, Pattern, Syntax};

/// Most bytes of a document.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Most values in one list of a document: statements, actions, resources, condition values.
pub const MAX_VALUES: usize = 1_000;

/// An identity policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) statements: Vec<Statement>,
}

/// Why a document was refused: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct PolicyError {
    /// Path into the document, such as `Statement[0].Action`; `document` for the whole.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

/// What a statement does to what it covers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Permits.
    Allow,
    /// Forbids.
    Deny,
}

#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) actions: Cover,
    pub(crate) resources: Cover,
    pub(crate) conditions: Vec<Condition>,
}

/// The `X` or `NotX` element: these, or all but these.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    patterns: Vec<Pattern>,
    except: bool,
    fold: bool,
}

impl Cover {
    /// Whether the value is covered. Where a variable without a value makes "all but" doubtful, a deny
    /// covers and an allow does not.
    pub(crate) fn covers(&self, value: &str, context: &Context, effect: Effect) -> bool {
        let mut unknown = false;
        let found = self.patterns.iter().any(|pattern| {
            let fits = pattern.matches(value, context, self.fold);
            unknown |= fits.is_none();
            fits == Some(true)
        });
        match (self.except, found) {
            (false, found) => found,
            (true, true) => false,
            (true, false) => !unknown || effect == Effect::Deny,
        }
    }

    /// Of actions: whether all of a service's are covered.
    pub(crate) fn covers_all(&self, service: &str, context: &Context) -> bool {
        match self.except {
            true => !self.patterns.iter().any(|pattern| pattern.names_some_of(service)),
            false => self.names_all_of(service, context),
        }
    }

    /// Of actions: whether any of a service's can be covered.
    pub(crate) fn covers_some(&self, service: &str, context: &Context) -> bool {
        match self.except {
            true => !self.names_all_of(service, context),
            false => self.patterns.iter().any(|pattern| pattern.names_some_of(service)),
        }
    }

    /// Whether one pattern names whatever the service may have: only wildcards fit a name of wildcards.
    fn names_all_of(&self, service: &str, context: &Context) -> bool {
        const LONGER_THAN_ANY_NAME: usize = 256;
        let name = format!("{service}:{}", "*".repeat(LONGER_THAN_ANY_NAME));
        self.patterns.iter().any(|pattern| pattern.matches(&name, context, self.fold) == Some(true))
    }
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// The first thing that is not understood; nothing is passed over.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let statements = statements(json, Statement::parse)?;
        each_sid_once(statements.iter().filter_map(|statement| statement.sid.as_deref()))?;
        Ok(Self { statements })
    }

    /// How many statements it has.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// The condition keys it asks for, as written, each once: a caller may look whether it can bring them at all.
    pub fn condition_keys(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(|statement| &statement.conditions).map(Condition::key).collect()
    }

    /// The keys of its policy variables (`${aws:username}`), as written, each once.
    pub fn variables(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(Statement::variables).collect()
    }
}

impl Statement {
    fn variables(&self) -> Vec<&str> {
        let resources = self.resources.patterns.iter().flat_map(Pattern::variables);
        resources.chain(self.conditions.iter().flat_map(Condition::variables)).collect()
    }

    fn parse(place: &str, json: Json, variables: bool) -> Result<Self, PolicyError> {
        let Json::Object(members) = json else { return wrong(place, "not a JSON object") };
        let (mut sid, mut effect, mut actions, mut resources) = (None, None, None, None);
        let mut conditions = Vec::new();
        for (key, value) in &members {
            let here = format!("{place}.{key}");
            match (key.as_str(), value) {
                ("Sid", Json::String(text)) => sid = self::sid(&here, text)?,
                ("Effect", Json::String(text)) => effect = Some(self::effect(&here, text)?),
                ("Action" | "NotAction", value) => {
                    if actions.replace(self::actions(&here, key, value)?).is_some() {
                        return wrong(place, "has both Action and NotAction");
                    }
                }
                ("Resource" | "NotResource", value) => {
                    let patterns = list(&here, value, |text| Pattern::resource(text, variables))?;
                    let cover = Cover { patterns, except: key == "NotResource", fold: false };
                    if resources.replace(cover).is_some() {
                        return wrong(place, "has both Resource and NotResource");
                    }
                }
                ("Condition", Json::Object(operators)) => conditions = block(&here, operators, variables)?,
                ("Sid" | "Effect" | "Condition", _) => return wrong(here, "has the wrong type"),
                ("Principal" | "NotPrincipal", _) => {
                    return wrong(here, "has no place in an identity policy");
                }
                _ => return wrong(here, "is not an element of a statement"),
            }
        }
        match (effect, actions, resources) {
            (None, ..) => wrong(place, "Effect is missing"),
            (_, None, _) => wrong(place, "Action or NotAction is missing"),
            (.., None) => wrong(place, "Resource or NotResource is missing"),
            (Some(effect), Some(actions), Some(resources)) => {
                Ok(Self { sid, effect, actions, resources, conditions })
            }
        }
    }
}

/// The statements of a document, each read by `read` with its place and whether policy variables have a meaning.
pub(crate) fn statements<T>(
    json: &str,
    read: impl Fn(&str, Json, bool) -> Result<T, PolicyError>,
) -> Result<Vec<T>, PolicyError> {
    if json.len() > MAX_DOCUMENT_BYTES {
        return wrong("document", format!("longer than {MAX_DOCUMENT_BYTES} bytes"));
    }
    let whole = match serde_json::from_str(json) {
        Ok(Json::Object(members)) => members,
        Ok(_) => return wrong("document", "not a JSON object"),
        Err(error) => return wrong("document", error.to_string()),
    };
    let mut variables = false;
    let mut statements = None;
    for (key, value) in whole {
        match (key.as_str(), value) {
            ("Version", Json::String(text)) => match text.as_str() {
                "2012-10-17" => variables = true,
                "2008-10-17" => {}
                _ => return wrong("Version", format!("{text:?} is not a version of the language")),
            },
            ("Id", Json::String(_)) => {}
            ("Statement", Json::Array(list)) => statements = Some(list),
            ("Statement", one @ Json::Object(_)) => statements = Some(vec![one]),
            ("Version" | "Id" | "Statement", _) => return wrong(key, "has the wrong type"),
            _ => return wrong(key, "is not an element of a policy"),
        }
    }
    let Some(list) = statements else { return wrong("Statement", "is missing") };
    if list.is_empty() || list.len() > MAX_VALUES {
        return wrong("Statement", format!("expecting between 1 and {MAX_VALUES} statements"));
    }
    list.into_iter().enumerate().map(|(n, json)| read(&format!("Statement[{n}]"), json, variables)).collect()
}

/// A `Sid` names one statement.
pub(crate) fn each_sid_once<'s>(sids: impl Iterator<Item = &'s str>) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for sid in sids {
        if !seen.insert(sid) {
            return wrong("Statement", format!("the Sid {sid:?} comes twice"));
        }
    }
    Ok(())
}

/// A `Sid`; an empty one is none.
pub(crate) fn sid(place: &str, text: &str) -> Result<Option<String>, PolicyError> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return wrong(place, "expecting letters and digits only");
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// An `Effect`.
pub(crate) fn effect(place: &str, text: &str) -> Result<Effect, PolicyError> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => wrong(place, "expecting \"Allow\" or \"Deny\""),
    }
}

/// `Action` or `NotAction`.
pub(crate) fn actions(place: &str, key: &str, value: &Json) -> Result<Cover, PolicyError> {
    Ok(Cover { patterns: list(place, value, action)?, except: key == "NotAction", fold: true })
}

/// The lines of a condition block; all of them must hold.
pub(crate) fn block(
    place: &str,
    operators: &[(String, Json)],
    variables: bool,
) -> Result<Vec<Condition>, PolicyError> {
    let mut out = Vec::new();
    for (operator, keys) in operators {
        let here = format!("{place}.{operator}");
        let Json::Object(keys) = keys else { return wrong(here, "expecting an object of condition keys") };
        for (key, values) in keys {
            match Condition::parse(operator, key, values, variables) {
                Ok(condition) => out.push(condition),
                Err(reason) => return wrong(format!("{here}.{key}"), reason),
            }
        }
    }
    if out.len() > MAX_VALUES {
        return wrong(place, format!("more than {MAX_VALUES} conditions"));
    }
    Ok(out)
}

/// A string or a list of strings, each read by `read`.
fn list(
    place: &str,
    json: &Json,
    read: impl Fn(&str) -> Result<Pattern, String>,
) -> Result<Vec<Pattern>, PolicyError> {
    let values = match json {
        Json::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    if values.is_empty() || values.len() > MAX_VALUES {
        return wrong(place, format!("expecting between 1 and {MAX_VALUES} values"));
    }
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let Json::String(text) = value else { return wrong(place, "expecting strings") };
        match read(text) {
            Ok(pattern) => out.push(pattern),
            Err(reason) => return wrong(place, reason),
        }
    }
    Ok(out)
}

/// `*`, `*:*`, or `service:Name` with wildcards in the name.
fn action(text: &str) -> Result<Pattern, String> {
    let good = matches!(text, "*" | "*:*")
        || text.split_once(':').is_some_and(|(service, name)| {
            let word = |text: &str, extra: &[u8]| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
            };
            word(service, b"-") && word(name, b"*?")
        });
    if good {
        Pattern::parse(text, Syntax { wildcards: true, variables: false })
    } else {
        Err(format!("{text:?} is not an action"))
    }
}

pub(crate) fn wrong<T>(place: impl Into<String>, reason: impl Into<String>) -> Result<T, PolicyError> {
    Err(PolicyError { place: place.into(), reason: reason.into() })
}
