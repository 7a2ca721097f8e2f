//! What an action may reach: reads of the store in its scope, the caller, the time, and nothing that writes.

use std::collections::BTreeSet;

use model::{
    Association, Authentication, AuthorizationPolicy, AuthorizationRule, Certificate, Connection, Endpoint,
    EndpointCode, EndpointId, Key, Kind, RevocationList, Route, Scope, SecurityGroup, SecurityGroupId,
    Subnet, SubnetId, Timestamp, Vpc, VpcId, prefix,
};
use serde::de::DeserializeOwned;
use store::typed::{self, Record};
use store::{Entry, MasterKey, Store};

use crate::config::Config;
use crate::error::ApiError;
use crate::frame::Origin;
use crate::identities::{Caller, Identities};
use crate::networks::{Neighbour, Networks, Presence};
use crate::page;
use crate::ports::LiveConnections;
use crate::sessions::Sessions;
use crate::taggable::{self, Taggable, Tags};

/// Most records read from the store at a time for a page.
const MAX_CHUNK_RECORDS: usize = 1_001;

/// One call's surroundings.
pub(crate) struct Cx<'a> {
    store: &'a dyn Store,
    /// Account and region of the call.
    pub scope: &'a Scope,
    /// When it came.
    pub now: Timestamp,
    /// What the operator decided.
    pub config: &'a Config,
    /// Who calls.
    pub caller: &'a Caller,
    /// The lasting key behind the call.
    pub origin: &'a Origin,
    /// Users, roles and policies.
    pub identities: &'a dyn Identities,
    /// Gives temporary credentials.
    pub sessions: &'a Sessions,
    /// Seals secrets before they reach a record.
    pub master_key: &'a MasterKey,
    /// Connections as they live right now.
    pub live: &'a dyn LiveConnections,
    /// The networks that are an upstream's.
    networks: Option<&'a Networks>,
}

