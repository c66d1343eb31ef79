use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

use super::{Fault, FaultLayer, Faults};
use crate::{
    Class, InjectedFault, Name, Ratio, Reason, Registry, Rejected, event::FaultKind, observer::Observer,
    timeout::TimeoutLayer,
};

const DELAY: Duration = Duration::from_millis(300);

fn observer() -> Observer {
    Registry::new().observer(&Name::literal("ledger"))
}

/// A service that answers at once with what it was asked, and how often it was asked.
macro_rules! echo {
    ($calls:ident) => {{
        let calls = $calls.clone();
        service_fn(move |n: u32| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, BoxError>(n) }
        })
    }};
}

// Below the macro that they use.
#[cfg(feature = "http")]
mod answers;
mod limits;
mod safety;
#[cfg(feature = "http")]
mod target;
#[cfg(feature = "fault-file")]
mod written;

fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

#[tokio::test(start_paused = true)]
async fn a_disarmed_hook_lets_every_call_pass() {
    let (faults, calls, observer) = (Faults::new(), counter(), observer());
    let service = FaultLayer::new(faults.clone()).observer(observer.clone()).layer(echo!(calls));
    assert!(faults.armed().is_empty());
    assert_eq!(assert_ready!(spawn(service.oneshot(7)).poll()).expect("it passes"), 7);
    assert!(FaultKind::ALL.iter().all(|&fault| observer.cells().faults(fault) == 0));
}

#[tokio::test(start_paused = true)]
async fn latency_delays_a_call_by_as_much_and_lets_it_pass() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::latency(DELAY));
    let start = Instant::now();
    assert_eq!(service.oneshot(7).await.expect("it passes"), 7);
    assert_eq!(start.elapsed(), DELAY);
}

#[tokio::test(start_paused = true)]
async fn an_error_answers_for_the_service_as_the_class_it_stands_for() {
    let (faults, calls, observer) = (Faults::new(), counter(), observer());
    let service = FaultLayer::new(faults.clone()).observer(observer.clone()).layer(echo!(calls));
    let throttled = Class::Throttled { retry_after: Some(DELAY) };
    for class in [Class::CallerFault, Class::TRANSIENT, throttled, Class::Fault, Class::Neutral] {
        let armed = faults.arm(Fault::error(class));
        let error = service.clone().oneshot(7).await.expect_err("it is hit");
        assert_eq!(error.downcast_ref().map(InjectedFault::class), Some(class));
        assert_eq!(crate::classify::known(&error), Some(class));
        armed.disarm();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(observer.cells().faults(FaultKind::Error), 5);
}

#[tokio::test(start_paused = true)]
async fn a_hang_lasts_until_a_limit_outside_cuts_it_as_a_failure_of_the_dependency() {
    let (faults, calls) = (Faults::new(), counter());
    faults.arm(Fault::hang());
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(DELAY))
        .layer(FaultLayer::new(faults))
        .service(echo!(calls));
    let start = Instant::now();
    let error = service.oneshot(7).await.expect_err("it hangs");
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::Timeout));
    assert_eq!((start.elapsed(), calls.load(Ordering::SeqCst)), (DELAY, 0));
}

