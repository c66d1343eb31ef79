//! One pattern at a time.

use failsafe::{
    FailurePolicy,
    failure_policy::{consecutive_failures, success_rate_over_time_window},
};
use moneta_resilience::{
    BoxError, Class, Quota, RetryBudget,
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    fallback::FallbackLayer,
    fault::{FaultLayer, Faults},
    hedge::HedgeLayer,
    rate_limit::RateLimitLayer,
    retry::RetryLayer,
    timeout::TimeoutLayer,
};
use recloser::{AsyncRecloser, Recloser};
use tower::Layer;
use tower_resilience as theirs;

use super::{FAR, HOUR, seatbelt, tower_own};
use crate::{
    scenario::Scenarios,
    work::{Failed, Layered, Request, Tower, Wrapped},
};

pub(super) const OURS: &str = "ours";
pub(super) const TOWER: &str = "tower";
pub(super) const TOWER_RESILIENCE: &str = "tower-resilience";
pub(super) const SEATBELT: &str = "seatbelt";
/// The same as services of tower, as all others are.
pub(super) const OF_TOWER: &str = "seatbelt, of tower";

pub(super) fn add(all: &mut Scenarios) {
    timeout(all);
    retry(all);
    breaker(all);
    bulkhead(all);
    fallback(all);
    fault(all);
    rate_limit(all);
    hedge(all);
}

