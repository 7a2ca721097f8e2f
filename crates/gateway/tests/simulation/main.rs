//! Thousands of schedules of the whole gateway against a simple reference model, under virtual time.
//!
//! Real brain, real paths, clients of all lines, up to thirty per cent loss, repetition, reordering, delays of up to
//! five seconds, clocks that jump; rules, routes, lists, policies, associations and endpoints that come and go;
//! renegotiations, floats, exits, dead peers; workers that lag behind; packets of both IP versions, fragments, ICMP errors.
//! After every step:
//!
//! * no packet is delivered that every state in force denies, none is held back that every one of them allows;
//! * every connection is up or over by its deadline, and none ends without a cause;
//! * no address, peer id or key is used while its predecessor could still speak;
//! * a client that has moved on a net that loses nothing hears from the gateway where it is now;
//! * nothing is admitted, and no path is left, once the end of its association was acknowledged.
//!
//! `BASCULE_SCHEDULES` sets how many, `BASCULE_SEED` where they begin. Real TLS draws randomness of its own: those
//! schedules repeat themselves only nearly.
#![allow(clippy::disallowed_methods)] // a test is told its length and seed by variables
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::unreachable)]

mod acts;
mod client;
mod lists;
mod model;
mod network;
mod sim;
mod traffic;
#[path = "../world/mod.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sim::{Seen, Sim};

/// In continuous integration; `cargo xtask campaign schedules` takes a million.
const SCHEDULES: u64 = 20_000;
/// Every so many schedules one has the real TLS.
const REAL_TLS_EVERY: u64 = 128;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// One life of a gateway.
fn schedule(seed: u64) -> Seen {
    let mut sim = Sim::new(seed, seed % REAL_TLS_EVERY == 7);
    sim.populate();
    let lasts = 10_000 + sim.rng.below(30_000);
    sim.run(sim.now + Duration::from_millis(lasts));
    if sim.rng.chance(300) {
        sim.disassociate_all();
        sim.run(sim.now + Duration::from_secs(3));
        assert_eq!(sim.gateway.session_count(), 0, "nobody is left");
    }
    sim.end();
    sim.seen
}

/// Runs schedules on all cores; the first seed that fails is told.
fn campaign(first: u64, count: u64) -> Seen {
    let (next, failed, total) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(Seen::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failed.load(Ordering::Relaxed) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| schedule(seed))) {
                Ok(seen) => total.lock().unwrap().add(&seen),
                Err(panic) => {
                    failed.store(true, Ordering::Relaxed);
                    eprintln!("schedule {seed}: BASCULE_SEED={seed} BASCULE_SCHEDULES=1 repeats it");
                    resume_unwind(panic);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn the_gateway_does_what_the_reference_says() {
    let (first, count) = (number("BASCULE_SEED", 0), number("BASCULE_SCHEDULES", SCHEDULES));
    let seen = campaign(first, count);
    println!("{count} schedules from {first}: {seen:?}");
    if count >= 1000 {
        // Or the test proves nothing.
        assert!(seen.connected * 10 > seen.sessions * 3, "{seen:?}");
        let each = [seen.passed, seen.held_back, seen.spoofed, seen.down, seen.ended, seen.disassociated];
        assert!(each.iter().all(|n| *n > count), "{seen:?}");
        let rare = [seen.floats, seen.rekeys, seen.between_clients];
        assert!(rare.iter().all(|n| *n > count / 10), "{seen:?}");
        let kinds =
            [seen.of_ipv6, seen.fragments, seen.errors_passed, seen.errors_held_back, seen.not_carried];
        assert!(kinds.iter().all(|n| *n > count / 10), "{seen:?}");
        // Those need a net that loses nothing, or clients that may reach others who may not reach them.
        let rarest = [seen.heard_after_floats, seen.errors_between_clients];
        assert!(rarest.iter().all(|n| *n > count / 100), "{seen:?}");
    }
}
