//! A small signing client of an AWS-compatible endpoint: what `bascule profile`, the demonstration and the lab call
//! the API with.

use std::path::Path;
use std::time::Duration;

use aws_auth::{Secret, SignedRequest};
use base64::Engine as _;
use jiff::Timestamp;
use ureq::http::{Request, Uri};

use crate::credentials;

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer that is read, bytes.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// An access key.
#[derive(Clone, Debug)]
pub struct Credentials(aws_auth::Credentials);

impl Credentials {
    /// From their parts.
    pub fn new(access_key_id: &str, secret: &str, session_token: Option<&str>) -> Self {
        Self(aws_auth::Credentials {
            access_key_id: access_key_id.to_owned(),
            secret: Secret::new(secret),
            session_token: session_token.map(Secret::new),
        })
    }

    /// Profile `default` of a shared-credentials file.
    ///
    /// # Errors
    /// The file cannot be read or holds no key.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        Self::from_profile(path, "default")
    }

    /// A profile of a shared-credentials file.
    ///
    /// # Errors
    /// The file cannot be read or holds no key of that profile.
    pub fn from_profile(path: &Path, profile: &str) -> anyhow::Result<Self> {
        let key = credentials::read_profile(path, profile)?;
        Ok(Self::new(&key.id, &key.secret, key.session_token.as_ref().map(|token| token.as_str())))
    }
}

/// What a call came to when it did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// The service refused it.
    #[error("{code} (HTTP {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's error code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// It could not be asked, or its answer could not be read.
    #[error("{0}")]
    Unreachable(String),
}

impl AwsError {
    /// The service's error code, if it answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            AwsError::Refused { code, .. } => Some(code),
            AwsError::Unreachable(_) => None,
        }
    }
}

/// An element of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    name: String,
    text: String,
    children: Vec<Answer>,
}

impl Answer {
    fn parse(xml: &str) -> Result<Self, AwsError> {
        let document = roxmltree::Document::parse(xml)
            .map_err(|error| AwsError::Unreachable(format!("no XML: {error}")))?;
        Ok(Self::of(document.root_element()))
    }

    fn of(node: roxmltree::Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.text().unwrap_or_default().to_owned(),
            children: node.children().filter(roxmltree::Node::is_element).map(Self::of).collect(),
        }
    }

    fn at(&self, path: &str) -> Option<&Answer> {
        path.split('/').try_fold(self, |at, name| at.children.iter().find(|child| child.name == name))
    }

    /// The text at a path such as `status/code`; the first where there are several.
    ///
    /// # Errors
    /// There is no such element.
    pub fn text(&self, path: &str) -> anyhow::Result<String> {
        self.at(path)
            .map(|found| found.text.clone())
            .ok_or_else(|| anyhow::anyhow!("the answer has no {path}"))
    }

    /// The text at a path, if there is one and it is not empty.
    pub fn optional(&self, path: &str) -> Option<String> {
        self.at(path).map(|found| found.text.clone()).filter(|text| !text.is_empty())
    }

    /// The names of the elements directly inside one of these; empty if there is none.
    pub fn names_of(&self, path: &str) -> Vec<&str> {
        self.at(path).map(Answer::names).unwrap_or_default()
    }

    /// The texts of a list of plain items.
    pub fn texts(&self, list: &str) -> Vec<String> {
        self.rows(list).into_iter().map(|row| row.text.clone()).collect()
    }

    /// The items of a list.
    pub fn rows(&self, list: &str) -> Vec<&Answer> {
        self.at(list).map(|found| found.children.iter().collect()).unwrap_or_default()
    }

    /// The names of the elements directly inside, in order.
    pub fn names(&self) -> Vec<&str> {
        self.children.iter().map(|child| child.name.as_str()).collect()
    }
}

/// A client of one endpoint URL and region.
#[derive(Debug)]
pub struct AwsClient {
    url: String,
    host: String,
    region: String,
    credentials: Credentials,
    agent: ureq::Agent,
}

