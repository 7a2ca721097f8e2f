//! The main process, which reads what the internet sends, gives up what it no longer needs: every capability, and
//! the power to run another program (ARCHITECTURE §7, Privileges).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use caps::CapSet;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Gives up everything. To be called while the process has one thread: later ones inherit it.
pub(crate) fn give_up() -> Result<()> {
    // The bounding set first: shrinking it needs a capability itself.
    for capability in caps::all() {
        if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).with_context(|| format!("cannot give up the {set:?} capabilities"))?;
    }
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    forbid_exec().context("cannot forbid exec")
}

/// `execve` and `execveat` answer EPERM from now on.
fn forbid_exec() -> Result<()> {
    let rules: BTreeMap<i64, Vec<_>> =
        [(libc::SYS_execve, Vec::new()), (libc::SYS_execveat, Vec::new())].into_iter().collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()?;
    seccompiler::apply_filter(&filter)?;
    Ok(())
}
