//! The counting cells of a pipeline: what happened how often, in atomics.
//!
//! There is one fixed array of counters for each [lane](crate::lane) in which something was counted: a thread counts in
//! its own, a reader sums. Nothing that is counted is refused, so totals are exact once the writers are done, and never go
//! back.

use std::sync::OnceLock;

use crate::{
    error::Reason,
    event::{
        AttemptKind, BreakerResult, CircuitState, DeliveryResult, Event, Experiment, FaultKind, GaveUp,
        HedgeResult, IdempotencyResult, Outcome, RateLimitResult, RetryResult,
    },
    lane::Laned,
    sync::{AtomicU64, Ordering},
};

const CALLS: usize = 0;
const ATTEMPTS: usize = CALLS + Outcome::ALL.len();
const RETRIES: usize = ATTEMPTS + AttemptKind::ALL.len();
const RETRIES_SCHEDULED: usize = RETRIES + RetryResult::ALL.len() * (1 + GaveUp::ALL.len());
const HEDGES: usize = RETRIES_SCHEDULED + 1;
const HEDGES_SENT: usize = HEDGES + HedgeResult::ALL.len();
const BREAKER: usize = HEDGES_SENT + 1;
const TRANSITIONS: usize = BREAKER + BreakerResult::ALL.len();
const BULKHEAD_WAITED: usize = TRANSITIONS + CircuitState::ALL.len() * CircuitState::ALL.len();
const BULKHEAD_REFUSED: usize = BULKHEAD_WAITED + 1;
const RATE_LIMITER: usize = BULKHEAD_REFUSED + 1;
const LOAD_SHED: usize = RATE_LIMITER + RateLimitResult::ALL.len();
const TIMED_OUT: usize = LOAD_SHED + 2;
const BROKEN: usize = TIMED_OUT + 3;
const FALLBACKS: usize = BROKEN + Outcome::ALL.len();
const FAULTS: usize = FALLBACKS + 2;
const DEADLINES_MALFORMED: usize = FAULTS + FaultKind::ALL.len();
const DEADLINES_EXPIRED: usize = DEADLINES_MALFORMED + 1;
const PRIORITIES_MALFORMED: usize = DEADLINES_EXPIRED + 1;
const IDEMPOTENCY: usize = PRIORITIES_MALFORMED + 1;
const LEASES_LOST: usize = IDEMPOTENCY + IdempotencyResult::ALL.len();
const DELIVERIES: usize = LEASES_LOST + 1;
const DEAD_LETTERS_FAILED: usize = DELIVERIES + DeliveryResult::ALL.len();
const CELLS: usize = DEAD_LETTERS_FAILED + 1;

