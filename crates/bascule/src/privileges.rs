//! The main process, which reads what the internet sends, gives up what it does not need: every capability, the power to
//! run another program, system calls it never makes, and writing anywhere but in its data directory (ARCHITECTURE,
//! Data plane).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use caps::CapSet;
use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use rustix::process::{Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Calls that would run or look into another program, change what this one sees, or reach deep into the kernel. Each answers
/// EPERM.
const REFUSED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
];

/// With one of these a new thread or process begins in a namespace of its own. (That of time is not for `clone`: its bit is of
/// the signal's number there.)
const NEW_NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// User and group of nobody, as Linux systems have it.
const NOBODY: u32 = 65_534;

/// Gives up everything, and writing outside `folders`; those that are not there are left out. To be called while the process
/// has one thread: later ones inherit it.
pub(crate) fn give_up(folders: &[&Path]) -> Result<()> {
    bound_capabilities();
    drop_capabilities()?;
    let fenced = fence(folders).context("cannot forbid writing outside the data directory")?;
    if fenced.ruleset == RulesetStatus::NotEnforced {
        let why = match fenced.landlock {
            LandlockStatus::NotEnabled => "this kernel has Landlock, and it is switched off",
            // The library does not tell a call that is refused from one that does not exist.
            _ if is_filtered() => {
                "this process was started under a filter of system calls that refuses Landlock (systemd: SystemCallFilter=), or this kernel has none"
            }
            _ => "this kernel has no Landlock",
        };
        tracing::warn!("{why}: file permissions alone bound where this process may write");
    }
    filter().context(
        "cannot forbid system calls (a filter that this process was started under has to allow seccomp; systemd: SystemCallFilter=)",
    )
}

/// Whether a filter of system calls is in force on this process.
fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
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

/// Files can be read as before, and written, made and removed only under `folders`.
fn fence(folders: &[&Path]) -> Result<RestrictionStatus> {
    // What older kernels do not know of it is left out.
    let writing = AccessFs::from_write(ABI::V3);
    Ok(Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing)?
        .create()?
        .add_rules(path_beneath_rules(folders, writing))?
        .restrict_self()?)
}

fn filter() -> Result<()> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    // Threads are made with it too.
    let namespaces = NEW_NAMESPACES.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        let set = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, flag)?])
    });
    refused.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    answer(libc::EPERM, refused)?;
    // Its flags are in memory, where a filter cannot look. The C library takes `clone` where this one does not exist.
    answer(libc::ENOSYS, BTreeMap::from([(libc::SYS_clone3, Vec::new())]))
}

/// Calls that match answer this error from now on.
fn answer(error: i32, calls: BTreeMap<i64, Vec<SeccompRule>>) -> Result<()> {
    let answered = SeccompAction::Errno(error.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(calls, SeccompAction::Allow, answered, arch)?.try_into()?;
    seccompiler::apply_filter(&filter)?;
    Ok(())
}
