//! Asking a program of the operator's: the documented request on its standard input, the answer on its standard output.
//! It is run by the spawner, as nobody.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gateway::HandlerFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::message::{self, Ask, LENGTH_BYTES, Outcome, Reply};
use super::spawner::{MOST_AT_WORK, Spawner};

/// One that finds no room for this long is not asked.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// Questions that wait, by id; `None`: the spawner is gone.
#[derive(Debug)]
struct Waiting(Mutex<Option<BTreeMap<u64, oneshot::Sender<Outcome>>>>);

/// The programs that can be asked.
#[derive(Debug)]
pub(crate) struct Commands {
    known: Vec<Vec<String>>,
    asks: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    room: Semaphore,
    asked: AtomicU64,
}

/// Forgets a question with this value, answered or given up.
struct Pending<'w>(&'w Waiting, u64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.0.held() {
            waiting.remove(&self.1);
        }
    }
}

impl Waiting {
    fn held(&self) -> MutexGuard<'_, Option<BTreeMap<u64, oneshot::Sender<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Commands {
    /// Those of a running spawner. To be called inside of the runtime.
    pub(crate) fn new(spawner: Spawner) -> io::Result<Self> {
        spawner.socket.set_nonblocking(true)?;
        let (from, mut to) = UnixStream::from_std(spawner.socket)?.into_split();
        let waiting = Arc::new(Waiting(Mutex::new(Some(BTreeMap::new()))));
        let (asks, mut frames) = mpsc::channel::<Vec<u8>>(MOST_AT_WORK);
        // A task of its own: a question that is given up must not stop in the middle of a message.
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if to.write_all(&frame).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(hear(from, Arc::clone(&waiting)));
        Ok(Self {
            known: spawner.commands,
            asks,
            waiting,
            room: Semaphore::new(MOST_AT_WORK),
            asked: AtomicU64::new(0),
        })
    }

    /// Asks; the body of a good answer.
    pub(super) async fn ask(&self, command: &[String], request: String) -> Result<Bytes, HandlerFailure> {
        let place = self.known.iter().position(|known| known == command);
        let command = place.ok_or(HandlerFailure::ServiceError)?;
        let room = tokio::time::timeout(ROOM_WITHIN, self.room.acquire()).await;
        let Ok(Ok(_room)) = room else { return Err(HandlerFailure::Throttled) };
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let frame =
            message::framed(&Ask { id, command, request }).map_err(|_| HandlerFailure::ServiceError)?;
        let (answer, answered) = oneshot::channel();
        match &mut *self.waiting.held() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(HandlerFailure::ServiceError),
        };
        let _pending = Pending(&self.waiting, id);
        self.asks.send(frame).await.map_err(|_| HandlerFailure::ServiceError)?;
        match answered.await.map_err(|_| HandlerFailure::ServiceError)? {
            Outcome::Said(text) => Ok(Bytes::from(text)),
            Outcome::NoText => Err(HandlerFailure::InvalidResponse),
            Outcome::TimedOut => Err(HandlerFailure::TimedOut),
            Outcome::Busy => Err(HandlerFailure::Throttled),
            Outcome::Failed(why) => {
                tracing::warn!(why, "a connect handler failed");
                Err(HandlerFailure::ExecutionError)
            }
            Outcome::NotStarted(why) => {
                tracing::warn!(why, "a connect handler cannot be started");
                Err(HandlerFailure::ServiceError)
            }
        }
    }
}

/// Hands answers out until the spawner is gone; whoever waits then waits no longer.
async fn hear(mut from: OwnedReadHalf, waiting: Arc<Waiting>) {
    let error = loop {
        match reply(&mut from).await {
            Ok(Reply { id, outcome }) => {
                let asker = waiting.held().as_mut().and_then(|waiting| waiting.remove(&id));
                // Who gave it up meanwhile is not here any more.
                let _ = asker.map(|asker| asker.send(outcome));
            }
            Err(error) => break error,
        }
    };
    tracing::error!(%error, "the spawner of connect handlers is gone: their logins are denied until bascule restarts");
    *waiting.held() = None;
}

async fn reply(from: &mut OwnedReadHalf) -> io::Result<Reply> {
    let mut bytes = [0; LENGTH_BYTES];
    from.read_exact(&mut bytes).await?;
    let mut body = vec![0; message::length(bytes)?];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}
