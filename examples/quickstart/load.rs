//! The callers: an open-loop load, which asks at fixed times whether or not the last answers have come.
//!
//! The generator has a thread of its own. When that thread is kept from running (a busy machine, a suspended
//! laptop) no path can be blamed, so a metronome beside the callers notes every such stall.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::{
    runtime,
    task::yield_now,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    measure::{Call, Outcome, Stalls},
    service::{DEADLINE, DEGRADED},
    transport::{HttpClient, http_client},
};

/// Each path is called so often: 200 calls a second.
pub(crate) const SPACING: Duration = Duration::from_millis(5);
/// So long after its call was due a caller hangs up: the deadline and 100 ms.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_add(Duration::from_millis(100));

/// How finely stalls are seen, and what is more than the coarseness of a timer.
const BEAT: Duration = Duration::from_millis(2);
const STALL: Duration = Duration::from_millis(10);

/// What the callers of both paths saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) golden: Vec<Call>,
    pub(crate) bare: Vec<Call>,
    pub(crate) stalls: Stalls,
}

/// The running load.
#[derive(Debug)]
pub(crate) struct Load {
    seen: Log,
    thread: thread::JoinHandle<()>,
}

impl Load {
    /// Calls both paths from `start` on, for `length`.
    pub(crate) fn start(golden: Uri, bare: Uri, start: Instant, length: Duration) -> Result<Self> {
        let seen = Log { start, seen: Arc::default() };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let log = seen.clone();
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            runtime.block_on(async {
                let metronome = tokio::spawn(metronome(log.clone()));
                let golden = callers(golden, log.clone(), |seen| &mut seen.golden, length);
                let bare = callers(bare, log.clone(), |seen| &mut seen.bare, length);
                tokio::join!(golden, bare);
                metronome.abort();
            });
        })?;
        Ok(Self { seen, thread })
    }

    /// What was seen so far.
    pub(crate) fn so_far(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Waits for the last callers, and says what all of them saw.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.thread.join().map_err(|_| anyhow!("the load generator panicked"))?;
        Ok(self.seen.lock().clone())
    }
}

/// Where the callers write down what they saw, in time since the start.
#[derive(Clone, Debug)]
struct Log {
    start: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// One caller every `SPACING`, each on its own; ends with the last of them.
async fn callers(path: Uri, log: Log, list: fn(&mut Seen) -> &mut Vec<Call>, length: Duration) {
    let client = http_client();
    let mut calls = tokio::task::JoinSet::new();
    let mut due = Duration::ZERO;
    while due < length {
        sleep_until(log.start + due).await;
        let (client, path, log) = (client.clone(), path.clone(), log.clone());
        calls.spawn(async move {
            let sent = log.now();
            let outcome = patiently(ask(&client, path), due, &log).await.unwrap_or(Outcome::Failed);
            let ended = log.now();
            list(&mut log.lock()).push(Call { due, sent, ended, outcome });
        });
        due += SPACING;
    }
    calls.join_all().await;
}

/// Waits for an answer until the caller hangs up, which is later by as much as the generator itself stood
/// still.
async fn patiently<F: Future>(answer: F, due: Duration, log: &Log) -> Option<F::Output> {
    let mut answer = pin!(answer);
    let mut patience = PATIENCE;
    loop {
        if let Ok(answer) = timeout_at(log.start + due + patience, &mut answer).await {
            return Some(answer);
        }
        // After a stall the metronome may be waiting for its turn to note it.
        yield_now().await;
        let stalled = log.lock().stalls.within(due..log.now());
        if PATIENCE + stalled <= patience {
            return None;
        }
        patience = PATIENCE + stalled;
    }
}

/// Asks for a portfolio, and reads the answer to its end.
async fn ask(client: &HttpClient, path: Uri) -> Outcome {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path;
    let Ok(answer) = client.request(request).await else { return Outcome::Failed };
    let (head, body) = answer.into_parts();
    match body.collect().await {
        Ok(_) if !head.status.is_success() => Outcome::Failed,
        Ok(_) if head.headers.contains_key(DEGRADED) => Outcome::Degraded,
        Ok(_) => Outcome::Full,
        Err(_) => Outcome::Failed,
    }
}

/// Ticks, and notes when a tick came late: then nothing else ran on this thread either.
async fn metronome(log: Log) {
    loop {
        let due = log.now() + BEAT;
        sleep_until(log.start + due).await;
        let late = log.now();
        if late > due + STALL {
            log.lock().stalls.note(due..late);
        }
    }
}
