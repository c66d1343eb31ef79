//! A server of known capacity behind a bulkhead that adapts, in virtual time: events in a heap, and no clock at all.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::super::{ConcurrencyLimit, adaptive::*, machine::Machine};
use crate::random::Random;

/// How long the work of a call takes, as multiples of the mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    /// Always the same.
    Even,
    /// Anything between half and one and a half.
    Uneven,
    /// Exponentially distributed: most are fast, some take five times as long.
    Wild,
}

impl Service {
    pub(super) const ALL: [Self; 3] = [Self::Even, Self::Uneven, Self::Wild];

    fn draw(self, mean: Duration, random: &Random) -> Duration {
        mean.mul_f64(match self {
            Self::Even => 1.0,
            Self::Uneven => 0.5 + random.unit(),
            Self::Wild => -(1.0 - random.unit()).ln(),
        })
    }
}

/// What can be changed while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) service: Service,
    /// What a call takes without any queue.
    pub(super) mean: Duration,
    /// How many calls it works on at once: its capacity.
    pub(super) workers: usize,
    /// How many more it keeps waiting; the next is refused.
    pub(super) queue: usize,
    /// How long a refusal takes to come.
    pub(super) refusal: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Refused(usize),
    TimedOut(usize),
}

#[derive(Clone, Copy, Debug)]
struct Call {
    turn: Turn,
    began: Duration,
    open: bool,
}

pub(super) struct Simulation {
    pub(super) server: Server,
    /// How many callers there are; each calls again as soon as it can.
    pub(super) callers: usize,
    pub(super) timeout: Option<Duration>,
    machine: Machine,
    adaptive: Adaptive,
    random: Random,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, usize, Event)>>,
    drawn: usize,
    calls: Vec<Call>,
    busy: usize,
    waiting: VecDeque<usize>,
    /// Calls that were served in time.
    pub(super) served: usize,
}

impl Simulation {
    pub(super) fn new(limit: impl Into<ConcurrencyLimit>, server: Server, seed: u64) -> Self {
        let limit = limit.into();
        Self {
            server,
            callers: usize::MAX,
            timeout: None,
            machine: Machine::new(limit.start(), 0),
            adaptive: Adaptive::new(limit).expect("it adapts"),
            random: Random::seeded(seed),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            drawn: 0,
            calls: Vec::new(),
            busy: 0,
            waiting: VecDeque::new(),
            served: 0,
        }
    }

    /// Goes on for so long; the limit every ten milliseconds.
    pub(super) fn run(&mut self, time: Duration) -> Vec<usize> {
        const TICK: Duration = Duration::from_millis(10);
        let (end, mut limits) = (self.now + time, Vec::new());
        let mut tick = self.now + TICK;
        self.call();
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            while tick <= at.min(end) {
                limits.push(self.limit());
                tick += TICK;
            }
            if at > end {
                self.events.push(Reverse((at, 0, event)));
                break;
            }
            self.now = at;
            self.happen(event);
            self.call();
        }
        self.now = end;
        limits
    }

    pub(super) fn limit(&self) -> usize {
        self.machine.state().limit
    }

    /// As many calls as the bulkhead and the callers allow.
    fn call(&mut self) {
        while self.machine.state().in_use < self.callers && self.machine.try_acquire() {
            let call = self.calls.len();
            self.calls.push(Call { turn: self.adaptive.turn(), began: self.now, open: true });
            if let Some(timeout) = self.timeout {
                self.schedule(timeout, Event::TimedOut(call));
            }
            if self.busy < self.server.workers {
                self.work(call);
            } else if self.waiting.len() < self.server.queue {
                self.waiting.push_back(call);
            } else {
                self.schedule(self.server.refusal, Event::Refused(call));
            }
        }
    }

    fn work(&mut self, call: usize) {
        self.busy += 1;
        let time = self.server.service.draw(self.server.mean, &self.random);
        self.schedule(time, Event::Done(call));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.drawn += 1;
        self.events.push(Reverse((self.now + after, self.drawn, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Done(call) => {
                self.busy -= 1;
                while self.busy < self.server.workers {
                    let Some(next) = self.waiting.pop_front() else { break };
                    self.work(next);
                }
                let Call { turn, began, open } = self.calls[call];
                if open {
                    self.served += 1;
                    let in_flight = self.machine.state().in_use;
                    let latency = self.now.saturating_sub(began);
                    self.adaptive.succeeded(&self.machine, turn, latency, in_flight).wake();
                    self.end(call);
                }
            }
            Event::Refused(call) | Event::TimedOut(call) if self.calls[call].open => {
                self.adaptive.overloaded(&self.machine, self.calls[call].turn).wake();
                self.waiting.retain(|&waiting| waiting != call);
                self.end(call);
            }
            _ => {}
        }
    }

    fn end(&mut self, call: usize) {
        self.calls[call].open = false;
        self.machine.release();
    }
}

/// The share of the ticks at which the limit was within a fifth of `capacity`.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn near(limits: &[usize], capacity: usize) -> f64 {
    let near = limits.iter().filter(|&&limit| limit * 5 >= capacity * 4 && limit * 5 <= capacity * 6).count();
    near as f64 / limits.len() as f64
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn mean(limits: &[usize]) -> f64 {
    limits.iter().sum::<usize>() as f64 / limits.len() as f64
}