impl AwsClient {
    /// A client; a bundle of `AWS_CA_BUNDLE` is trusted for `https`.
    ///
    /// # Errors
    /// The URL names no host, or the bundle cannot be read.
    pub fn new(url: &str, region: &str, credentials: Credentials) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let uri: Uri = url.parse().map_err(|_| anyhow::anyhow!("{url} is no URL"))?;
        let host = uri.authority().ok_or_else(|| anyhow::anyhow!("{url} names no host"))?.to_string();
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .http_status_as_error(false)
            .proxy(None);
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(tls()?);
        }
        Ok(Self { url, host, region: region.to_owned(), credentials, agent: config.build().into() })
    }

    /// Where it calls.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An EC2 call.
    ///
    /// # Errors
    /// The service refused it, or could not be asked.
    pub fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer, AwsError> {
        self.query("ec2", "2016-11-15", action, parameters)
    }

    /// A call of a Query service.
    ///
    /// # Errors
    /// The service refused it, or could not be asked.
    pub fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Answer, AwsError> {
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            body.push_str(&format!("&{}={}", encoded(name), encoded(value)));
        }
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let (status, text) = self.post("/", service, &[("content-type", kind)], body.as_bytes())?;
        if status == 200 {
            return Answer::parse(&text);
        }
        let answer = Answer::parse(&text)?;
        let part = |name: &str| {
            let of = |path: &str| answer.optional(&format!("{path}/{name}"));
            of("Errors/Error").or_else(|| of("Error")).unwrap_or_default()
        };
        Err(AwsError::Refused { status, code: part("Code"), message: part("Message") })
    }

    /// ACM's ImportCertificate; the ARN.
    ///
    /// # Errors
    /// As [`AwsClient::ec2`].
    pub fn import_certificate(
        &self,
        certificate: &[u8],
        key: &[u8],
        chain: &[u8],
    ) -> Result<String, AwsError> {
        let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let body = format!(
            r#"{{"Certificate":"{}","PrivateKey":"{}","CertificateChain":"{}"}}"#,
            base64(certificate),
            base64(key),
            base64(chain)
        );
        let (status, text) = self.json("acm", "CertificateManager.ImportCertificate", &body)?;
        let member = |name: &str| {
            let rest = text.split_once(&format!("\"{name}\":\""))?.1;
            rest.split('"').next().map(str::to_owned)
        };
        match (status, member("CertificateArn")) {
            (200, Some(arn)) => Ok(arn),
            _ => Err(AwsError::Refused {
                status,
                code: member("__type").unwrap_or_default(),
                message: member("message").unwrap_or_default(),
            }),
        }
    }

    /// A call of a JSON service: status and body of the answer.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn json(&self, service: &str, target: &str, body: &str) -> Result<(u16, String), AwsError> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        self.post("/", service, &headers, body.as_bytes())
    }

    /// A call of Bascule's own, such as `reset`; the answer's body.
    ///
    /// # Errors
    /// As [`AwsClient::ec2`].
    pub fn own(&self, name: &str, body: &[u8]) -> Result<String, AwsError> {
        let path = format!("/_bascule/{name}");
        let (status, text) = self.post(&path, "bascule", &[("content-type", "application/json")], body)?;
        if status == 200 {
            return Ok(text);
        }
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let member = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Err(AwsError::Refused { status, code: member("error"), message: member("message") })
    }

    /// A presigned GET of a query such as `Action=…&…`, as its raw answer.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn presigned(&self, query: &str, expires_s: u32) -> Result<(u16, String), AwsError> {
        let headers = [("host".to_owned(), self.host.clone())];
        let request = SignedRequest { method: "GET", path: "/", query, headers: &headers, body: b"" };
        let query = aws_auth::presign(&request, &self.credentials.0, &self.region, "ec2", expires_s, now())
            .map_err(|error| AwsError::Unreachable(format!("cannot sign: {error}")))?;
        let request = Request::get(format!("{}/?{query}", self.url)).body(());
        let request = request.map_err(|error| AwsError::Unreachable(error.to_string()))?;
        read(self.agent.run(request))
    }

    /// An unsigned GET of a path such as `/metrics`; its text.
    ///
    /// # Errors
    /// It could not be asked, or the answer is not 200.
    pub fn get(&self, path: &str) -> Result<String, AwsError> {
        let request = Request::get(format!("{}{path}", self.url)).body(());
        let request = request.map_err(|error| AwsError::Unreachable(error.to_string()))?;
        match read(self.agent.run(request))? {
            (200, text) => Ok(text),
            (status, message) => Err(AwsError::Refused { status, code: String::new(), message }),
        }
    }

    fn post(
        &self,
        path: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, String), AwsError> {
        let mut all = vec![("host".to_owned(), self.host.clone())];
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let signed = SignedRequest { method: "POST", path, query: "", headers: &all, body };
        let added = aws_auth::sign(&signed, &self.credentials.0, &self.region, service, now())
            .map_err(|error| AwsError::Unreachable(format!("cannot sign: {error}")))?;
        let mut request = Request::post(format!("{}{path}", self.url));
        for (name, value) in all.iter().skip(1).chain(&added) {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| AwsError::Unreachable(error.to_string()))?;
        read(self.agent.run(request))
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, String), AwsError> {
    let unreachable = |error: ureq::Error| AwsError::Unreachable(error.to_string());
    let mut answer = answer.map_err(unreachable)?;
    let text =
        answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_string().map_err(unreachable)?;
    Ok((answer.status().as_u16(), text))
}

fn tls() -> anyhow::Result<ureq::tls::TlsConfig> {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let roots: Vec<Certificate<'static>> =
        crate::tls::authorities()?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_path() {
        let answer = Answer::parse("<R xmlns='x'><l><item><c>1</c></item><item/></l><d/></R>").unwrap();
        assert_eq!(answer.text("l/item/c").unwrap(), "1");
        assert_eq!(answer.text("d").unwrap(), "");
        assert_eq!(answer.rows("l").len(), 2);
        assert!(answer.text("x").is_err());
        assert_eq!(encoded("a b/ü"), "a%20b%2F%C3%BC");
    }
}
