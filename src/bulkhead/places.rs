use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    adaptive::{Adaptive, Turn},
    compartments::{Compartment, Compartments},
    config::BulkheadConfig,
    machine::{Granted, Machine},
};
use crate::{
    call::Call,
    class::{Class, Ending},
    event::Outcome,
    policy::{Poller, Slot},
    registry::BulkheadState,
};

/// The places of a bulkhead, and what moves their number.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) machine: Machine,
    /// `None` when only a hand moves it.
    adaptive: Option<Adaptive>,
    /// `None` when all calls share all places.
    compartments: Option<Arc<Compartments>>,
}

/// What is known of a call that was let in: a sample for the limit, if it adapts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    turn: Turn,
    /// When a limit of this stack cuts the call.
    limit: Option<Instant>,
}

impl Places {
    pub(super) fn new(config: BulkheadConfig) -> Self {
        let (start, max_queue) = (config.limit.start(), config.max_queue);
        Self {
            machine: Machine::new(start, max_queue),
            adaptive: Adaptive::new(config.limit),
            compartments: config.keys.map(|keys| Arc::new(Compartments::new(keys, start, max_queue))),
        }
    }

    pub(super) fn state(&self) -> BulkheadState {
        let mut state = self.machine.state();
        state.queued += self.compartments.as_ref().map_or(0, |compartments| compartments.queued());
        state
    }

    /// The compartment of a key, told by its hash; `None` when there are none, or no key.
    #[inline]
    pub(super) fn compartment(&self, key: impl FnOnce() -> Option<u64>) -> Option<Compartment> {
        let compartments = self.compartments.as_ref()?;
        key().map(|key| compartments.of(key))
    }

    /// Whether it learns from how long calls take.
    #[inline]
    pub(super) fn adapts(&self) -> bool {
        self.adaptive.is_some()
    }

    /// A call is let in.
    #[inline]
    pub(super) fn sample(&self, call: &Call) -> Option<Sample> {
        let adaptive = self.adaptive.as_ref()?;
        Some(Sample { turn: adaptive.turn(), limit: call.limit })
    }

    /// What came of it. The call still has its place.
    ///
    /// A success tells how long calls take. What the dependency throttles, or puts off with a hint when to come back,
    /// and what times out tells that there are too many of them. All else tells nothing: a failure may be as fast as it
    /// is meaningless, and a refusal of this side never reached the dependency.
    pub(super) fn learn<T>(&self, sample: Sample, answer: &Slot<T>, cx: &mut Poller<'_, '_>) {
        match answer.class() {
            Class::Success => {
                // As it left the last queue of this side: what it waited there says nothing about the dependency.
                let started = cx.course.call.started();
                self.succeeded(sample, cx.since(started));
            }
            Class::Throttled { .. } | Class::Transient { retry_after: Some(_) } => self.overloaded(sample),
            Class::Transient { .. } if answer.outcome() == Outcome::Timeout && !cx.course.call.hurried => {
                self.overloaded(sample);
            }
            _ => {}
        }
    }

    /// It was dropped. A caller that went away tells nothing; a limit of this stack that passed is a timeout.
    pub(super) fn learn_of_end(&self, sample: Sample, ending: Ending, now: Instant) {
        if ending == Ending::Cancelled && sample.limit.is_some_and(|limit| limit <= now) {
            self.overloaded(sample);
        }
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.moved(match &self.adaptive {
            Some(adaptive) => adaptive.hold(&self.machine, limit),
            None => self.machine.set_limit(limit),
        });
    }

    pub(super) fn resume(&self) {
        if let Some(adaptive) = &self.adaptive {
            self.moved(adaptive.resume(&self.machine));
        }
    }

    pub(super) fn is_adapting(&self) -> bool {
        self.adaptive.as_ref().is_some_and(|adaptive| !adaptive.is_held())
    }

    fn succeeded(&self, sample: Sample, took: Duration) {
        if let Some(adaptive) = &self.adaptive {
            let in_flight = self.machine.state().in_use;
            self.moved(adaptive.succeeded(&self.machine, sample.turn, took, in_flight));
        }
    }

    fn overloaded(&self, sample: Sample) {
        if let Some(adaptive) = &self.adaptive {
            self.moved(adaptive.overloaded(&self.machine, sample.turn));
        }
    }

    /// After the limit may have moved.
    fn moved(&self, granted: Granted) {
        granted.wake();
        if let Some(compartments) = &self.compartments {
            compartments.follow(&self.machine);
        }
    }
}
