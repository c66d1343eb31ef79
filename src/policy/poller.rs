use std::{fmt, task::Context, time::Duration};

use tokio::time::Instant;

use super::Course;

/// The task that polls, and the instant of the poll, read from the clock once at most.
pub struct Poller<'a, 'b> {
    /// The task's context.
    pub task: &'a mut Context<'b>,
    /// What travels with the call.
    pub(crate) course: &'a mut Course,
    reading: Reading,
    reached: bool,
    /// Who further out hears of an attempt that begins.
    admitted: Option<&'a mut dyn FnMut(Instant)>,
}

/// What the clock said in a poll.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    now: Option<Instant>,
    /// An instant that it was compared with, and how long ago that was.
    since: Option<(Instant, Duration)>,
}

impl Reading {
    fn at(now: Option<Instant>) -> Self {
        Self { now, since: None }
    }
}

impl<'a, 'b> Poller<'a, 'b> {
    pub(super) fn new(task: &'a mut Context<'b>, course: &'a mut Course, now: Option<Instant>) -> Self {
        Self { task, course, reading: Reading::at(now), reached: false, admitted: None }
    }

    /// The same poll of another course: that of a further copy of the call.
    pub(crate) fn along<T>(&mut self, course: &mut Course, poll: impl FnOnce(&mut Poller<'_, 'b>) -> T) -> T {
        let mut inner = Poller {
            task: self.task,
            course,
            reading: self.reading,
            reached: self.reached,
            admitted: match &mut self.admitted {
                Some(admitted) => Some(&mut **admitted),
                None => None,
            },
        };
        let result = poll(&mut inner);
        (self.reading, self.reached) = (inner.reading, inner.reached);
        self.course.injected |= inner.course.injected;
        result
    }

    /// The same poll, in which `admitted` hears of each attempt that begins.
    #[cfg(feature = "http")]
    pub(crate) fn hearing<T>(
        &mut self,
        admitted: &mut dyn FnMut(Instant),
        poll: impl FnOnce(&mut Poller<'_, 'b>) -> T,
    ) -> T {
        let mut inner = Poller {
            task: self.task,
            course: self.course,
            reading: self.reading,
            reached: self.reached,
            admitted: Some(admitted),
        };
        let result = poll(&mut inner);
        (self.reading, self.reached) = (inner.reading, inner.reached);
        result
    }

    /// Says that an attempt begins: everything that could have refused it has let it in.
    #[inline]
    pub(crate) fn admit(&mut self) {
        let now = self.now();
        if let Some(admitted) = &mut self.admitted {
            admitted(now);
        }
    }

    /// The instant of this poll; after the service has answered, the instant of its answer.
    #[inline]
    pub fn now(&mut self) -> Instant {
        *self.reading.now.get_or_insert_with(Instant::now)
    }

    /// The service has answered: whoever asks for the instant from now on gets that of its answer.
    pub(super) fn answered(&mut self) {
        self.reading = Reading::default();
    }

    /// How long before that `started` was. Most layers of a stack ask for the same, so it is worked out once.
    #[inline]
    pub(crate) fn since(&mut self, started: Instant) -> Duration {
        let now = self.now();
        match self.reading.since {
            Some((known, elapsed)) if known == started => elapsed,
            _ => {
                let elapsed = now.saturating_duration_since(started);
                self.reading.since = Some((started, elapsed));
                elapsed
            }
        }
    }

    /// Says that the attempt got as far as the service, or to what stands in for it.
    pub(crate) fn reach(&mut self) {
        self.reached = true;
    }

    /// Polls an attempt, and says beside that whether this one got as far as the service.
    pub(crate) fn apart<T>(&mut self, poll: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = std::mem::take(&mut self.reached);
        let result = poll(self);
        let reached = self.reached;
        self.reached |= before;
        (result, reached)
    }

    /// Whether it did in this poll. One that was refused on the way has not begun, and is nothing to count.
    pub(crate) fn reached(&self) -> bool {
        self.reached
    }
}

impl fmt::Debug for Poller<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("now", &self.reading.now).finish_non_exhaustive()
    }
}
