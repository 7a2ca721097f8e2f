//! `bascule serve`: API, controllers and gateway in one process, put together.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent::{Agent, Controller};
use anyhow::{Context, Result};
use api::{
    Addresses, Advertise, Api, AuditFiles, FileIdentities, LiveConnections, ProfileSecret, Rotated,
    StoreConvergence,
};
use engine::DataPlane;
use model::{Connection, EndpointId};
use netio::HelperOptions;
use openvpn::wrap::ControlWrap;
use store::{MasterKey, Op, RedbStore, Store, Transaction};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::behind::{Behind, Plane};
use crate::cli;
use crate::config::Config;
use crate::connect_handler::{self, Commands, Handlers, Spawner};
use crate::credentials::URL_FILE;
use crate::dns;
use crate::outbound::Outbound;
use crate::root_keys::{self, RootKeys};
use crate::stop::Stop;
use crate::{Usage, backup, logging, private_file, privileges, telemetry, tls, upstream};

/// Threads of the control plane's runtime; packets have their own.
const RUNTIME_THREADS: usize = 2;
/// Where endpoints are bound without the kernel fabric (contract: one loopback address for each).
const LOOPBACK_BLOCK: &str = "127.64.0.0/16";
/// How long a stop may take in all (contract: 5 s).
const STOP_TIMEOUT: Duration = Duration::from_millis(4_500);
/// The store in the data directory.
pub(crate) const STORE_FILE: &str = "store.redb";
/// The audit trail's folder in the data directory.
const AUDIT_FOLDER: &str = "audit";
/// The folder of connection logs in the data directory, and the beginning of its files' names.
const CONNECTIONS_FOLDER: &str = "connections";
/// How long the last audit lines may take to the disk at a stop.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(1);
/// The gateway's name in the store; with several nodes each has its own.
const NODE: &str = "local";
/// Store key of a sealed word, outside the records' folder.
const MASTER_KEY_CHECK: &str = "/meta/master-key-check";

/// What needs privileges or a single thread, done before both go.
struct Prepared {
    config: Config,
    behind: Behind,
    moved_ports: Vec<(u16, u16)>,
    spawner: Option<Spawner>,
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    dns: Vec<dns::Sockets>,
    addresses: Addresses,
    identities: FileIdentities,
    master_key: MasterKey,
    upstream: Option<api::Upstream>,
    control_key: (ControlWrap, Option<Zeroizing<String>>),
}

pub(crate) fn run(flags: Box<cli::Serve>) -> Result<()> {
    logging::start();
    let prepared = prepare(Config::load(*flags)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(prepared))
}

fn prepare(config: Config) -> Result<Prepared> {
    private_file::folder(&config.data_dir)?;
    let master_key = MasterKey::load_or_create(&config.master_key_file)
        .map_err(|error| Usage(format!("master-key-file = {}: {error}", config.master_key_file.display())))?;
    if let Some((certificate, key)) = &config.tls {
        tls::check(certificate, key).map_err(|error| Usage(format!("{error:#}")))?;
    }
    let roots = RootKeys::open_or_make(&config.data_dir, &master_key)?.accepted();
    let users = config.data_dir.join("users.toml");
    let identities = FileIdentities::open(config.account.clone(), roots, users)
        .map_err(|error| Usage(error.to_string()))?;
    let upstream = config.upstream.as_ref().map(upstream::open).transpose()?;
    let control_key = match &config.control_key {
        Some(file) => file.read()?,
        None => (ControlWrap::Plain, None),
    };
    let bind = |address| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"));
    let listener = bind(config.listen)?;
    let metrics_listener = config.metrics_listen.map(bind).transpose()?;
    let dns = config.dns_listen.iter().map(|address| dns::Sockets::bind(*address)).collect::<Result<_>>()?;
    let behind = Behind::choose(config.fabric, HelperOptions { leave_sysctls: config.leave_sysctls })?;
    let addresses = addresses(&config, behind.is_kernel())?;
    let moved_ports = behind.moved_ports();
    let commands: Vec<_> =
        config.connect_handlers.iter().filter_map(|handler| handler.command().map(<[_]>::to_vec)).collect();
    let spawner = if commands.is_empty() { None } else { Some(Spawner::start(commands)?) };
    // From here on nothing needs a privilege, and no thread has started yet.
    let folder = |name| config.data_dir.join(name);
    // The two may be links to another disk.
    privileges::give_up(&[&config.data_dir, &folder(AUDIT_FOLDER), &folder(CONNECTIONS_FOLDER)])?;
    Ok(Prepared {
        config,
        behind,
        moved_ports,
        spawner,
        listener,
        metrics_listener,
        dns,
        addresses,
        identities,
        master_key,
        upstream,
        control_key,
    })
}

fn addresses(config: &Config, kernel_fabric: bool) -> Result<Addresses> {
    let pool = pool(config, kernel_fabric)?;
    Ok(match &config.gateway_ports {
        Some(ports) => pool.with_ports(ports.clone()),
        None => pool,
    })
}

