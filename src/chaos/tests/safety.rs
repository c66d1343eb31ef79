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
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let lab = lab(&ledger).audit(move |entry| lock(&tell).push(entry.what.to_string()));
    let controller = tokio::spawn(lab.run(slow()).expect("it is valid"));
    sleep(100 * SECOND).await;
    assert!(!nothing_is_armed(&ledger) && injected(&ledger) > 0);
    controller.abort();
    assert!(controller.await.expect_err("it was killed").is_cancelled());
    assert!(nothing_is_armed(&ledger));
    let last = lock(&told).pop();
    assert_eq!(last.as_deref(), Some("aborted by its task: it was dropped before it was over"));
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
async fn a_run_whose_sink_panics_disarms_and_takes_nothing_else_along() {
    let ledger = ledger();
    let lab = lab(&ledger).audit(|entry| match entry.what {
        Happened::Injected { .. } | Happened::Aborted { .. } => panic!("the disk is full"),
        _ => {}
    });
    let controller = tokio::spawn(lab.run(experiment(Fault::latency(MILLI))).expect("it is valid"));
    assert!(controller.await.expect_err("its sink panicked").is_panic());
    assert!(nothing_is_armed(&ledger));
}

#[tokio::test(start_paused = true)]
async fn an_experiment_runs_once_at_a_time_for_the_same_calls() {
    let ledger = ledger();
    let first = lab(&ledger).run(slow()).expect("it is valid");
    let (grip, first) = (first.grip(), tokio::spawn(first));
    sleep(100 * SECOND).await;
    // Somebody else presses the button again, or arms a fault of that name by hand.
    let report = run(&ledger, slow()).await;
    assert_eq!(report.verdict(), Verdict::NotStarted, "{report}");
    assert!(report.why().contains("is armed for calls that this one may hit as well"), "{}", report.why());
    let by_hand = Fault::latency(MILLI).experiment(report.experiment());
    assert!(ledger.calls.handle().faults().try_arm(by_hand).is_err());
    assert!(!nothing_is_armed(&ledger), "the first goes on");
    grip.abort("ada", "that is enough");
    assert!(first.await.expect("no panic").hit().total() > 0);
}

#[tokio::test(start_paused = true)]
async fn probes_have_time_to_answer_however_short_the_lease_is_said_to_be() {
    let ledger = ledger();
    let lab = lab(&ledger).lease(Duration::ZERO).probe("books", || async {
        sleep(100 * MILLI).await;
        Ok(())
    });
    let guarded = experiment(Fault::latency(MILLI)).guard(Guard::probe("books"));
    let report = lab.run(guarded).expect("it is valid").await;
    assert_eq!(report.verdict(), Verdict::Confirmed, "{report}");
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
