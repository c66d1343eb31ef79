#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::{sync::Barrier, thread, time::Duration};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The instant that the budget's first second begins at.
fn start(budget: &RetryBudget) -> Instant {
    budget.account.as_ref().expect("a limited budget").epoch
}

fn only_ratio(ratio: f64) -> RetryBudget {
    RetryBudget::new().ratio(Ratio::new(ratio).unwrap()).min_per_second(0)
}

fn deposits(budget: &RetryBudget, now: Instant, attempts: usize) {
    (0..attempts).for_each(|_| budget.deposit(now));
}

/// Withdraws until it is refused.
fn drain(budget: &RetryBudget, now: Instant) -> usize {
    (0..1_000_000).take_while(|_| budget.withdraw(now)).count()
}

#[test]
fn default_grants_a_fifth_of_the_first_attempts_plus_ten_a_second() {
    let budget = RetryBudget::default();
    let now = start(&budget);
    deposits(&budget, now, 100);
    assert_eq!(budget.remaining(now), Some(30));
    assert_eq!(drain(&budget, now), 30);
    assert_eq!(budget.remaining(now), Some(0));
}

#[test]
fn any_ratio_is_honoured_exactly() {
    for (ratio, attempts, granted) in [
        (0.3, 10, 3),
        (0.3, 9, 2),
        (0.6, 5, 3),
        (0.6, 1000, 600),
        (0.29, 100, 29),
        (0.01, 99, 0),
        (0.01, 100, 1),
        (0.999, 1000, 999),
        (1.0, 7, 7),
        (0.0, 1000, 0),
    ] {
        let budget = only_ratio(ratio);
        let now = start(&budget);
        deposits(&budget, now, attempts);
        assert_eq!(drain(&budget, now), granted, "{ratio} of {attempts}");
    }
}

#[test]
fn deposits_and_their_spending_are_forgotten_after_ten_seconds() {
    let budget = only_ratio(0.5);
    let now = start(&budget);
    deposits(&budget, now, 100);
    assert_eq!(budget.remaining(now + 9 * SECOND), Some(50));
    assert_eq!(budget.remaining(now + 10 * SECOND), Some(0));

    assert_eq!(drain(&budget, now + 9 * SECOND), 50);
    deposits(&budget, now + 10 * SECOND, 200);
    assert_eq!(budget.remaining(now + 10 * SECOND), Some(50), "the 50 repeated a second ago still count");
    assert_eq!(budget.remaining(now + 18 * SECOND), Some(50));
    assert_eq!(budget.remaining(now + 19 * SECOND), Some(100));
}

#[test]
fn reserve_is_not_saved_up_beyond_its_second() {
    let budget = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(3);
    let now = start(&budget);
    assert_eq!(budget.remaining(now + 100 * SECOND), Some(3));
    assert_eq!(drain(&budget, now + 100 * SECOND), 3);
    assert_eq!(drain(&budget, now + 100 * SECOND + SECOND / 2), 0);
    assert_eq!(drain(&budget, now + 101 * SECOND), 3);
}

#[test]
fn refusal_charges_nothing() {
    let budget = only_ratio(0.5);
    let now = start(&budget);
    assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 0);
    deposits(&budget, now, 2);
    assert!(budget.withdraw(now));
}

#[test]
fn unlimited_grants_everything_and_says_so() {
    let budget = RetryBudget::unlimited();
    assert!((0..10_000).all(|_| budget.withdraw(Instant::now())));
    assert_eq!(budget.remaining(Instant::now()), None);
    assert_eq!(format!("{budget:?}"), "RetryBudget::unlimited()");
}

#[test]
fn clone_is_the_same_budget_and_a_setter_makes_another() {
    let budget = RetryBudget::new();
    let now = start(&budget);
    assert_eq!(drain(&budget.clone(), now), 10);
    assert!(!budget.withdraw(now));
    assert_eq!(budget.clone().min_per_second(10).remaining(now), Some(10));
}

#[test]
fn jumps_longer_than_the_ring_leave_nothing_behind() {
    let budget = only_ratio(1.0);
    let mut now = start(&budget);
    // 16 and 32 seconds meet the same cell again, and so does a jump of years.
    for jump in [10, 16, 17, 32, 86_400, 16 * 10_000_000] {
        deposits(&budget, now, 7);
        assert_eq!(drain(&budget, now), 7);
        now += jump * SECOND;
        assert_eq!(budget.remaining(now), Some(0), "after {jump} s");
    }
}

#[test]
fn clock_that_stands_still_runs_dry_and_one_that_runs_out_stays_bounded() {
    let budget = RetryBudget::new().min_per_second(2);
    assert_eq!(drain(&budget, start(&budget)), 2);
    let end = start(&budget) + Duration::from_secs(200 * 365 * 86_400);
    deposits(&budget, end, 10);
    assert_eq!(drain(&budget, end), 4);
    assert_eq!(drain(&budget, end + SECOND), 0);
}

#[test]
fn late_clocks_never_overdraw() {
    let budget = only_ratio(1.0);
    let now = start(&budget) + 20 * SECOND;
    let late = now.checked_sub(3 * SECOND).unwrap();
    deposits(&budget, now, 5);
    assert_eq!(drain(&budget, late), 0, "not yet earned then");
    assert_eq!(drain(&budget, now), 5);
    deposits(&budget, late, 8);
    assert_eq!(drain(&budget, late), 3, "5 of the 8 are spent already");
    assert_eq!(drain(&budget, now), 5);
    deposits(&budget, start(&budget).checked_sub(SECOND).unwrap(), 5);
    assert_eq!(drain(&budget, now), 0, "before the budget was made");
}

