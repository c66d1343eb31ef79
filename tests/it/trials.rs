//! What is counted of the calls of an experiment: what their callers notice, and not what their attempts did.

use std::{io, time::Duration};

use moneta_resilience::{
    BoxError, Class, Ratio, Registry,
    circuit_breaker::CircuitBreakerLayer,
    fault::{Armed, Fault, Faults, Outcomes, Target},
    golden::{self, Calls},
};

const LIMIT: Duration = Duration::from_secs(1);
const CALLS: u64 = 100;

fn ledger(breaker: CircuitBreakerLayer) -> Calls {
    let builder = golden::client("ledger").timeout(LIMIT).no_fallback().circuit_breaker(breaker);
    builder.faults(Faults::seeded(7)).registry(&Registry::new()).calls()
}

/// One that these calls do not open.
fn patient() -> CircuitBreakerLayer {
    let one = Ratio::percent(100);
    CircuitBreakerLayer::new().minimum_calls(1_000_000).outage(one, 1_000_000).without_consecutive_failures()
}

/// Long enough for the budget of retries.
async fn pause() {
    tokio::time::sleep(10 * LIMIT).await;
}

fn arm(ledger: &Calls, fault: Fault) -> Armed {
    ledger.handle().faults().arm(fault.experiment("broken-ledger").lasting(100_000 * LIMIT))
}

fn both(armed: &Armed) -> (Outcomes, Outcomes) {
    (armed.hit_outcomes().unwrap(), armed.control_outcomes().unwrap())
}

