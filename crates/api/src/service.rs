//! The services on the port: how a call tells which one it means, and each one's words for what the frame answers
//! (spec: aws-client-vpn §2.0.1).

use aws_auth::AuthFault;
use bytes::Bytes;

use crate::error::{ApiError, short};
use crate::registry::Registered;
use crate::{acm, ec2, iam, logs, sts};

/// A service, or the form of one that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// EC2: Query with its own envelopes.
    Ec2,
    /// Security Token Service: Query.
    Sts,
    /// Identity and Access Management: Query, without regions.
    Iam,
    /// Certificate Manager: JSON 1.1.
    Acm,
    /// CloudWatch Logs: JSON 1.1.
    Logs,
    /// A Query service that is not served.
    OtherQuery,
    /// A JSON service that is not served.
    OtherJson,
    /// A service that is not served and answers errors as S3 does.
    OtherS3,
    /// A service that is not served and speaks CBOR.
    OtherCbor,
}

/// How a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Parameters in, XML out.
    Query,
    /// JSON both ways.
    Json,
}

/// What the frame itself answers, before any action runs.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The signature.
    Auth(AuthFault),
    /// The credential scope names a region that is not served.
    Region,
    /// No action is named.
    NoAction,
    /// Another version of the API.
    Version(String),
    /// The action is not one of the service's.
    UnknownAction(String),
    /// The action is known and not built.
    NotBuilt(String),
    /// The caller may not.
    Denied,
    /// Calls of this action come too fast.
    Throttled,
    /// A write of this service, which the operator does not let pass to the upstream.
    NotForwarded(String),
    /// The upstream does not answer; why.
    Unavailable(String),
    /// It would have been done.
    DryRun,
    /// Not a method or path of the service.
    Http(&'static str),
    /// Anything else.
    Error(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl Service {
    /// By `X-Amz-Target` (JSON), else by the credential scope, else by the version. `None` for either: not given.
    pub(crate) fn of(target: Option<&str>, scope: Option<&str>, version: Option<&str>) -> Self {
        match (target, scope, version) {
            (Some(target), _, _) if target.starts_with(acm::TARGET_PREFIX) => Self::Acm,
            (Some(target), _, _) if target.starts_with(logs::TARGET_PREFIX) => Self::Logs,
            (Some(_), _, _) => Self::OtherJson,
            (None, Some("ec2"), _) => Self::Ec2,
            (None, Some("sts"), _) => Self::Sts,
            (None, Some("iam"), _) => Self::Iam,
            (None, Some("acm"), _) => Self::Acm,
            (None, Some("logs"), _) => Self::Logs,
            (None, Some(_), _) => Self::OtherQuery,
            (None, None, Some(sts::VERSION)) => Self::Sts,
            (None, None, Some(iam::VERSION)) => Self::Iam,
            (None, None, _) => Self::Ec2,
        }
    }

    /// Every service that is served.
    pub(crate) const OURS: [Self; 5] = [Self::Ec2, Self::Acm, Self::Sts, Self::Iam, Self::Logs];

    /// The served service of that name in credential scopes.
    pub(crate) fn by_signing_name(name: &str) -> Option<Self> {
        Self::OURS.into_iter().find(|service| service.signing_name() == Some(name))
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Ec2 | Self::Sts | Self::Iam | Self::OtherQuery | Self::OtherS3 => Protocol::Query,
            Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => Protocol::Json,
        }
    }

    /// The name in permissions and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Acm => "acm",
            Self::Logs => "logs",
            Self::OtherQuery | Self::OtherJson | Self::OtherS3 | Self::OtherCbor => "other",
        }
    }

    /// The name in credential scopes; `None` for what is not served.
    pub(crate) fn signing_name(self) -> Option<&'static str> {
        match self {
            Self::Ec2 | Self::Sts | Self::Iam | Self::Acm | Self::Logs => Some(self.name()),
            Self::OtherQuery | Self::OtherJson | Self::OtherS3 | Self::OtherCbor => None,
        }
    }

    /// Whether the service has no regions: whichever the credential scope names, it is the same.
    pub(crate) fn is_global(self) -> bool {
        self == Self::Iam
    }

    /// The one version of a Query API.
    pub(crate) fn version(self) -> Option<&'static str> {
        match self {
            Self::Ec2 => Some(ec2::shapes::VERSION),
            Self::Sts => Some(sts::VERSION),
            Self::Iam => Some(iam::VERSION),
            Self::Acm | Self::Logs | Self::OtherQuery | Self::OtherJson | Self::OtherS3 | Self::OtherCbor => {
                None
            }
        }
    }

    /// The actions that are there.
    pub(crate) fn actions(self) -> &'static [Registered] {
        match self {
            Self::Ec2 => ec2::ACTIONS,
            Self::Sts => sts::ACTIONS,
            Self::Iam => iam::ACTIONS,
            Self::Acm => acm::ACTIONS,
            Self::Logs => logs::ACTIONS,
            Self::OtherQuery | Self::OtherJson | Self::OtherS3 | Self::OtherCbor => &[],
        }
    }

    /// Finds an action.
    pub(crate) fn action(self, name: &str) -> Result<&'static Registered, Refusal> {
        match self.actions().iter().find(|action| action.name == name) {
            Some(action) => Ok(action),
            None if self == Self::Ec2 && ec2::NOT_BUILT.contains(&name) => {
                Err(Refusal::NotBuilt(name.to_owned()))
            }
            None => Err(Refusal::UnknownAction(name.to_owned())),
        }
    }

    /// The service's code, status and text for a refusal.
    pub(crate) fn error(self, refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::Error(error) => error,
            Refusal::Auth(fault) => self.auth_error(&fault),
            Refusal::Region => self.mismatch("Credential should be scoped to a valid region."),
            Refusal::NoAction => {
                ApiError::new("MissingAction", "The request must contain the parameter Action")
            }
            Refusal::Version(version) => {
                let message =
                    format!("The requested version ({}) of the service is not valid.", short(&version));
                ApiError::new("NoSuchVersion", message)
            }
            Refusal::UnknownAction(name) => {
                let message = format!("The action {} is not valid for this web service.", short(&name));
                match self.protocol() {
                    Protocol::Query => ApiError::new("InvalidAction", message),
                    Protocol::Json => ApiError::new("UnknownOperationException", message),
                }
            }
            Refusal::NotBuilt(name) => {
                ApiError::new("UnsupportedOperation", format!("The action {name} is not built yet"))
            }
            Refusal::Denied => self.denied(DENIED.to_owned()),
            Refusal::NotForwarded(service) => self.denied(format!(
                "Bascule sends this on to its upstream only if `allow` in `[upstream]` of its configuration names \"{service}\""
            )),
            // UNVERIFIED: the texts; the codes are those the services document for themselves.
            Refusal::Unavailable(why) => match self {
                Self::Ec2 => ApiError::new("Unavailable", why).status(503),
                Self::Sts | Self::Iam | Self::OtherQuery | Self::OtherS3 => {
                    ApiError::new("ServiceUnavailable", why).status(503)
                }
                Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => {
                    ApiError::new("ServiceUnavailableException", why).status(503)
                }
            },
            // UNVERIFIED: the texts; the codes are those each service documents.
            Refusal::Throttled => match self {
                Self::Ec2 => ApiError::new("RequestLimitExceeded", "Request limit exceeded.").status(503),
                Self::OtherS3 => ApiError::new("SlowDown", "Please reduce your request rate.").status(503),
                Self::Sts | Self::Iam | Self::OtherQuery => ApiError::new("Throttling", "Rate exceeded"),
                Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => {
                    ApiError::new("ThrottlingException", "Rate exceeded")
                }
            },
            Refusal::DryRun => {
                ApiError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
                    .status(412)
            }
            // UNVERIFIED: the service's answers to other methods and paths.
            Refusal::Http("path") => {
                ApiError::new("InvalidRequest", "There is nothing at this path").status(404)
            }
            Refusal::Http(_) => ApiError::new("InvalidRequest", "The method is not allowed").status(405),
        }
    }

    fn denied(self, why: String) -> ApiError {
        match self {
            Self::Ec2 => ApiError::new("UnauthorizedOperation", why).status(403),
            Self::Sts | Self::Iam | Self::OtherQuery | Self::OtherS3 => {
                ApiError::new("AccessDenied", why).status(403)
            }
            Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => {
                ApiError::new("AccessDeniedException", why)
            }
        }
    }

    /// UNVERIFIED against the live service (spec: aws-client-vpn §2.0.1).
    fn auth_error(self, fault: &AuthFault) -> ApiError {
        match (fault, self.protocol()) {
            (AuthFault::Missing, Protocol::Query) => {
                ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token")
                    .status(403)
            }
            (AuthFault::Missing, Protocol::Json) => {
                ApiError::new("MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            (AuthFault::Incomplete(text), Protocol::Query) => {
                ApiError::new("IncompleteSignature", text.clone())
            }
            (AuthFault::Incomplete(text), Protocol::Json) => {
                ApiError::new("IncompleteSignatureException", text.clone())
            }
            (AuthFault::Expired(text), Protocol::Query) => ApiError::new("RequestExpired", text.clone()),
            (AuthFault::Expired(text), Protocol::Json) => self.mismatch(text),
            (AuthFault::Mismatch, _) => self.mismatch(&fault.to_string()),
            (AuthFault::TokenExpired, Protocol::Json) => {
                ApiError::new("ExpiredTokenException", fault.to_string())
            }
            (AuthFault::TokenExpired, Protocol::Query) => match self {
                Self::Ec2 => ApiError::new("RequestExpired", "Request has expired."),
                _ => ApiError::new("ExpiredToken", fault.to_string()).status(403),
            },
            (AuthFault::UnknownKey, Protocol::Json) => ApiError::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            (AuthFault::UnknownKey, Protocol::Query) => match self {
                Self::Ec2 => self.mismatch(""),
                Self::OtherS3 => {
                    let message = "The AWS Access Key Id you provided does not exist in our records.";
                    ApiError::new("InvalidAccessKeyId", message).status(403)
                }
                _ => {
                    let message = "The security token included in the request is invalid.";
                    ApiError::new("InvalidClientTokenId", message).status(403)
                }
            },
        }
    }

    fn mismatch(self, text: &str) -> ApiError {
        match self {
            Self::Ec2 => {
                let message = "AWS was not able to validate the provided access credentials";
                ApiError::new("AuthFailure", message).status(401)
            }
            Self::Sts | Self::Iam | Self::OtherQuery | Self::OtherS3 => {
                ApiError::new("SignatureDoesNotMatch", text).status(403)
            }
            Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => {
                ApiError::new("InvalidSignatureException", text)
            }
        }
    }

    /// A done call's document around an action's encoded answer.
    pub(crate) fn success(self, action: &str, request_id: &str, body: &str) -> String {
        match self {
            Self::Ec2 => aws_query::wrap_response(action, ec2::shapes::NAMESPACE, request_id, body),
            Self::Sts | Self::OtherQuery | Self::OtherS3 => {
                sts::wrap(action, sts::NAMESPACE, request_id, body)
            }
            Self::Iam => sts::wrap(action, iam::NAMESPACE, request_id, body),
            Self::Acm | Self::Logs | Self::OtherJson | Self::OtherCbor => body.to_owned(),
        }
    }

    /// The document of an error.
    pub(crate) fn failure(self, error: &ApiError, request_id: &str) -> Bytes {
        let text = match self {
            Self::OtherCbor => return cbor_failure(error).into(),
            Self::OtherS3 => s3_failure(error, request_id),
            Self::Ec2 => aws_query::ec2_error_xml(&error.code, &error.message, request_id),
            Self::Sts | Self::Iam | Self::OtherQuery => {
                let namespace = match self {
                    Self::Sts => sts::NAMESPACE,
                    Self::Iam => iam::NAMESPACE,
                    _ => "",
                };
                aws_query::query_error_xml(
                    namespace,
                    error.status < 500,
                    &error.code,
                    &error.message,
                    request_id,
                )
            }
            Self::Acm | Self::Logs | Self::OtherJson => {
                serde_json::json!({ "__type": error.code, "message": error.message }).to_string()
            }
        };
        text.into()
    }

    /// The content type of both documents.
    pub(crate) fn content_type(self) -> &'static str {
        match self.protocol() {
            Protocol::Query => match self {
                Self::Ec2 => "text/xml;charset=UTF-8",
                _ => "text/xml",
            },
            Protocol::Json if self == Self::OtherCbor => "application/cbor",
            Protocol::Json => "application/x-amz-json-1.1",
        }
    }
}