#[tokio::test(start_paused = true)]
async fn disarming_wakes_delays_and_hangs_which_go_on_to_the_service() {
    for fault in [Fault::latency(DELAY), Fault::hang(), Fault::hook(pending)] {
        let (faults, calls) = (Faults::new(), counter());
        let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
        faults.arm(fault);
        let mut held = [1, 2, 3].map(|n| spawn(service.clone().oneshot(n)));
        for call in &mut held {
            assert_pending!(call.poll());
        }
        faults.disarm();
        for (n, call) in (1..).zip(&mut held) {
            assert!(call.is_woken());
            assert_eq!(assert_ready!(call.poll()).expect("it goes on"), n);
        }
        assert_eq!(assert_ready!(spawn(service.oneshot(4)).poll()).expect("it is not hit"), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_an_end_of_its_own() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let [first, second] = [(); 2].map(|()| faults.arm(Fault::hang()));
    let mut held = spawn(service.oneshot(1));
    assert_pending!(held.poll());
    first.disarm();
    assert!(held.is_woken());
    assert_pending!(held.poll());
    assert_eq!((first.hit(), second.hit()), (1, 1));
    second.disarm();
    assert_eq!(assert_ready!(held.poll()).expect("it goes on"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_suffers_several_faults_in_the_order_of_their_arming() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::latency(DELAY));
    faults.arm(Fault::latency(2 * DELAY));
    faults.arm(Fault::error(Class::Fault));
    let never = faults.arm(Fault::hang());
    let start = Instant::now();
    service.oneshot(1).await.expect_err("it is hit");
    assert_eq!((start.elapsed(), never.hit()), (3 * DELAY, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_was_never_processed() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::refused());
    let error = service.oneshot(1).await.expect_err("it is refused");
    assert_eq!(crate::classify::known(&error), Some(Class::TRANSIENT));
    assert!(crate::classify::never_processed(&error));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_that_of_a_service_that_did_its_work() {
    let (faults, calls, observer) = (Faults::new(), counter(), observer());
    let service = FaultLayer::new(faults.clone()).observer(observer.clone()).layer(echo!(calls));
    let armed = faults.arm(Fault::lost_answer());
    let error = service.clone().oneshot(1).await.expect_err("it is lost");
    assert_eq!(crate::classify::known(&error), Some(Class::TRANSIENT));
    assert!(!crate::classify::never_processed(&error));
    assert_eq!((calls.load(Ordering::SeqCst), armed.hit()), (1, 1));
    assert_eq!(observer.cells().faults(FaultKind::LostAnswer), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_end_of_the_fault_is_not_lost() {
    let faults = Faults::new();
    let service = FaultLayer::new(faults.clone()).layer(service_fn(|n: u32| async move {
        tokio::time::sleep(DELAY).await;
        Ok::<_, BoxError>(n)
    }));
    let armed = faults.arm(Fault::lost_answer());
    let mut call = spawn(service.oneshot(7));
    assert_pending!(call.poll());
    faults.disarm();
    advance(DELAY).await;
    assert_eq!(assert_ready!(call.poll()).expect("it is not lost"), 7);
    assert_eq!(armed.hit(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_delays_a_call_as_long_as_it_runs_and_its_error_is_the_answer() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let waits = faults.arm(Fault::hook(|| async {
        tokio::time::sleep(DELAY).await;
        Ok(())
    }));
    let start = Instant::now();
    assert_eq!(service.clone().oneshot(7).await.expect("it goes on"), 7);
    assert_eq!(start.elapsed(), DELAY);
    waits.disarm();
    faults.arm(Fault::hook(|| async { Err("the disk is full".into()) }));
    let error = service.oneshot(7).await.expect_err("the hook's");
    assert_eq!((error.to_string().as_str(), calls.load(Ordering::SeqCst)), ("the disk is full", 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_decided_when_it_begins_and_once() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::latency(DELAY));
    let mut held = spawn(service.oneshot(1));
    assert_pending!(held.poll());
    for _ in 0..3 {
        assert_pending!(held.poll());
    }
    advance(DELAY).await;
    assert!(held.is_woken());
    assert_eq!(assert_ready!(held.poll()).expect("it goes on"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_hit_and_a_seed_fixes_which() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let (faults, calls) = (Faults::seeded(seed), counter());
        let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
        faults.arm(Fault::error(Class::Fault).on(Ratio::percent(20)));
        let mut hits = Vec::new();
        for n in 0..10_000 {
            hits.push(service.clone().oneshot(n).await.is_err());
        }
        runs.push(hits);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    for run in runs {
        let hit = run.iter().filter(|&&hit| hit).count();
        assert!((1_850..2_150).contains(&hit), "{hit} of 10 000");
    }
}

#[tokio::test(start_paused = true)]
async fn no_share_hits_nobody() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::hang().on(Ratio::ZERO));
    for n in 0..1_000 {
        assert_ready!(spawn(service.clone().oneshot(n)).poll()).expect("it passes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_it_is_held_never_reaches_the_service() {
    for fault in [Fault::latency(DELAY), Fault::hang()] {
        let (faults, calls) = (Faults::new(), counter());
        let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
        faults.arm(fault);
        for polls in 0..3 {
            let mut call = spawn(service.clone().oneshot(1));
            for _ in 0..polls {
                assert_pending!(call.poll());
            }
        }
        faults.disarm();
        advance(2 * DELAY).await;
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_switch_serves_several_layers() {
    let (faults, calls) = (Faults::new(), counter());
    let services = [(); 2].map(|()| FaultLayer::new(faults.clone()).layer(echo!(calls)));
    faults.arm(Fault::hang());
    let mut held = services.map(|service| spawn(service.oneshot(1)));
    for call in &mut held {
        assert_pending!(call.poll());
    }
    faults.disarm();
    for call in &mut held {
        assert_ready!(call.poll()).expect("it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_stays_held_when_disarming_races_with_it() {
    for _ in 0..200 {
        let (faults, calls) = (Faults::new(), counter());
        let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
        faults.arm(Fault::hang());
        let held: Vec<_> = (0..8).map(|n| tokio::spawn(service.clone().oneshot(n))).collect();
        faults.disarm();
        for call in held {
            call.await.expect("no call panics").expect("it goes on");
        }
    }
}

#[test]
#[should_panic(expected = "an injected error cannot stand for success")]
fn an_error_that_stands_for_success_is_refused() {
    let _ = Fault::error(Class::Success);
}
