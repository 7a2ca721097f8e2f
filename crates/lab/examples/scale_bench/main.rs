//! What a large state costs, beside a small one: start, memory, questions, the change of one rule. `cargo xtask bench scale`
//! builds and runs this.
//!
//! `scale_bench --bascule FILE --out FILE [--small N] [--large N] [--calls N] [--changes N] [--debug true]
//! [--fabric true] [--clients N]`; with `--fabric`, as root, the server has the kernel fabric, in a network namespace of its
//! own. With `--clients`, as root, only this is measured: the change of one rule while so many clients are connected to the
//! small state.

#[path = "../measure/mod.rs"]
mod measure;
mod page;
mod served;
mod sessions;
mod state;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// What is measured, and how often.
pub(crate) struct Plan {
    /// The server's program.
    pub bascule: PathBuf,
    /// The page that is written.
    pub out: PathBuf,
    /// Endpoints of the two states.
    pub small: usize,
    pub large: usize,
    /// Times each question is asked.
    pub calls: usize,
    /// Rules that are authorized.
    pub changes: usize,
    /// Whether it is a debug build.
    pub debug: bool,
    /// Whether the server has the kernel fabric.
    pub fabric: bool,
    /// Clients that are connected; 0: none, and everything else is measured.
    pub clients: usize,
}

fn main() -> Result<()> {
    let plan = plan(std::env::args().skip(1))?;
    // Sockets and processes of a thread that lives in the namespace are in it.
    let text = if plan.clients > 0 {
        page::with_clients(&plan, &lab::Net::new("scale")?.run(|| sessions::measure(&plan))?)?
    } else if plan.fabric {
        let (small, large) = lab::Net::new("scale")?.run(|| both(&plan))?;
        page::text(&plan, &small, &large)?
    } else {
        let (small, large) = both(&plan)?;
        page::text(&plan, &small, &large)?
    };
    if let Some(folder) = plan.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&plan.out, &text)?;
    println!("{text}\n{}", plan.out.display());
    Ok(())
}

fn both(plan: &Plan) -> Result<(served::Found, served::Found)> {
    Ok((served::measure(plan, plan.small)?, served::measure(plan, plan.large)?))
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        bascule: PathBuf::new(),
        out: PathBuf::new(),
        small: 10,
        large: 1_000,
        calls: 200,
        changes: 250,
        debug: false,
        fabric: false,
        clients: 0,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--bascule" => plan.bascule = value.into(),
            "--out" => plan.out = value.into(),
            "--small" => plan.small = value.parse()?,
            "--large" => plan.large = value.parse()?,
            "--calls" => plan.calls = value.parse()?,
            "--changes" => plan.changes = value.parse()?,
            "--debug" => plan.debug = value.parse()?,
            "--fabric" => plan.fabric = value.parse()?,
            "--clients" => plan.clients = value.parse()?,
            _ => bail!("there is no {name}"),
        }
    }
    ensure!(plan.bascule.is_file(), "--bascule names no file");
    ensure!(!plan.out.as_os_str().is_empty(), "--out is missing");
    let some = [plan.small, plan.large, plan.calls, plan.changes].iter().all(|count| *count > 0);
    ensure!(some, "nothing would be measured");
    Ok(plan)
}