/// S3 has the error as the document itself.
fn s3_failure(error: &ApiError, request_id: &str) -> String {
    let mut text = format!("{}<Error>", aws_query::XML_DECLARATION);
    for (name, value) in
        [("Code", error.code.as_ref()), ("Message", error.message.as_str()), ("RequestId", request_id)]
    {
        text.push_str(&format!("<{name}>"));
        aws_query::escape(value, &mut text);
        text.push_str(&format!("</{name}>"));
    }
    text.push_str("</Error>");
    text
}

/// A map of two texts (RFC 8949 §3).
fn cbor_failure(error: &ApiError) -> Vec<u8> {
    const MAP_OF_TWO: u8 = 0xa2;
    const TEXT_WITH_TWO_BYTES_OF_LENGTH: u8 = 0x79;
    let mut out = vec![MAP_OF_TWO];
    for text in ["__type", error.code.as_ref(), "message", short(&error.message).as_ref()] {
        let length = u16::try_from(text.len()).expect("invariant: shortened texts have less than 64 KiB");
        out.push(TEXT_WITH_TWO_BYTES_OF_LENGTH);
        out.extend(length.to_be_bytes());
        out.extend(text.as_bytes());
    }
    out
}

const DENIED: &str = "You are not authorized to perform this operation.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_are_not_ours_have_errors_their_clients_read() {
        let error = |service: Service| {
            let error = service.error(Refusal::Unavailable("why <".to_owned()));
            (error.code.to_string(), service.failure(&error, "r"))
        };
        let (code, body) = error(Service::OtherS3);
        assert_eq!(code, "ServiceUnavailable");
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.ends_with(
            "<Error><Code>ServiceUnavailable</Code><Message>why &lt;</Message><RequestId>r</RequestId></Error>"
        ));
        let (code, body) = error(Service::OtherCbor);
        assert_eq!(code, "ServiceUnavailableException");
        let expected: &[u8] =
            b"\xa2\x79\x00\x06__type\x79\x00\x1bServiceUnavailableException\x79\x00\x07message\x79\x00\x05why <";
        assert_eq!(body.as_ref(), expected);
        assert_eq!(error(Service::Ec2).0, "Unavailable");
        assert_eq!(
            Service::OtherJson.error(Refusal::NotForwarded("ssm".into())).code,
            "AccessDeniedException"
        );
        let refused = Service::OtherS3.error(Refusal::NotForwarded("s3".into()));
        assert_eq!((refused.code.as_ref(), refused.status), ("AccessDenied", 403));
        assert!(refused.message.contains("[upstream]") && refused.message.contains("\"s3\""));
    }

    #[test]
    fn services_are_told_apart() {
        let rows = [
            (Some("CertificateManager.ListCertificates"), Some("acm"), None, Service::Acm),
            (Some("Logs_20140328.CreateLogGroup"), Some("logs"), None, Service::Logs),
            (Some("AWSLambda.X"), Some("lambda"), None, Service::OtherJson),
            (None, Some("ec2"), Some("2016-11-15"), Service::Ec2),
            (None, Some("sts"), Some("2011-06-15"), Service::Sts),
            (None, Some("iam"), Some("2010-05-08"), Service::Iam),
            (None, Some("rds"), Some("2014-10-31"), Service::OtherQuery),
            (None, None, Some("2011-06-15"), Service::Sts),
            (None, None, None, Service::Ec2),
        ];
        for (target, scope, version, expected) in rows {
            assert_eq!(Service::of(target, scope, version), expected, "{target:?} {scope:?} {version:?}");
        }
    }
}
