//! What is read when somebody asks: the totals and the states of all pipelines.
//!
//! Every series of a pipeline is written from 0 on, because a counter that appears at 1 hides its first step from
//! `rate()`. Of the transitions of a circuit breaker those that happen by themselves are written from 0 on, the others
//! once they happened; a pipeline without a breaker writes none of its series.

use super::pipelines::{BROKEN, Pipeline};
use crate::{
    error::Reason,
    event::{
        AttemptKind, BreakerResult, CircuitState, DeliveryResult, FaultKind, GaveUp, HedgeResult,
        IdempotencyResult, Outcome, RateLimitResult, RetryResult,
    },
    registry::{BulkheadState, Registry},
    tally::{Count, Tallies},
    telemetry::names,
};

/// An instrument, and how to read it off a pipeline.
pub(super) struct Reading<T> {
    pub(super) name: &'static str,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "`metrics` has no units of counts"))]
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    read: fn(&Pipeline, Write<'_, T>),
}

/// Takes a value and its labels beside the pipeline.
pub(super) type Write<'a, T> = &'a mut dyn FnMut(T, &[(&'static str, &'static str)]);

/// What only grows.
pub(super) const TOTALS: [Reading<u64>; 21] = [
    Reading {
        name: names::CALLS,
        unit: "{call}",
        description: "Calls that ended, by how they ended for the caller",
        read: |pipeline, write| {
            for outcome in Outcome::ALL {
                write(pipeline.cells.calls(outcome), &[(names::OUTCOME, outcome.as_str())]);
            }
        },
    },
    Reading {
        name: names::ATTEMPTS,
        unit: "{attempt}",
        description: "Attempts at the transport that ended",
        read: |pipeline, write| {
            let cells = &pipeline.cells;
            write(cells.first_attempts(), &[(names::ATTEMPT_TYPE, AttemptKind::First.as_str())]);
            write(cells.retry_attempts(), &[(names::ATTEMPT_TYPE, AttemptKind::Retry.as_str())]);
            if pipeline.has_hedge() {
                write(cells.hedge_attempts(), &[(names::ATTEMPT_TYPE, AttemptKind::Hedge.as_str())]);
            }
        },
    },
    Reading {
        name: names::RETRY_CALLS,
        unit: "{call}",
        description: "Calls that the retry layer was done with, by what became of them",
        read: |pipeline, write| {
            for result in RetryResult::ALL {
                write(pipeline.cells.retries(result), &[(names::RESULT, result.as_str())]);
            }
        },
    },
    Reading {
        name: names::RETRY_GAVE_UP,
        unit: "{call}",
        description: "Calls whose last attempt failed and was followed by no other, by the reason",
        read: |pipeline, write| {
            for why in GaveUp::ALL {
                write(pipeline.cells.gave_up(why), &[(names::REASON, why.as_str())]);
            }
        },
    },
    Reading {
        name: names::HEDGE_CALLS,
        unit: "{call}",
        description: "Calls that the hedge layer was done with, by what became of them",
        read: |pipeline, write| {
            if pipeline.has_hedge() {
                for result in HedgeResult::ALL {
                    write(pipeline.cells.hedges(result), &[(names::RESULT, result.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::BREAKER_CALLS,
        unit: "{call}",
        description: "Calls that the circuit breaker counted or refused",
        read: |pipeline, write| {
            if pipeline.has_breaker() {
                for result in BreakerResult::ALL {
                    write(pipeline.cells.breaker(result), &[(names::RESULT, result.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::BREAKER_TRANSITIONS,
        unit: "{transition}",
        description: "State changes of the circuit breaker",
        read: |pipeline, write| {
            if pipeline.has_breaker() {
                for (from, to) in pairs() {
                    let total = pipeline.cells.transitions(from, to);
                    if total > 0 || happens_by_itself(from, to) {
                        write(total, &[(names::FROM, from.as_str()), (names::TO, to.as_str())]);
                    }
                }
            }
        },
    },
    Reading {
        name: names::BULKHEAD_REFUSED,
        unit: "{call}",
        description: "Calls that the bulkhead refused, at once or after their wait",
        read: |pipeline, write| write(pipeline.cells.bulkhead_refused(), &[]),
    },
    Reading {
        name: names::RATE_LIMITER_REQUESTS,
        unit: "{call}",
        description: "Calls that the rate limiter let in or refused",
        read: |pipeline, write| {
            if pipeline.has_rate_limiter() {
                for result in RateLimitResult::ALL {
                    write(pipeline.cells.rate_limiter(result), &[(names::RESULT, result.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::LOAD_SHED_REFUSED,
        unit: "{call}",
        description: "Calls that were refused to ease an overload",
        read: |pipeline, write| {
            for reason in [Reason::Throttled, Reason::Shed] {
                write(pipeline.cells.load_shed(reason), &[(names::REASON, reason.as_str())]);
            }
        },
    },
    Reading {
        name: names::IDEMPOTENCY_OUTCOMES,
        unit: "{call}",
        description: "Calls that carried an idempotency key, by what became of them",
        read: |pipeline, write| {
            if pipeline.has_idempotency() {
                for result in IdempotencyResult::ALL {
                    write(pipeline.cells.idempotency(result), &[(names::OUTCOME, result.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::IDEMPOTENCY_LEASES_LOST,
        unit: "{lease}",
        description: "Handlers that lost their claim to an idempotency key while they ran",
        read: |pipeline, write| {
            if pipeline.has_idempotency() {
                write(pipeline.cells.leases_lost(), &[]);
            }
        },
    },
    Reading {
        name: names::DELIVERIES,
        unit: "{message}",
        description: "Messages that were delivered to a consumer, by what became of them",
        read: |pipeline, write| {
            if pipeline.consumes() {
                for result in DeliveryResult::ALL {
                    write(pipeline.cells.deliveries(result), &[(names::RESULT, result.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::DEAD_LETTERS_FAILED,
        unit: "{message}",
        description: "Messages that could not be set aside",
        read: |pipeline, write| {
            if pipeline.consumes() {
                write(pipeline.cells.dead_letters_failed(), &[]);
            }
        },
    },
    Reading {
        name: names::TIMEOUTS,
        unit: "{timeout}",
        description: "Limits that passed and cut the work short",
        read: |pipeline, write| {
            let cells = &pipeline.cells;
            write(cells.attempts_timed_out(), &[(names::REASON, Reason::Timeout.as_str())]);
            write(cells.deadlines_exceeded(), &[(names::REASON, Reason::DeadlineExceeded.as_str())]);
            write(cells.bodies_idle(), &[(names::REASON, Reason::BodyIdle.as_str())]);
        },
    },
    Reading {
        name: names::ANSWERS_BROKEN,
        unit: "{answer}",
        description: "Answers that had begun well and ended badly",
        read: |pipeline, write| {
            if pipeline.has_broken_answers() {
                for outcome in BROKEN {
                    write(pipeline.cells.answers_broken(outcome), &[(names::OUTCOME, outcome.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::FALLBACK_CALLS,
        unit: "{call}",
        description: "Calls whose fallback was asked",
        read: |pipeline, write| {
            write(pipeline.cells.fallbacks_served(), &[(names::RESULT, "served")]);
            write(pipeline.cells.fallbacks_failed(), &[(names::RESULT, "failed")]);
        },
    },
    Reading {
        name: names::FAULT_INJECTIONS,
        unit: "{call}",
        description: "Calls that a fault hook acted on",
        read: |pipeline, write| {
            for fault in FaultKind::ALL {
                write(pipeline.cells.faults_of_none(fault), &[(names::FAULT, fault.as_str())]);
            }
            for (experiment, fault, calls) in pipeline.cells.faults_of_experiments() {
                write(calls, &[(names::FAULT, fault.as_str()), (names::EXPERIMENT, experiment.as_str())]);
            }
        },
    },
    Reading {
        name: names::DEADLINES_EXPIRED,
        unit: "{call}",
        description: "Calls that arrived after their deadline and were refused",
        read: |pipeline, write| write(pipeline.cells.deadlines_expired(), &[]),
    },
    Reading {
        name: names::DEADLINES_MALFORMED,
        unit: "{call}",
        description: "Calls whose deadline could not be read and was ignored",
        read: |pipeline, write| write(pipeline.cells.deadlines_malformed(), &[]),
    },
    Reading {
        name: names::PRIORITIES_MALFORMED,
        unit: "{call}",
        description: "Calls whose priority could not be read and was ignored",
        read: |pipeline, write| write(pipeline.cells.priorities_malformed(), &[]),
    },
];

/// A total of the process, which belongs to no pipeline.
pub(super) struct Whole {
    pub(super) name: &'static str,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "`metrics` has no units of counts"))]
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    pub(super) read: fn() -> u64,
}

pub(super) const WHOLE: &[Whole] = &[
    #[cfg(feature = "logs")]
    Whole {
        name: names::LOG_DROPPED,
        unit: "{line}",
        description: "Lines of logs for which there was no room, or that could not be written",
        read: super::log::dropped,
    },
];

/// The events of objectives, which belong to no pipeline either.
pub(super) const EVENTS: [Events; 2] = [
    Events {
        name: names::SLO_EVENTS,
        unit: "{event}",
        description: "What counts for an objective, good or bad",
        read: |tallies| Some(tallies.events),
    },
    Events {
        name: names::SLO_INJECTED,
        unit: "{event}",
        description: "Calls under a fault, good or bad, which an objective counts apart",
        read: |tallies| tallies.injected,
    },
];

pub(super) struct Events {
    pub(super) name: &'static str,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "`metrics` has no units of counts"))]
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    read: fn(Tallies) -> Option<Count>,
}

impl Events {
    /// Writes both series of every objective that has them, from 0 on.
    pub(super) fn write(&self, registry: &Registry, mut write: impl FnMut(u64, [(&'static str, &str); 2])) {
        for (name, tallies) in registry.objectives() {
            let Some(Count { good, bad }) = (self.read)(tallies) else { continue };
            for (count, result) in [(good, "good"), (bad, "bad")] {
                write(count, [(names::SLO_NAME, name.as_str()), (names::SLO_RESULT, result)]);
            }
        }
    }
}

/// What goes up and down.
pub(super) const STATES: [Reading<i64>; 4] = [
    Reading {
        name: names::BREAKER_STATE,
        unit: "{circuit}",
        description: "1 for the state that the circuit breaker is in, 0 for the others",
        read: |pipeline, write| {
            if let Some(circuit) = pipeline.circuit {
                for state in CircuitState::ALL {
                    write(i64::from(state == circuit), &[(names::STATE, state.as_str())]);
                }
            }
        },
    },
    Reading {
        name: names::BULKHEAD_USAGE,
        unit: "{call}",
        description: "Calls that hold a place in the bulkhead",
        read: |pipeline, write| write_bulkhead(pipeline, |bulkhead| bulkhead.in_use, write),
    },
    Reading {
        name: names::BULKHEAD_LIMIT,
        unit: "{call}",
        description: "Places in the bulkhead",
        read: |pipeline, write| write_bulkhead(pipeline, |bulkhead| bulkhead.limit, write),
    },
    Reading {
        name: names::BULKHEAD_QUEUED,
        unit: "{call}",
        description: "Calls that wait for a place in the bulkhead",
        read: |pipeline, write| write_bulkhead(pipeline, |bulkhead| bulkhead.queued, write),
    },
];

/// What is seen now and then, and does not add up, in seconds.
pub(super) const AGES: [Reading<f64>; 1] = [Reading {
    name: names::IDEMPOTENCY_OLDEST_IN_DOUBT,
    unit: "s",
    description: "For how long the oldest idempotency key has been in doubt",
    read: |pipeline, write| {
        if let Some(age) = pipeline.oldest_in_doubt {
            write(age.as_secs_f64(), &[]);
        }
    },
}];

impl<T> Reading<T> {
    /// Writes every series of the pipeline.
    pub(super) fn of(&self, pipeline: &Pipeline, write: Write<'_, T>) {
        (self.read)(pipeline, write);
    }
}

/// Writes something of the bulkheads, where there are some.
fn write_bulkhead(pipeline: &Pipeline, of: fn(&BulkheadState) -> usize, write: Write<'_, i64>) {
    if let Some(bulkhead) = &pipeline.bulkhead {
        write(i64::try_from(of(bulkhead)).unwrap_or(i64::MAX), &[]);
    }
}

fn pairs() -> impl Iterator<Item = (CircuitState, CircuitState)> {
    CircuitState::ALL.into_iter().flat_map(|from| CircuitState::ALL.map(|to| (from, to)))
}

const fn happens_by_itself(from: CircuitState, to: CircuitState) -> bool {
    use CircuitState::{Closed, HalfOpen, Open, Recovering};

    matches!(
        (from, to),
        (Closed, Open)
            | (Open, HalfOpen)
            | (HalfOpen, Open | Recovering | Closed)
            | (Recovering, Open | Closed)
    )
}
