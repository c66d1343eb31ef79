//! Every stack under contract: one line each.

use std::{future::pending, time::Duration};

use moneta_resilience::{
    BoxError, CallError,
    bulkhead::{BulkheadLayer, Gradient},
    circuit_breaker::CircuitBreakerLayer,
    fallback::{FallbackLayer, Why},
    fault::{FaultLayer, Faults},
    golden::{self, ClientBuilder, Limit, Missing},
    hedge::HedgeLayer,
    load_shed::ThrottleLayer,
    retry::RetryLayer,
    telemetry::TelemetryLayer,
    timeout::TimeoutLayer,
};
use tokio::time::sleep;
use tower::{
    Service, ServiceBuilder, ServiceExt,
    layer::{layer_fn, util::Identity},
    limit::ConcurrencyLimit,
    service_fn,
};

use super::{
    After, Ask, Contract,
    probe::{Act, Inner},
};

const LIMIT: Duration = Duration::from_secs(2);
/// When a call is sent a second time: while it takes a while, and between two polls by hand.
const HEDGE: Duration = Duration::from_millis(5);

/// What a fallback takes: longer than the time between two polls by hand.
const WHILE: Duration = Duration::from_millis(70);

/// A module with one test per law.
macro_rules! contract {
    ($name:ident, $contract:expr) => {
        contract!($name, $contract, [
            the_service_is_ready_before_each_call
            a_service_that_never_gets_ready_holds_nobody
            a_service_that_hangs_is_let_go
            one_place_inside_is_enough
            a_call_dropped_at_any_point_leaves_nothing_held
            callers_that_leave_make_room_for_the_others
            a_panic_inside_wedges_nothing
            the_services_error_passes_unchanged
            state_is_shared_and_a_refusal_comes_from_the_call
        ]);
    };
    ($name:ident, $contract:expr, [$($law:ident)*]) => {
        mod $name {
            use super::*;

            $(
                #[tokio::test(start_paused = true)]
                async fn $law() {
                    $contract.$law().await;
                }
            )*
        }
    };
}

contract!(nothing, Contract::new(Identity::new()));
contract!(timeout, Contract::new(TimeoutLayer::new(LIMIT)).always_ready().ends_by(LIMIT));
contract!(retry, Contract::new(RetryLayer::new().seed(1)));
contract!(hedge, Contract::new(HedgeLayer::new().delay(HEDGE)));
contract!(
    circuit_breaker,
    Contract::new(CircuitBreakerLayer::new()).refuses(After::Calls(20, Act::Fail), true)
);
contract!(
    circuit_breaker_per_key,
    Contract::new(CircuitBreakerLayer::new().per_key(|_: &Ask| 1)).refuses(After::Calls(20, Act::Fail), true)
);
contract!(bulkhead, Contract::new(BulkheadLayer::new(8).max_queue(0)).refuses(After::Pending(8), false));
contract!(
    bulkhead_that_adapts,
    Contract::new(BulkheadLayer::new(Gradient::new().start(8)).max_queue(0))
        .refuses(After::Pending(8), false)
);
contract!(
    bulkhead_with_shares,
    Contract::new(BulkheadLayer::new(16).max_queue(0).partition_by(1, |_: &Ask| ()))
        .refuses(After::Pending(8), false)
);
contract!(
    bulkhead_with_priorities,
    Contract::new(BulkheadLayer::new(10).priorities()).refuses(After::Pending(9), false)
);
contract!(bulkhead_with_one_place, Contract::new(BulkheadLayer::new(1)));
contract!(throttle, Contract::new(ThrottleLayer::new()));
contract!(fallback, Contract::with_fallback(FallbackLayer::new(|_| Ok(1))));
contract!(
    fallback_that_takes_time,
    Contract::with_fallback(FallbackLayer::from_async(|_| async {
        sleep(WHILE).await;
        Ok(1)
    }))
);
contract!(
    fallback_service,
    Contract::with_fallback(FallbackLayer::from_service(ConcurrencyLimit::new(service_fn(late), 1)))
);
contract!(
    fallback_on_demand,
    Contract::with_fallback(FallbackLayer::new(|_| Ok(1)).when(|end| end.response() != Some(&7)))
);
contract!(fault_hook, Contract::new(FaultLayer::new(Faults::seeded(1))));
contract!(telemetry, Contract::new(TelemetryLayer::new("contract")));
contract!(
    five_by_hand,
    Contract::with_fallback(
        ServiceBuilder::new()
            .layer(FallbackLayer::new(|_| Ok(1)))
            .layer(RetryLayer::new().seed(1))
            // A call is three attempts, so a streak of five is no longer five calls.
            .layer(CircuitBreakerLayer::new().without_consecutive_failures())
            .layer(BulkheadLayer::new(8))
            .layer(TimeoutLayer::new(LIMIT))
    )
);
contract!(
    golden_client,
    Contract::with_fallback(layer_fn(|inner| client("contract").fallback(|_| Ok(1)).service(inner)))
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
);
contract!(
    golden_client_with_a_fallback_that_hangs,
    Contract::new(layer_fn(|inner| {
        let hangs_when_cut = async |why: Why| match why.rejected() {
            Some(_) => pending().await,
            None => Err(why.into_error()),
        };
        client("contract").fallback_async(hangs_when_cut).service(inner)
    }))
    .always_ready()
    .ends_by(LIMIT)
    .built_anew()
);
contract!(
    golden_client_that_falls_back_on_the_same_service,
    Contract::new(layer_fn(|inner: Inner<u32>| {
        client("contract").fallback_service(inner.clone()).service(inner)
    }))
    .always_ready()
    .ends_by(LIMIT)
    .built_anew()
    .refuses(After::Calls(20, Act::Fail), true)
);
contract!(
    golden_client_without_fallback,
    Contract::new(layer_fn(|inner| client("contract").no_fallback().service(inner)))
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
);
contract!(
    golden_client_that_hedges,
    Contract::new(layer_fn(|inner| {
        // A call of two copies is two failures, so a streak of five is no longer five calls.
        let breaker = CircuitBreakerLayer::new().without_consecutive_failures();
        let builder = client("contract").no_fallback().circuit_breaker(breaker);
        builder.hedge(HedgeLayer::new().delay(HEDGE)).service(inner)
    }))
    .always_ready()
    .ends_by(LIMIT)
    .built_anew()
    .refuses(After::Calls(20, Act::Fail), true)
);
contract!(
    golden_calls,
    Contract::new(layer_fn(calls))
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
);

