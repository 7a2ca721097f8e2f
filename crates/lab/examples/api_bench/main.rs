//! The API's figures, measured: requests a second and CPU of each beside moto's server in the same interleaved run, a
//! call's way to its effect on packets, start, memory, size. `cargo xtask bench api` builds and runs this.
//!
//! `api_bench --bascule FILE [--moto FILE] --out FILE [--rounds N] [--seconds N] [--effects N]`, with `BASCULE_BIN` naming
//! the same file for the lab.

mod effect;
#[path = "../measure/mod.rs"]
mod measure;
mod page;
mod served;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// What is measured, and how often.
pub(crate) struct Plan {
    /// The server's program.
    pub bascule: PathBuf,
    /// `moto_server`, if it is to be measured.
    pub moto: Option<PathBuf>,
    /// The page that is written.
    pub out: PathBuf,
    /// Times each kind of load is run on each server.
    pub rounds: usize,
    /// Seconds of each.
    pub seconds: u64,
    /// Times a rule is authorized and revoked under traffic.
    pub effects: usize,
}

fn main() -> Result<()> {
    let plan = plan(std::env::args().skip(1))?;
    if let Some(why) = lab::missing() {
        bail!("the way of a call to its effect needs the lab: {why}");
    }
    let figures = page::Figures {
        loads: served::loads(&plan)?,
        starts: served::starts(&plan)?,
        effects: effect::measure(&plan)?,
        binary_bytes: std::fs::metadata(&plan.bascule)?.len(),
    };
    let text = page::text(&plan, &figures)?;
    if let Some(folder) = plan.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&plan.out, &text)?;
    println!("{text}\n{}", plan.out.display());
    Ok(())
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        bascule: PathBuf::new(),
        moto: None,
        out: PathBuf::new(),
        rounds: 5,
        seconds: 4,
        effects: 200,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--bascule" => plan.bascule = value.into(),
            "--moto" => plan.moto = Some(value.into()),
            "--out" => plan.out = value.into(),
            "--rounds" => plan.rounds = value.parse()?,
            "--seconds" => plan.seconds = value.parse()?,
            "--effects" => plan.effects = value.parse()?,
            _ => bail!("there is no {name}"),
        }
    }
    ensure!(plan.bascule.is_file(), "--bascule names no file");
    ensure!(!plan.out.as_os_str().is_empty(), "--out is missing");
    ensure!(plan.rounds > 0 && plan.seconds > 0 && plan.effects > 0, "nothing would be measured");
    Ok(plan)
}
