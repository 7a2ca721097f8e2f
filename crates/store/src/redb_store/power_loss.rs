//! Power loss: the store on a simulated disk that forgets, keeps or tears what was not synced.
//!
//! `BASCULE_POWER_LOSS_SCHEDULES=100000 cargo test -p store power_loss` runs a campaign; each schedule depends on its
//! seed alone, but for how the writer thread happens to group transactions.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use redb::StorageBackend;

use super::{RedbStore, database, tables};
use crate::conformance::Random;
use crate::conformance::random::transaction;
use crate::conformance::reference::Reference;
use crate::watch::locked;
use crate::{Bounds, Outcome, Store, StoreError};

/// Schedules of an ordinary test run.
const SCHEDULES: u64 = 400;
/// What the disk writes whole or not at all, bytes.
const SECTOR: usize = 512;
/// Small, so that the log is cut all the time.
const BOUNDS: Bounds =
    Bounds { log_changes: 30, log_bytes: 60_000, watch_changes: 1_000, watch_bytes: 1 << 20 };

#[derive(Debug)]
pub(super) enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What survives.
    platter: Vec<u8>,
    /// Since the last sync, in order.
    pending: Vec<Pending>,
    /// What the running system reads: the platter and all that is pending.
    view: Vec<u8>,
    /// Changing operations left until the power goes.
    fuse: Option<u64>,
    pub(super) dark: bool,
    pub(super) syncs: u64,
    /// A sync that answers and does nothing.
    lies: bool,
}

