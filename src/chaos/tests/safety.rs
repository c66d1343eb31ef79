//! That nothing stays armed.

use tokio::{sync::Notify, task::JoinSet, time::Instant};

use super::*;
use crate::{event::FaultKind, fault::KillSwitch};

fn injected(ledger: &Ledger) -> u64 {
    ledger.calls.handle().counts().faults(FaultKind::Latency)
}

/// Half of the calls are hit after some 50 seconds.
fn slow() -> Experiment {
    experiment(Fault::latency(MILLI)).step(Step::new(Ratio::percent(50)).hold(3_600 * SECOND))
}

#[tokio::test(start_paused = true)]
async fn the_faults_of_a_run_that_nobody_polls_end_with_their_lease() {
    let ledger = ledger();
    let [stop, go] = [(); 2].map(|()| Arc::new(Notify::new()));
    let (mut run, hang, wake) = (lab(&ledger).run(slow()).expect("it is valid"), stop.clone(), go.clone());
    // Its task lives and hangs: nobody drops it, and nobody disarms.
    let controller = tokio::spawn(async move {
        tokio::select! {
            report = &mut run => return report,
            () = hang.notified() => wake.notified().await,
        }
        run.await
    });
    sleep(100 * SECOND).await;
    stop.notify_one();
    tokio::task::yield_now().await;
    let before = injected(&ledger);
    sleep(5 * SECOND).await;
    assert!(injected(&ledger) > before, "the lease is not over");
    sleep(5 * SECOND).await;
    let at_its_end = injected(&ledger);
    assert!(nothing_is_armed(&ledger));
    sleep(100 * SECOND).await;
    assert_eq!(injected(&ledger), at_its_end);

    // And when it is polled again it says so.
    go.notify_one();
    let report = controller.await.expect("no panic");
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    assert!(told(&report).contains(&"expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_disarms_at_once() {
    let ledger = ledger();
    let controller = tokio::spawn(lab(&ledger).run(slow()).expect("it is valid"));
    sleep(100 * SECOND).await;
    assert!(!nothing_is_armed(&ledger) && injected(&ledger) > 0);
    controller.abort();
    assert!(controller.await.expect_err("it was killed").is_cancelled());
    assert!(nothing_is_armed(&ledger));
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_a_grip_calls_it_off_and_no_injection_follows() {
    let ledger = ledger();
    let run = lab(&ledger).run(slow()).expect("it is valid");
    let grip = run.grip();
    let controller = tokio::spawn(run);
    sleep(100 * SECOND).await;
    grip.abort("ada", "customers call");
    assert!(nothing_is_armed(&ledger));
    let before = injected(&ledger);
    let report = controller.await.expect("no panic");
    assert_eq!((report.verdict(), report.why()), (Verdict::Aborted, "by ada: customers call"));
    assert_eq!((report.injected_after_abort(), injected(&ledger)), (Some(Duration::ZERO), before));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_called_off_before_it_begins_arms_nothing() {
    let ledger = ledger();
    let run = lab(&ledger).run(slow()).expect("it is valid");
    run.grip().abort("ada", "not today");
    let report = run.await;
    assert_eq!(report.verdict(), Verdict::NotStarted, "{report}");
    assert_eq!(injected(&ledger), 0);
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_ends_a_run_and_every_call_that_it_holds_goes_on() {
    let switch = KillSwitch::new();
    let ledger = ledger_of(patient(), Faults::under(&switch));
    let slow =
        experiment(Fault::latency(30 * SECOND)).step(Step::new(Ratio::percent(50)).hold(3_600 * SECOND));
    let controller = tokio::spawn(lab(&ledger).run(slow).expect("it is valid"));
    sleep(100 * SECOND).await;
    let mut held = JoinSet::new();
    for _ in 0..3_000 {
        let calls = ledger.calls.clone();
        held.spawn(async move { calls.run(async || Ok::<_, io::Error>(7)).await });
    }
    // Those that are not hit are answered at once.
    sleep(SECOND).await;
    while let Some(answer) = held.try_join_next() {
        assert_eq!(answer.expect("no panic").expect("nothing is wrong"), 7);
    }
    assert!(held.len() >= 1_000, "{}", held.len());
    sleep(SECOND).await;
    assert!(held.try_join_next().is_none(), "nothing else lets them go");
    let waiting = injected(&ledger);
    let killed = Instant::now();
    switch.engage();
    while let Some(answer) = held.join_next().await {
        assert_eq!(answer.expect("no panic").expect("it goes on to the service"), 7);
    }
    assert!(killed.elapsed() < 100 * MILLI, "{:?}", killed.elapsed());
    let report = controller.await.expect("no panic");
    assert_eq!(report.verdict(), Verdict::Aborted, "{report}");
    assert!(report.why().starts_with("by kill switch"), "{}", report.why());
    assert_eq!(injected(&ledger), waiting);
}
