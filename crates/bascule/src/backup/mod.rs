//! Backups of the store: `bascule backup` asks the running server through a socket in its data directory, and reads the
//! store itself where no server runs; `bascule restore` makes a data directory of one (docs/backup.md).

mod beside;
mod command;
mod socket;

pub(crate) use command::{back_up, restore};
pub(crate) use socket::serve;
