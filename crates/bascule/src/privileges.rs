//! The main process, which reads what the internet sends, gives up what it no longer needs: every capability, and
//! the power to run another program (ARCHITECTURE §7, Privileges).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use caps::CapSet;
use rustix::process::{Gid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// User and group of nobody, as Linux systems have it.
const NOBODY: u32 = 65_534;

/// Gives up everything. To be called while the process has one thread: later ones inherit it.
pub(crate) fn give_up() -> Result<()> {
    bound_capabilities();
    drop_capabilities()?;
    forbid_exec().context("cannot forbid exec")
}

/// Becomes nobody, if this is root, and gives up all but the power to run programs, which gain nothing either. To be called
/// while the process has one thread.
pub(crate) fn become_nobody() -> Result<()> {
    bound_capabilities();
    if rustix::process::geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])
            .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
            .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user))
            .context("cannot become nobody (CAP_SETUID and CAP_SETGID)")?;
    }
    drop_capabilities()
}

/// No capability can be gained any more. First of all: it needs one itself.
fn bound_capabilities() {
    for capability in caps::all() {
        if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
}

fn drop_capabilities() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).with_context(|| format!("cannot give up the {set:?} capabilities"))?;
    }
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")
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
