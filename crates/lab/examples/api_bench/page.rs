//! The page: what was measured, on what, beside what is asked for.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Plan;
use crate::effect::Effect;
use crate::measure::{disk, machine, percentile};
use crate::served::{CHANGE, DESCRIBE, Load, Start};

/// All of it.
pub(crate) struct Figures {
    pub loads: Vec<Load>,
    pub starts: Vec<Start>,
    pub effects: Vec<Effect>,
    pub binary_bytes: u64,
}

/// What must hold, and what is aimed at.
const TIMES: (f64, f64) = (20.0, 50.0);
const READY_MS: (f64, f64) = (300.0, 50.0);
const IDLE_MIB: (f64, f64) = (30.0, 15.0);
const BINARY_MB: (f64, f64) = (40.0, 25.0);
const EFFECT_MS: (f64, f64) = (1_000.0, 100.0);

/// The page as Markdown.
pub(crate) fn text(plan: &Plan, figures: &Figures) -> Result<String> {
    let mut out = String::from("# API figures\n\n");
    writeln!(out, "Written by `cargo xtask bench api`. {}\n\n{}\n", machine(), disk()?)?;
    writeln!(
        out,
        "{} rounds of {} s for each kind of load, in turns; 8 kept connections; every request signed beforehand by the \
         client and verified by Bascule (moto_server verifies none). Client and servers share the cores, so CPU of a \
         request says more than requests a second.\n",
        plan.rounds, plan.seconds
    )?;
    loads(&mut out, &figures.loads)?;
    ratios(&mut out, &figures.loads)?;
    out.push_str("\n## From a call to its effect on packets\n\n| call | n | p50 ms | p99 ms | must | aim |\n|---|---|---|---|---|---|\n");
    for effect in &figures.effects {
        let ms = |hundredths| percentile(&effect.waits_us, hundredths) as f64 / 1_000.0;
        let verdict = verdict(ms(99), EFFECT_MS, false);
        let (n, what) = (effect.waits_us.len(), effect.what);
        writeln!(
            out,
            "| {what} | {n} | {:.1} | {:.1} | p99 ≤ 1 s: {} | p99 ≤ 100 ms: {} |",
            ms(50),
            ms(99),
            verdict.0,
            verdict.1
        )?;
    }
    out.push_str("\n## Start, memory, size\n\n| measure | value | must | aim |\n|---|---|---|---|\n");
    for start in &figures.starts {
        let median = start.ready_ms.get(start.ready_ms.len() / 2).copied().unwrap_or(0.0);
        let most = start.ready_ms.last().copied().unwrap_or(0.0);
        let idle = start.idle_kib as f64 / 1_024.0;
        let own = start.server == "bascule";
        let (ready, memory) = (verdict(most, READY_MS, false), verdict(idle, IDLE_MIB, false));
        let say = |text: &str, held: &str| if own { format!("{text}: {held}") } else { "–".to_owned() };
        let name = start.server;
        writeln!(
            out,
            "| {name}: start to ready, median and most of {} | {median:.0} ms, {most:.0} ms | {} | {} |",
            start.ready_ms.len(),
            say("≤ 300 ms", ready.0),
            say("≤ 50 ms", ready.1)
        )?;
        writeln!(
            out,
            "| {name}: resident memory when idle, all processes | {idle:.1} MiB | {} | {} |",
            say("≤ 30 MiB", memory.0),
            say("≤ 15 MiB", memory.1)
        )?;
    }
    let size = figures.binary_bytes as f64 / 1e6;
    let held = verdict(size, BINARY_MB, false);
    writeln!(out, "| binary | {size:.1} MB | ≤ 40 MB: {} | ≤ 25 MB: {} |", held.0, held.1)?;
    Ok(out)
}

fn loads(out: &mut String, loads: &[Load]) -> Result<()> {
    out.push_str("## Requests\n\n| server | call | requests a second, median (least–most) | server CPU of each, µs | answer p99, ms |\n|---|---|---|---|---|\n");
    for load in loads {
        let (low, mid, high) = spread(&load.per_second);
        let (_, cpu, _) = spread(&load.cpu_us);
        let waits: Vec<f64> = load.p99_us.iter().map(|us| *us as f64 / 1_000.0).collect();
        let (_, wait, _) = spread(&waits);
        writeln!(
            out,
            "| {} | `{}` | {mid:.0} ({low:.0}–{high:.0}) | {cpu:.0} | {wait:.1} |",
            load.server, load.kind
        )?;
    }
    Ok(())
}

/// How many times as fast as the other, where both were measured.
fn ratios(out: &mut String, loads: &[Load]) -> Result<()> {
    let of = |server: &str, kind: &str| loads.iter().find(|load| load.server == server && load.kind == kind);
    for kind in [DESCRIBE, CHANGE] {
        if let (Some(ours), Some(theirs)) = (of("bascule", kind), of("moto_server", kind)) {
            let speed = spread(&ours.per_second).1 / spread(&theirs.per_second).1;
            let cpu = spread(&theirs.cpu_us).1 / spread(&ours.cpu_us).1;
            let held = verdict(speed, TIMES, true);
            writeln!(
                out,
                "\n`{kind}`: {speed:.1} times moto_server's requests a second (must ≥ 20: {}, aim ≥ 50: {}); moto_server's \
                 CPU of each is {cpu:.1} times ours.",
                held.0, held.1
            )?;
        }
    }
    Ok(())
}

/// Least, median, most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut rising = values.to_vec();
    rising.sort_by(f64::total_cmp);
    let at = |index: usize| rising.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(rising.len() / 2), at(rising.len().saturating_sub(1)))
}

/// Whether what must hold does, and whether the aim is reached.
fn verdict(value: f64, bounds: (f64, f64), more_is_better: bool) -> (&'static str, &'static str) {
    let held = |bound: f64| if more_is_better { value >= bound } else { value <= bound };
    let word = |held: bool| if held { "held" } else { "**not held**" };
    (word(held(bounds.0)), if held(bounds.1) { "reached" } else { "not reached" })
}
