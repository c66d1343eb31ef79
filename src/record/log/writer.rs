//! The writer: a bounded queue, and a thread of its own at the end of it.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

/// So many bytes may wait to be written.
const MAX_BYTES: usize = 16 << 20;
/// How long the drop of a guard waits for what is left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines dropped in the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines of logs were dropped in this process, because there was no room for them, or because what they were to be
/// written to failed. It is the total `resilience.log.dropped`.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Counts {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

enum Message {
    Line(String),
    /// All lines before this one are to be written, and the sender to be told.
    Flush(SyncSender<()>),
}

/// The end at which lines are put in.
#[derive(Debug)]
pub(super) struct Queue {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Takes the line, or drops and counts it. It never waits.
    pub(super) fn offer(&self, line: String) {
        let bytes = line.len();
        let waiting = self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting.saturating_add(bytes) <= MAX_BYTES;
        if !has_room || self.lines.try_send(Message::Line(line)).is_err() {
            self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.drop_one();
        }
    }
}

/// Starts the thread that writes to `out`.
pub(super) fn start(out: impl io::Write + Send + 'static, capacity: usize) -> io::Result<(Queue, LogGuard)> {
    let (lines, received) = sync_channel(capacity);
    let counts = Arc::new(Counts::default());
    let ours = Arc::clone(&counts);
    thread::Builder::new().name("moneta-log".to_owned()).spawn(move || write(&received, out, &ours))?;
    let guard = LogGuard { lines: lines.clone(), counts: Arc::clone(&counts) };
    Ok((Queue { lines, counts }, guard))
}

/// What lines are written to.
struct Out<W> {
    out: W,
    /// Whether what was written last was no end of a line.
    torn: bool,
}

impl<W: io::Write> Out<W> {
    /// Writes a line, which does not go on with one that broke off.
    fn line(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            self.write(b"\n")?;
        }
        self.write(line.as_bytes())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = bytes[written - 1] != b'\n';
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write<W: io::Write>(lines: &Receiver<Message>, out: W, counts: &Counts) {
    let mut out = Out { out, torn: false };
    // Whatever it does, the thread goes on: it may be well again with the next line.
    let mut attempt = |work: &mut dyn FnMut(&mut Out<W>) -> io::Result<()>| {
        matches!(catch_unwind(AssertUnwindSafe(|| work(&mut out))), Ok(Ok(())))
    };
    let mut next = lines.recv().ok();
    while let Some(message) = next {
        match message {
            Message::Line(line) => {
                counts.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                if !attempt(&mut |out| out.line(&line)) {
                    counts.drop_one();
                }
            }
            Message::Flush(done) => {
                attempt(&mut Out::flush);
                // Whoever asked may have lost patience.
                let _ = done.send(());
            }
        }
        next = match lines.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                attempt(&mut Out::flush);
                lines.recv().ok()
            }
        };
    }
    attempt(&mut Out::flush);
}

/// Writes what is left when it is dropped, for a second at most. Keep it until the end of `main`.
#[must_use = "what is not written when the process ends is lost"]
pub struct LogGuard {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

impl LogGuard {
    /// How many lines of this writer were dropped.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, for as long as `within`; whether they are.
    ///
    /// It blocks the thread: it is for the end of a process, or for a test.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, written) = sync_channel(1);
        let lines = self.lines.clone();
        // A queue that is full lets nobody in. The wait for that is another thread's, which ends when the writer moves.
        let asked = thread::Builder::new().spawn(move || lines.send(Message::Flush(done)));
        asked.is_ok() && written.recv_timeout(within).is_ok()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.flush(PATIENCE);
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogGuard").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}
