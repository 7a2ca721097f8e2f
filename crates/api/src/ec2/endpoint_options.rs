//! The option structures of an endpoint, as requested: their own rules and their stored form (spec: aws-client-vpn §2.1).

use std::net::IpAddr;

use aws_query::{FromQuery, QueryEnum};
use model::{Authentication, Banner, ClientConnect, ConnectionLog, Scope};

use crate::arn;
use crate::endpoint_keys::LogKeys;
use crate::error::ApiError;

/// Most characters of a banner (spec: aws-client-vpn §2.1).
const MAX_BANNER_CHARS: usize = 1_400;
/// Connect handlers' names start so (spec: aws-client-vpn §2.1).
const HANDLER_PREFIX: &str = "function:AWSClientVPN-";

/// Ways to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
pub(crate) enum AuthenticationType {
    #[query("certificate-authentication")]
    Certificate,
    #[query("directory-service-authentication")]
    Directory,
    #[query("federated-authentication")]
    Federated,
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct AuthenticationRequest {
    #[query(name = "Type", model = "Type")]
    kind: Option<AuthenticationType>,
    active_directory: Option<ActiveDirectory>,
    mutual_authentication: Option<MutualAuthentication>,
    federated_authentication: Option<FederatedAuthentication>,
}

#[derive(Clone, Debug, FromQuery)]
struct ActiveDirectory {
    directory_id: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct MutualAuthentication {
    client_root_certificate_chain_arn: Option<String>,
}

#[derive(Clone, Debug, FromQuery)]
struct FederatedAuthentication {
    #[query(name = "SAMLProviderArn", model = "SAMLProviderArn")]
    saml_provider_arn: Option<String>,
    #[query(name = "SelfServiceSAMLProviderArn", model = "SelfServiceSAMLProviderArn")]
    self_service_saml_provider_arn: Option<String>,
}

impl AuthenticationRequest {
    fn stored(&self) -> Result<Authentication, ApiError> {
        let missing = |member: &str| ApiError::missing(&format!("Authentication.1.{member}"));
        match self.kind.ok_or_else(|| missing("Type"))? {
            AuthenticationType::Certificate => {
                let options = self.mutual_authentication.as_ref();
                let arn = options.and_then(|options| options.client_root_certificate_chain_arn.clone());
                let client_root_arn =
                    arn.ok_or_else(|| missing("MutualAuthentication.ClientRootCertificateChainArn"))?;
                Ok(Authentication::Certificate { client_root_arn })
            }
            AuthenticationType::Directory => {
                let id = self.active_directory.as_ref().and_then(|options| options.directory_id.clone());
                let directory_id = id.ok_or_else(|| missing("ActiveDirectory.DirectoryId"))?;
                Ok(Authentication::Directory { directory_id })
            }
            AuthenticationType::Federated => {
                let options = self.federated_authentication.as_ref();
                let arn = options.and_then(|options| options.saml_provider_arn.clone());
                let provider_arn = arn.ok_or_else(|| missing("FederatedAuthentication.SAMLProviderArn"))?;
                let self_service_provider_arn =
                    options.and_then(|options| options.self_service_saml_provider_arn.clone());
                Ok(Authentication::Federated { provider_arn, self_service_provider_arn })
            }
        }
    }
}

/// The stored form of all ways: one, or the certificate and one by user (spec: aws-client-vpn §2.1).
pub(crate) fn authentication(requests: &[AuthenticationRequest]) -> Result<Vec<Authentication>, ApiError> {
    let stored = requests.iter().map(AuthenticationRequest::stored).collect::<Result<Vec<_>, _>>()?;
    let certificates = stored.iter().filter(|way| matches!(way, Authentication::Certificate { .. })).count();
    if certificates > 1 || stored.len() - certificates > 1 {
        let message =
            "Specify one type of authentication, or certificate-authentication and one user-based type";
        return Err(ApiError::combination(message));
    }
    Ok(stored)
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ConnectionLogOptions {
    enabled: Option<bool>,
    cloudwatch_log_group: Option<String>,
    cloudwatch_log_stream: Option<String>,
    include_authorization_policy_context: Option<bool>,
}

impl ConnectionLogOptions {
    pub(crate) fn stored(&self) -> Result<ConnectionLog, ApiError> {
        let enabled = self.enabled.ok_or_else(|| ApiError::missing("ConnectionLogOptions.Enabled"))?;
        if !enabled {
            return Ok(ConnectionLog::default());
        }
        let group = self.cloudwatch_log_group.clone();
        let group = group.ok_or_else(|| ApiError::missing("ConnectionLogOptions.CloudwatchLogGroup"))?;
        Ok(ConnectionLog {
            enabled,
            group: Some(group),
            stream: self.cloudwatch_log_stream.clone(),
            include_policy_context: self.include_authorization_policy_context.unwrap_or(false),
        })
    }

    /// What stands, changed by what is given.
    pub(crate) fn modified(&self, stands: &ConnectionLog) -> Result<ConnectionLog, ApiError> {
        let include = self.include_authorization_policy_context;
        let named = self.cloudwatch_log_group.is_some() || self.cloudwatch_log_stream.is_some();
        let given = named || include == Some(true);
        let enabled = switch(self.enabled, stands.enabled, given, "ConnectionLogOptions.Enabled")?;
        if !enabled {
            return Ok(ConnectionLog::default());
        }
        let group = self.cloudwatch_log_group.clone().or_else(|| stands.group.clone());
        let group = group.ok_or_else(|| ApiError::missing("ConnectionLogOptions.CloudwatchLogGroup"))?;
        let same_group = stands.group.as_ref() == Some(&group);
        let kept = stands.stream.clone().filter(|_| same_group);
        Ok(ConnectionLog {
            enabled,
            group: Some(group),
            stream: self.cloudwatch_log_stream.clone().or(kept),
            include_policy_context: include.unwrap_or(stands.include_policy_context),
        })
    }

    /// What condition keys speak of.
    pub(crate) fn keys(&self) -> LogKeys {
        LogKeys {
            enabled: self.enabled,
            group: self.cloudwatch_log_group.clone(),
            stream: self.cloudwatch_log_stream.clone(),
        }
    }
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ClientConnectOptions {
    enabled: Option<bool>,
    lambda_function_arn: Option<String>,
}

impl ClientConnectOptions {
    pub(crate) fn stored(&self, scope: &Scope) -> Result<ClientConnect, ApiError> {
        if !self.enabled.unwrap_or(false) {
            return Ok(ClientConnect::default());
        }
        let text = self.lambda_function_arn.as_deref().ok_or_else(|| ApiError::missing(HANDLER))?;
        Ok(ClientConnect { enabled: true, function_arn: Some(handler(text, scope)?) })
    }

    /// Faults that show without what stands.
    pub(crate) fn check(&self, scope: &Scope) -> Result<(), ApiError> {
        match &self.lambda_function_arn {
            Some(text) if self.enabled != Some(false) => handler(text, scope).map(drop),
            _ => Ok(()),
        }
    }

    /// What stands, changed by what is given.
    pub(crate) fn modified(&self, stands: &ClientConnect, scope: &Scope) -> Result<ClientConnect, ApiError> {
        let given = self.lambda_function_arn.is_some();
        if !switch(self.enabled, stands.enabled, given, "ClientConnectOptions.Enabled")? {
            return Ok(ClientConnect::default());
        }
        let text = self.lambda_function_arn.as_ref().or(stands.function_arn.as_ref());
        let text = text.ok_or_else(|| ApiError::missing(HANDLER))?;
        Ok(ClientConnect { enabled: true, function_arn: Some(handler(text, scope)?) })
    }
}

const HANDLER: &str = "ClientConnectOptions.LambdaFunctionArn";

/// The function's ARN, if it may be a connect handler.
fn handler(text: &str, scope: &Scope) -> Result<String, ApiError> {
    let ours = arn::parse(text).is_some_and(|arn| {
        arn.service == "lambda"
            && arn.region == scope.region.as_str()
            && arn.account == scope.account.as_str()
            && arn.resource.starts_with(HANDLER_PREFIX)
    });
    if !ours {
        let expected =
            "Expecting a function of this account and region whose name starts with AWSClientVPN-.";
        return Err(ApiError::value(HANDLER, text, expected));
    }
    Ok(text.to_owned())
}

/// Whether something is on after a change. What belongs to it is refused while it is off: it would be lost in silence.
fn switch(given: Option<bool>, stands: bool, more: bool, parameter: &str) -> Result<bool, ApiError> {
    match given {
        // UNVERIFIED: the answer to options of something that is off.
        None if more && !stands => Err(ApiError::missing(parameter)),
        given => Ok(given.unwrap_or(stands)),
    }
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ClientLoginBannerOptions {
    enabled: Option<bool>,
    banner_text: Option<String>,
}

impl ClientLoginBannerOptions {
    pub(crate) fn stored(&self) -> Result<Banner, ApiError> {
        self.check()?;
        if self.enabled.unwrap_or(false) { self.modified(&Banner::default()) } else { Ok(Banner::default()) }
    }

    /// Faults that show without what stands.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        let parameter = "ClientLoginBannerOptions.BannerText";
        if let Some(text) =
            self.banner_text.as_deref().filter(|text| text.chars().nth(MAX_BANNER_CHARS).is_some())
        {
            return Err(ApiError::value(
                parameter,
                text,
                &format!("Expecting at most {MAX_BANNER_CHARS} characters."),
            ));
        }
        Ok(())
    }

    /// What stands, changed by what is given.
    pub(crate) fn modified(&self, stands: &Banner) -> Result<Banner, ApiError> {
        self.check()?;
        let parameter = "ClientLoginBannerOptions.Enabled";
        if !switch(self.enabled, stands.enabled, self.banner_text.is_some(), parameter)? {
            return Ok(Banner::default());
        }
        let text = self.banner_text.as_ref().or(stands.text.as_ref());
        // UNVERIFIED: the answer to a banner that is switched on without a text.
        let text = text.ok_or_else(|| ApiError::missing("ClientLoginBannerOptions.BannerText"))?;
        Ok(Banner { enabled: true, text: Some(text.clone()) })
    }
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct ClientRouteEnforcementOptions {
    pub(crate) enforced: Option<bool>,
}

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct TransitGatewayConfiguration {
    pub(crate) transit_gateway_id: Option<String>,
    #[query(name = "AvailabilityZone", max = 5)]
    pub(crate) availability_zones: Vec<String>,
    #[query(name = "AvailabilityZoneId", max = 5)]
    pub(crate) availability_zone_ids: Vec<String>,
}

/// 443 or 1194.
pub(crate) fn vpn_port(port: Option<i32>) -> Result<u16, ApiError> {
    match port {
        None | Some(443) => Ok(443),
        Some(1194) => Ok(1194),
        Some(other) => Err(ApiError::value("VpnPort", &other.to_string(), "Valid values: 443, 1194.")),
    }
}

/// 8, 10, 12 or 24.
pub(crate) fn session_timeout_hours(hours: Option<i32>) -> Result<u8, ApiError> {
    match hours {
        None | Some(24) => Ok(24),
        Some(8) => Ok(8),
        Some(10) => Ok(10),
        Some(12) => Ok(12),
        Some(other) => {
            Err(ApiError::value("SessionTimeoutHours", &other.to_string(), "Valid values: 8, 10, 12, 24."))
        }
    }
}

/// Addresses of DNS servers.
pub(crate) fn dns_servers(texts: &[String]) -> Result<Vec<IpAddr>, ApiError> {
    let read = |text: &String| {
        text.parse().map_err(|_| ApiError::value("DnsServers", text, "Expecting an IP address."))
    };
    texts.iter().map(read).collect()
}