fn timeout(all: &mut Scenarios) {
    all.pattern("timeout");
    each!(all.add, OURS, |inner| Tower(TimeoutLayer::new(FAR).layer(inner)));
    each!(all.add, TOWER, |inner| Tower(tower::timeout::TimeoutLayer::new(FAR).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| {
        Tower(theirs::timelimiter::TimeLimiterLayer::builder().timeout_duration(FAR).build().layer(inner))
    });
    each!(all.add, SEATBELT, |inner| Layered(seatbelt::timeout(inner)));
    each!(all.add, OF_TOWER, |inner| Tower(seatbelt::timeout(inner)));
}

fn retry(all: &mut Scenarios) {
    all.pattern("retry, no budget");
    each!(all.add, OURS, |inner| Tower(RetryLayer::new().budget(RetryBudget::unlimited()).layer(inner)));
    each!(all.add, TOWER, |inner| Tower(tower_own::retry(false).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| {
        Tower(
            theirs::retry::RetryLayer::<Request, u64, Failed>::builder().max_attempts(3).build().layer(inner),
        )
    });
    each!(all.add, SEATBELT, |inner| Layered(seatbelt::retry(inner)));
    each!(all.add, OF_TOWER, |inner| Tower(seatbelt::retry(inner)));

    all.pattern("retry, budget");
    each!(all.add, OURS, |inner| Tower(RetryLayer::new().layer(inner)));
    each!(all.add, TOWER, |inner| Tower(tower_own::retry(true).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| {
        let budget = theirs::retry::RetryBudgetBuilder::new().token_bucket().build();
        let layer = theirs::retry::RetryLayer::<Request, u64, Failed>::builder().max_attempts(3);
        Tower(layer.budget(budget.expect("the default")).build().layer(inner))
    });
}

/// Every error speaks against the dependency, as the peers have it.
fn all_errors_count<R>(result: Result<&R, &BoxError>) -> Class {
    if result.is_ok() { Class::Success } else { Class::TRANSIENT }
}

fn breaker(all: &mut Scenarios) {
    for open in [false, true] {
        if open {
            all.pattern("breaker, open");
            all.refused_after_failures();
        } else {
            all.pattern("breaker, closed");
        }
        each!(all.add, OURS, |inner| {
            let layer = CircuitBreakerLayer::new().open_time(HOUR, HOUR).classify(all_errors_count);
            Tower(layer.layer(inner))
        });
        each!(all.add, TOWER_RESILIENCE, |inner| {
            let layer = theirs::circuitbreaker::CircuitBreakerLayer::builder().wait_duration_in_open(HOUR);
            Tower(layer.build().expect("it is consistent").layer(inner))
        });
        each!(all.add, SEATBELT, |inner| Layered(seatbelt::breaker(inner)));
        each!(all.add, OF_TOWER, |inner| Tower(seatbelt::breaker(inner)));
        each!(all.add, "failsafe", |inner| {
            // The default, but for how long it is open.
            let backoff = || failsafe::backoff::constant(HOUR);
            let failures = success_rate_over_time_window(0.8, 5, FAR, backoff())
                .or_else(consecutive_failures(5, backoff()));
            Wrapped { wrapper: failsafe::Config::new().failure_policy(failures).build(), inner }
        });
        each!(all.add, "recloser", |inner| Wrapped {
            wrapper: AsyncRecloser::from(Recloser::custom().open_wait(HOUR).build()),
            inner,
        });
    }
}

fn bulkhead(all: &mut Scenarios) {
    all.pattern("bulkhead, free");
    each!(all.add, OURS, |inner| Tower(BulkheadLayer::new(64).layer(inner)));
    each!(all.add, TOWER, |inner| Tower(tower::limit::ConcurrencyLimitLayer::new(64).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| {
        let layer = theirs::bulkhead::BulkheadLayer::builder().max_concurrent_calls(64).build();
        Tower(layer.expect("it is consistent").layer(inner))
    });

    all.pattern("bulkhead, full");
    each!(all.add_full, OURS, |inner| Tower(BulkheadLayer::new(1).max_queue(0).layer(inner)));
    each!(all.add_full, TOWER, |inner| {
        let limited = tower::limit::ConcurrencyLimitLayer::new(1).layer(inner);
        Tower(tower::load_shed::LoadShedLayer::new().layer(limited))
    });
    each!(all.add_full, TOWER_RESILIENCE, |inner| {
        // What it refuses by itself waits for a timer of tokio's, a millisecond, before it is told so.
        let layer = theirs::bulkhead::BulkheadLayer::builder().max_concurrent_calls(1).backpressure().build();
        Tower(tower::load_shed::LoadShed::new(layer.expect("it is consistent").layer(inner)))
    });
}

fn fallback(all: &mut Scenarios) {
    for taken in [false, true] {
        if taken {
            all.pattern("fallback, taken");
            all.rescued();
        } else {
            all.pattern("fallback, untaken");
        }
        each!(all.add, OURS, |inner| {
            Tower(FallbackLayer::new(|_why| Ok(0)).classify(all_errors_count).layer(inner))
        });
        each!(all.add, TOWER_RESILIENCE, |inner| {
            Tower(theirs::fallback::FallbackLayer::<Request, u64, Failed>::value(0).layer(inner))
        });
        each!(all.add, SEATBELT, |inner| Layered(seatbelt::fallback(inner)));
        each!(all.add, OF_TOWER, |inner| Tower(seatbelt::fallback(inner)));
    }
}

fn fault(all: &mut Scenarios) {
    all.pattern("fault hook, disarmed");
    each!(all.add, OURS, |inner| Tower(FaultLayer::new(Faults::new()).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| Tower(
        theirs::chaos::ChaosLayer::builder().build().layer(inner)
    ));
    each!(all.add, SEATBELT, |inner| Layered(seatbelt::fault(inner)));
    each!(all.add, OF_TOWER, |inner| Tower(seatbelt::fault(inner)));
}

fn rate_limit(all: &mut Scenarios) {
    const MANY: u32 = 1_000_000_000;
    all.pattern("rate limit");
    each!(all.add, OURS, |inner| Tower(RateLimitLayer::new(Quota::per_second(MANY)).layer(inner)));
    each!(all.add_unshared, TOWER, |inner| {
        Tower(tower::limit::RateLimitLayer::new(MANY.into(), std::time::Duration::from_secs(1)).layer(inner))
    });
    each!(all.add, TOWER_RESILIENCE, |inner| {
        let layer = theirs::ratelimiter::RateLimiterLayer::per_second(MANY as usize);
        Tower(layer.build().expect("it is consistent").layer(inner))
    });
}

fn hedge(all: &mut Scenarios) {
    all.pattern("hedge, fixed delay");
    each!(all.add, OURS, |inner| Tower(HedgeLayer::new().delay(FAR).layer(inner)));
    each!(all.add, TOWER_RESILIENCE, |inner| Tower(theirs::hedge::HedgeLayer::new(FAR).layer(inner)));
    each!(all.add, SEATBELT, |inner| Layered(seatbelt::hedge(inner)));
    each!(all.add, OF_TOWER, |inner| Tower(seatbelt::hedge(inner)));

    all.pattern("hedge, by latency");
    each!(all.add, OURS, |inner| Tower(HedgeLayer::new().layer(inner)));
    each!(all.add_unshared, TOWER, |inner| Tower(tower_own::hedge(inner)));
}
