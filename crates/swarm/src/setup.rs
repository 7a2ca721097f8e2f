//! What the clients of one profile have in common.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use openvpn::client::{SessionConfig, TlsFactory};
use openvpn::tls::{RustlsClient, Tls, client_config};
use rustls_pki_types::ServerName;

use crate::dialect::{Dialect, session};
use crate::profile::{Profile, Transport};
use crate::server_certificate::ServerCheck;

/// Why no client can be made of a profile.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Certificates or key cannot be used for TLS.
    #[error(transparent)]
    Tls(#[from] openvpn::tls::TlsError),
    /// There is nothing to present to the server.
    #[error("the profile has neither certificate and key nor user name and password")]
    NoCredentials,
}

/// A profile made ready, shared by its clients.
pub struct Setup {
    pub(crate) profile: Profile,
    pub(crate) dialect: Dialect,
    /// Addresses that sockets are bound to, in turn; empty: the system chooses.
    pub(crate) locals: Vec<IpAddr>,
    /// Pinged through the tunnel all the time.
    pub(crate) ping: Option<(IpAddr, Duration)>,
    tls: Arc<rustls::ClientConfig>,
    over_udp: Arc<SessionConfig>,
    over_tcp: Arc<SessionConfig>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("profile", &self.profile)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

impl Setup {
    /// Makes a profile ready.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(profile: Profile, dialect: Dialect) -> Result<Self, SetupError> {
        if profile.identity.is_none() && profile.login.is_none() {
            return Err(SetupError::NoCredentials);
        }
        let check = ServerCheck::new(&profile).map_err(openvpn::tls::TlsError::from)?;
        let identity = profile.identity.as_ref();
        let tls = client_config(check, identity.map(|own| (own.chain.clone(), own.key.as_slice())))?;
        let over_udp = Arc::new(session(dialect, &profile, Transport::Udp));
        let over_tcp = Arc::new(session(dialect, &profile, Transport::Tcp));
        Ok(Self { profile, dialect, locals: Vec::new(), ping: None, tls, over_udp, over_tcp })
    }

    /// Binds sockets to these addresses, one after the other.
    #[must_use]
    pub fn bound_to(mut self, locals: Vec<IpAddr>) -> Self {
        self.locals = locals;
        self
    }

    /// Pings an address through the tunnel as long as it is up.
    #[must_use]
    pub fn pinging(mut self, address: IpAddr, every: Duration) -> Self {
        self.ping = Some((address, every));
        self
    }

    pub(crate) fn session(&self, transport: Transport) -> Arc<SessionConfig> {
        Arc::clone(match transport {
            Transport::Udp => &self.over_udp,
            Transport::Tcp => &self.over_tcp,
        })
    }

    pub(crate) fn tls(&self) -> TlsFactory {
        let config = Arc::clone(&self.tls);
        Box::new(move || {
            // Neither sent nor compared: the check goes by the profile.
            let name = ServerName::try_from("server").expect("invariant: a valid name");
            Ok(Box::new(RustlsClient::new(Arc::clone(&config), name)?) as Box<dyn Tls>)
        })
    }
}
