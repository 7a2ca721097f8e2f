//! What can go wrong with a server for tests.

use std::io;
use std::path::PathBuf;

/// Why it did not work; each says what to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no program to start.
    #[error("there is no `bascule` on the path, and BASCULE_BIN does not name one")]
    NoBinary,
    /// The program does not start.
    #[error("{} does not start", .0.display())]
    NotStarted(PathBuf, #[source] io::Error),
    /// It was not ready in time, or ended before it was.
    #[error("the server was not ready; its log ends:\n{0}")]
    NotReady(String),
    /// A command of the program failed: its words.
    #[error("`bascule {command}`: {said}")]
    Failed {
        /// The command.
        command: String,
        /// What it wrote.
        said: String,
    },
    /// A file or folder of the test's own.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Every block of loopback addresses is in use.
    #[error("no block of loopback addresses is free for the gateway")]
    NoAddresses,
}
