//! Logs go to standard error; `BASCULE_LOG` sets the level in the usual form (default `info`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("BASCULE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // That a line could not be written it would say on standard error, and panic where that is closed.
        .log_internal_errors(false)
        .init();
}
