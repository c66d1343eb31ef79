//! What keeps a fault from doing more than it was armed for, and for longer.

use super::*;
use crate::fault::KillSwitch;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_forgotten_ends_by_itself_and_lets_go_what_it_holds() {
    for (fault, limit) in
        [(Fault::hang(), Duration::from_secs(15 * 60)), (Fault::hang().lasting(LIMIT), LIMIT)]
    {
        let (faults, calls) = (Faults::new(), counter());
        let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
        let armed = faults.arm(fault);
        let start = Instant::now();
        assert_eq!(service.clone().oneshot(7).await.expect("it is let go"), 7);
        assert_eq!((start.elapsed(), armed.is_live()), (limit, false));
        assert_ready!(spawn(service.oneshot(8)).poll()).expect("it is not hit");
        assert!(faults.armed().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_whose_controller_is_dead_ends_with_its_lease() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let armed = faults.arm(Fault::hang().lease(LIMIT / 6));
    let controller = tokio::spawn(async move {
        loop {
            tokio::time::sleep(LIMIT / 12).await;
            assert!(armed.renew());
        }
    });
    let start = Instant::now();
    let held = tokio::spawn(service.clone().oneshot(7));
    tokio::time::sleep(LIMIT).await;
    assert!(!held.is_finished());
    controller.abort();
    assert_eq!(held.await.expect("no panic").expect("it is let go"), 7);
    // The last renewal may have been that of the instant itself.
    let over = start.elapsed().saturating_sub(LIMIT);
    assert!(over > Duration::ZERO && over <= LIMIT / 6, "{over:?}");
    assert_ready!(spawn(service.oneshot(8)).poll()).expect("it is not hit");
}

#[tokio::test(start_paused = true)]
async fn no_renewal_lengthens_a_fault_or_brings_it_back() {
    let faults = Faults::new();
    let armed = faults.arm(Fault::hang().lasting(LIMIT).lease(LIMIT / 2));
    advance(LIMIT / 3).await;
    assert!(armed.renew());
    advance(LIMIT / 3).await;
    assert!(armed.is_live() && armed.renew());
    advance(LIMIT / 3).await;
    assert!(!armed.is_live() && !armed.renew());

    let lapsed = faults.arm(Fault::hang().lease(LIMIT / 2));
    advance(LIMIT / 2).await;
    assert!(!lapsed.renew() && !lapsed.is_live());

    let disarmed = faults.arm(Fault::hang().lease(LIMIT));
    disarmed.disarm();
    assert!(!disarmed.renew() && !disarmed.is_live());
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_ends_all_faults_and_lets_none_be_armed() {
    let (switch, calls) = (KillSwitch::new(), counter());
    let hooks = [(); 3].map(|()| Faults::under(&switch));
    let mut held = hooks.clone().map(|faults| {
        faults.arm(Fault::hang());
        spawn(FaultLayer::new(faults).layer(echo!(calls)).oneshot(7))
    });
    for call in &mut held {
        assert_pending!(call.poll());
    }
    let elsewhere = Faults::under(&KillSwitch::new()).arm(Fault::hang());

    switch.engage();
    for call in &mut held {
        assert!(call.is_woken());
        assert_ready!(call.poll()).expect("it goes on");
    }
    assert!(elsewhere.is_live());
    assert!(switch.is_engaged() && !hooks[0].arm(Fault::hang()).is_live());

    switch.release();
    assert!(hooks.iter().all(|faults| faults.armed().is_empty()));
    assert!(hooks[0].arm(Fault::hang()).is_live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_armed_when_the_kill_switch_races_with_it() {
    for _ in 0..200 {
        let switch = KillSwitch::new();
        let arms: Vec<_> = (0..8)
            .map(|_| {
                let faults = Faults::under(&switch);
                tokio::spawn(async move { faults.arm(Fault::hang()) })
            })
            .collect();
        switch.engage();
        for armed in arms {
            assert!(!armed.await.expect("no panic").is_live());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_suffer_at_once_than_may() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let armed = faults.arm(Fault::hang().at_most(2));
    let [mut first, mut second] = [1, 2].map(|n| spawn(service.clone().oneshot(n)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_ready!(spawn(service.clone().oneshot(3)).poll()).expect("it is left alone");
    drop(first);
    assert_pending!(spawn(service.clone().oneshot(4)).poll());
    assert_pending!(spawn(service.oneshot(5)).poll());
    assert_eq!(armed.hit(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_between_the_call_and_its_first_poll_does_not_hit_it() {
    let (faults, calls) = (Faults::new(), counter());
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let armed = faults.arm(Fault::hang());
    let mut call = spawn(service.oneshot(7));
    faults.disarm();
    assert_eq!(assert_ready!(call.poll()).expect("it passes"), 7);
    assert_eq!(armed.hit(), 0);
}
