//! From a call to its effect on packets: the first one at the target that is let through, or the last one that was.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{OpenVpn, Scene, SceneOptions, Sender, Sink, Stamped, TARGETS, eventually, wait_until};

use crate::Plan;

const PORT: u16 = 7_777;
/// Packets a second through the tunnel: what is measured is no finer than their distance.
const PER_SECOND: u32 = 2_000;
/// After so long without a packet the flow has ended.
const QUIET: Duration = Duration::from_millis(150);
/// How long a flow may take to begin or end.
const LIMIT: Duration = Duration::from_secs(10);
/// A disassociation costs a reconnect, so there is one for so many rules.
const RULES_TO_ONE: usize = 20;
const NETWORK: &str = "10.77.0.0/16";

/// One kind of call.
pub(crate) struct Effect {
    pub what: &'static str,
    /// From before the call to the packet, in microseconds, rising.
    pub waits_us: Vec<u64>,
}

/// Rules under traffic, then target networks.
pub(crate) fn measure(plan: &Plan) -> Result<Vec<Effect>> {
    let scene = Scene::new(SceneOptions::default())?;
    let (_, [subnet, _]) = scene.make_vpc()?;
    let endpoint = scene.make_endpoint(&[])?;
    let mut association = scene.associate(&endpoint, &subnet)?;
    scene.authorize(&endpoint, NETWORK)?;
    let profile = scene.profile(&endpoint)?;
    let mut client = scene.connect(0, &profile, "bench", &[])?;
    let target = scene.targets.first().context("the scene has targets")?;
    let host = scene.clients.first().context("the scene has clients")?;
    let sink = Sink::start(&target.net, PORT)?;
    let _sender = Sender::send(&host.net, (TARGETS[0], PORT), 1, PER_SECOND)?;
    let rule = [("ClientVpnEndpointId", endpoint.as_str()), ("TargetNetworkCidr", NETWORK)];
    let (mut revoked, mut authorized, mut disassociated) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.effects {
        flows(&sink)?;
        let called = SystemTime::now();
        scene.ec2("RevokeClientVpnIngress", &[rule.as_slice(), &[("RevokeAllGroups", "true")]].concat())?;
        revoked.push(since(called, last(&sink)?));
        sink.clear();
        let called = SystemTime::now();
        scene.ec2(
            "AuthorizeClientVpnIngress",
            &[rule.as_slice(), &[("AuthorizeAllGroups", "true")]].concat(),
        )?;
        authorized.push(since(called, first(&sink)?));
    }
    for round in 1..=plan.effects.div_ceil(RULES_TO_ONE) {
        flows(&sink)?;
        let called = SystemTime::now();
        scene.disassociate(&endpoint, &association)?;
        disassociated.push(since(called, last(&sink)?));
        association = associate_again(&scene, &endpoint, &subnet, &association)?;
        sink.clear();
        come_back(&mut client, round + 1)?;
    }
    let effect = |what, mut waits_us: Vec<u64>| {
        waits_us.sort_unstable();
        Effect { what, waits_us }
    };
    Ok(vec![
        effect("AuthorizeClientVpnIngress: first packet let through", authorized),
        effect("RevokeClientVpnIngress: last packet let through", revoked),
        effect("DisassociateClientVpnTargetNetwork: last packet let through", disassociated),
    ])
}

fn associate_again(scene: &Scene, endpoint: &str, subnet: &str, old: &str) -> Result<String> {
    eventually("the association's end", LIMIT, || {
        scene.association_status(endpoint, old).ok().filter(Option::is_none)
    })?;
    scene.associate(endpoint, subnet)
}

fn come_back(client: &mut OpenVpn, times: usize) -> Result<()> {
    client.reconnect();
    client.wait_up(times, Duration::from_secs(60))
}

/// Waits until packets arrive, and forgets those.
fn flows(sink: &Sink) -> Result<()> {
    sink.clear();
    ensure!(wait_until(LIMIT, || sink.count() > 20), "no packet arrives");
    sink.clear();
    Ok(())
}

fn first(sink: &Sink) -> Result<Stamped> {
    eventually("a packet", LIMIT, || sink.arrived().first().copied())
}

/// The last packet, once none has come for a while; none: the time of asking would be too kind, so it is an error.
fn last(sink: &Sink) -> Result<Stamped> {
    let (mut count, mut since) = (sink.count(), Instant::now());
    let end = Instant::now() + LIMIT;
    while since.elapsed() < QUIET {
        ensure!(Instant::now() < end, "packets arrive and arrive");
        std::thread::sleep(Duration::from_millis(2));
        let now = sink.count();
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
    sink.arrived().last().copied().context("no packet arrived between the last look and the call")
}

/// Microseconds from the call to the packet; zero if the packet came before.
fn since(called: SystemTime, packet: Stamped) -> u64 {
    packet.at.duration_since(called).ok().and_then(|wait| u64::try_from(wait.as_micros()).ok()).unwrap_or(0)
}
