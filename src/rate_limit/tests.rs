//! The layer, in front of services, on a paused clock.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::{RateLimitLayer, RateLimitPolicy, keys::Buckets};
use crate::{
    Class, Deadline, Name, Quota, Reason, Registry, Rejected,
    event::RateLimitResult,
    observer::Observer,
    policy::{Leaf, Stack},
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

type Outcome = Result<Instant, BoxError>;

/// Answers with the instant at which it was called.
async fn served(_: u32) -> Outcome {
    Ok(Instant::now())
}

fn refusal(outcome: Outcome) -> (Reason, Option<Duration>) {
    let error = outcome.expect_err("it is refused");
    let rejected = Rejected::find(&*error).expect("by the limit");
    (rejected.reason(), rejected.retry_after())
}

fn observer() -> Observer {
    Registry::new().observer(&Name::literal("ledger"))
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_the_quota_is_refused_with_the_exact_wait() {
    let service = RateLimitLayer::new(Quota::per_second(10).burst(3)).layer(service_fn(served));
    for _ in 0..3 {
        service.clone().oneshot(0).await.expect("within the burst");
    }
    for _ in 0..5 {
        let outcome = service.clone().oneshot(0).await;
        assert_eq!(refusal(outcome), (Reason::RateLimited, Some(100 * MS)));
    }
    advance(99 * MS).await;
    assert_eq!(refusal(service.clone().oneshot(0).await), (Reason::RateLimited, Some(MS)));
    advance(MS).await;
    service.clone().oneshot(0).await.expect("it came back when it was told to");
    assert_eq!(refusal(service.oneshot(0).await).1, Some(100 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_knows_the_quota_and_says_nothing_about_the_dependency() {
    let quota = Quota::per(6, 60 * SECOND).burst(1);
    let service = RateLimitLayer::new(quota).layer(service_fn(served));
    service.clone().oneshot(0).await.expect("within the burst");
    let error = service.oneshot(0).await.expect_err("over it");
    let rejected = Rejected::find(&*error).expect("by the limit");
    assert_eq!((rejected.quota(), rejected.retry_after()), (Some(quota), Some(10 * SECOND)));
    assert_eq!(rejected.reason().class(), Class::Neutral);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_served_in_order_one_each_interval() {
    let layer = RateLimitLayer::new(Quota::per_second(10).burst(2)).max_wait(SECOND);
    let service = layer.layer(service_fn(served));
    let began = Instant::now();
    let all = join_all((0..10).map(|n| service.clone().oneshot(n))).await;
    let after: Vec<_> =
        all.into_iter().map(|at| at.expect("there is room for ten").duration_since(began)).collect();
    let expected: Vec<_> = [0, 0, 100, 200, 300, 400, 500, 600, 700, 800].map(|ms| ms * MS).into();
    assert_eq!(after, expected);
}

#[tokio::test(start_paused = true)]
async fn whoever_could_not_be_served_in_time_is_refused_at_once() {
    let layer = RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(250 * MS);
    let service = layer.layer(service_fn(served));
    service.clone().oneshot(0).await.expect("the burst");
    let mut line: Vec<_> = (0..2).map(|n| spawn(service.clone().oneshot(n))).collect();
    for call in &mut line {
        assert_pending!(call.poll());
    }
    // The third would be served in 300 ms.
    let outcome = assert_ready!(spawn(service.clone().oneshot(9)).poll());
    assert_eq!(refusal(outcome), (Reason::RateLimited, Some(300 * MS)));
    // With less time of its own, it is refused sooner still, and told the same.
    let hurried = Deadline::after(50 * MS).scope(service.clone().oneshot(9));
    assert_eq!(refusal(assert_ready!(spawn(hurried).poll())), (Reason::RateLimited, Some(300 * MS)));
    for call in line {
        call.await.expect("it was told that it would be served");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_the_line_leaves_nothing_behind() {
    let layer = RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(SECOND);
    for leaver in 0..4 {
        let service = layer.clone().max_wait(SECOND).layer(service_fn(served));
        let began = Instant::now();
        service.clone().oneshot(0).await.expect("the burst");
        let mut line: Vec<_> = (0..4).map(|n| spawn(service.clone().oneshot(n))).collect();
        for call in &mut line {
            assert_pending!(call.poll());
        }
        drop(line.remove(leaver));
        let after: Vec<_> = join_all(line).await.into_iter().map(|at| at.expect("in time") - began).collect();
        assert_eq!(after, [100 * MS, 200 * MS, 300 * MS], "the {leaver}th left");
    }
}

#[tokio::test(start_paused = true)]
async fn no_newcomer_passes_the_line() {
    let layer = RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(SECOND);
    let service = layer.layer(service_fn(served));
    service.clone().oneshot(0).await.expect("the burst");
    let mut waiting = spawn(service.clone().oneshot(1));
    assert_pending!(waiting.poll());
    // There is a cell now, and the one it belongs to was not polled yet.
    advance(150 * MS).await;
    let mut newcomer = spawn(service.oneshot(2));
    assert_pending!(newcomer.poll());
    assert!(assert_ready!(waiting.poll()).is_ok());
    assert_pending!(newcomer.poll());
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_quota_of_its_own() {
    let layer = RateLimitLayer::new(Quota::per_second(1)).key_by(|n: &u32| *n);
    let service = layer.layer(service_fn(served));
    for key in 0..100 {
        service.clone().oneshot(key).await.expect("the first of its key");
        assert_eq!(refusal(service.clone().oneshot(key).await), (Reason::RateLimited, Some(SECOND)));
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_take_bounded_memory_and_idle_ones_make_room() {
    use super::bucket::Entry;

    let buckets = Buckets::new(Quota::per_second(1).burst(2), 160);
    let enter = |key| buckets.enter(Some(key), Instant::now(), None);
    let admitted = |key| matches!(enter(key), Entry::Admitted);
    for key in 0..10_000 {
        enter(key);
    }
    assert_eq!(buckets.len(), 160);
    // Whoever was known before the flood still has its own quota; the newcomers have one together, which is used up.
    assert!(admitted(0));
    assert!(!admitted(10_000));
    advance(2 * SECOND).await;
    for key in 20_000..20_100 {
        assert_eq!([admitted(key), admitted(key), admitted(key)], [true, true, false], "{key}");
    }
    assert_eq!(buckets.len(), 160);
}

#[tokio::test(start_paused = true)]
async fn the_quota_changes_while_it_runs_and_setting_the_same_changes_nothing() {
    let (slow, fast) = (Quota::per_second(1), Quota::per_second(5));
    let layer = RateLimitLayer::new(slow);
    let (service, handle) = (layer.layer(service_fn(served)), layer.handle());
    service.clone().oneshot(0).await.expect("the only one");
    handle.set_quota(slow);
    assert_eq!(refusal(service.clone().oneshot(0).await).1, Some(SECOND));
    handle.set_quota(fast);
    assert_eq!(handle.quota(), fast);
    for _ in 0..5 {
        service.clone().oneshot(0).await.expect("a full burst");
    }
    assert_eq!(refusal(service.oneshot(0).await).1, Some(200 * MS));
}

#[tokio::test(start_paused = true)]
async fn every_call_is_counted_once_as_what_became_of_it() {
    let observer = observer();
    let layer = RateLimitLayer::new(Quota::per_second(10).burst(1)).max_wait(150 * MS);
    let service = layer.observer(observer.clone()).layer(service_fn(served));
    service.clone().oneshot(0).await.expect("the burst");
    let mut waiting = spawn(service.clone().oneshot(0));
    assert_pending!(waiting.poll());
    assert_ready!(spawn(service.clone().oneshot(0)).poll()).expect_err("too late for the line");
    waiting.await.expect("in time");
    let mut leaver = spawn(service.oneshot(0));
    assert_pending!(leaver.poll());
    drop(leaver);
    let counts = RateLimitResult::ALL.map(|result| observer.cells().rate_limiter(result));
    assert_eq!(counts, [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_off_admits_all_and_counts_none() {
    let observer = observer();
    let policy: RateLimitPolicy<Leaf> = RateLimitPolicy::off(observer.clone(), Leaf::default());
    assert!(policy.handle().is_none());
    let service = Stack::new(Arc::new(policy), service_fn(served));
    for _ in 0..10 {
        service.send(0).await.expect("nothing limits it");
    }
    assert_eq!(observer.cells().rate_limiter(RateLimitResult::Admitted), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stood_still_for_years_is_no_matter() {
    let service = RateLimitLayer::new(Quota::per_second(1).burst(5)).layer(service_fn(served));
    advance(SECOND * 86_400 * 3650).await;
    for _ in 0..5 {
        service.clone().oneshot(0).await.expect("no more than the burst was saved up");
    }
    assert_eq!(refusal(service.oneshot(0).await).1, Some(SECOND));
}

/// Calls that come after pauses, wait for so long at most and are dropped after a while.
#[derive(Clone, Debug)]
struct Visit {
    pause: u64,
    patience: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes, in no stretch of time more calls begin than the quota has, and nobody who stays is lost.
    #[test]
    fn the_quota_is_never_passed(
        burst in 1_u32..5,
        visits in prop::collection::vec((0_u64..60, 0_u64..400).prop_map(|(pause, patience)| Visit { pause, patience }), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let times = runtime.block_on(async {
            let layer = RateLimitLayer::new(Quota::per_second(50).burst(burst)).max_wait(300 * MS);
            let service = layer.layer(service_fn(served));
            let mut calls = Vec::new();
            for visit in visits {
                sleep(Duration::from_millis(visit.pause)).await;
                let call = tokio::time::timeout(Duration::from_millis(visit.patience), service.clone().oneshot(0));
                calls.push(tokio::spawn(call));
            }
            let ended = join_all(calls).await.into_iter().map(|call| call.expect("no panic"));
            let mut times: Vec<Instant> = ended.filter_map(|call| call.ok()?.ok()).collect();
            times.sort();
            // The line is empty and the quota whole again.
            sleep(SECOND).await;
            for _ in 0..burst {
                service.clone().oneshot(0).await.expect("nothing was lost");
            }
            times
        });
        for (first, &start) in times.iter().enumerate() {
            for (last, &end) in times.iter().enumerate().skip(first) {
                let allowed = u128::from(burst) + (end - start).as_millis() / 20;
                prop_assert!((last - first + 1) as u128 <= allowed, "{} in {:?}", last - first + 1, end - start);
            }
        }
    }
}
