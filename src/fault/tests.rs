use std::{
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

fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

#[tokio::test(start_paused = true)]
async fn a_disarmed_hook_lets_every_call_pass() {
    let (faults, calls, observer) = (Faults::new(), counter(), observer());
    let service = FaultLayer::new(faults.clone()).observer(observer.clone()).layer(echo!(calls));
    assert_eq!(faults.armed(), None);
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
        faults.arm(Fault::error(class));
        let error = service.clone().oneshot(7).await.expect_err("it is hit");
        assert_eq!(error.downcast_ref().map(InjectedFault::class), Some(class));
        assert_eq!(crate::classify::known(&error), Some(class));
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
    for fault in [Fault::latency(DELAY), Fault::hang()] {
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
async fn arming_another_fault_lets_the_calls_go_that_the_first_one_held() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    faults.arm(Fault::hang());
    let mut held = spawn(service.clone().oneshot(1));
    assert_pending!(held.poll());
    faults.arm(Fault::error(Class::Fault));
    assert!(held.is_woken());
    assert_eq!(assert_ready!(held.poll()).expect("it goes on, and is not hit again"), 1);
    assert_ready!(spawn(service.oneshot(2)).poll()).expect_err("it is hit");
    assert_eq!(faults.armed(), Some(Fault::error(Class::Fault)));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arming_never_lets_go_what_it_holds_itself() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    for n in 0..200 {
        faults.arm(Fault::latency(DELAY));
        let switch = faults.clone();
        let arms = tokio::spawn(async move { switch.arm(Fault::hang()) });
        while faults.armed() != Some(Fault::hang()) {
            std::hint::spin_loop();
        }
        let mut held = spawn(service.clone().oneshot(n));
        assert_pending!(held.poll());
        arms.await.expect("it does not panic");
        assert_pending!(held.poll());
    }
}

#[test]
#[should_panic(expected = "an injected error cannot stand for success")]
fn an_error_that_stands_for_success_is_refused() {
    let _ = Fault::error(Class::Success);
}
