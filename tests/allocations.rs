//! Law 5: a call that goes well allocates nothing, whether its service answers at once or on the second poll.
//!
//! The stacks are those of `benches/scenarios`. The counting allocator counts for each thread by itself.

#[path = "../benches/scenarios/mod.rs"]
mod scenarios;

use allocation_counter::measure;

const CALLS: u64 = 100;

#[test]
fn a_call_that_goes_well_allocates_nothing() {
    let mut allocating = Vec::new();
    for mut scenario in scenarios::all() {
        // What is made once, by a first call, is no cost of a call.
        scenario.run(CALLS);
        let allocations = measure(|| scenario.run(CALLS)).count_total;
        if allocations > 0 {
            allocating.push(format!("{}: {allocations} allocations in {CALLS} calls", scenario.name));
        }
    }
    assert!(allocating.is_empty(), "{allocating:#?}");
}

#[test]
fn a_call_through_a_limit_that_adapts_allocates_nothing() {
    use std::{convert::Infallible, future::ready, pin::pin, task};

    use moneta_resilience::bulkhead::BulkheadLayer;
    use tower::{Layer, ServiceExt, service_fn};

    let service =
        BulkheadLayer::adaptive().layer(service_fn(|answer: u64| ready(Ok::<_, Infallible>(answer))));
    let cx = &mut task::Context::from_waker(task::Waker::noop());
    let calls = measure(|| {
        for call in 0..CALLS {
            assert!(pin!(service.clone().oneshot(call)).poll(cx).is_ready());
        }
    });
    assert_eq!(calls.count_total, 0);
}

#[cfg(feature = "slo")]
#[test]
fn an_outcome_that_counts_for_an_objective_allocates_nothing() {
    use moneta_resilience::slo::{ErrorBudget, Objective};

    let budget = ErrorBudget::new(Objective::new("login")).min_events(u64::MAX);
    let record = || (0..CALLS).for_each(|n| budget.record(n % 2 == 0));
    // What is made once for a thread is no cost of an outcome, nor is telling of an alert, of which there is none here.
    record();
    assert_eq!(measure(record).count_total, 0);
    assert_eq!(measure(|| _ = (budget.remaining(), budget.gate(), budget.alerts().count())).count_total, 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(Box::new(std::hint::black_box(1)))).count_total, 1);
}

#[test]
fn ten_thousand_keys_with_a_breaker_each_stay_below_25_mib() {
    use moneta_resilience::circuit_breaker::CircuitBreakerLayer;

    let layer = CircuitBreakerLayer::new().per_key(|key: &u64| *key);
    let handle = layer.handle();
    let kept = measure(|| (0..10_000).for_each(|key| drop(handle.breaker(key)))).bytes_current;
    assert_eq!(handle.keys().len(), 10_000);
    assert!(kept < 25 << 20, "{kept} bytes");
}

#[cfg(feature = "http")]
#[test]
fn the_headers_of_an_attempt_cost_four_allocations() {
    use std::{convert::Infallible, future::ready, pin::pin, task, time::Duration};

    use http::{Request, Response};
    use moneta_resilience::{Registry, golden};

    let builder =
        || golden::client("wire").timeout(Duration::from_secs(30)).no_fallback().registry(&Registry::new());
    let echo = tower::service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let poll = |call: task::Poll<_>| assert!(matches!(call, task::Poll::Ready(Ok::<Response<_>, _>(_))));
    let cx = &mut task::Context::from_waker(task::Waker::noop());

    let (with, without) = (builder().http(echo), builder().without_wire_headers().http(echo));
    // What is made once, by a first call, is no cost of a call.
    for _ in 0..CALLS {
        poll(pin!(with.send(Request::new(()))).poll(cx));
        poll(pin!(without.send(Request::new(()))).poll(cx));
    }
    let wired = measure(|| poll(pin!(with.send(Request::new(()))).poll(cx))).count_total;
    let plain = measure(|| poll(pin!(without.send(Request::new(()))).poll(cx))).count_total;
    assert_eq!((wired, plain), (4, 0));
}

#[cfg(feature = "grpc")]
#[test]
fn what_a_grpc_call_allocates_before_tonic_does() {
    use std::{convert::Infallible, future::ready, pin::pin, task, time::Duration};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use moneta_resilience::{Registry, golden};
    use tonic::body::Body;
    use tower::Service;

    fn count<S: Service<Request<Body>>>(mut client: S) -> u64 {
        let cx = &mut task::Context::from_waker(task::Waker::noop());
        let mut call = || {
            let request = Request::builder().method("POST").uri("/test.Quotes/Get").header("te", "trailers");
            let request = request.body(Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\0"))));
            let request = request.expect("it is well-formed");
            measure(|| {
                let answer = pin!(client.call(request)).poll(cx);
                assert!(matches!(answer, task::Poll::Ready(Ok(_))));
            })
            .count_total
        };
        // What is made once, by a first call, is no cost of a call.
        for _ in 0..CALLS {
            call();
        }
        call()
    }

    let channel = || {
        tower::service_fn(|request: Request<Body>| {
            drop(request);
            let body = Full::new(Bytes::from_static(b"\0\0\0\0\0"));
            ready(Ok::<_, Infallible>(Response::new(body)))
        })
    };
    let builder =
        || golden::client("wire").timeout(Duration::from_secs(30)).no_fallback().registry(&Registry::new());
    let quiet = || builder().without_wire_headers();
    let whole = count(builder().grpc(channel()));
    let counted = [whole, count(quiet().grpc(channel())), count(quiet().without_retry().grpc(channel()))];
    // The body that is recorded and says when it is sent: 4. The copy of the head, in case nobody listens: 4. The time
    // that is left: 3. The answer costs nothing.
    assert_eq!(counted, [4 + 4 + 3, 4 + 4, 4]);
    // The future and the body of the answer.
    assert_eq!(count(builder().grpc(channel()).boxed()), whole + 2);
    let origin = "https://quotes.internal:50051".parse().expect("a scheme and a host");
    assert_eq!(count(builder().grpc(channel()).origin(origin)), whole, "a name for the server costs nothing");
}