/// Runs `work` in 64 threads that start together, and sums what they return.
fn in_64_threads(work: impl Fn(usize) -> usize + Sync) -> usize {
    let barrier = Barrier::new(64);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn sixty_four_threads_on_ten_tokens_get_exactly_ten() {
    for round in 0..50 {
        let reserve = RetryBudget::new().ratio(Ratio::ZERO).min_per_second(10);
        let earned = only_ratio(0.1);
        let now = start(&earned) + round * SECOND;
        deposits(&earned, now, 100);
        for budget in [&reserve, &earned] {
            assert_eq!(in_64_threads(|_| usize::from(budget.withdraw(now))), 10);
        }
    }
}

#[test]
fn threads_in_different_seconds_share_what_was_earned_exactly() {
    for _ in 0..50 {
        let budget = only_ratio(0.5);
        let now = start(&budget) + 5 * SECOND;
        let each_second = |thread| now + u32::try_from(thread % 4).unwrap() * SECOND;
        deposits(&budget, now, 200);
        let granted = in_64_threads(|thread| (0..4).filter(|_| budget.withdraw(each_second(thread))).count());
        assert_eq!(granted, 100);
    }
}

#[test]
fn no_deposit_is_lost_between_threads_while_seconds_turn() {
    let budget = only_ratio(1.0);
    let now = start(&budget);
    in_64_threads(|_| {
        (0..8).for_each(|second| deposits(&budget, now + second * SECOND, 25));
        0
    });
    assert_eq!(budget.remaining(now + 8 * SECOND), Some(64 * 8 * 25));
}

/// The same promises, kept by lists of seconds.
struct Slow {
    per_mille: usize,
    min_per_second: usize,
    attempts: Vec<u64>,
    from_reserve: Vec<u64>,
    from_earned: Vec<u64>,
}

impl Slow {
    fn remaining(&self, second: u64) -> usize {
        let recent = |list: &[u64]| list.iter().filter(|&&at| at + 10 > second).count();
        let reserve = self.min_per_second - self.from_reserve.iter().filter(|&&at| at == second).count();
        let earned = recent(&self.attempts) * self.per_mille / 1000;
        reserve + earned.saturating_sub(recent(&self.from_earned))
    }

    fn withdraw(&mut self, second: u64) -> bool {
        if self.remaining(second) == 0 {
            return false;
        }
        let taken = self.from_reserve.iter().filter(|&&at| at == second).count();
        let list = if taken < self.min_per_second { &mut self.from_reserve } else { &mut self.from_earned };
        list.push(second);
        true
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    First(usize),
    Repeat(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..1_500).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        (0_u64..40_000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        (1_usize..30).prop_map(Step::First),
        (1_usize..30).prop_map(Step::First),
        (1_usize..20).prop_map(Step::Repeat),
        (1_usize..20).prop_map(Step::Repeat),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_obvious_account(
        per_mille in 0_usize..=1000,
        min_per_second in 0_u32..5,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        let ratio = Ratio::new(per_mille as f64 / 1000.0).unwrap();
        let budget = RetryBudget::new().ratio(ratio).min_per_second(min_per_second);
        let mut slow = Slow {
            per_mille,
            min_per_second: min_per_second as usize,
            attempts: vec![],
            from_reserve: vec![],
            from_earned: vec![],
        };
        let mut passed = Duration::ZERO;
        for step in steps {
            let (now, second) = (start(&budget) + passed, passed.as_secs());
            match step {
                Step::Pass(time) => passed += time,
                Step::First(attempts) => {
                    deposits(&budget, now, attempts);
                    slow.attempts.extend(vec![second; attempts]);
                }
                Step::Repeat(times) => {
                    for _ in 0..times {
                        prop_assert_eq!(budget.withdraw(now), slow.withdraw(second));
                    }
                }
            }
            let now = start(&budget) + passed;
            prop_assert_eq!(budget.remaining(now), Some(slow.remaining(passed.as_secs()) as u64));
        }
    }

    #[test]
    fn repetitions_never_exceed_what_was_earned_though_clocks_lag_by_seconds(
        steps in prop::collection::vec((0_u32..3, 0_u32..=6, prop::bool::ANY), 1..300),
    ) {
        let budget = only_ratio(0.5);
        let (mut newest, mut attempts, mut repetitions) = (start(&budget) + 6 * SECOND, 0, 0);
        for (passed, lag, first) in steps {
            newest += passed * SECOND;
            let now = newest.checked_sub(lag * SECOND).unwrap();
            if first {
                budget.deposit(now);
                attempts += 1;
            } else if budget.withdraw(now) {
                repetitions += 1;
            }
            prop_assert!(2 * repetitions <= attempts);
        }
    }
}

/// Every interleaving of two withdrawals, also where one thread's clock is a second behind the other's. Late enough
/// that cells of zeros have left the window and cannot stand in for a mark that is missing.
#[cfg(moneta_loom)]
#[test]
fn loom_two_withdrawals_of_one_token_get_exactly_one() {
    for behind in [0, 1] {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(move || {
            let account = loom::sync::Arc::new(Account::new(BILLION, 0));
            account.deposit(24);
            let other = loom::sync::Arc::clone(&account);
            let thread = loom::thread::spawn(move || other.withdraw(25 - behind));
            let mine = account.withdraw(25);
            assert_ne!(mine, thread.join().unwrap());
            assert!(!account.withdraw(25));
        });
    }
}
