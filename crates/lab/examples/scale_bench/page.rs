//! The page: what was found at a small and at a large size, and their ratio.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Plan;
use crate::measure::{disk, machine};
use crate::served::{Found, ms};
use crate::sessions::Sessions;
use crate::state::{ASSOCIATIONS, ROUTES, RULES};

/// The page of changes while clients are connected.
pub(crate) fn with_clients(plan: &Plan, found: &Sessions) -> Result<String> {
    let mut out = String::from("# The change of one rule while clients are connected\n\n");
    writeln!(
        out,
        "Written by `scale_bench --clients {}`. {}{}\n\n{}\n",
        plan.clients,
        machine(),
        built(plan),
        disk()?
    )?;
    writeln!(
        out,
        "{} endpoints, each with {ASSOCIATIONS} associations, {RULES} authorization rules and {ROUTES} routes, on the kernel \
         fabric in a network namespace; {} clients of our own, spread over the endpoints, in the same namespace. {} rules are \
         authorized one after the other, at each endpoint in turn: from the call until the answer says `active`, which is said \
         only when every worker has it in force.\n",
        plan.small, plan.clients, plan.changes
    )?;
    writeln!(
        out,
        "| AuthorizeClientVpnIngress to `active` | no client | {} clients |\n|---|---|---|",
        plan.clients
    )?;
    for (what, hundredths) in [("p50", 50), ("p99", 99), ("most", 100)] {
        let (a, b) = (ms(&found.without_us, hundredths), ms(&found.with_us, hundredths));
        writeln!(out, "| {what} | {a:.1} ms | {b:.1} ms |")?;
    }
    writeln!(out, "| server CPU of each | {:.0} µs | {:.0} µs |\n", found.without_cpu_us, found.with_cpu_us)?;
    out.push_str("What a packet is judged by, per packet:\n\n| routes | rules | compiled once in | a verdict |\n|---|---|---|---|\n");
    for (routes, rules, compiled, verdict) in &found.verdicts {
        writeln!(out, "| {routes} | {rules} | {:.2} ms | {verdict:.1} ns |", compiled / 1e6)?;
    }
    Ok(out)
}

fn built(plan: &Plan) -> &'static str {
    if plan.debug { " A debug build: absolute figures mean nothing." } else { "" }
}

/// The page as Markdown.
pub(crate) fn text(plan: &Plan, small: &Found, large: &Found) -> Result<String> {
    let mut out = String::from("# Figures of a large state\n\n");
    let fabric = if plan.fabric {
        "the server had the kernel fabric, so that every association has its device, routes and rules"
    } else {
        "the server ran without privileges, so without the kernel fabric: everything of the control plane is measured, \
         nothing of the kernel"
    };
    writeln!(out, "Written by `cargo xtask bench scale`. {}{}\n\n{}\n", machine(), built(plan), disk()?)?;
    writeln!(
        out,
        "Each endpoint has {ASSOCIATIONS} associations, {RULES} authorization rules and {ROUTES} routes. The state was written \
         into the store beforehand; {fabric}. Client and server share the cores; one call at a time.\n"
    )?;
    writeln!(
        out,
        "| measure | {} endpoints | {} endpoints | ratio |\n|---|---|---|---|",
        small.endpoints, large.endpoints
    )?;
    let mut row = |what: &str, unit: &str, value: &dyn Fn(&Found) -> f64| {
        let (a, b) = (value(small), value(large));
        writeln!(out, "| {what} | {a:.1} {unit} | {b:.1} {unit} | {:.2} |", b / a)
    };
    row("records", "", &|found| found.records as f64)?;
    row("the store's file after all of it", "MB", &|found| found.store_bytes as f64 / 1e6)?;
    row("start to ready, the first time", "ms", &|found| found.first_ms)?;
    row("start to ready, median", "ms", &|found| {
        found.ready_ms.get(found.ready_ms.len() / 2).copied().unwrap_or(f64::NAN)
    })?;
    row("start to ready, most", "ms", &|found| found.ready_ms.last().copied().unwrap_or(f64::NAN))?;
    row("start to ready after a kill", "ms", &|found| found.killed_ms)?;
    row("resident memory, idle", "MiB", &|found| found.idle_kib as f64 / 1_024.0)?;
    row("resident memory, peak", "MiB", &|found| found.peak_kib as f64 / 1_024.0)?;
    row("AuthorizeClientVpnIngress to `active`, p50", "ms", &|found| ms(&found.settled_us, 50))?;
    row("AuthorizeClientVpnIngress to `active`, p99", "ms", &|found| ms(&found.settled_us, 99))?;
    row("AuthorizeClientVpnIngress, server CPU of each", "µs", &|found| found.settled_cpu_us)?;
    out.push_str(
        "\nFirst a number for the small state, then for the large one; CPU is the server's, for each call.\n\n",
    );
    out.push_str(
        "| question | p50 ms | p99 ms | CPU µs | ratio of p50 | bytes |\n|---|---|---|---|---|---|\n",
    );
    for (small, large) in small.calls.iter().zip(&large.calls) {
        let (a, b) = (&small.waits_us, &large.waits_us);
        writeln!(
            out,
            "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.0} / {:.0} | {:.2} | {} / {} |",
            small.what,
            ms(a, 50),
            ms(b, 50),
            ms(a, 99),
            ms(b, 99),
            small.cpu_us,
            large.cpu_us,
            ms(b, 50) / ms(a, 50),
            small.answer_bytes,
            large.answer_bytes
        )?;
    }
    Ok(out)
}