/// What of a call's surroundings is the same for all calls.
pub(crate) struct Ports<'a> {
    pub config: &'a Config,
    pub identities: &'a dyn Identities,
    pub sessions: &'a Sessions,
    pub master_key: &'a MasterKey,
    pub live: &'a dyn LiveConnections,
    pub networks: Option<&'a Networks>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(
        store: &'a dyn Store,
        now: Timestamp,
        scope: &'a Scope,
        caller: &'a Caller,
        origin: &'a Origin,
        ports: Ports<'a>,
    ) -> Self {
        let Ports { config, identities, sessions, master_key, live, networks } = ports;
        Self { store, scope, now, config, caller, origin, identities, sessions, master_key, live, networks }
    }

    /// The networks, if those of this scope are an upstream's.
    pub(crate) fn upstream_networks(&self) -> Option<&Networks> {
        self.networks.filter(|networks| networks.serves(self.scope))
    }

    /// Has a copy of something of an upstream made or brought up to date before it is read.
    async fn presence(&self, of: &Neighbour) -> Result<Presence, ApiError> {
        match self.networks {
            // Boxed: it is long, and few calls need it.
            Some(networks) => Box::pin(networks.look(self.scope, of)).await,
            None => Ok(Presence::AsStored),
        }
    }

    /// The same; what the upstream does not know either is unknown.
    async fn look(&self, of: &Neighbour, unknown: impl FnOnce() -> ApiError) -> Result<(), ApiError> {
        match self.presence(of).await? {
            Presence::AsStored => Ok(()),
            Presence::Gone => Err(unknown()),
        }
    }

    /// Fresh randomness for an id.
    pub(crate) fn entropy(&self) -> u128 {
        // A UUID has fixed bits; two of them, shifted against each other, have none left.
        uuid::Uuid::new_v4().as_u128() ^ uuid::Uuid::new_v4().as_u128().rotate_left(61)
    }

    /// A fresh UUID.
    pub(crate) fn uuid(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    /// A record by key.
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Record<T>>, ApiError> {
        Ok(typed::get(self.store, key.as_str()).await?)
    }

    /// The records under a prefix, in the order of their keys.
    pub(crate) async fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Record<T>>, ApiError> {
        Ok(typed::list(self.store, prefix).await?.0)
    }

    /// The first keys under a prefix.
    pub(crate) async fn keys(&self, prefix: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let listing = self.store.page(prefix, None, most).await?;
        Ok(listing.entries.into_iter().map(|entry| entry.key).collect())
    }

    /// One page of the records under a prefix that `keep` lets through, in the order of their keys, and the token of the
    /// next (spec: aws-client-vpn §2.0.4). Reads from the token on, and no further than it must to fill the page.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        prefix: &str,
        keep: impl Fn(&T) -> bool + Send,
        next_token: Option<&str>,
        max_results: Option<i32>,
    ) -> Result<(Vec<Record<T>>, Option<String>), ApiError> {
        let size = page::size(max_results);
        let mut after = next_token.map(page::read).transpose()?.map(|key| format!("{prefix}{key}"));
        let mut kept: Vec<Record<T>> = Vec::new();
        // One more than the page holds says whether there is another.
        let mut limit = size.saturating_add(1);
        loop {
            let entries = self.store.page(prefix, after.as_deref(), limit).await?.entries;
            let end = entries.len() < limit;
            after = entries.last().map(|entry| entry.key.clone());
            for entry in entries {
                let record = typed::record(entry)?;
                if !keep(&record.value) {
                    continue;
                }
                if kept.len() == size {
                    let last = kept.last().and_then(|last| last.key.strip_prefix(prefix));
                    let token = last.map(page::token);
                    return Ok((kept, token));
                }
                kept.push(record);
            }
            if end {
                return Ok((kept, None));
            }
            limit = limit.saturating_mul(2).min(MAX_CHUNK_RECORDS);
        }
    }

    /// The same of an endpoint's records of a kind.
    pub(crate) async fn page_under<T: DeserializeOwned>(
        &self,
        kind: Kind,
        endpoint: &EndpointId,
        keep: impl Fn(&T) -> bool + Send,
        next_token: Option<&str>,
        max_results: Option<i32>,
    ) -> Result<(Vec<Record<T>>, Option<String>), ApiError> {
        let prefix = prefix::under(self.scope, kind, endpoint);
        self.page(&prefix, keep, next_token, max_results).await
    }

    /// All records of a kind in the scope.
    pub(crate) async fn all<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<Record<T>>, ApiError> {
        self.list(&prefix::of(self.scope, kind)).await
    }

    async fn under<T: DeserializeOwned>(
        &self,
        kind: Kind,
        endpoint: &EndpointId,
    ) -> Result<Vec<Record<T>>, ApiError> {
        self.list(&prefix::under(self.scope, kind, endpoint)).await
    }

    /// All endpoints.
    pub(crate) async fn endpoints(&self) -> Result<Vec<Record<Endpoint>>, ApiError> {
        self.all(Kind::Endpoint).await
    }

    /// An endpoint, whatever its state.
    pub(crate) async fn endpoint_in_any_state(&self, id: &str) -> Result<Record<Endpoint>, ApiError> {
        let unknown = || no_endpoint(id);
        let parsed: EndpointId = id.parse().map_err(|_| unknown())?;
        self.get(&Key::endpoint(self.scope, &parsed)).await?.ok_or_else(unknown)
    }

    /// An endpoint that is not being deleted (spec: aws-client-vpn §1.11).
    pub(crate) async fn endpoint(&self, id: &str) -> Result<Record<Endpoint>, ApiError> {
        let record = self.endpoint_in_any_state(id).await?;
        match record.value.status.code {
            EndpointCode::Deleting | EndpointCode::Deleted => Err(no_endpoint(id)),
            EndpointCode::PendingAssociate | EndpointCode::Available | EndpointCode::Pending => Ok(record),
        }
    }

    /// All associations of the scope.
    pub(crate) async fn all_associations(&self) -> Result<Vec<Record<Association>>, ApiError> {
        self.all(Kind::Association).await
    }

    /// The associations of an endpoint.
    pub(crate) async fn associations(
        &self,
        endpoint: &EndpointId,
    ) -> Result<Vec<Record<Association>>, ApiError> {
        self.under(Kind::Association, endpoint).await
    }

    /// The routes of an endpoint.
    pub(crate) async fn routes(&self, endpoint: &EndpointId) -> Result<Vec<Record<Route>>, ApiError> {
        self.under(Kind::Route, endpoint).await
    }

    /// The authorization rules of an endpoint.
    pub(crate) async fn rules(
        &self,
        endpoint: &EndpointId,
    ) -> Result<Vec<Record<AuthorizationRule>>, ApiError> {
        self.under(Kind::Rule, endpoint).await
    }

    /// The client certificate revocation list of an endpoint.
    pub(crate) async fn revocation_list(
        &self,
        endpoint: &EndpointId,
    ) -> Result<Option<Record<RevocationList>>, ApiError> {
        self.get(&Key::revocation_list(self.scope, endpoint)).await
    }

    /// The authorization policy of an endpoint.
    pub(crate) async fn authorization_policy(
        &self,
        endpoint: &EndpointId,
    ) -> Result<Option<Record<AuthorizationPolicy>>, ApiError> {
        self.get(&Key::authorization_policy(self.scope, endpoint)).await
    }

    /// DER of the trust anchors of an endpoint's client certificates, as its gateway has them (spec: aws-client-vpn §4.1).
    pub(crate) async fn client_anchors(&self, endpoint: &Endpoint) -> Result<Vec<Vec<u8>>, ApiError> {
        let mut anchors = Vec::new();
        for way in &endpoint.spec.authentication {
            if let Authentication::Certificate { client_root_arn } = way
                && let Some(root) = self.certificate(client_root_arn).await?
            {
                let pem = root.value.chain_pem.as_ref().unwrap_or(&root.value.certificate_pem);
                anchors.extend(pki::certificates_from_pem(pem).unwrap_or_default());
            }
        }
        Ok(anchors)
    }

    /// The stored connections of an endpoint.
    pub(crate) async fn connections(
        &self,
        endpoint: &EndpointId,
    ) -> Result<Vec<Record<Connection>>, ApiError> {
        self.under(Kind::Connection, endpoint).await
    }

    /// A VPC, by the caller's word.
    pub(crate) async fn vpc(&self, id: &str) -> Result<Record<Vpc>, ApiError> {
        let unknown = || {
            ApiError::new(
                "InvalidVpcID.NotFound",
                format!("The vpc ID '{}' does not exist", crate::error::short(id)),
            )
        };
        let parsed: VpcId = id.parse().map_err(|_| unknown())?;
        self.look(&Neighbour::Vpc(parsed.clone()), unknown).await?;
        self.get(&Key::vpc(self.scope, &parsed)).await?.ok_or_else(unknown)
    }

    /// All VPCs.
    pub(crate) async fn vpcs(&self) -> Result<Vec<Record<Vpc>>, ApiError> {
        self.all(Kind::Vpc).await
    }

    /// A subnet, if it exists.
    pub(crate) async fn subnet(&self, id: &SubnetId) -> Result<Option<Record<Subnet>>, ApiError> {
        if self.presence(&Neighbour::Subnet(id.clone())).await? == Presence::Gone {
            return Ok(None);
        }
        self.get(&Key::subnet(self.scope, id)).await
    }

    /// A subnet, by the caller's word.
    pub(crate) async fn known_subnet(&self, id: &str) -> Result<Record<Subnet>, ApiError> {
        self.subnet(&crate::check::subnet_id(id)?).await?.ok_or_else(|| {
            ApiError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
        })
    }

    /// All subnets.
    pub(crate) async fn subnets(&self) -> Result<Vec<Record<Subnet>>, ApiError> {
        self.all(Kind::Subnet).await
    }

    /// A security group, by the caller's word.
    pub(crate) async fn security_group(&self, id: &str) -> Result<Record<SecurityGroup>, ApiError> {
        let unknown = || {
            ApiError::new(
                "InvalidGroup.NotFound",
                format!("The security group '{}' does not exist", crate::error::short(id)),
            )
        };
        let parsed: SecurityGroupId = id.parse().map_err(|_| unknown())?;
        self.look(&Neighbour::Group(parsed.clone()), unknown).await?;
        self.get(&Key::security_group(self.scope, &parsed)).await?.ok_or_else(unknown)
    }

    /// All security groups.
    pub(crate) async fn security_groups(&self) -> Result<Vec<Record<SecurityGroup>>, ApiError> {
        self.all(Kind::SecurityGroup).await
    }

    /// These security groups, all of them of that VPC, each once.
    pub(crate) async fn groups_of(
        &self,
        vpc: &Vpc,
        ids: &[String],
    ) -> Result<Vec<SecurityGroupId>, ApiError> {
        let mut groups = Vec::new();
        for id in ids {
            let group = self.security_group(id).await?.value;
            if group.vpc_id != vpc.id {
                let message = format!("The security group '{id}' does not exist in VPC '{}'", vpc.id);
                return Err(ApiError::new("InvalidGroup.NotFound", message));
            }
            if !groups.contains(&group.id) {
                groups.push(group.id);
            }
        }
        Ok(groups)
    }

    /// Refuses what cannot be an endpoint's server certificate: it exists, names a domain, and its key is here.
    pub(crate) async fn server_certificate(&self, arn: &str) -> Result<(), ApiError> {
        let of = Neighbour::ServerCertificate(arn.to_owned());
        self.look(&of, || no_certificate(arn)).await?;
        let server = self.certificate(arn).await?.ok_or_else(|| no_certificate(arn))?;
        if !server.value.private_key.is_some() {
            return Err(no_key(arn));
        }
        let der = pki::certificates_from_pem(&server.value.certificate_pem).unwrap_or_default();
        if der.first().is_some_and(|leaf| pki::has_domain(leaf)) {
            return Ok(());
        }
        Err(ApiError::invalid(format!("Certificate {} does not have a domain", crate::error::short(arn))))
    }

    /// An ACM certificate of this scope, by ARN.
    pub(crate) async fn certificate(&self, arn: &str) -> Result<Option<Record<Certificate>>, ApiError> {
        if self.presence(&Neighbour::Certificate(arn.to_owned())).await? == Presence::Gone {
            return Ok(None);
        }
        match crate::arn::certificate_id(arn, self.scope) {
            Some(id) => self.get(&Key::certificate(self.scope, id)).await,
            None => Ok(None),
        }
    }

    /// All ACM certificates.
    pub(crate) async fn certificates(&self) -> Result<Vec<Record<Certificate>>, ApiError> {
        self.all(Kind::Certificate).await
    }

    /// What these ids name, each once, as the store has it.
    pub(crate) async fn tagged(&self, ids: &[String]) -> Result<Vec<(&'static Taggable, Entry)>, ApiError> {
        let mut found: Vec<(&'static Taggable, Entry)> = Vec::new();
        let mut seen = BTreeSet::new();
        for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
            let row = taggable::of(id).ok_or_else(|| taggable::no_id(id))?;
            if row.kind == Kind::Endpoint {
                // One that is being deleted is no more.
                self.endpoint(id).await?;
            }
            let key = format!("{}{id}", prefix::of(self.scope, row.kind));
            let entry = self.store.get(&key).await?.ok_or_else(|| row.no_such(id))?;
            found.push((row, entry));
        }
        Ok(found)
    }

    /// All tags of a kind, by id.
    pub(crate) async fn tags(&self, row: &Taggable) -> Result<Vec<(String, Tags)>, ApiError> {
        let prefix = prefix::of(self.scope, row.kind);
        let mut found = Vec::new();
        for entry in self.store.list(&prefix).await?.entries {
            let id = entry.key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            found.push((id, (row.read)(&entry.value)?));
        }
        Ok(found)
    }

    /// The addresses, transports and ports that have an owner: their store keys.
    pub(crate) async fn listener_keys(&self) -> Result<std::collections::BTreeSet<String>, ApiError> {
        let listing = self.store.list(&prefix::unscoped(Kind::Listener)).await?;
        Ok(listing.entries.into_iter().map(|entry| entry.key).collect())
    }

    /// The IPv6 blocks for clients that have an owner: their store keys.
    pub(crate) async fn client_block_keys(&self) -> Result<std::collections::BTreeSet<String>, ApiError> {
        let listing = self.store.list(&prefix::unscoped(Kind::ClientBlock)).await?;
        Ok(listing.entries.into_iter().map(|entry| entry.key).collect())
    }
}

/// UNVERIFIED: the message for a certificate that does not exist.
pub(crate) fn no_certificate(arn: &str) -> ApiError {
    ApiError::invalid(format!("Certificate {} does not exist", crate::error::short(arn)))
}

/// That an upstream's certificate cannot be presented to clients.
fn no_key(arn: &str) -> ApiError {
    ApiError::invalid(format!(
        "Certificate {} has no private key here: the upstream does not export it. Import certificate and key into Bascule under this ARN (acm import-certificate --certificate-arn)",
        crate::error::short(arn)
    ))
}

/// That an endpoint has no authorization policy.
pub(crate) fn no_policy(endpoint: &EndpointId) -> ApiError {
    // UNVERIFIED: the code. Named after that of authorization rules.
    ApiError::new(
        "InvalidClientVpnEndpointAuthorizationPolicyNotFound",
        format!("The endpoint {endpoint} has no authorization policy"),
    )
}

/// spec: aws-client-vpn §2.0
pub(crate) fn no_endpoint(id: &str) -> ApiError {
    ApiError::new(
        "InvalidClientVpnEndpointId.NotFound",
        format!("Endpoint {} does not exist", crate::error::short(id)),
    )
}
