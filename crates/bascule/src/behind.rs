//! What lies behind the tunnels: which fabric this process can have, and the data plane on it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use engine::{DataPlane, Engine, EngineConfig, InMemory};
use netio::{Fabric, HelperFabric, HelperOptions};
use openvpn::wrap::ControlWrap;
use usernet::UserFabric;

use crate::config::{Config, FabricKind};

/// Ports endpoints listen on (spec: aws-client-vpn §2.1).
const PORTS: [u16; 2] = [443, 1194];
/// A port that this process may not bind is moved up by this.
const MOVED_BY: u16 = 10_000;
/// First port that everybody may bind, where the system does not say.
const FIRST_FREE_PORT: u16 = 1024;
/// The fabric that was chosen is none.
const NOTHING: &str = "fabric = none, so nothing lies behind the tunnels: run bascule serve as root with --fabric kernel, or as anybody with --fabric userspace, then disassociate and associate again";

/// The choice, made while the process has its privileges.
pub(crate) enum Behind {
    Kernel(HelperFabric),
    User,
    Nothing,
}

impl Behind {
    /// Starts the helper, where the kernel's fabric is wanted and may be had.
    ///
    /// # Errors
    /// It is asked for and may not be had: what lacks.
    pub(crate) fn choose(kind: FabricKind, options: HelperOptions) -> Result<Self> {
        let lacking = match kind {
            FabricKind::Userspace => return Ok(Self::User),
            FabricKind::None => return Ok(Self::Nothing),
            FabricKind::Auto | FabricKind::Kernel => netio::fabric_lacks(),
        };
        if lacking.is_empty() {
            return Ok(Self::Kernel(HelperFabric::spawn_with(options)?));
        }
        let lacking = lacking.join(", ");
        if kind == FabricKind::Kernel {
            bail!(
                "fabric = kernel cannot work here, for lack of {lacking}: bascule fabric check says what to type"
            );
        }
        tracing::info!(
            "the user-space fabric carries the clients' packets, with ordinary sockets of this process, for lack of {lacking}"
        );
        Ok(Self::User)
    }

    pub(crate) fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Ports that this process may not bind, each with the one that is bound instead; said in one line.
    pub(crate) fn moved_ports(&self) -> Vec<(u16, u16)> {
        if !matches!(self, Self::User) {
            return Vec::new();
        }
        let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(FIRST_FREE_PORT);
        let moved: Vec<_> =
            PORTS.into_iter().filter(|port| *port < first).map(|port| (port, port + MOVED_BY)).collect();
        for (port, instead) in &moved {
            tracing::warn!(
                "port {port} is kept from ordinary users here: endpoints of that port listen at {instead}, and exported profiles say so (sysctl -w net.ipv4.ip_unprivileged_port_start={port} lifts it)"
            );
        }
        moved
    }

    /// The data plane.
    ///
    /// # Errors
    /// The system gives no threads, or what an earlier life left cannot be cleared.
    pub(crate) fn start(
        self,
        config: &Config,
        wrap: ControlWrap,
        listening: &[SocketAddr],
        moved_ports: Vec<(u16, u16)>,
    ) -> Result<Plane> {
        match self {
            Self::Kernel(fabric) => Plane::of(config, wrap, Box::new(fabric), None),
            Self::User => {
                let fabric = UserFabric::new(usernet::Options {
                    own: config.userspace_hosts.clone(),
                    own_ports: listening.iter().map(SocketAddr::port).collect(),
                    moved_ports,
                    limits: config.userspace_limits,
                    timeouts: usernet::Timeouts::default(),
                });
                let stats = fabric.stats();
                Plane::of(config, wrap, Box::new(fabric), Some(stats))
            }
            Self::Nothing => {
                tracing::warn!("no client can connect: {NOTHING}");
                Ok(Plane {
                    plane: Arc::new(InMemory::refusing(NOTHING)),
                    figures: Figures { engine: None, user: None },
                })
            }
        }
    }
}

/// A data plane, and where its figures are.
pub(crate) struct Plane {
    pub(crate) plane: Arc<dyn DataPlane>,
    pub(crate) figures: Figures,
}

/// Where a data plane's figures are read.
pub(crate) struct Figures {
    engine: Option<Arc<Engine>>,
    user: Option<Arc<usernet::Stats>>,
}

impl Figures {
    /// In the text form of Prometheus.
    pub(crate) fn render(&self) -> String {
        let snapshot = self.engine.as_ref().map(|engine| engine.snapshot()).unwrap_or_default();
        let mut text = crate::telemetry::data_plane(&snapshot);
        if let Some(stats) = &self.user {
            text.push_str(&crate::telemetry::user_fabric(&stats.figures()));
        }
        text
    }
}

impl Plane {
    fn of(
        config: &Config,
        wrap: ControlWrap,
        fabric: Box<dyn Fabric>,
        user: Option<Arc<usernet::Stats>>,
    ) -> Result<Self> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).ok().context("the system gave no randomness")?;
        let mut settings = EngineConfig::new(seed);
        settings.workers = config.workers.unwrap_or(0);
        settings.wrap = wrap;
        if let Some(packets) = config.rekey_packets {
            settings.limits.rekey_packets = packets;
        }
        let engine = Engine::start(settings, fabric)?;
        Ok(Self { plane: engine.clone(), figures: Figures { engine: Some(engine), user } })
    }
}
