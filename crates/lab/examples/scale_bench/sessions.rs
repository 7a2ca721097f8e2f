//! The change of one rule while clients are connected, and what the verdict on one packet costs however many rules there are.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gateway::Policy;
use gateway::desired::{Route, Rule, Target};
use model::RuleGroup;
use swarm::{Dialect, Group, Profile, Setup, Swarm};

use crate::served::{self, Place};
use crate::{Plan, state};

/// Clients that begin each second.
const PER_SECOND: f64 = 100.0;
/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Routes and rules of the policies whose verdicts are timed.
const POLICIES: [(usize, usize); 4] = [(1, 1), (20, 20), (100, 200), (1_000, 2_000)];
/// Verdicts that are timed together.
const VERDICTS: u32 = 2_000_000;

/// What was found.
pub(crate) struct Sessions {
    /// From an authorization to `active` in microseconds, rising: without a client, and with all of them.
    pub without_us: Vec<u64>,
    pub with_us: Vec<u64>,
    /// Processor time of each of those, microseconds.
    pub without_cpu_us: f64,
    pub with_cpu_us: f64,
    /// Routes, rules, nanoseconds to compile them, nanoseconds of a verdict.
    pub verdicts: Vec<(usize, usize, f64, f64)>,
}

pub(crate) fn measure(plan: &Plan) -> Result<Sessions> {
    let place = Place::new(&plan.bascule, true)?;
    let state = state::write(&place.data, plan.small)?;
    let (running, address, _) = place.start()?;
    println!("authorizing without clients");
    let (without_us, without_cpu_us) = served::authorize(plan, 0, &running, address, &state.endpoints)?;
    println!("connecting {} clients", plan.clients);
    let groups = groups(plan, &place, &state)?;
    let swarm = Swarm::start(&groups, PER_SECOND)?;
    ensure!(swarm.all_up(PATIENCE), "{:?} {:?}", swarm.counts(), swarm.failures());
    println!("authorizing with them");
    let (with_us, with_cpu_us) = served::authorize(plan, plan.changes, &running, address, &state.endpoints)?;
    let counts = swarm.counts();
    ensure!(counts.up == counts.started && counts.restarts == 0, "a rule cut somebody: {counts:?}");
    swarm.stop();
    served::stop(running)?;
    let verdicts =
        POLICIES.map(|(routes, rules)| verdict(routes, rules)).into_iter().collect::<Result<_>>()?;
    Ok(Sessions { without_us, with_us, without_cpu_us, with_cpu_us, verdicts })
}

/// As many at each endpoint.
fn groups(plan: &Plan, place: &Place, state: &state::State) -> Result<Vec<Group>> {
    let (ca, ca_key) = &state.authority;
    let kind = pki::issue::KeyKind::P256;
    let own = pki::issue::client(ca, ca_key, "client", state::FROM, state::TO, kind)?;
    let each = plan.clients / state.endpoints.len().max(1);
    let mut groups = Vec::new();
    for number in 0..state.endpoints.len() {
        let path = place.folder.path().join(format!("{number}.ovpn"));
        let text = format!(
            "client\ndev tun\nproto udp\nremote {} 443\nremote-cert-tls server\n<ca>\n{ca}</ca>\n<cert>\n{}</cert>\n\
             <key>\n{}</key>\n",
            state::address(number)?,
            own.certificate_pem,
            &*own.key_pem
        );
        std::fs::write(&path, text)?;
        let setup = Arc::new(Setup::new(Profile::load(&path)?, Dialect::V2_6)?);
        let count = if number == 0 { plan.clients - each * (state.endpoints.len() - 1) } else { each };
        groups.push(Group { label: number.to_string(), setup, count });
    }
    Ok(groups)
}

/// What policies of that size cost: to compile one, and for one packet.
fn verdict(routes: usize, rules: usize) -> Result<(usize, usize, f64, f64)> {
    let net = |second: usize, n: usize| -> Result<ipnet::IpNet> {
        Ok(format!("10.{}.{}.0/24", second + n / 256, n % 256).parse()?)
    };
    let routes_list: Vec<Route> = (0..routes)
        .map(|n| Ok(Route { destination: net(0, n)?, target: Target::Association }))
        .collect::<Result<_>>()?;
    let rules_list: Vec<Rule> = (0..rules)
        .map(|n| Ok(Rule { destination: net(0, n)?, group: RuleGroup::All }))
        .collect::<Result<_>>()?;
    let began = Instant::now();
    let policy = Policy::compile(&routes_list, &rules_list, &[]);
    let compiled = began.elapsed();
    // Addresses all over the routes and beside them, by a fixed walk.
    let (mut address, mut passed) = (0_u32, 0_u32);
    let began = Instant::now();
    for _ in 0..VERDICTS {
        address = address.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let far = Ipv4Addr::from(0x0a00_0000 | address >> 12);
        passed += u32::from(policy.verdict(IpAddr::V4(far)) == gateway::Verdict::Forward);
    }
    let each = began.elapsed().as_secs_f64() * 1e9 / f64::from(VERDICTS);
    ensure!(passed > 0, "nothing passes");
    Ok((routes, rules, compiled.as_secs_f64() * 1e9, each))
}
