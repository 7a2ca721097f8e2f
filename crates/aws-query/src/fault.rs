//! What is wrong with a request, as the service would say it.

/// Characters of a refused value that are repeated in the message.
const MAX_ECHO_CHARS: usize = 128;

/// One fault of a request: a service error code and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Error code on the wire, such as `MissingParameter`.
    pub code: &'static str,
    /// Text for the caller.
    pub message: String,
    /// Wire name of the parameter it is about, when it is about one.
    pub parameter: Option<String>,
}

impl Fault {
    /// A fault about the request as a whole.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), parameter: None }
    }

    /// A fault about one parameter, with a text of the caller's own.
    pub fn about(code: &'static str, parameter: &str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), parameter: Some(parameter.to_owned()) }
    }

    /// A required parameter that did not come (spec: aws-client-vpn §2.0.1).
    pub fn missing(parameter: &str) -> Self {
        Self::about(
            "MissingParameter",
            parameter,
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// A parameter that nothing asked for (spec: aws-client-vpn §2.0.1).
    pub fn unknown(parameter: &str) -> Self {
        let name = echo(parameter);
        Self::about("UnknownParameter", parameter, format!("The parameter {name} is not recognized"))
    }

    /// A value that cannot be used; `expectation` is a whole sentence.
    pub fn invalid_value(parameter: &str, value: &str, expectation: &str) -> Self {
        let (value, name) = (echo(value), camel(parameter));
        Self::about(
            "InvalidParameterValue",
            parameter,
            format!("Value ({value}) for parameter {name} is invalid. {expectation}"),
        )
    }

    /// An integer outside its bounds, in the service's own spacing (spec: aws-client-vpn §2.0.4).
    pub fn out_of_range(parameter: &str, value: i64, low: i64, high: i64) -> Self {
        let name = camel(parameter);
        Self::about(
            "InvalidParameterValue",
            parameter,
            format!(
                "Value ( {value} ) for parameter {name} is invalid. Expecting a value between {low} and {high}."
            ),
        )
    }

    /// HTTP status that goes with the code.
    pub fn http_status(&self) -> u16 {
        if self.code == "RequestEntityTooLarge" { 413 } else { 400 }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

/// A value short enough to be repeated to the caller.
fn echo(value: &str) -> String {
    let mut chars = value.chars();
    let mut out: String = chars.by_ref().take(MAX_ECHO_CHARS).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// `Filter.1.Name` as messages spell it: `filter.1.name`. A leading run of capitals is one word.
fn camel(path: &str) -> String {
    path.split('.').map(camel_word).collect::<Vec<_>>().join(".")
}

fn camel_word(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        let starts_word = !out.is_empty() && chars.peek().is_some_and(char::is_ascii_lowercase);
        if !c.is_ascii_uppercase() || starts_word {
            out.push(c);
            break;
        }
        out.push(c.to_ascii_lowercase());
    }
    out.extend(chars);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_spell_names_in_camel_case() {
        for (wire, text) in [
            ("MaxResults", "maxResults"),
            ("Filter.1.Name", "filter.1.name"),
            ("SAMLProviderArn", "samlProviderArn"),
            ("A", "a"),
            ("ABC", "abc"),
            ("alreadyCamel", "alreadyCamel"),
            ("", ""),
        ] {
            assert_eq!(camel(wire), text);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let fault = Fault::invalid_value("Description", &"é".repeat(5_000), "Too long.");
        assert!(fault.message.len() < 400, "{}", fault.message);
    }
}
