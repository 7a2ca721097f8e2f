//! The filters of this host, from the programs that keep them.

use std::process::{Command, Stdio};

use super::advice::Programs;
use super::ruleset::{Key, Ruleset, Tool};
use super::{iptables, nft};
use crate::fabric_check::{Finding, ask_nft, unknown};

/// The tables of iptables.
const TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
/// `iptables` and `ip6tables`, by the family of their tables.
const FAMILIES: [(&str, &str); 2] = [("ip", "iptables"), ("ip6", "ip6tables")];

/// All that can be read, and findings about what cannot.
pub(super) fn host() -> (Option<Ruleset>, Vec<Finding>) {
    let mut findings = Vec::new();
    let listing = match ask_nft(&["--json", "list", "ruleset"], "") {
        Ok(listing) => listing,
        Err(why) => {
            let why = format!("the filters of this host cannot be listed: {why}");
            return (None, vec![unknown(why, "sudo bascule fabric check")]);
        }
    };
    let Some(mut ruleset) = nft::read(&listing) else {
        let why = "the filters of this host cannot be listed: nft answers no list";
        return (None, vec![unknown(why, "nft --json list ruleset")]);
    };
    for (family, program) in FAMILIES {
        of_iptables(&mut ruleset, &nft::foreign_tables(&listing), family, program);
        findings.extend(legacy(&mut ruleset, family, program));
    }
    (Some(ruleset), findings)
}

/// Takes from iptables what is iptables' own; what it cannot read stays as `nft` has shown it.
fn of_iptables(ruleset: &mut Ruleset, foreign: &[(String, String)], family: &str, program: &str) {
    let is_table =
        |key: &Key, table: &str| key.tool == Tool::Nft && key.family == family && key.table == table;
    let is_any = |key: &Key| TABLES.iter().any(|table| is_table(key, table));
    if !ruleset.chains.keys().any(is_any) {
        return;
    }
    let Some(text) =
        named(program, Tool::Iptables).and_then(|program| output(&format!("{program}-save"), &[]))
    else {
        return;
    };
    let mut saved = Ruleset::default();
    iptables::read(&text, Tool::Iptables, family, &mut saved);
    for table in TABLES {
        if !saved.chains.keys().any(|key| key.table == table) {
            continue;
        }
        let own: Vec<Key> = ruleset.chains.keys().filter(|key| is_table(key, table)).cloned().collect();
        for key in own {
            let Some(chain) = ruleset.chains.remove(&key) else { continue };
            let key = Key { tool: Tool::Iptables, ..key };
            let there = saved.chains.remove(&key).unwrap_or_default();
            let by_save = foreign.iter().any(|(of, name)| of == family && name == table);
            // The hook and its order are what the kernel says; the rules are what iptables does.
            let rules = if by_save { there.rules } else { chain.rules };
            ruleset.chains.insert(key, super::ruleset::Chain { base: chain.base, rules });
        }
    }
}

/// The kernel's older tables of iptables.
fn legacy(ruleset: &mut Ruleset, family: &str, program: &str) -> Option<Finding> {
    let names =
        std::fs::read_to_string(format!("/proc/net/{}_names", program.replace("tables", "_tables"))).ok()?;
    if names.trim().is_empty() {
        return None;
    }
    let text = named(program, Tool::Legacy).and_then(|program| output(&format!("{program}-save"), &[]));
    match text {
        Some(text) => {
            iptables::read(&text, Tool::Legacy, family, ruleset);
            None
        }
        None => Some(unknown(
            format!("the kernel has older tables of {program}, and no program here lists them"),
            format!(
                "{program}-legacy-save, where it is installed, to see whether they drop what clients send"
            ),
        )),
    }
}

/// What `iptables` is called where it is for tables of this tool.
fn named(program: &str, tool: Tool) -> Option<String> {
    let (suffix, says) = match tool {
        Tool::Legacy => ("legacy", "legacy"),
        Tool::Nft | Tool::Iptables => ("nft", "nf_tables"),
    };
    if output(program, &["--version"]).is_some_and(|version| version.contains(says)) {
        return Some(program.to_owned());
    }
    let program = format!("{program}-{suffix}");
    output(&program, &["--version"]).map(|_| program)
}

/// What a program prints that ends well.
fn output(name: &str, arguments: &[&str]) -> Option<String> {
    let program = netio::host_program(name)?;
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is installed here.
pub(super) struct Installed;

impl Programs for Installed {
    fn iptables(&self, tool: Tool, family: &str) -> Option<String> {
        let (_, program) = FAMILIES.into_iter().find(|(of, _)| *of == family)?;
        named(program, tool)
    }
}