/// A set of counters for everything that happens in pipelines of one name.
///
/// All numbers are totals since the first pipeline of the name was built.
#[derive(Debug, Default)]
pub struct Cells {
    /// One for each lane, made when something is counted in it.
    counters: Laned<Counters, 0>,
    /// Made when an experiment hits a call.
    injections: OnceLock<Box<Injections>>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Counters([AtomicU64; CELLS]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// What was done to calls for experiments, by their places. Apart from the lanes: no call is so fast that is hit.
#[derive(Debug)]
struct Injections([[AtomicU64; FaultKind::ALL.len()]; Experiment::COUNT]);

impl Default for Injections {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Cells {
    #[expect(clippy::inline_always, reason = "who counts knows the event: its cell is a constant there")]
    #[inline(always)]
    pub(crate) fn count(&self, event: &Event) {
        if let Some(index) = index(event) {
            let (lane, counters) = self.counters.here();
            lane.count(&counters.0[index]);
        } else if let Event::FaultInjected { fault, experiment: Some(experiment) } = *event {
            self.count_injection(fault, experiment);
        }
    }

    #[cold]
    fn count_injection(&self, fault: FaultKind, experiment: Experiment) {
        let injections = self.injections.get_or_init(Box::default);
        injections.0[experiment.place()][fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that ended with `outcome`.
    pub fn calls(&self, outcome: Outcome) -> u64 {
        self.sum(CALLS + outcome as usize)
    }

    /// First attempts at the transport that ended.
    pub fn first_attempts(&self) -> u64 {
        self.sum(ATTEMPTS + AttemptKind::First as usize)
    }

    /// Attempts at the transport that followed a failed one and ended.
    pub fn retry_attempts(&self) -> u64 {
        self.sum(ATTEMPTS + AttemptKind::Retry as usize)
    }

    /// Second copies that a hedge sent and that ended.
    pub fn hedge_attempts(&self) -> u64 {
        self.sum(ATTEMPTS + AttemptKind::Hedge as usize)
    }

    /// Calls that the retry layer was done with, by what became of them.
    pub fn retries(&self, result: RetryResult) -> u64 {
        let reasons = GaveUp::ALL.map(Some).into_iter().chain([None]);
        reasons.map(|gave_up| self.sum(retry(result, gave_up))).sum()
    }

    /// Calls whose last attempt failed and was followed by no other, by the reason.
    pub fn gave_up(&self, why: GaveUp) -> u64 {
        RetryResult::ALL.iter().map(|&result| self.sum(retry(result, Some(why)))).sum()
    }

    /// Retries that were scheduled.
    pub fn retries_scheduled(&self) -> u64 {
        self.sum(RETRIES_SCHEDULED)
    }

    /// Calls that the hedge layer was done with, by what became of them.
    pub fn hedges(&self, result: HedgeResult) -> u64 {
        self.sum(HEDGES + result as usize)
    }

    /// Second copies that were sent.
    pub fn hedges_sent(&self) -> u64 {
        self.sum(HEDGES_SENT)
    }

    /// Calls that the circuit breaker counted, or refused.
    pub fn breaker(&self, result: BreakerResult) -> u64 {
        self.sum(BREAKER + result as usize)
    }

    /// State changes of the circuit breaker.
    pub fn transitions(&self, from: CircuitState, to: CircuitState) -> u64 {
        self.sum(transition(from, to))
    }

    /// Calls that waited for a place in the bulkhead and got it.
    pub fn bulkhead_waited(&self) -> u64 {
        self.sum(BULKHEAD_WAITED)
    }

    /// Calls that the bulkhead refused, at once or after their wait.
    pub fn bulkhead_refused(&self) -> u64 {
        self.sum(BULKHEAD_REFUSED)
    }

    /// Calls that the rate limiter let in, or refused.
    pub fn rate_limiter(&self, result: RateLimitResult) -> u64 {
        self.sum(RATE_LIMITER + result as usize)
    }

    /// Calls that were refused to ease an overload: the dependency's (`Throttled`), or, for any other reason, the own.
    pub fn load_shed(&self, reason: Reason) -> u64 {
        self.sum(load_shed(reason))
    }

    /// Attempts that took longer than their limit.
    pub fn attempts_timed_out(&self) -> u64 {
        self.sum(TIMED_OUT)
    }

    /// Calls whose own deadline passed, before their answer or while its body was read.
    pub fn deadlines_exceeded(&self) -> u64 {
        self.sum(TIMED_OUT + 1)
    }

    /// Bodies of answers that were silent for too long.
    pub fn bodies_idle(&self) -> u64 {
        self.sum(TIMED_OUT + 2)
    }

    /// Answers that had begun well and ended with `outcome`.
    pub fn answers_broken(&self, outcome: Outcome) -> u64 {
        self.sum(BROKEN + outcome as usize)
    }

    /// Fallbacks that had an answer.
    pub fn fallbacks_served(&self) -> u64 {
        self.sum(FALLBACKS)
    }

    /// Fallbacks that failed themselves.
    pub fn fallbacks_failed(&self) -> u64 {
        self.sum(FALLBACKS + 1)
    }

    /// Calls that a fault hook acted on.
    pub fn faults(&self, fault: FaultKind) -> u64 {
        let experiments = self.faults_of_experiments().filter(|&(_, other, _)| other == fault);
        self.faults_of_none(fault) + experiments.map(|(.., calls)| calls).sum::<u64>()
    }

    /// Those of them that it acted on for experiments, as far as there are any.
    pub fn faults_of_experiments(&self) -> impl Iterator<Item = (Experiment, FaultKind, u64)> {
        let counted = self.injections.get().into_iter().flat_map(|injections| {
            let of = |experiment: Experiment| {
                let calls = &injections.0[experiment.place()];
                FaultKind::ALL.map(|fault| (experiment, fault, calls[fault as usize].load(Ordering::Relaxed)))
            };
            Experiment::all().flat_map(of)
        });
        counted.filter(|&(.., calls)| calls > 0)
    }

    /// Those that it acted on for none.
    pub fn faults_of_none(&self, fault: FaultKind) -> u64 {
        self.sum(FAULTS + fault as usize)
    }

    /// Deadlines from outside that could not be read.
    pub fn deadlines_malformed(&self) -> u64 {
        self.sum(DEADLINES_MALFORMED)
    }

    /// Calls that arrived after their deadline.
    pub fn deadlines_expired(&self) -> u64 {
        self.sum(DEADLINES_EXPIRED)
    }

    /// Priorities from outside that could not be read.
    pub fn priorities_malformed(&self) -> u64 {
        self.sum(PRIORITIES_MALFORMED)
    }

    /// Calls that carried an idempotency key, by how they were answered.
    pub fn idempotency(&self, result: IdempotencyResult) -> u64 {
        self.sum(IDEMPOTENCY + result as usize)
    }

    /// Handlers that lost their claim to an idempotency key while they ran.
    pub fn leases_lost(&self) -> u64 {
        self.sum(LEASES_LOST)
    }

    /// Messages that were delivered to a consumer, by what became of them.
    pub fn deliveries(&self, result: DeliveryResult) -> u64 {
        self.sum(DELIVERIES + result as usize)
    }

    /// Messages that could not be set aside.
    pub fn dead_letters_failed(&self) -> u64 {
        self.sum(DEAD_LETTERS_FAILED)
    }

    fn sum(&self, index: usize) -> u64 {
        self.counters.iter().map(|counters| counters.0[index].load(Ordering::Relaxed)).sum()
    }
}

#[expect(clippy::inline_always, reason = "as for `Cells::count`")]
#[inline(always)]
fn index(event: &Event) -> Option<usize> {
    Some(match *event {
        Event::AttemptStarted { .. }
        | Event::RequestStarted { .. }
        | Event::RequestFinished { .. }
        | Event::MessageProcessed { .. }
        | Event::BudgetAlert { .. }
        | Event::StoreAsked { .. }
        // It has a cell elsewhere.
        | Event::FaultInjected { experiment: Some(_), .. } => return None,
        Event::CallFinished { outcome, .. } => CALLS + outcome as usize,
        Event::AttemptFinished { kind, .. } => ATTEMPTS + kind as usize,
        Event::RetryScheduled { .. } => RETRIES_SCHEDULED,
        Event::RetryFinished { result, gave_up } => retry(result, gave_up),
        Event::HedgeSent { .. } => HEDGES_SENT,
        Event::HedgeFinished { result } => HEDGES + result as usize,
        Event::BreakerCall { result } => BREAKER + result as usize,
        Event::BreakerTransition { from, to } => transition(from, to),
        Event::BulkheadWaited { .. } => BULKHEAD_WAITED,
        Event::BulkheadRefused { .. } => BULKHEAD_REFUSED,
        Event::RateLimiterCall { result } => RATE_LIMITER + result as usize,
        Event::LoadShed { reason } => load_shed(reason),
        Event::TimedOut { reason: Reason::Timeout } => TIMED_OUT,
        Event::TimedOut { reason: Reason::BodyIdle } => TIMED_OUT + 2,
        Event::TimedOut { .. } => TIMED_OUT + 1,
        Event::AnswerBroken { outcome } => BROKEN + outcome as usize,
        Event::Fallback { served } => FALLBACKS + usize::from(!served),
        Event::FaultInjected { fault, experiment: None } => FAULTS + fault as usize,
        Event::DeadlineMalformed => DEADLINES_MALFORMED,
        Event::DeadlineExpired => DEADLINES_EXPIRED,
        Event::PriorityMalformed => PRIORITIES_MALFORMED,
        Event::IdempotencyCall { result } => IDEMPOTENCY + result as usize,
        Event::LeaseLost => LEASES_LOST,
        Event::Delivered { result } => DELIVERIES + result as usize,
        Event::DeadLetterFailed => DEAD_LETTERS_FAILED,
    })
}

const fn retry(result: RetryResult, gave_up: Option<GaveUp>) -> usize {
    let reason = match gave_up {
        None => 0,
        Some(why) => 1 + why as usize,
    };
    RETRIES + result as usize * (1 + GaveUp::ALL.len()) + reason
}

const fn load_shed(reason: Reason) -> usize {
    LOAD_SHED + !matches!(reason, Reason::Throttled) as usize
}

const fn transition(from: CircuitState, to: CircuitState) -> usize {
    TRANSITIONS + from as usize * CircuitState::ALL.len() + to as usize
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    #[test]
    fn every_kind_of_event_has_a_cell_of_its_own() {
        let elapsed = Duration::ZERO;
        let mut events = vec![
            Event::RetryScheduled { attempt: 2, delay: elapsed },
            Event::HedgeSent { attempt: 2, after: elapsed },
            Event::BulkheadWaited { elapsed },
            Event::BulkheadRefused { reason: Reason::BulkheadFull },
            Event::LoadShed { reason: Reason::Throttled },
            Event::LoadShed { reason: Reason::Shed },
            Event::TimedOut { reason: Reason::Timeout },
            Event::TimedOut { reason: Reason::DeadlineExceeded },
            Event::TimedOut { reason: Reason::BodyIdle },
            Event::Fallback { served: true },
            Event::Fallback { served: false },
            Event::DeadlineMalformed,
            Event::DeadlineExpired,
            Event::PriorityMalformed,
            Event::LeaseLost,
            Event::DeadLetterFailed,
        ];
        events.extend(Outcome::ALL.map(|outcome| Event::CallFinished {
            outcome,
            elapsed,
            synthetic: false,
            injected: false,
        }));
        events.extend(Outcome::ALL.map(|outcome| Event::AnswerBroken { outcome }));
        events.extend(AttemptKind::ALL.map(|kind| Event::AttemptFinished {
            attempt: 2,
            kind,
            outcome: Outcome::Success,
            elapsed,
        }));
        for gave_up in GaveUp::ALL.map(Some).into_iter().chain([None]) {
            events.extend(RetryResult::ALL.map(|result| Event::RetryFinished { result, gave_up }));
        }
        events.extend(HedgeResult::ALL.map(|result| Event::HedgeFinished { result }));
        events.extend(BreakerResult::ALL.map(|result| Event::BreakerCall { result }));
        events.extend(RateLimitResult::ALL.map(|result| Event::RateLimiterCall { result }));
        events.extend(IdempotencyResult::ALL.map(|result| Event::IdempotencyCall { result }));
        events.extend(DeliveryResult::ALL.map(|result| Event::Delivered { result }));
        events.extend(FaultKind::ALL.map(|fault| Event::FaultInjected { fault, experiment: None }));
        for from in CircuitState::ALL {
            events.extend(CircuitState::ALL.map(|to| Event::BreakerTransition { from, to }));
        }
        let indices: HashSet<_> = events.iter().map(|event| index(event).expect("it is counted")).collect();
        assert_eq!(indices.len(), events.len());
        assert_eq!(indices, (0..CELLS).collect());
    }

    #[test]
    fn what_hit_a_call_is_counted_once_for_its_experiment_or_for_none() {
        let cells = Cells::default();
        let [a, b] = ["cells-a", "cells-b"].map(|name| Experiment::of(name).expect("it has a name"));
        let fault = FaultKind::Hang;
        for experiment in [None, Some(a), Some(a), Some(b)] {
            cells.count(&Event::FaultInjected { fault, experiment });
        }
        assert_eq!((cells.faults(fault), cells.faults_of_none(fault)), (4, 1));
        let mut counted: Vec<_> = cells.faults_of_experiments().collect();
        counted.sort_by_key(|&(experiment, ..)| experiment.as_str());
        assert_eq!(counted, [(a, fault, 2), (b, fault, 1)]);
        assert_eq!(cells.faults(FaultKind::Error), 0);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let cells = Cells::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| cells.count(&Event::DeadlineMalformed)));
            }
        });
        assert_eq!(cells.deadlines_malformed(), 80_000);
    }
}