impl State {
    /// One changing operation; the power may go with it.
    fn step(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.fuse {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => self.dark = true,
            }
        }
        self.lit()
    }

    /// A change that is kept whole.
    fn reach_platter(&mut self, pending: Pending) {
        match pending {
            Pending::Length(length) => self.platter.resize(length, 0),
            Pending::Write { offset, data } => {
                let end = offset + data.len();
                if self.platter.len() < end {
                    self.platter.resize(end, 0);
                }
                self.platter[offset..end].copy_from_slice(&data);
            }
        }
    }

    fn lit(&self) -> io::Result<()> {
        if self.dark { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(pub(super) Arc<Mutex<State>>);

impl Disk {
    pub(super) fn holding(image: &[u8]) -> Self {
        let disk = Self::default();
        {
            let mut state = locked(&disk.0);
            state.platter = image.to_vec();
            state.view = image.to_vec();
        }
        disk
    }

    /// The power goes, with all that was not synced, and comes back.
    pub(super) fn cut(&self) {
        let mut state = locked(&self.0);
        state.pending.clear();
        state.view = state.platter.clone();
        state.fuse = None;
        state.dark = false;
    }

    /// The power goes and comes back.
    fn cycle(&self, random: &mut Random) {
        let mut state = locked(&self.0);
        let mut platter = std::mem::take(&mut state.platter);
        // Some losses are total, some are none, most are in between.
        let mood = random.below(6);
        for pending in std::mem::take(&mut state.pending) {
            let fate = match mood {
                0 => 0,
                1 => 1,
                _ => random.below(3),
            };
            match (pending, fate) {
                (_, 0) => {}
                (Pending::Length(length), _) => platter.resize(length, 0),
                (Pending::Write { offset, data }, fate) => {
                    // A file that has not grown takes what lies behind its end or does not.
                    let grows = random.one_in(2);
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if fate == 2 && random.one_in(2) {
                            continue;
                        }
                        let start = offset + number * SECTOR;
                        let end = start + sector.len();
                        if end > platter.len() {
                            if !grows {
                                continue;
                            }
                            platter.resize(end, 0);
                        }
                        platter[start..end].copy_from_slice(sector);
                    }
                }
            }
        }
        state.view = platter.clone();
        state.platter = platter;
        state.fuse = None;
        state.dark = false;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = locked(&self.0);
        state.lit().map(|()| state.view.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = locked(&self.0);
        state.lit()?;
        let start = usize::try_from(offset).unwrap();
        let found = state.view.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.step()?;
        let len = usize::try_from(len).unwrap();
        state.view.resize(len, 0);
        state.pending.push(Pending::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.step()?;
        state.syncs += 1;
        if !state.lies {
            for pending in std::mem::take(&mut state.pending) {
                state.reach_platter(pending);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = locked(&self.0);
        let start = usize::try_from(offset).unwrap();
        let pending = Pending::Write { offset: start, data: data.to_vec() };
        // The write during which the power goes may still have reached the disk, whole or in part.
        let lit = state.lit().and_then(|()| {
            state.pending.push(pending);
            state.step()
        });
        lit?;
        let end = start + data.len();
        if state.view.len() < end {
            state.view.resize(end, 0);
        }
        state.view[start..end].copy_from_slice(data);
        Ok(())
    }
}

/// A store without records, as a file.
pub(super) static EMPTY_STORE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = Disk::default();
    let db = database(Path::new("simulated"), disk.clone()).unwrap();
    tables::format(&db).unwrap();
    db.close().unwrap();
    let state = locked(&disk.0);
    assert!(state.pending.is_empty(), "a closed database is synced");
    state.platter.clone()
});

#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    losses: u64,
    /// Unacknowledged transactions that survived all the same.
    unheard: u64,
}

pub(super) fn open(disk: &Disk) -> Result<RedbStore, StoreError> {
    open_with(disk, BOUNDS)
}

pub(super) fn open_with(disk: &Disk, bounds: Bounds) -> Result<RedbStore, StoreError> {
    let path = Path::new("simulated");
    RedbStore::start(path, database(path, disk.clone())?, bounds)
}

/// Which of the states that may be is the one that is.
async fn survivor(store: &RedbStore, candidates: &[Reference]) -> Result<usize, String> {
    let revision = store.revision().await.map_err(|error| error.to_string())?;
    let listing = store.list("").await.map_err(|error| error.to_string())?;
    let index = candidates
        .iter()
        .rposition(|candidate| candidate.revision == revision)
        .ok_or_else(|| format!("revision {revision} is none of those that may be"))?;
    let candidate = &candidates[index];
    if listing != candidate.list("") {
        return Err(format!("the records of revision {revision} differ"));
    }
    let extent = tables::counters(&redb::ReadableDatabase::begin_read(&*store.db).unwrap()).unwrap().extent;
    let logged = candidate.changes("", extent.compacted);
    if extent.changes != logged.len() as u64 || extent.exceeds(&BOUNDS) {
        return Err(format!("{extent:?} for a log of {} changes", logged.len()));
    }
    let mut watch = store.watch("", extent.compacted).await.map_err(|error| error.to_string())?;
    if !logged.is_empty() && watch.next().await.as_ref() != Ok(&logged) {
        return Err(format!("the log of revision {revision} differs"));
    }
    if extent.compacted > 0 && store.watch("", extent.compacted - 1).await.err() != Some(StoreError::Lagged) {
        return Err("a watch from before the log".to_owned());
    }
    Ok(index)
}

type Answer<'s> = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + 's>>;

/// Several lives of one store; each ends in a loss of power or a clean end followed by one.
/// With `soft`, half of the transactions are: those after the last one that is not may be lost, but only from the end.
async fn schedule(seed: u64, lies: bool, soft: bool) -> Result<Tally, String> {
    let mut random = Random::new(seed);
    let disk = Disk::holding(&EMPTY_STORE);
    locked(&disk.0).lies = lies;
    let mut tally = Tally::default();
    // The first is the last acknowledged state; the others are what the transactions without an answer would make.
    let mut candidates = vec![Reference::at(0)];
    let mut life = 0;
    while life < 1 + seed % 4 {
        if random.one_in(5) {
            locked(&disk.0).fuse = Some(random.below(12));
        }
        let store = match open(&disk) {
            Ok(store) => store,
            Err(error) if !locked(&disk.0).dark => return Err(format!("does not open: {error}")),
            Err(_) => {
                tally.losses += 1;
                disk.cycle(&mut random);
                continue;
            }
        };
        locked(&disk.0).fuse = None;
        let index = match survivor(&store, &candidates).await {
            Ok(index) => index,
            Err(_) if locked(&disk.0).dark => {
                tally.losses += 1;
                drop(store);
                disk.cycle(&mut random);
                continue;
            }
            Err(error) => return Err(error),
        };
        tally.unheard += index as u64;
        let mut reference = candidates.swap_remove(index);
        // The last state that must not be lost, and the softer ones since.
        let mut last = vec![reference.clone()];
        candidates.clear();
        locked(&disk.0).fuse = Some(random.below(120));
        'life: for _ in 0..random.below(14) {
            let mut batch: Vec<Answer<'_>> = Vec::new();
            let mut states = Vec::new();
            let mut ahead = reference.clone();
            for _ in 0..=random.below(5) {
                let mut transaction = transaction(&mut random, &ahead);
                transaction.soft = soft && random.one_in(2);
                states.push((ahead.transact(&transaction), ahead.clone(), transaction.soft));
                batch.push(Box::pin(store.transact(transaction)));
            }
            // Polled once each, so that they are queued in this order.
            let mut context = Context::from_waker(Waker::noop());
            let first: Vec<Poll<_>> =
                batch.iter_mut().map(|answer| answer.as_mut().poll(&mut context)).collect();
            for ((number, answer), early) in batch.into_iter().enumerate().zip(first) {
                let answer = match early {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => answer.await,
                };
                match answer {
                    Ok(outcome) if outcome == states[number].0 => {
                        if !candidates.is_empty() {
                            return Err("an answer after a failure".to_owned());
                        }
                        tally.acknowledged += 1;
                        let (state, soft) = (states[number].1.clone(), states[number].2);
                        if !soft && state.revision > reference.revision {
                            last.clear();
                        }
                        last.push(state.clone());
                        reference = state;
                    }
                    Ok(outcome) => return Err(format!("{outcome:?}, not {:?}", states[number].0)),
                    Err(_) if !locked(&disk.0).dark => return Err("an error with the power on".to_owned()),
                    Err(_) => candidates.push(states[number].1.clone()),
                }
            }
            if !candidates.is_empty() {
                break 'life;
            }
        }
        last.append(&mut candidates);
        candidates = last;
        if random.one_in(2) {
            // Not even what the end of a store writes.
            locked(&disk.0).dark = true;
        }
        drop(store);
        tally.losses += u64::from(locked(&disk.0).dark);
        disk.cycle(&mut random);
        life += 1;
    }
    let store = open(&disk).map_err(|error| format!("does not open: {error}"))?;
    survivor(&store, &candidates).await?;
    Ok(tally)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn power_loss_loses_nothing_acknowledged() {
    let schedules: u64 =
        std::env::var("BASCULE_POWER_LOSS_SCHEDULES").ok().map_or(SCHEDULES, |text| text.parse().unwrap());
    for soft in [false, true] {
        lose_power(schedules, soft);
    }
}

fn lose_power(schedules: u64, soft: bool) {
    let runtime = runtime();
    let mut whole = Tally::default();
    for seed in 0..schedules {
        match runtime.block_on(schedule(seed, false, soft)) {
            Ok(tally) => {
                whole.acknowledged += tally.acknowledged;
                whole.losses += tally.losses;
                whole.unheard += tally.unheard;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{schedules} schedules: {whole:?}");
    assert!(whole.acknowledged > schedules * 5, "{whole:?}: hardly anything was tried");
    assert!(
        whole.losses > schedules && whole.unheard > schedules / 20,
        "{whole:?}: hardly anything was cut off"
    );
}

/// The same schedules on a disk that lies about its syncs: they must notice, or they prove nothing.
#[test]
fn power_loss_on_a_lying_disk_is_noticed() {
    let noticed = (0..20)
        .filter(|&seed| {
            // redb itself may panic on what such a disk brings back.
            let result = std::thread::spawn(move || runtime().block_on(schedule(seed, true, false))).join();
            !matches!(result, Ok(Ok(_)))
        })
        .count();
    assert!(noticed >= 15, "noticed {noticed} of 20");
}
