//! How much may be armed at once.

use super::*;
use crate::fault::{ArmError, FaultLimits, KillSwitch, Target};

/// Hooks under a switch with these limits.
fn hooks<const N: usize>(limits: FaultLimits) -> [Faults; N] {
    let switch = KillSwitch::new();
    switch.limit(limits);
    [(); N].map(|()| Faults::under(&switch))
}

fn slow(experiment: &str, percent: u8) -> Fault {
    Fault::latency(DELAY).experiment(experiment).on(Ratio::percent(percent))
}

fn too_much(result: Result<impl Sized, ArmError>) -> bool {
    matches!(result.map(drop), Err(ArmError::TooMuch { .. }))
}

#[tokio::test(start_paused = true)]
async fn no_more_faults_are_armed_than_may_over_all_hooks_and_what_ends_makes_room() {
    let [one, other] = hooks(FaultLimits::new().active(2));
    let first = one.try_arm(Fault::hang()).expect("there is room");
    let second = other.try_arm(Fault::hang().lasting(DELAY)).expect("there is room");
    let full = Err(ArmError::TooMany { limit: 2 });
    assert_eq!(one.try_arm(Fault::hang()).map(drop), full);
    assert!(!other.arm(Fault::hang()).is_live(), "what may not be armed is over at once");
    assert_eq!((one.armed().len(), other.armed().len()), (1, 1));

    first.disarm();
    one.try_arm(Fault::hang()).expect("the first is over");
    advance(DELAY).await;
    let third = other.try_arm(Fault::hang()).expect("the time of the second is over");
    assert_eq!(one.try_arm(Fault::hang()).map(drop), full);
    drop((other, second, third));
    one.try_arm(Fault::hang()).expect("the other hook is gone");
}

#[tokio::test(start_paused = true)]
async fn the_shares_of_all_experiments_come_to_no_more_than_may_when_they_are_armed_and_when_they_grow() {
    let [one, other] = hooks(FaultLimits::new().share(Ratio::percent(10)));
    let first = one.try_arm(slow("slow", 4)).expect("there is room");
    let second = other.try_arm(slow("slower", 4)).expect("there is room");
    assert!(too_much(other.try_arm(Fault::hang().on(Ratio::percent(3)))));
    other.try_arm(slow("slower", 3)).expect("one experiment counts once");

    first.set_share(Ratio::percent(6)).expect("there is room");
    let refused = first.set_share(Ratio::percent(7)).expect_err("there is no room");
    assert_eq!(
        refused.to_string(),
        "the shares of all faults would come to 11.0000 %, over the limit of 10.0000 %"
    );
    assert!(too_much(second.set_share(Ratio::percent(5))));
    assert!(
        too_much(other.try_arm(Fault::hang().on(Ratio::percent(1)))),
        "the share that was refused is not taken"
    );
    first.set_share(Ratio::ZERO).expect("less is always allowed");
    second.set_share(Ratio::percent(10)).expect("there is room");
    first.disarm();
    assert_eq!(first.set_share(Ratio::ZERO), Err(ArmError::Over));
}

#[tokio::test(start_paused = true)]
async fn a_share_that_grew_hits_more_calls_and_one_that_was_refused_does_not() {
    let [faults] = hooks(FaultLimits::new().share(Ratio::percent(50)));
    let calls = counter();
    let service = FaultLayer::new(faults.clone()).layer(echo!(calls));
    let armed = faults.arm(Fault::error(Class::Fault).on(Ratio::ZERO));
    service.clone().oneshot(1).await.expect("nobody is hit");
    armed.set_share(Ratio::ONE).expect_err("it is more than may be");
    service.clone().oneshot(1).await.expect("nobody is hit");
    armed.set_share(Ratio::percent(50)).expect("there is room");
    for n in 0..1_000 {
        let _ = service.clone().oneshot(n).await;
    }
    assert!((400..600).contains(&armed.hit()), "{armed:?}");
}

#[tokio::test(start_paused = true)]
async fn two_experiments_are_not_armed_for_the_same_calls_of_a_hook() {
    let [one, other] = hooks(FaultLimits::new());
    let put = || Target::method("PUT");
    let _first = one.try_arm(slow("slow", 1).target(put())).expect("it is the first");
    let taken = Err(ArmError::Taken { experiment: "slow".into() });
    assert_eq!(one.try_arm(slow("slower", 1)).map(drop), taken);
    assert_eq!(one.try_arm(slow("slower", 1).target(put().and(Target::path("/")))).map(drop), taken);
    for apart in [slow("slower", 1).target(Target::method("GET")), slow("slowest", 1).target(put().not())] {
        let armed = one.try_arm(apart).expect("no call is in both");
        armed.disarm();
    }
    one.try_arm(slow("slow", 1)).expect("it is the same experiment");
    one.try_arm(Fault::hang()).expect("it is no experiment");
    other.try_arm(slow("slower", 1)).expect("it is another hook");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_armed_and_no_share_grows_under_an_engaged_switch() {
    let switch = KillSwitch::new();
    let faults = Faults::under(&switch);
    let armed = faults.arm(slow("slow", 1));
    switch.engage();
    assert_eq!(faults.try_arm(Fault::hang()).map(drop), Err(ArmError::Killed));
    assert_eq!(armed.set_share(Ratio::ONE), Err(ArmError::Over));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_when_many_arm_at_once() {
    for _ in 0..100 {
        let hooks: [_; 8] = hooks(FaultLimits::new().active(3));
        let arms: Vec<_> = hooks
            .into_iter()
            .map(|faults| tokio::spawn(async move { (faults.try_arm(Fault::hang()).is_ok(), faults) }))
            .collect();
        let mut armed = Vec::new();
        for arm in arms {
            armed.push(arm.await.expect("no panic"));
        }
        assert_eq!(armed.iter().filter(|(armed, _)| *armed).count(), 3);
    }
}