async fn fine() -> io::Result<u32> {
    Ok(7)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_recovers_by_a_retry_is_good_for_its_caller() {
    let ledger = ledger(patient());
    let armed = arm(&ledger, Fault::error(Class::TRANSIENT).target(Target::Attempt(1)));
    for _ in 0..CALLS {
        ledger.run_repeatable(fine).await.unwrap();
        pause().await;
    }
    let (hit, control) = both(&armed);
    assert_eq!((hit.good, hit.total(), control.total()), (CALLS, CALLS, 0));
    assert!(
        hit.quantile(Ratio::percent(50)) > Some(Duration::from_millis(1)),
        "the wait for the retry is in it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_counted_apart_and_a_failure_is_bad() {
    let ledger = ledger(patient());
    let armed = arm(&ledger, Fault::error(Class::Fault));
    for _ in 0..CALLS {
        ledger.run_or(fine, |_why| Ok(6)).await.unwrap();
        ledger.run(fine).await.unwrap_err();
    }
    let (hit, _) = both(&armed);
    assert_eq!((hit.degraded, hit.bad, hit.answered(), hit.failed()), (CALLS, CALLS, CALLS, CALLS));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_breaker_refuses_is_in_its_group_nevertheless() {
    let ledger = ledger(CircuitBreakerLayer::new().consecutive_failures(5));
    let armed = arm(&ledger, Fault::error(Class::Fault).on(Ratio::percent(50)));
    for _ in 0..CALLS {
        _ = ledger.run(fine).await;
    }
    let (hit, control) = both(&armed);
    assert_eq!(
        hit.total() + control.total(),
        CALLS,
        "half is hit, and the other half is what it is compared with"
    );
    assert!(armed.hit() < hit.total(), "the breaker let few of them reach the fault");
    assert!(control.bad > control.good, "who is not hit suffers from the breaker, too: {control:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_counted_apart() {
    let ledger = ledger(patient());
    let armed = arm(&ledger, Fault::hang());
    for _ in 0..CALLS {
        let patience = LIMIT / 4;
        tokio::time::timeout(patience, ledger.run(fine)).await.unwrap_err();
    }
    let (hit, _) = both(&armed);
    assert_eq!((hit.cancelled, hit.total(), hit.slower_than(LIMIT / 5)), (CALLS, CALLS, CALLS));
}

#[tokio::test(start_paused = true)]
async fn a_call_between_two_polls_on_two_threads_is_counted_once_where_it_is_enrolled() {
    let ledger = ledger(patient());
    let armed = arm(&ledger, Fault::latency(LIMIT / 2));
    let mut call = tokio_test::task::spawn(async move { ledger.run(fine).await });
    assert!(call.poll().is_pending());
    tokio::time::advance(LIMIT / 2).await;
    // The call begins on this thread, and ends on that one; a call of no experiment meets it there.
    let runtime = tokio::runtime::Handle::current();
    let there = std::thread::spawn(move || {
        let _inside = runtime.enter();
        let other = self::ledger(patient());
        assert!(tokio_test::task::spawn(other.run(fine)).poll().is_ready());
        call.poll().is_ready()
    });
    assert!(there.join().unwrap());
    let (hit, control) = both(&armed);
    assert_eq!((hit.good, hit.total(), control.total()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_called_within_a_call_is_not_counted_for_it() {
    let (outer, inner) = (ledger(patient()), ledger(patient()));
    let [outer_armed, inner_armed] = [&outer, &inner].map(|ledger| arm(ledger, Fault::latency(LIMIT / 8)));
    let nested = || async { inner.run(fine).await.map_err(BoxError::from) };
    outer.run(nested).await.unwrap();
    assert_eq!(both(&outer_armed).0.total(), 1);
    assert_eq!(both(&inner_armed).0.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_growing_share_keeps_what_was_counted_and_a_dead_fault_counts_no_more() {
    let ledger = ledger(patient());
    let armed = arm(&ledger, Fault::latency(Duration::from_millis(1)).on(Ratio::ZERO));
    let mut before = 0;
    for percent in [0, 10, 50] {
        armed.set_share(Ratio::percent(percent)).unwrap();
        for _ in 0..CALLS {
            ledger.run(fine).await.unwrap();
        }
        let hit = both(&armed).0.total();
        assert!(if percent == 0 { hit == 0 } else { hit > before }, "{hit} at {percent} %");
        before = hit;
    }
    armed.disarm();
    ledger.run(fine).await.unwrap();
    assert_eq!(both(&armed).0.total(), before);
    assert!(ledger.handle().faults().arm(Fault::hang()).hit_outcomes().is_none(), "it is no experiment's");
}

#[cfg(feature = "http")]
mod http {
    use std::convert::Infallible;

    use ::http::{Request, Response, StatusCode};
    use http_body_util::{BodyExt, Full};
    use moneta_resilience::fault::Unit;
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_counts_its_requests_with_the_end_of_their_answers_and_units_are_sticky() {
        let layer = golden::server("accounts").timeout(LIMIT).registry(&Registry::new()).layer();
        let faults = layer.handle().ingress_faults().unwrap().clone();
        let server = layer.layer(service_fn(|_: Request<Full<bytes::Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::from("42")))
        }));
        let unit = Unit::Header("x-account".into());
        let fault = Fault::error(Class::Fault).experiment("broken").sticky(unit).on(Ratio::percent(50));
        let armed = faults.arm(fault);
        let mut hit_units = 0;
        for account in 0..CALLS {
            let mut failed = Vec::new();
            for _ in 0..2 {
                let request = Request::builder().header("x-account", account).body(Full::default()).unwrap();
                let answer = server.clone().oneshot(request).await.unwrap();
                failed.push(answer.status() == StatusCode::INTERNAL_SERVER_ERROR);
                answer.into_body().collect().await.unwrap();
            }
            assert_eq!(failed[0], failed[1], "account {account}");
            hit_units += u64::from(failed[0]);
        }
        let (hit, control) = both(&armed);
        assert_eq!((hit.bad, hit.total()), (2 * hit_units, 2 * hit_units));
        assert_eq!((control.good, control.total()), (2 * (CALLS - hit_units), 2 * (CALLS - hit_units)));
    }
}
