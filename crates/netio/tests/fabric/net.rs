//! Network namespaces without names: each lives as long as the thread that holds it, whatever becomes of the test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and the thread inside it.
pub struct Namespace {
    jobs: Sender<Job>,
    path: PathBuf,
}

impl Namespace {
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (ready, path) = channel();
        thread::spawn(move || {
            // SAFETY: only this thread's network namespace changes; no descriptor table is unshared.
            assert_eq!(
                unsafe { libc::unshare(libc::CLONE_NEWNET) },
                0,
                "{}",
                std::io::Error::last_os_error()
            );
            // SAFETY: no arguments, no effects.
            let thread_id = unsafe { libc::gettid() };
            ready.send(format!("/proc/{}/task/{thread_id}/ns/net", std::process::id()).into()).unwrap();
            for job in queue {
                job();
            }
        });
        let space = Self { jobs, path: path.recv().unwrap() };
        // A new one takes forwarding from the host, where somebody may have turned it on.
        space.sh("echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
        space.sh("ip link set lo up");
        space
    }

    /// Runs `work` inside.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.jobs
            .send(Box::new(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                let _ = done.send(outcome);
            }))
            .unwrap();
        match result.recv().unwrap() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// What a shell line prints inside; it has to succeed.
    pub fn sh(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let output = Command::new("sh").arg("-ec").arg(&line).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {complaint}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// The kernel's number of it.
    pub fn id(&self) -> String {
        self.sh("readlink /proc/self/ns/net").trim().to_owned()
    }

    /// A link between two namespaces.
    pub fn connect(&self, name: &str, address: &str, other: &Self, other_address: &str) {
        self.sh(&format!(
            "ip link add {name} type veth peer name far{name} && ip link set far{name} netns {} && \
             ip address add {address} dev {name} && ip link set {name} up",
            other.path.display()
        ));
        other.sh(&format!(
            "ip link set far{name} name {name} && ip address add {other_address} dev {name} && ip link set {name} up"
        ));
    }
}
