//! Texts with wildcards and policy variables, and matching them.

use std::collections::BTreeMap;

/// The values a request brings, by condition key.
pub(crate) type Context = BTreeMap<String, Vec<String>>;

/// Values of a condition key. Key names are not case-sensitive; the exact spelling wins when tags differ in
/// case only.
pub(crate) fn lookup<'c>(context: &'c Context, key: &str) -> Option<&'c [String]> {
    context
        .get(key)
        .or_else(|| context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, values)| values))
        .map(Vec::as_slice)
}

/// How text of a policy is read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(crate) wildcards: bool,
    /// `${…}` is a policy variable (only in version 2012-10-17).
    pub(crate) variables: bool,
}

/// A piece of a policy's text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `*`; `within`: it stays inside a colon-separated segment.
    Any {
        within: bool,
    },
    /// `?`
    One,
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A text of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

/// One character or wildcard of a pattern whose variables have their values.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Step {
    Char(char),
    One,
    Any { within: bool },
}

impl Pattern {
    /// Reads a text.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '$' if syntax.variables && after.starts_with('{') => {
                    let inner = after.strip_prefix('{').unwrap_or(after);
                    let (inner, tail) =
                        inner.split_once('}').ok_or_else(|| "a policy variable is not closed".to_owned())?;
                    parts.push(variable(inner)?);
                    rest = tail;
                    continue;
                }
                '*' if syntax.wildcards => parts.push(Part::Any { within: false }),
                '?' if syntax.wildcards => parts.push(Part::One),
                c => match parts.last_mut() {
                    Some(Part::Text(text)) => text.push(c),
                    _ => parts.push(Part::Text(c.into())),
                },
            }
            rest = after;
        }
        Ok(Self(parts))
    }

    /// The pattern without its variables' values, for checks of form: variables are shown as `${}`.
    fn outline(&self) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Any { .. } => out.push('*'),
                Part::One => out.push('?'),
                Part::Variable { .. } => out.push_str("${}"),
            }
        }
        out
    }

    /// Of an action: whether it can name any of a service's.
    pub(crate) fn names_some_of(&self, service: &str) -> bool {
        let outline = self.outline();
        outline.split(':').next().is_some_and(|own| own == "*" || own.eq_ignore_ascii_case(service))
    }

    /// The keys of its policy variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable { key, .. } => Some(key.as_str()),
            Part::Text(_) | Part::Any { .. } | Part::One => None,
        })
    }

    /// Splits at colons of the text itself (not of variables) into at most `most` pieces.
    pub(crate) fn segments(&self, most: usize) -> Vec<Self> {
        let mut out = vec![Vec::new()];
        for part in &self.0 {
            let Part::Text(text) = part else {
                if let Some(last) = out.last_mut() {
                    last.push(part.clone());
                }
                continue;
            };
            let left = most.saturating_sub(out.len()).saturating_add(1);
            for (n, piece) in text.splitn(left, ':').enumerate() {
                if n > 0 {
                    out.push(Vec::new());
                }
                if let Some(last) = out.last_mut().filter(|_| !piece.is_empty()) {
                    last.push(Part::Text(piece.to_owned()));
                }
            }
        }
        out.into_iter().map(Self).collect()
    }

    /// A resource pattern: `*`, or an ARN. A `*` that ends a segment may reach over colons, one inside a
    /// segment may not, except in the last (as AWS documents the Resource element). An ARN of fewer than six
    /// segments is taken only where that rule leaves one reading: a fixed text, then one `*` at the end.
    pub(crate) fn resource(text: &str, variables: bool) -> Result<Self, String> {
        let pattern = Self::parse(text, Syntax { wildcards: true, variables })?;
        if text == "*" {
            return Ok(pattern);
        }
        if !text.starts_with("arn:") {
            return Err(format!("resource {text:?} must be an ARN or \"*\""));
        }
        let segments = pattern.segments(6);
        if segments.iter().take(3).any(|segment| segment.0.is_empty()) {
            return Err(format!("resource {text:?} must name a partition and a service"));
        }
        let wild = |part: &&Part| matches!(part, Part::Any { .. } | Part::One);
        let short_is_clear = pattern.0.iter().filter(wild).count() == 1 && text.ends_with('*');
        if segments.len() < 6 && !short_is_clear {
            return Err(format!("resource {text:?} must have six parts separated by colons"));
        }
        let mut parts = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            if n > 0 {
                parts.push(Part::Text(":".into()));
            }
            let count = segment.0.len();
            parts.extend(segment.0.iter().enumerate().map(|(at, part)| match part {
                Part::Any { .. } => Part::Any { within: n < 5 && at + 1 < count },
                part => part.clone(),
            }));
        }
        Ok(Self(parts))
    }

    /// The pattern as an ARN for conditions: its six segments.
    pub(crate) fn arn(text: &str, variables: bool) -> Result<Vec<Self>, String> {
        let segments = Self::parse(text, Syntax { wildcards: true, variables })?.segments(6);
        match (segments.len(), segments.first().map(Self::outline)) {
            (6, Some(scheme)) if scheme == "arn" => Ok(segments),
            // One variable may hold a whole ARN; one star is any.
            (1, Some(whole)) if whole == "*" || whole == "${}" => Ok(segments),
            _ => Err(format!("{text:?} is not an ARN")),
        }
    }

    /// The pattern with the variables' values in place; `None` when one has no value.
    fn resolve(&self, context: &Context) -> Option<Vec<Step>> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend(text.chars().map(Step::Char)),
                Part::Any { within } => out.push(Step::Any { within: *within }),
                Part::One => out.push(Step::One),
                Part::Variable { key, default } => {
                    let value = match (lookup(context, key), default) {
                        (Some([value]), _) => value,
                        (None, Some(default)) => default,
                        // Several values are not one text.
                        _ => return None,
                    };
                    out.extend(value.chars().map(Step::Char));
                }
            }
        }
        Some(out)
    }

    /// The text with the variables' values in place, wildcards as characters.
    pub(crate) fn text(&self, context: &Context) -> Option<String> {
        let steps = self.resolve(context)?;
        Some(
            steps
                .iter()
                .map(|step| match step {
                    Step::Char(c) => *c,
                    Step::One => '?',
                    Step::Any { .. } => '*',
                })
                .collect(),
        )
    }

    /// Whether the whole of `value` fits; `None` when a variable has no value. `fold`: ASCII case does not count.
    pub(crate) fn matches(&self, value: &str, context: &Context, fold: bool) -> Option<bool> {
        Some(fits(&self.resolve(context)?, value, fold))
    }
}

