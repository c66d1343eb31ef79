//! What the pipelines of the registry are, one by one: the counts of a name, and the states of its stacks taken together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    cells::Cells,
    event::{
        BreakerResult, CircuitState, DeliveryResult, HedgeResult, IdempotencyResult, Outcome, RateLimitResult,
    },
    name::Name,
    registry::{BulkheadState, Profile, Registry},
};

/// What there is to read of the pipelines of one name.
#[derive(Default)]
pub(super) struct Pipeline {
    pub(super) cells: Arc<Cells>,
    /// The most severe state of their circuit breakers.
    pub(super) circuit: Option<CircuitState>,
    /// The sum of their bulkheads.
    pub(super) bulkhead: Option<BulkheadState>,
    /// Whether one of them is a consumer's.
    consumes: bool,
    /// The longest doubt about an idempotency key.
    pub(super) oldest_in_doubt: Option<Duration>,
}

/// How an answer can end badly.
pub(super) const BROKEN: [Outcome; 5] =
    [Outcome::CallerFault, Outcome::Transient, Outcome::Throttled, Outcome::Fault, Outcome::Timeout];

impl Pipeline {
    pub(super) fn has_breaker(&self) -> bool {
        self.circuit.is_some() || BreakerResult::ALL.iter().any(|&result| self.cells.breaker(result) > 0)
    }

    /// A hedge counts every call, so its series begin with its first one: long before the first copy is sent.
    pub(super) fn has_hedge(&self) -> bool {
        HedgeResult::ALL.iter().any(|&result| self.cells.hedges(result) > 0)
    }

    /// A rate limiter counts every call, so its series begin with its first one: before the first refusal.
    pub(super) fn has_rate_limiter(&self) -> bool {
        RateLimitResult::ALL.iter().any(|&result| self.cells.rate_limiter(result) > 0)
    }

    pub(super) fn has_idempotency(&self) -> bool {
        self.cells.leases_lost() > 0
            || IdempotencyResult::ALL.iter().any(|&result| self.cells.idempotency(result) > 0)
    }

    pub(super) fn consumes(&self) -> bool {
        self.consumes || DeliveryResult::ALL.iter().any(|&result| self.cells.deliveries(result) > 0)
    }

    pub(super) fn has_broken_answers(&self) -> bool {
        BROKEN.iter().any(|&outcome| self.cells.answers_broken(outcome) > 0)
    }
}

/// All pipelines of the registry by name. A stack whose name came too late for cells of its own is under the same name
/// as its counts.
pub(super) fn pipelines(registry: &Registry) -> BTreeMap<Name, Pipeline> {
    let mut pipelines: BTreeMap<_, _> = registry
        .cells_by_name()
        .into_iter()
        .map(|(name, cells)| (name, Pipeline { cells, ..Pipeline::default() }))
        .collect();
    for stack in registry.stacks() {
        let state = stack.state();
        let known = pipelines.contains_key(&state.name);
        let name = if known { state.name } else { Name::literal(Registry::OVERFLOW) };
        let pipeline = pipelines.entry(name).or_default();
        pipeline.consumes |= state.profile == Profile::Consumer;
        pipeline.circuit =
            [pipeline.circuit, state.circuit].into_iter().flatten().max_by_key(|&state| severity(state));
        pipeline.bulkhead = match (pipeline.bulkhead, state.bulkhead) {
            (Some(a), Some(b)) => {
                Some(BulkheadState::new(a.limit + b.limit, a.in_use + b.in_use, a.queued + b.queued))
            }
            (a, b) => a.or(b),
        };
        pipeline.oldest_in_doubt = pipeline.oldest_in_doubt.max(state.oldest_in_doubt);
    }
    pipelines
}

/// How much a state keeps from the callers, or from those who watch: the most severe one of a name is shown.
const fn severity(state: CircuitState) -> u8 {
    match state {
        CircuitState::Closed => 1,
        CircuitState::Disabled => 2,
        CircuitState::Recovering => 3,
        CircuitState::HalfOpen => 4,
        CircuitState::Open => 5,
        CircuitState::ForcedOpen => 6,
    }
}
