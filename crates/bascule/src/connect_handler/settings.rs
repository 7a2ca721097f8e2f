//! `[[connect-handler]]` of the configuration file.

use anyhow::Result;
use serde::Deserialize;

use crate::Usage;

/// Most handlers.
const MOST: usize = 256;

/// One table of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// The function: its ARN, or its name with or without a qualifier.
    function: String,
    /// Asked by a plain POST.
    url: Option<String>,
    /// Where Lambda's Invoke API is.
    lambda: Option<String>,
    /// A program with its arguments that is run for each question.
    command: Option<Vec<String>>,
}

/// Where a function's questions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There, as they are.
    Url(::http::Uri),
    /// To Lambda's Invoke API there.
    Lambda(::http::Uri),
    /// To this program's standard input.
    Command(Vec<String>),
}

/// A function that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    function: String,
    pub(super) place: Place,
}

impl Settings {
    /// Checked.
    pub(crate) fn handlers(all: Vec<Self>) -> Result<Vec<Handler>> {
        if all.len() > MOST {
            return Err(Usage(format!("connect-handler: at most {MOST} tables")).into());
        }
        all.into_iter().map(Self::handler).collect()
    }

    fn handler(self) -> Result<Handler> {
        let wrong = |what: &str| Usage(format!("connect-handler {}: {what}", self.function));
        let uri = |text: &str| -> Result<::http::Uri> {
            let uri: ::http::Uri = text.parse().map_err(|_| wrong(&format!("{text} is no URL")))?;
            let good = matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            if good { Ok(uri) } else { Err(wrong(&format!("{text} is no http or https URL")).into()) }
        };
        if self.function.is_empty() {
            return Err(wrong("function is empty").into());
        }
        let place = match (&self.url, &self.lambda, &self.command) {
            (Some(url), None, None) => Place::Url(uri(url)?),
            (None, Some(base), None) => Place::Lambda(uri(base)?),
            (None, None, Some(command)) => {
                let program = command.first().map(std::path::Path::new);
                if !program.is_some_and(std::path::Path::is_absolute) {
                    return Err(wrong("command has to begin with the whole path of a program").into());
                }
                Place::Command(command.clone())
            }
            _ => return Err(wrong("exactly one of url, lambda and command").into()),
        };
        Ok(Handler { function: self.function, place })
    }
}

impl Handler {
    /// Where it is asked, if over HTTP.
    pub(crate) fn uri(&self) -> Option<&::http::Uri> {
        match &self.place {
            Place::Url(uri) | Place::Lambda(uri) => Some(uri),
            Place::Command(_) => None,
        }
    }

    /// The program that is run, if one is.
    pub(crate) fn command(&self) -> Option<&[String]> {
        match &self.place {
            Place::Command(command) => Some(command),
            Place::Url(_) | Place::Lambda(_) => None,
        }
    }

    /// Whether this is the function of an ARN.
    pub(super) fn is_named_by(&self, arn: &str) -> bool {
        let (name, qualifier) = name_of(arn);
        let qualified = qualifier.is_some_and(|qualifier| self.function == format!("{name}:{qualifier}"));
        self.function == arn || self.function == name || qualified
    }
}

/// Name and qualifier of a function's ARN.
pub(super) fn name_of(arn: &str) -> (&str, Option<&str>) {
    let tail = arn.split_once(":function:").map_or("", |(_, tail)| tail);
    match tail.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (tail, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Vec<Handler>> {
        Settings::handlers(vec![toml::from_str(text).unwrap()])
    }

    #[test]
    fn a_function_is_named_in_several_ways() {
        const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN-ask";
        let named = |function: &str, arn: &str| {
            settings(&format!("function = \"{function}\"\nurl = \"http://127.0.0.1:1/ask\"")).unwrap()[0]
                .is_named_by(arn)
        };
        let live = format!("{ARN}:live");
        for (function, arn, expected) in [
            (ARN, ARN, true),
            ("AWSClientVPN-ask", ARN, true),
            ("AWSClientVPN-ask", live.as_str(), true),
            ("AWSClientVPN-ask:live", live.as_str(), true),
            ("AWSClientVPN-ask:live", ARN, false),
            ("AWSClientVPN-as", ARN, false),
            (ARN, live.as_str(), false),
            ("live", live.as_str(), false),
        ] {
            assert_eq!(named(function, arn), expected, "{function} {arn}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in [
            "function = \"f\"",
            "function = \"f\"\nurl = \"http://a/\"\nlambda = \"http://a\"",
            "function = \"\"\nurl = \"http://a/\"",
            "function = \"f\"\nurl = \"ftp://a/\"",
            "function = \"f\"\nurl = \"/path\"",
            "function = \"f\"\nurl = \"http://user:secret@a/\"",
            "function = \"f\"\ncommand = []",
            "function = \"f\"\ncommand = [\"check\"]",
            "function = \"f\"\ncommand = [\"/check\"]\nurl = \"http://a/\"",
        ] {
            assert!(settings(text).unwrap_err().is::<Usage>(), "{text}");
        }
    }
}
