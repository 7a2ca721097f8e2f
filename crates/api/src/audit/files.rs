//! The audit trail in files: `callers-000001.jsonl` and so on for calls whose signature held, `strangers-000001.jsonl` for
//! all others. Each series has a queue, a thread that writes, and a bound on the size and number of its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use super::{AuditSink, Proof};
pub use rotated::Rotated;

mod rotated;

/// Lines waiting to be written, of each series.
const QUEUE_LINES: usize = 4_096;
/// How long a signed call waits for room in the queue; strangers' calls do not wait.
const WAIT: Duration = Duration::from_millis(500);
/// Bytes written at once.
const BATCH_BYTES: usize = 256 * 1024;

/// How much is kept, of each series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// Largest file, bytes; a line is never cut in two.
    pub file_bytes: u64,
    /// Most files; beyond them the oldest goes.
    pub files: usize,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { file_bytes: 64 << 20, files: 16 }
    }
}

/// The files of a folder.
pub struct AuditFiles {
    callers: Series,
    strangers: Series,
}

struct Series {
    name: &'static str,
    queue: Sender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    /// Everything before it is on the disk when it is answered.
    Finish(oneshot::Sender<()>),
}

impl AuditFiles {
    /// Opens the folder (made if it is not there, for its owner alone) and starts the threads that write.
    ///
    /// # Errors
    /// The folder or a file cannot be made or written.
    pub fn start(folder: &Path, limits: AuditLimits) -> std::io::Result<Self> {
        Self::with_queue(folder, limits, QUEUE_LINES)
    }

    fn with_queue(folder: &Path, limits: AuditLimits, lines: usize) -> std::io::Result<Self> {
        let callers = Series::start("callers", folder, limits, lines)?;
        Ok(Self { callers, strangers: Series::start("strangers", folder, limits, lines)? })
    }

    fn of(&self, proof: Proof) -> &Series {
        match proof {
            Proof::Signed => &self.callers,
            Proof::Unproven => &self.strangers,
        }
    }

    /// Returns when everything recorded so far is on the disk.
    pub async fn finish(&self) {
        for series in [&self.callers, &self.strangers] {
            let (done, written) = oneshot::channel();
            if series.queue.send(Message::Finish(done)).await.is_ok() {
                let _ = written.await;
            }
        }
    }
}

#[async_trait]
impl AuditSink for AuditFiles {
    async fn record(&self, proof: Proof, line: String) {
        let series = self.of(proof);
        let mut unsent = Unsent(Some(series));
        let taken = match proof {
            Proof::Signed => series.queue.send_timeout(Message::Line(line), WAIT).await.is_ok(),
            Proof::Unproven => series.queue.try_send(Message::Line(line)).is_ok(),
        };
        if taken {
            unsent.0 = None;
        }
    }

    fn record_now(&self, proof: Proof, line: String) {
        let series = self.of(proof);
        if series.queue.try_send(Message::Line(line)).is_err() {
            series.lose(1);
        }
    }
}

/// A line on its way into the queue: lost when it finds no room, or when nobody waits any more.
struct Unsent<'s>(Option<&'s Series>);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(series) = self.0 {
            series.lose(1);
        }
    }
}

impl Series {
    fn start(name: &'static str, folder: &Path, limits: AuditLimits, lines: usize) -> std::io::Result<Self> {
        let files = Rotated::open(folder, name, limits)?;
        let (queue, waiting) = mpsc::channel(lines);
        let lost = Arc::new(AtomicU64::new(0));
        let writer =
            Writer { name, folder: folder.to_owned(), files, lost: Arc::clone(&lost), failing: false };
        std::thread::Builder::new().name(format!("audit-{name}")).spawn(move || writer.run(waiting))?;
        Ok(Self { name, queue, lost })
    }

    fn lose(&self, lines: u64) {
        count_lost(self.name, lines);
        if self.lost.fetch_add(lines, Ordering::Relaxed) == 0 {
            tracing::warn!(series = self.name, "audit lines are lost: the disk does not keep up");
        }
    }
}

fn count_lost(series: &'static str, lines: u64) {
    metrics::counter!("bascule_audit_lines_lost_total", "series" => series).increment(lines);
}

struct Writer {
    name: &'static str,
    folder: PathBuf,
    files: Rotated,
    /// Lines that found no room, or could not be written, and of which no line tells yet.
    lost: Arc<AtomicU64>,
    failing: bool,
}

impl Writer {
    fn run(mut self, mut waiting: Receiver<Message>) {
        while let Some(first) = waiting.blocking_recv() {
            let (mut batch, mut lines, mut finished) = (String::new(), 0_u64, Vec::new());
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(line) => {
                        if batch.len() + line.len() > BATCH_BYTES {
                            self.write(&std::mem::take(&mut batch), std::mem::take(&mut lines));
                        }
                        batch.push_str(&line);
                        batch.push('\n');
                        lines += 1;
                    }
                    Message::Finish(done) => finished.push(done),
                }
                next = waiting.try_recv().ok();
            }
            self.write(&batch, lines);
            if !finished.is_empty() {
                self.note_losses();
                self.files.sync();
            }
            for done in finished {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, batch: &str, lines: u64) {
        if lines == 0 {
            return;
        }
        self.note_losses();
        match self.files.append(batch.as_bytes()) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::warn!(series = self.name, "audit lines are written again");
                }
            }
            Err(error) => {
                count_lost(self.name, lines);
                self.lost.fetch_add(lines, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.folder.display();
                    tracing::error!(%error, %folder, series = self.name, "audit lines cannot be written and are lost");
                }
            }
        }
    }

    /// A line that says how many are missing before it.
    fn note_losses(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let line = format!("{{\"eventName\":\"AuditLinesLost\",\"lines\":{lost}}}\n");
        if self.files.append(line.as_bytes()).is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