/// `aws:username`, `aws:PrincipalTag/team, 'none'`, or one of the escapes `*`, `?`, `$`.
fn variable(inner: &str) -> Result<Part, String> {
    if matches!(inner, "*" | "?" | "$") {
        return Ok(Part::Text(inner.into()));
    }
    let (key, default) = match inner.split_once(',') {
        None => (inner, None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let default =
                default.ok_or_else(|| format!("the default in ${{{inner}}} must be in single quotes"))?;
            (key, Some(default.to_owned()))
        }
    };
    let key = key.trim();
    let (prefix, name) = key.split_once(':').unwrap_or(("", ""));
    let good = !name.is_empty()
        && !prefix.is_empty()
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.contains(['$', '{', '*', '?']);
    if good {
        Ok(Part::Variable { key: key.to_owned(), default })
    } else {
        Err(format!("${{{inner}}} is not a policy variable"))
    }
}

/// Position by position: which lengths of the value can the steps so far have eaten.
/// Costs at most the product of both lengths, whatever the wildcards.
fn fits(steps: &[Step], value: &str, fold: bool) -> bool {
    let chars: Vec<char> = value.chars().collect();
    let mut reached = vec![false; chars.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for step in steps {
        let mut next = vec![false; reached.len()];
        let mut carried = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = reached.get(at).copied().unwrap_or(false);
            let previous = at.checked_sub(1).and_then(|at| Some((*reached.get(at)?, *chars.get(at)?)));
            *slot = match step {
                Step::Any { within } => {
                    let extends = carried && previous.is_some_and(|(_, c)| !within || c != ':');
                    here || extends
                }
                Step::One => previous.is_some_and(|(was, _)| was),
                Step::Char(want) => previous
                    .is_some_and(|(was, c)| was && (c == *want || fold && c.eq_ignore_ascii_case(want))),
            };
            carried = *slot;
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        [
            ("aws:username", vec!["mary"]),
            ("aws:PrincipalTag/team", vec!["a*b"]),
            ("aws:TagKeys", vec!["a", "b"]),
            ("aws:empty", vec![]),
        ]
        .into_iter()
        .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .collect()
    }

    const BOTH: Syntax = Syntax { wildcards: true, variables: true };

    #[test]
    fn wildcards() {
        for (pattern, value, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a:b/c", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "banana", true),
            ("*an*n?", "banana", true),
            ("?", "", false),
            ("?", "é", true),
            ("??", "a", false),
            ("a?c", "abc", true),
            ("a.c", "abc", false),
            ("[ab]", "a", false),
            ("**a**", "xxaxx", true),
            ("A", "a", false),
        ] {
            let found = Pattern::parse(pattern, BOTH).unwrap().matches(value, &context(), false);
            assert_eq!(found, Some(expected), "{pattern} {value}");
        }
    }

    #[test]
    fn variables() {
        for (pattern, value, expected) in [
            ("u/${aws:username}", "u/mary", Some(true)),
            ("u/${AWS:UserName}", "u/mary", Some(true)),
            ("u/${aws:username}", "u/bob", Some(false)),
            ("${aws:username}*", "mary/x", Some(true)),
            ("${aws:principaltag/team}", "a*b", Some(true)),
            // A wildcard that comes out of a variable is a character.
            ("${aws:principaltag/team}", "axb", Some(false)),
            ("${aws:absent}", "", None),
            ("${aws:absent, 'none'}", "none", Some(true)),
            ("${aws:username, 'none'}", "mary", Some(true)),
            ("${aws:TagKeys}", "a", None),
            ("${aws:empty}", "", None),
            ("${*}${?}${$}", "*?$", Some(true)),
            ("${*}", "x", Some(false)),
            ("$x", "$x", Some(true)),
        ] {
            let found = Pattern::parse(pattern, BOTH).unwrap().matches(value, &context(), false);
            assert_eq!(found, expected, "{pattern} {value}");
        }
        for bad in
            ["${aws:username", "${username}", "${}", "${aws:}", "${:x}", "${aws:a,b}", "${aws:${aws:b}}"]
        {
            assert!(Pattern::parse(bad, BOTH).is_err(), "{bad}");
        }
        let plain = Pattern::parse("${x}*", Syntax { wildcards: false, variables: false }).unwrap();
        assert_eq!(plain.matches("${x}*", &context(), false), Some(true));
    }

    #[test]
    fn resources() {
        let vpc = "arn:aws:ec2:eu-central-1:111122223333:vpc/vpc-1";
        for (pattern, value, expected) in [
            ("*", vpc, true),
            ("*", "*", true),
            ("arn:aws:ec2:*:*:*", vpc, true),
            ("arn:aws:ec2:*:*:*", "*", false),
            ("arn:aws:*", vpc, true),
            ("arn:aws:ec2:*", vpc, true),
            ("arn:aws:ec2:eu-*", vpc, true),
            ("arn:aws:ec2:eu-*-1:111122223333:vpc/*", vpc, true),
            ("arn:aws:ec2:*:111122223333:vpc/vpc-?", vpc, true),
            ("arn:aws:ec2:*:111122223333:vpc/vpc-??", vpc, false),
            ("arn:aws:ec2:*:1111222233334:vpc/vpc-1", vpc, false),
            ("arn:aws:ec2:e*1:111122223333:vpc/vpc-1", vpc, true),
            // Inside a segment a star does not reach over the colon.
            ("arn:aws:ec2:e*3:vpc/vpc-1:", vpc, false),
            ("arn:aws:ec2:e*3::vpc/vpc-1", "arn:aws:ec2:eu-central-1:3::vpc/vpc-1", false),
            ("arn:aws:ec2:*::vpc/vpc-1", "arn:aws:ec2:eu-central-1:3::vpc/vpc-1", true),
            (
                "arn:aws:logs:*:*:log-group:/vpn/*:log-stream:*",
                "arn:aws:logs:r:1:log-group:/vpn/a:log-stream:b",
                true,
            ),
            ("arn:aws:logs:*:*:log-*:x", "arn:aws:logs:r:1:log-group:/vpn/a:x", true),
            ("arn:aws:EC2:*:*:*", vpc, false),
        ] {
            let found = Pattern::resource(pattern, true).unwrap().matches(value, &context(), false);
            assert_eq!(found, Some(expected), "{pattern} {value}");
        }
        for bad in [
            "",
            "vpc/vpc-1",
            "a*",
            "**",
            "arn",
            "arn:",
            "arn:aws:",
            "arn::ec2:::x",
            "arn:aws::::x",
            "arn:aws",
            "arn:aws:ec2",
            "arn:aws:ec2:*:vpc/vpc-1",
            "arn:aws:ec2:*:vpc*",
        ] {
            assert!(Pattern::resource(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn segments_leave_variables_whole() {
        let pattern = Pattern::parse("arn:aws:iam::${aws:username}:user/a:b", BOTH).unwrap();
        let outlines: Vec<_> = pattern.segments(6).iter().map(Pattern::outline).collect();
        assert_eq!(outlines, ["arn", "aws", "iam", "", "${}", "user/a:b"]);
    }
}
