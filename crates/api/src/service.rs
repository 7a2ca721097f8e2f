//! The services on the port: how a call tells which one it means, and each one's words for what the frame answers
//! (spec: aws-client-vpn §2.0.1).

use aws_auth::AuthFault;

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

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Ec2 | Self::Sts | Self::Iam | Self::OtherQuery => Protocol::Query,
            Self::Acm | Self::Logs | Self::OtherJson => Protocol::Json,
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
            Self::OtherQuery | Self::OtherJson => "other",
        }
    }

    /// The name in credential scopes; `None` for what is not served.
    pub(crate) fn signing_name(self) -> Option<&'static str> {
        match self {
            Self::Ec2 | Self::Sts | Self::Iam | Self::Acm | Self::Logs => Some(self.name()),
            Self::OtherQuery | Self::OtherJson => None,
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
            Self::Acm | Self::Logs | Self::OtherQuery | Self::OtherJson => None,
        }
    }

    /// Finds an action.
    pub(crate) fn action(self, name: &str) -> Result<&'static Registered, Refusal> {
        let (actions, not_built): (&'static [Registered], &[&str]) = match self {
            Self::Ec2 => (ec2::ACTIONS, ec2::NOT_BUILT),
            Self::Sts => (sts::ACTIONS, &[]),
            Self::Iam => (iam::ACTIONS, &[]),
            Self::Acm => (acm::ACTIONS, &[]),
            Self::Logs => (logs::ACTIONS, &[]),
            Self::OtherQuery | Self::OtherJson => (&[], &[]),
        };
        match actions.iter().find(|action| action.name == name) {
            Some(action) => Ok(action),
            None if not_built.contains(&name) => Err(Refusal::NotBuilt(name.to_owned())),
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
            Refusal::Denied => match self {
                Self::Ec2 => ApiError::new("UnauthorizedOperation", DENIED).status(403),
                Self::Sts | Self::Iam | Self::OtherQuery => ApiError::new("AccessDenied", DENIED).status(403),
                Self::Acm | Self::Logs | Self::OtherJson => ApiError::new("AccessDeniedException", DENIED),
            },
            // UNVERIFIED: the texts; the codes are those each service documents.
            Refusal::Throttled => match self {
                Self::Ec2 => ApiError::new("RequestLimitExceeded", "Request limit exceeded.").status(503),
                Self::Sts | Self::Iam | Self::OtherQuery => ApiError::new("Throttling", "Rate exceeded"),
                Self::Acm | Self::Logs | Self::OtherJson => {
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
            Self::Sts | Self::Iam | Self::OtherQuery => {
                ApiError::new("SignatureDoesNotMatch", text).status(403)
            }
            Self::Acm | Self::Logs | Self::OtherJson => ApiError::new("InvalidSignatureException", text),
        }
    }

    /// A done call's document around an action's encoded answer.
    pub(crate) fn success(self, action: &str, request_id: &str, body: &str) -> String {
        match self {
            Self::Ec2 => aws_query::wrap_response(action, ec2::shapes::NAMESPACE, request_id, body),
            Self::Sts | Self::OtherQuery => sts::wrap(action, sts::NAMESPACE, request_id, body),
            Self::Iam => sts::wrap(action, iam::NAMESPACE, request_id, body),
            Self::Acm | Self::Logs | Self::OtherJson => body.to_owned(),
        }
    }

    /// The document of an error.
    pub(crate) fn failure(self, error: &ApiError, request_id: &str) -> String {
        match self {
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
        }
    }

    /// The content type of both documents.
    pub(crate) fn content_type(self) -> &'static str {
        match self.protocol() {
            Protocol::Query => match self {
                Self::Ec2 => "text/xml;charset=UTF-8",
                _ => "text/xml",
            },
            Protocol::Json => "application/x-amz-json-1.1",
        }
    }
}

const DENIED: &str = "You are not authorized to perform this operation.";

#[cfg(test)]
mod tests {
    use super::*;

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
