//! One region of AWS, or of a server like it: calls of its services, page by page, again when they come too fast.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::aws_client::{Answer, AwsClient, AwsError, Credentials};

/// Most pages of one list.
const MAX_PAGES: usize = 1_000;
/// How often a call is tried that came too fast, and the first pause; each pause is twice the one before.
const ATTEMPTS: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const TOO_FAST: [&str; 4] =
    ["RequestLimitExceeded", "Throttling", "ThrottlingException", "ConcurrentMutationLimitExceeded"];

/// Parameters of a Query call.
pub(super) type Pairs = Vec<(String, String)>;

/// Clients of the services.
pub(super) struct Cloud {
    ec2: AwsClient,
    acm: AwsClient,
    iam: AwsClient,
    logs: AwsClient,
    pub region: String,
}

impl Cloud {
    /// All services behind one URL, or AWS's own.
    pub(super) fn new(url: Option<&str>, region: &str, credentials: &Credentials) -> Result<Self> {
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let client = |service: &str| {
            // IAM has no regions.
            let (host, signed) = match service {
                "iam" => ("iam".to_owned(), "us-east-1"),
                service => (format!("{service}.{region}"), region),
            };
            match url {
                Some(url) => AwsClient::new(url, region, credentials.clone()),
                None => AwsClient::new(&format!("https://{host}.{domain}"), signed, credentials.clone()),
            }
        };
        Ok(Self {
            ec2: client("ec2")?,
            acm: client("acm")?,
            iam: client("iam")?,
            logs: client("logs")?,
            region: region.to_owned(),
        })
    }

    /// An EC2 call.
    pub(super) fn ec2(&self, action: &str, pairs: &[(String, String)]) -> Result<Answer, AwsError> {
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        patiently(|| self.ec2.ec2(action, &pairs))
    }

    /// The rows of an EC2 list, all pages.
    pub(super) fn list(&self, action: &str, pairs: &[(String, String)], list: &str) -> Result<Vec<Answer>> {
        let mut rows = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let mut asked = pairs.to_vec();
            asked.extend(token.take().map(|token| ("NextToken".to_owned(), token)));
            let answer = self.ec2(action, &asked).context(action.to_owned())?;
            rows.extend(answer.rows(list).into_iter().cloned());
            token = answer.optional("nextToken");
            if token.is_none() {
                return Ok(rows);
            }
        }
        bail!("{action}: more than {MAX_PAGES} pages")
    }

    /// An IAM call.
    pub(super) fn iam(&self, action: &str, pairs: &[(&str, &str)]) -> Result<Answer, AwsError> {
        patiently(|| self.iam.query("iam", "2010-05-08", action, pairs))
    }

    /// A call of Certificate Manager.
    pub(super) fn acm(&self, action: &str, body: &Value) -> Result<Value, AwsError> {
        json(&self.acm, "acm", &format!("CertificateManager.{action}"), body)
    }

    /// A call of CloudWatch Logs.
    pub(super) fn logs(&self, action: &str, body: &Value) -> Result<Value, AwsError> {
        json(&self.logs, "logs", &format!("Logs_20140328.{action}"), body)
    }
}

fn json(client: &AwsClient, service: &str, target: &str, body: &Value) -> Result<Value, AwsError> {
    patiently(|| {
        let (status, text) = client.json(service, target, &body.to_string())?;
        if text.is_empty() && status == 200 {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_str(&text)
            .map_err(|error| AwsError::Unreachable(format!("no JSON: {error}")))?;
        if status == 200 {
            return Ok(answer);
        }
        let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let code = part("__type");
        Err(AwsError::Refused {
            status,
            // AWS may put a namespace before it.
            code: code.rsplit('#').next().unwrap_or_default().to_owned(),
            message: Some(part("message")).filter(|text| !text.is_empty()).unwrap_or_else(|| part("Message")),
        })
    })
}

fn patiently<T>(call: impl Fn() -> Result<T, AwsError>) -> Result<T, AwsError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match call() {
            Err(error) if error.code().is_some_and(|code| TOO_FAST.contains(&code)) => {
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            done => return done,
        }
    }
    call()
}

/// One parameter.
pub(super) fn pair(name: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (name.into(), value.into())
}

/// A list of parameters `NAME.1`, `NAME.2`…
pub(super) fn numbered<'v>(name: &str, values: impl IntoIterator<Item = &'v String>) -> Pairs {
    values.into_iter().enumerate().map(|(n, value)| pair(format!("{name}.{}", n + 1), value)).collect()
}
