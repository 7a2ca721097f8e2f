//! Who vouches for the devices of clients, as requested and as answered (spec: aws-client-vpn, Appendix B). The switch
//! stands in requests only.

use aws_query::{FromQuery, QueryEnum, ToXml};
use model::{TrustProvider, TrustProviderKind};

use crate::check;
use crate::error::ApiError;

const ENABLED: &str = "DevicePostureOptions.Enabled";
const PROVIDERS: &str = "DevicePostureOptions.TrustProvider";
/// Most characters of an account's id at a vendor, and of a URL.
const MAX_TENANT_CHARS: usize = 255;
const MAX_URL_CHARS: usize = 2_048;

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DevicePostureOptions {
    #[query(name = "TrustProvider", max = 3)]
    trust_providers: Vec<TrustProviderRequest>,
    enabled: Option<bool>,
}

#[derive(Clone, Debug, FromQuery)]
struct TrustProviderRequest {
    trust_provider_type: Option<TrustProviderType>,
    tenant_id: Option<String>,
    public_signing_key_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryEnum)]
enum TrustProviderType {
    Crowdstrike,
    Jamf,
    Jumpcloud,
}

impl DevicePostureOptions {
    /// The whole configuration from now on.
    pub(crate) fn stored(&self) -> Result<Vec<TrustProvider>, ApiError> {
        match self.enabled {
            Some(false) => Ok(Vec::new()),
            // UNVERIFIED: the answers to providers without the switch, and to the switch without providers.
            None => Err(ApiError::missing(ENABLED)),
            Some(true) if self.trust_providers.is_empty() => Err(ApiError::missing(PROVIDERS)),
            Some(true) => {
                let providers = self.trust_providers.iter().zip(1..).map(|(one, n)| one.stored(n));
                let providers = providers.collect::<Result<Vec<_>, _>>()?;
                let mut kinds: Vec<TrustProviderKind> = providers.iter().map(|one| one.kind).collect();
                kinds.sort_unstable();
                kinds.dedup();
                if kinds.len() < providers.len() {
                    // UNVERIFIED: whether there may be two. A policy could not tell their signals apart.
                    return Err(ApiError::invalid(format!("{PROVIDERS} names a type of provider twice")));
                }
                Ok(providers)
            }
        }
    }
}

impl TrustProviderRequest {
    /// Type and tenant are required, as AWS's resource schema has it.
    fn stored(&self, n: usize) -> Result<TrustProvider, ApiError> {
        let parameter = |member: &str| format!("{PROVIDERS}.{n}.{member}");
        let missing = |member: &str| ApiError::missing(&parameter(member));
        let kind = match self.trust_provider_type.ok_or_else(|| missing("TrustProviderType"))? {
            TrustProviderType::Crowdstrike => TrustProviderKind::Crowdstrike,
            TrustProviderType::Jamf => TrustProviderKind::Jamf,
            TrustProviderType::Jumpcloud => TrustProviderKind::Jumpcloud,
        };
        let tenant_id = self.tenant_id.clone().filter(|id| !id.is_empty());
        let tenant_id = tenant_id.ok_or_else(|| missing("TenantId"))?;
        let mut faults = Vec::new();
        check::at_most(&parameter("TenantId"), Some(&tenant_id), MAX_TENANT_CHARS, &mut faults);
        let url = self.public_signing_key_url.as_deref();
        check::at_most(&parameter("PublicSigningKeyUrl"), url, MAX_URL_CHARS, &mut faults);
        if let Some(url) = url.filter(|url| !url.starts_with("https://")) {
            // UNVERIFIED: whether AWS takes others. What comes over plain HTTP proves nothing.
            let expected = "Expecting a URL that begins with https://.";
            faults.push(ApiError::value(&parameter("PublicSigningKeyUrl"), url, expected));
        }
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(TrustProvider { kind, tenant_id, public_signing_key_url: url.map(str::to_owned) }),
        }
    }
}

/// As answered; absent where device posture is off.
#[derive(ToXml)]
pub(crate) struct DevicePostureAnswer {
    #[xml(name = "trustProviderSet")]
    trust_providers: Vec<TrustProviderAnswer>,
}

#[derive(ToXml)]
struct TrustProviderAnswer {
    trust_provider_type: &'static str,
    tenant_id: String,
    public_signing_key_url: Option<String>,
}

impl DevicePostureAnswer {
    pub(crate) fn of(providers: &[TrustProvider]) -> Option<Self> {
        let answer = |provider: &TrustProvider| TrustProviderAnswer {
            trust_provider_type: provider.kind.as_str(),
            tenant_id: provider.tenant_id.clone(),
            public_signing_key_url: provider.public_signing_key_url.clone(),
        };
        (!providers.is_empty()).then(|| Self { trust_providers: providers.iter().map(answer).collect() })
    }
}
