//! The socket in the data directory by which a running server hands out its backup. Who may open it is who may read the
//! data directory anyway: its owner and the superuser.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use store::RedbStore;

use super::beside;

const SOCKET_FILE: &str = "backup.sock";
/// What is asked for.
const QUESTION: &str = "backup 1\n";
/// What is answered before the backup; anything else is a reason, on one line.
const ANSWER: &str = "ok\n";
/// How long the other side may take for each piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest line of either side, bytes.
const MAX_LINE_BYTES: u64 = 1_024;

/// Hands out backups of `store` from now on, one at a time.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve(data_dir: &Path, store: Arc<RedbStore>) -> Result<()> {
    let path = data_dir.join(SOCKET_FILE);
    // The store is ours alone, so a socket that is there is a former life's.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        // The path of a socket may have 107 bytes.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            tracing::warn!(path = %path.display(), %error, "bascule backup works only while this server is stopped");
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    };
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let data_dir = data_dir.to_owned();
    let runtime = tokio::runtime::Handle::current();
    // Weak: the store closes when the server stops, whoever waits here.
    let store = Arc::downgrade(&store);
    std::thread::Builder::new().name("backups".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(store) = store.upgrade() else { return };
            if let Err(error) = answer(stream, &data_dir, &store, &runtime) {
                tracing::warn!(%error, "a backup was not handed out whole");
            }
        }
    })?;
    Ok(())
}

fn answer(
    mut stream: UnixStream,
    data_dir: &Path,
    store: &RedbStore,
    runtime: &tokio::runtime::Handle,
) -> Result<()> {
    stream.set_read_timeout(Some(PIECE_TIMEOUT))?;
    stream.set_write_timeout(Some(PIECE_TIMEOUT))?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
        bail!("user {} asked for one", peer.uid.as_raw());
    }
    let mut question = String::new();
    BufReader::new((&stream).take(MAX_LINE_BYTES)).read_line(&mut question)?;
    if question != QUESTION {
        stream.write_all(b"this server does not know the question; use its own version of bascule\n")?;
        return Ok(());
    }
    let attachment = match beside::taken(data_dir) {
        Ok(attachment) => attachment,
        Err(error) => {
            stream.write_all(format!("{error:#}\n").as_bytes())?;
            return Err(error);
        }
    };
    stream.write_all(ANSWER.as_bytes())?;
    let backup = runtime.block_on(store.backup(attachment, stream))?;
    tracing::info!(revision = backup.revision, records = backup.records, "a backup was taken");
    Ok(())
}

/// The backup of the server that runs on a data directory; `None` if none does.
///
/// # Errors
/// It may not be asked, or refuses.
pub(super) fn ask(data_dir: &Path) -> Result<Option<impl Read + Send + 'static>> {
    let path: PathBuf = data_dir.join(SOCKET_FILE);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                std::io::ErrorKind::NotFound
                | std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::InvalidInput => Ok(None),
                _ => Err(error).with_context(|| format!("cannot open {}", path.display())),
            };
        }
    };
    stream.set_read_timeout(Some(PIECE_TIMEOUT))?;
    stream.set_write_timeout(Some(PIECE_TIMEOUT))?;
    stream.write_all(QUESTION.as_bytes())?;
    // The rest of what is buffered belongs to the backup: the reader is handed on as it is.
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut answer)?;
    match answer.as_str() {
        ANSWER => Ok(Some(reader)),
        "" => bail!("the server on {} gives you no backup", data_dir.display()),
        reason => bail!("the server on {}: {}", data_dir.display(), reason.trim_end()),
    }
}
