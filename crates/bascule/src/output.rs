//! What commands print. Whoever reads may go before the end (`bascule keys list | head -1`): the rest is then for nobody,
//! and the command goes on to its end and its own exit code. Any other failure to write makes the command fail at its end.
//!
//! `println!` and `eprintln!` would panic there, so that nothing else of this crate prints.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use anyhow::{Result, anyhow};

/// Why something is missing on standard output.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to standard output.
macro_rules! out {
    ($($words:tt)*) => { $crate::output::line(format_args!($($words)*)) };
}

/// Prints a line to standard error, behind the program's name.
macro_rules! err {
    ($($words:tt)*) => { $crate::output::error_line(format_args!($($words)*)) };
}

pub(crate) fn line(words: Arguments<'_>) {
    keep(writeln!(io::stdout(), "{words}"));
}

pub(crate) fn error_line(words: Arguments<'_>) {
    // There is no other place to say it.
    let _ = writeln!(io::stderr(), "bascule: {words}");
}

/// Prints a text that ends its lines itself.
pub(crate) fn text(text: &[u8]) {
    keep(io::stdout().write_all(text));
}

/// To be called when a command has done its work.
///
/// # Errors
/// Something of what it printed did not get to where it was to go, though that is still there.
pub(crate) fn finish() -> Result<()> {
    keep(io::stdout().flush());
    match FAILED.get() {
        Some(error) => Err(anyhow!("standard output: {error}")),
        None => Ok(()),
    }
}

fn keep(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            // The first one says it all.
            let _ = FAILED.set(error);
        }
        _ => {}
    }
}
