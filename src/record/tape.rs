use std::{collections::VecDeque, fmt};

use crate::{
    event::Event,
    name::Name,
    observer::{Interest, Sink},
    sync::{Mutex, lock},
};

/// A sink that keeps events in the order in which they happened, for a test to look at.
///
/// It keeps the last [`Tape::CAPACITY`] of them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::sync::Arc;
/// use moneta_resilience::{Name, Registry, record::Tape, telemetry::TelemetryLayer};
/// use moneta_resilience::event::{Event, Outcome};
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// let tape = Arc::new(Tape::new());
/// let ledger = Name::new("ledger").expect("a good name");
/// let observer = Registry::new().observer(&ledger).sink(tape.clone());
/// let service = ServiceBuilder::new()
///     .layer(TelemetryLayer::new("ledger").observer(observer))
///     .service(service_fn(|()| async { Err::<(), BoxError>("no such account".into()) }));
/// service.oneshot(()).await.expect_err("there is no such account");
///
/// let events = tape.events();
/// assert!(matches!(events[..], [Event::CallFinished { outcome: Outcome::CallerFault, .. }]));
/// # }
/// ```
#[derive(Default)]
pub struct Tape {
    entries: Mutex<VecDeque<(Name, Event)>>,
}

impl Tape {
    /// How many events it keeps. A further one takes the place of the oldest.
    pub const CAPACITY: usize = 10_000;

    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happened so far, oldest first.
    pub fn events(&self) -> Vec<Event> {
        lock(&self.entries).iter().map(|&(_, event)| event).collect()
    }

    /// What happened so far, oldest first, with the name of the pipeline where it did.
    pub fn entries(&self) -> Vec<(Name, Event)> {
        lock(&self.entries).iter().cloned().collect()
    }

    /// Forgets what happened so far.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }
}

impl Sink for Tape {
    fn interest(&self) -> Interest {
        Interest::ALL
    }

    fn record(&self, pipeline: &Name, event: &Event) {
        let mut entries = lock(&self.entries);
        if entries.len() == Self::CAPACITY {
            entries.pop_front();
        }
        entries.push_back((pipeline.clone(), *event));
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.entries).iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tape_forgets_the_oldest() {
        let tape = Tape::new();
        let name = Name::literal("ledger");
        tape.record(&name, &Event::DeadlineMalformed);
        for _ in 0..Tape::CAPACITY {
            tape.record(&name, &Event::DeadlineExpired);
        }
        let events = tape.events();
        assert_eq!(events.len(), Tape::CAPACITY);
        assert!(events.iter().all(|event| *event == Event::DeadlineExpired));
        tape.clear();
        assert!(tape.entries().is_empty());
    }
}