fn pool(config: &Config, kernel_fabric: bool) -> Result<Addresses> {
    if let Some(addresses) = &config.gateway_addresses {
        if kernel_fabric && config.loopback_gateway {
            tracing::warn!(
                "a gateway address is loopback: with the kernel fabric it carries no traffic of clients on this host"
            );
        }
        return Ok(addresses.clone());
    }
    if kernel_fabric {
        let own: Vec<IpAddr> = netio::host_addresses();
        if own.is_empty() {
            tracing::warn!(
                "this host has no global address: endpoints get none, unless gateway-address names some"
            );
        }
        return Ok(Addresses::of(own));
    }
    Addresses::parse([LOOPBACK_BLOCK]).context("the loopback block")
}

/// The API's read-only port to the data plane.
struct Live(Arc<dyn DataPlane>);

impl LiveConnections for Live {
    fn live(&self, endpoint: &EndpointId) -> Vec<Connection> {
        agent::live_connections(&*self.0, endpoint)
    }
}

/// Entries of connection logs as lines of files, beside the log groups.
struct ConnectionLines(Rotated);

impl agent::Lines for ConnectionLines {
    fn line(&mut self, line: &str) {
        if let Err(error) = self.0.append(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "a line of the connection log is lost");
        }
    }
}

async fn serve(prepared: Prepared) -> Result<()> {
    // First of all: as process 1 of a container it is sent signals in vain that it does not take.
    let mut stop_signal = Stop::new()?;
    let Prepared {
        config,
        behind,
        moved_ports,
        spawner,
        listener,
        metrics_listener,
        dns,
        addresses,
        identities,
        master_key,
        upstream,
        control_key: (wrap, profile_block),
    } = prepared;
    let url = format!("{}://{}", if config.tls.is_some() { "https" } else { "http" }, listener.local_addr()?);
    if config.dev_open {
        tracing::warn!("dev-open: any credentials are accepted");
    }
    let metrics = telemetry::start()?;
    let store = Arc::new(RedbStore::open(config.data_dir.join(STORE_FILE)).await?);
    backup::serve(&config.data_dir, store.clone())?;
    let store: Arc<dyn Store> = store;
    check_master_key(&*store, &master_key, &config).await?;
    let master_key = Arc::new(master_key);
    let mut listening: Vec<SocketAddr> = config.dns_listen.clone();
    listening.push(listener.local_addr()?);
    if let Some(listener) = &metrics_listener {
        listening.push(listener.local_addr()?);
    }
    let Plane { plane, figures } = behind.start(&config, wrap, &listening, moved_ports.clone())?;
    let identities = Arc::new(identities);
    tokio::spawn(identities.clone().follow());
    let following =
        root_keys::follow(config.data_dir.clone(), master_key.clone(), Arc::downgrade(&identities));
    tokio::spawn(following);
    let audit = Arc::new(
        AuditFiles::start(&config.data_dir.join(AUDIT_FOLDER), config.audit)
            .with_context(|| format!("cannot write to {}", config.data_dir.join(AUDIT_FOLDER).display()))?,
    );
    let render = move || format!("{}{}", metrics.render(), figures.render());
    let mut api = Api::new(
        api_config(&config, addresses, moved_ports, profile_block),
        store.clone(),
        master_key.clone(),
        identities,
        Arc::new(Live(plane.clone())),
        Arc::new(StoreConvergence::new(store.clone())),
    )
    .with_metrics(render)
    .with_audit(audit.clone());
    if let Some(upstream) = upstream {
        tracing::info!(?upstream, "what is not built here is forwarded");
        api = api.with_upstream(upstream);
    }
    if let Some(seconds) = config.upstream.as_ref().and_then(|upstream| upstream.networks_seconds) {
        tracing::info!(seconds, "networks are the upstream's");
        api = api.with_networks_of_upstream(Duration::from_secs(seconds));
    }
    if let Some(networks) = api.networks() {
        tokio::spawn(async move { networks.run().await });
    }
    let (readiness, api) = (api.readiness(), Arc::new(api));
    let (ready, mut is_ready) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    if let Some(domain) = config.domain.clone().filter(|_| !dns.is_empty()) {
        let server = config.dns_listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).collect();
        let advertised = config.advertise.as_ref().and_then(|(host, _)| host.parse().ok());
        dns::start(dns::Zone { domain, server }, advertised, store.clone(), dns)?;
    }
    let handlers = Handlers {
        all: config.connect_handlers.clone(),
        outbound: Outbound::to(config.connect_handlers.iter().filter_map(|handler| handler.uri()))?,
        commands: spawner.map(Commands::new).transpose()?,
    };
    tokio::spawn(connect_handler::run(plane.clone(), handlers));
    let mut agent = Agent::new(store.clone(), plane, master_key, NODE, ready)
        .with_uplinks(Arc::new(config.uplinks.clone()));
    if let Some(session_hour) = config.session_hour {
        agent = agent.with_session_hour(session_hour);
    }
    let folder = config.data_dir.join(CONNECTIONS_FOLDER);
    let lines = Rotated::open(&folder, CONNECTIONS_FOLDER, config.audit)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let (logs, log_writer) = agent::connection_logs(store.clone(), Some(Box::new(ConnectionLines(lines))));
    let interval = config.connection_log_interval.unwrap_or(agent::UPDATE_INTERVAL);
    let agent = agent.with_connection_logs(logs, interval);
    let log_writer = tokio::spawn(log_writer.run());
    let mut agent = tokio::spawn(agent.run(stopping.clone()));
    // What an earlier life had in force says nothing of this one: decisions wait for the first apply.
    let mut applied = is_ready.clone();
    let mut controller = tokio::spawn(async move {
        if applied.wait_for(|ready| *ready).await.is_ok() {
            Controller::new(store).run().await;
        }
    });

    let until_stop = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let acceptor =
        config.tls.clone().map(|(certificate, key)| tls::acceptor(certificate, key)).transpose()?;
    let mut serving = tokio::spawn(api::serve(
        api.clone(),
        tokio_listener(listener)?,
        acceptor,
        until_stop(stopping.clone()),
    ));
    let metrics_serving = metrics_listener
        .map(tokio_listener)
        .transpose()?
        .map(|listener| tokio::spawn(api::serve_metrics(api, listener, until_stop(stopping))));
    let announce = async {
        let mut announced = false;
        loop {
            let now = *is_ready.borrow_and_update();
            readiness.store(now, Ordering::Release);
            if now && !announced {
                private_file::write(&config.data_dir.join(URL_FILE), &format!("{url}\n"))?;
                // Who started it may read nothing; `/health` and the service manager have it too.
                let _ = writeln!(std::io::stdout(), "ready {url}");
                told(&[sd_notify::NotifyState::Ready]);
                announced = true;
            }
            if is_ready.changed().await.is_err() {
                // The agent has ended; it is waited for below.
                return std::future::pending::<Result<()>>().await;
            }
        }
    };
    tokio::select! {
        () = stop_signal.told() => {}
        failed = announce => failed?,
        // None of them ends by itself: going on without one would be a lie.
        ended = &mut agent => ended??,
        ended = &mut controller => ended?,
        ended = &mut serving => ended??,
    }
    tracing::info!("stopping: clients are told to come back");
    told(&[sd_notify::NotifyState::Stopping]);
    readiness.store(false, Ordering::Release);
    std::thread::spawn(|| {
        std::thread::sleep(STOP_TIMEOUT);
        tracing::warn!("not everything could be taken down in time; the next start removes the rest");
        std::process::exit(0);
    });
    controller.abort();
    let _ = stop.send(true);
    if !agent.is_finished() {
        agent.await??;
    }
    log_writer.await?;
    if !serving.is_finished() {
        serving.await??;
    }
    if let Some(serving) = metrics_serving {
        serving.await??;
    }
    if tokio::time::timeout(AUDIT_TIMEOUT, audit.finish()).await.is_err() {
        tracing::warn!("the last audit lines may be lost: the disk does not keep up");
    }
    Ok(())
}