/// Answers after a while.
async fn late(_: Ask) -> Result<u32, BoxError> {
    sleep(WHILE).await;
    Ok(1)
}

fn calls(
    inner: Inner<u32>,
) -> impl Service<Ask, Response = u32, Error = BoxError, Future: Send> + Clone + Send + Sync {
    let calls = client("contract").no_fallback().calls();
    service_fn(move |ask: Ask| {
        let (calls, inner) = (calls.clone(), inner.clone());
        async move { calls.run_repeatable(|| inner.clone().oneshot(ask)).await.map_err(CallError::into_inner) }
    })
}

fn client(name: &str) -> ClientBuilder<Limit, Missing> {
    golden::client(name).timeout(LIMIT)
}

#[cfg(feature = "rate-limit")]
mod rate_limited {
    use moneta_resilience::{Quota, rate_limit::RateLimitLayer};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    contract!(rate_limit, Contract::new(RateLimitLayer::new(Quota::per_second(1_000_000))));
    // Whoever moves up in its line still waits for time to pass: `rate_limit::tests` has that law.
    contract!(
        rate_limit_in_line,
        Contract::new(RateLimitLayer::new(Quota::per_second(1000).burst(1)).max_wait(HOUR)),
        [
            the_service_is_ready_before_each_call
            a_service_that_never_gets_ready_holds_nobody
            a_service_that_hangs_is_let_go
            one_place_inside_is_enough
            a_call_dropped_at_any_point_leaves_nothing_held
            a_panic_inside_wedges_nothing
            the_services_error_passes_unchanged
        ]
    );
    contract!(
        rate_limit_reached,
        Contract::new(RateLimitLayer::new(Quota::per(20, HOUR)))
            .refuses(After::Calls(20, Act::Answer), false),
        [state_is_shared_and_a_refusal_comes_from_the_call]
    );
    contract!(
        golden_client,
        Contract::new(layer_fn(|inner| {
            let limit = RateLimitLayer::new(Quota::per_second(1_000_000));
            client("contract").no_fallback().rate_limit(limit).service(inner)
        }))
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
    );
}

#[cfg(feature = "http")]
mod http {
    use ::http::{Request, Response};
    use moneta_resilience::{
        http::{BodyTimeoutLayer, ServerTelemetryLayer, Stale, StaleCache},
        respond::RespondLayer,
    };

    use super::*;

