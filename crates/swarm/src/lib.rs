//! Our own OpenVPN client as a tool: it needs neither root nor a TUN device, because the packets inside its tunnel come
//! from a TCP/IP stack in user space.
//!
//! * [`Profile`]: any client profile, ours or a stock one;
//! * [`Dialect`]: which client line is imitated;
//! * [`Swarm`]: many clients in one process, for tests and as load; [`Client`] is one of them;
//! * [`Expectation`]: what is to be reached through the tunnel and what is not, and the [`Verdict`] about it;
//! * [`run()`]: `bascule client` as a whole.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod client;
mod clock;
mod dialect;
mod echo;
mod expect;
mod expect_file;
mod line;
mod probe;
mod profile;
mod pushed;
mod report;
mod run;
mod server_certificate;
mod setup;
mod stack;
mod swarm;
mod tally;
mod task;
mod trial;
mod tunnel;

pub use client::{Client, Phase, Status};
pub use dialect::{Dialect, UnknownDialect, dialect};
pub use expect::{Expectation, ExpectationError, Protocol, Talk, Target, Verb};
pub use expect_file::{FileEntry, FileError, parse_file};
pub use probe::Verdict;
pub use profile::{Identity, Login, NameRule, Profile, ProfileError, Remote, Transport};
pub use pushed::Pushed;
pub use report::{Case, Report, json, junit};
pub use run::{Plan, run};
pub use setup::{Setup, SetupError};
pub use swarm::{Group, MAX_CLIENTS, Outcome, StartError, Swarm};
pub use tally::{Counts, Spread};