/// Tells the service manager, where one started this process and wants to know (sd_notify).
fn told(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// The store's secrets must open with this key: the first start leaves a sealed word, later ones open it.
async fn check_master_key(store: &dyn Store, key: &MasterKey, config: &Config) -> Result<()> {
    const WORD: &str = "bascule";
    match store::typed::get::<String>(store, MASTER_KEY_CHECK).await? {
        Some(sealed) if key.open(MASTER_KEY_CHECK, &sealed.value).is_err() => Err(Usage(format!(
            "master-key-file = {}: not the key that sealed this store's secrets",
            config.master_key_file.display()
        ))
        .into()),
        Some(_) => Ok(()),
        None => {
            let sealed = key.seal(MASTER_KEY_CHECK, WORD.as_bytes())?;
            let put = Op::Put(MASTER_KEY_CHECK.to_owned(), store::typed::encode(&sealed));
            store.transact(Transaction { checks: Vec::new(), ops: vec![put], soft: false }).await?;
            Ok(())
        }
    }
}

fn api_config(
    config: &Config,
    addresses: Addresses,
    moved_ports: Vec<(u16, u16)>,
    profile_block: Option<Zeroizing<String>>,
) -> api::Config {
    api::Config {
        account: config.account.clone(),
        regions: config.regions.clone(),
        quotas: config.quotas.clone(),
        addresses,
        moved_ports,
        client_ipv6_prefix: config.client_ipv6_prefix,
        domain: config.domain.clone(),
        advertise: config.advertise.clone().map(|(host, port)| Advertise { host, port }),
        dev_open: config.dev_open,
        throttle: config.throttle,
        endpoint_operations: config.endpoint_operations,
        uplinks: config.uplinks.clone(),
        profile_secret: profile_block.map(ProfileSecret::new),
        ..api::Config::default()
    }
}

fn tokio_listener(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}