    contract!(
        respond,
        Contract::with(
            RespondLayer::new(),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
        .answers_failures()
    );
    contract!(
        server_telemetry,
        Contract::with(
            ServerTelemetryLayer::new("contract"),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
    );
    contract!(
        body_timeout,
        Contract::with(
            BodyTimeoutLayer::new().total(LIMIT),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
    );
    contract!(
        bulkhead_until_body_end,
        Contract::with(
            BulkheadLayer::new(8).max_queue(0).until_body_end(),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
        .refuses(After::Pending(8), false)
    );
    contract!(
        stale_cache,
        Contract::with(
            StaleCache::new().layer(),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.extensions().get::<Stale>().is_none(),
        )
        .answers_failures()
    );
    contract!(
        golden_client_with_a_stale_cache,
        Contract::with(
            layer_fn(|inner| client("contract").stale_cache(StaleCache::new()).http(inner)),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.extensions().get::<Stale>().is_none(),
        )
        .answers_failures()
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
    );
    contract!(
        golden_client,
        Contract::with(
            layer_fn(|inner| client("contract").no_fallback().http(inner)),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true)
    );
    contract!(
        golden_server,
        Contract::with(
            golden::server("contract").timeout(LIMIT).bulkhead(8).layer(),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
        .answers_failures()
        .always_ready()
        .ends_by(LIMIT)
        .refuses(After::Pending(8), true)
    );
}

#[cfg(feature = "grpc")]
mod grpc {
    use ::http::{Request, Response};
    use moneta_resilience::grpc;

    use super::*;

    contract!(
        golden_grpc_server,
        Contract::with(
            golden::server("contract").timeout(LIMIT).bulkhead(8).grpc_layer(),
            || Request::new(()),
            || Response::new(String::new()),
            |answer| !answer.headers().contains_key("grpc-status"),
        )
        .answers_failures()
        .always_ready()
        .ends_by(LIMIT)
        .refuses(After::Pending(8), true)
    );

    // The service's error is the source of a status, not the error itself.
    contract!(
        golden_grpc_client,
        Contract::with(
            layer_fn(|inner| client("contract").no_fallback().grpc(inner)),
            || Request::new(tonic::body::Body::empty()),
            || grpc::reply("9312"),
            |answer| !answer.headers().contains_key("grpc-status"),
        )
        .always_ready()
        .ends_by(LIMIT)
        .built_anew()
        .refuses(After::Calls(20, Act::Fail), true),
        [
            the_service_is_ready_before_each_call
            a_service_that_never_gets_ready_holds_nobody
            a_service_that_hangs_is_let_go
            one_place_inside_is_enough
            a_call_dropped_at_any_point_leaves_nothing_held
            callers_that_leave_make_room_for_the_others
            a_panic_inside_wedges_nothing
            state_is_shared_and_a_refusal_comes_from_the_call
        ]
    );
}

/// A handler under a key runs on when its caller leaves, which two of the laws would not have.
#[cfg(feature = "idempotency")]
mod idempotency {
    use std::sync::atomic::{AtomicU32, Ordering};

    use ::http::{Request, Response};
    use bytes::Bytes;
    use moneta_resilience::{
        KeyRefusal,
        idempotency::{
            By, Ended, Fingerprint, IdempotencyLayer, Identify, Identity, Keyed, MemoryStore, Replay,
        },
    };

    use super::*;

    const RUN: Duration = Duration::from_secs(30);

    /// Each call has a key of its own, or none has one.
    struct Keys {
        given: Option<AtomicU32>,
    }

    impl Identify<Ask> for Keys {
        fn identify(&self, _: &Ask) -> Result<Option<Keyed>, KeyRefusal> {
            Ok(self.given.as_ref().map(|given| {
                let key = given.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                Keyed { id: Identity::of(b"", b"ask", &key), fingerprint: Fingerprint::of([]) }
            }))
        }
    }

    impl Replay for Keys {
        type Response = u32;

        fn capture(&self, result: Result<&u32, &BoxError>) -> Ended {
            result.map_or(Ended::InDoubt, |number| {
                Ended::Done(Bytes::copy_from_slice(&number.to_be_bytes()).into())
            })
        }

        fn replay(&self, kept: Bytes) -> Option<Result<u32, BoxError>> {
            kept[..].try_into().ok().map(|number| Ok(u32::from_be_bytes(number)))
        }
    }

    fn layer(given: Option<AtomicU32>) -> IdempotencyLayer<MemoryStore, By<Keys>> {
        IdempotencyLayer::by(MemoryStore::new(), Keys { given }).run_limit(RUN)
    }

    contract!(without_keys, Contract::new(layer(None)));
    contract!(
        with_keys,
        Contract::new(layer(Some(AtomicU32::new(0)))).ends_by(RUN),
        [
            the_service_is_ready_before_each_call
            a_service_that_never_gets_ready_holds_nobody
            a_service_that_hangs_is_let_go
            one_place_inside_is_enough
            a_panic_inside_wedges_nothing
            the_services_error_passes_unchanged
        ]
    );
    contract!(
        golden_server,
        Contract::with(
            golden::server("contract").timeout(LIMIT).bulkhead(8).idempotency(MemoryStore::new()).layer(),
            || Request::new(String::new()),
            || Response::new(String::new()),
            |answer| answer.status().is_success(),
        )
        .answers_failures()
        .always_ready()
        .ends_by(LIMIT)
        .refuses(After::Pending(8), true)
    );

    #[cfg(feature = "grpc")]
    contract!(
        golden_grpc_server,
        Contract::with(
            golden::server("contract")
                .timeout(LIMIT)
                .bulkhead(8)
                .idempotency(MemoryStore::new())
                .grpc_layer(),
            || Request::new(String::new()),
            || Response::new(String::new()),
            |answer| !answer.headers().contains_key("grpc-status"),
        )
        .answers_failures()
        .always_ready()
        .ends_by(LIMIT)
        .refuses(After::Pending(8), true)
    );
}
