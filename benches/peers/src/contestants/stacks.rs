//! The whole stack of a client.

use moneta_resilience::{
    bulkhead::BulkheadLayer, circuit_breaker::CircuitBreakerLayer, fallback::FallbackLayer, golden,
    retry::RetryLayer, timeout::TimeoutLayer,
};
use tower::{Service, ServiceBuilder, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_resilience as theirs;

use super::{FAR, patterns::OURS, seatbelt, tower_own};
use crate::{
    floor::Floor,
    scenario::Scenarios,
    work::{Failed, Inner, Layered, Request, Tower},
};

const BY_HAND: &str = "by hand, with metrics";

/// The stack that is written by hand, with room for so many calls.
pub fn by_hand<T: 'static>(
    inner: Inner<T>,
    places: u32,
) -> impl Service<Request, Response = u64, Error = Failed> + Clone + Send + 'static {
    Floor::new(inner, FAR, places, || Ok(0))
}

/// A client's stack with everything on.
fn golden_client<T: 'static>(
    name: &str,
    inner: Inner<T>,
) -> impl Service<Request, Response = u64> + Clone + Send + use<T> {
    golden::client(name).timeout(FAR).fallback(|_why| Ok(0)).service(inner)
}

pub(super) fn add(all: &mut Scenarios) {
    all.pattern("client stack");
    each!(all.add, OURS, |inner| Tower(golden_client("client", inner)));
    each!(all.add, "ours, five layers, no telemetry", |inner| {
        let stack = ServiceBuilder::new()
            .layer(FallbackLayer::new(|_why| Ok(0)))
            .layer(RetryLayer::new())
            .layer(CircuitBreakerLayer::new())
            .layer(BulkheadLayer::new(64))
            .layer(TimeoutLayer::new(FAR));
        Tower(stack.service(inner))
    });
    each!(all.add, BY_HAND, |inner| Tower(by_hand(inner, 64)));
    each!(all.add, "tower-resilience, five layers", |inner| {
        let budget = theirs::retry::RetryBudgetBuilder::new().token_bucket().build().expect("the default");
        let bulkhead = theirs::bulkhead::BulkheadLayer::builder().max_concurrent_calls(64).build();
        let stack = ServiceBuilder::new()
            .layer(theirs::fallback::FallbackLayer::<Request, u64, _>::value(0))
            .layer(theirs::retry::RetryLayer::<Request, u64, _>::builder().budget(budget).build())
            .layer(theirs::circuitbreaker::CircuitBreakerLayer::builder().build().expect("the default"))
            .layer(bulkhead.expect("it is consistent"))
            .layer(theirs::timelimiter::TimeLimiterLayer::builder().timeout_duration(FAR).build());
        Tower(stack.service(inner))
    });
    each!(all.add, "seatbelt, four layers", |inner| Layered(seatbelt::stack(inner)));
    each!(all.add, "seatbelt, four layers of tower", |inner| Tower(seatbelt::stack(inner)));
    each!(all.add, "tower, four layers", |inner| {
        let stack = ServiceBuilder::new()
            .layer(tower_own::retry(true))
            .layer(LoadShedLayer::new())
            .layer(ConcurrencyLimitLayer::new(64))
            .layer(tower::timeout::TimeoutLayer::new(FAR));
        Tower(stack.service(inner))
    });
}
