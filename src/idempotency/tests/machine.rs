//! The table of transitions, row by row.

use std::time::Duration;

use super::{LEASE, RETENTION, answer, ask, at, key, owner};
use crate::idempotency::{
    Ask, Found, LeaseOver, Outcome, StoreError, Verdict,
    machine::{Record, Then},
};

const PAY: u8 = 1;
const OTHER: u8 = 2;
const TICK: Duration = Duration::from_nanos(1);

/// Claimed by owner 1 at 0 with fence 7.
fn in_progress() -> Record {
    Record::started(&ask(1, PAY), 7, Duration::ZERO)
}

fn done() -> Record {
    let mut record = in_progress();
    assert_eq!(
        record.complete(owner(1), answer("paid"), RETENTION, at(1)).ok(),
        Some(Then::Keep { until: at(1) + RETENTION })
    );
    record
}

fn in_doubt() -> Record {
    let mut record = in_progress();
    assert_eq!(record.doubt(owner(1), at(1)).ok(), Some(Then::Go));
    record
}

fn granted(fence: i64, phase: u32) -> Found {
    Found::Granted { fence, phase }
}

/// A claim that must not draw a fence.
#[track_caller]
fn claim(record: &mut Record, ask: &Ask, now: Duration) -> Found {
    record.claim(ask, now, || panic!("a fence is drawn for a new owner alone"))
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it stands round the call that gives it")]
fn fenced(result: Result<Then, StoreError>) {
    assert!(matches!(result, Err(StoreError::Fenced)));
}

/// Everything that a claim's holder can write is refused, and nothing is changed.
#[track_caller]
fn owner_is_fenced(mut record: Record, number: u8, now: Duration) {
    let before = record.clone();
    let owner = owner(number);
    fenced(record.renew(owner, LEASE, now));
    fenced(record.checkpoint(owner, 9));
    fenced(record.complete(owner, answer("stale"), RETENTION, now));
    fenced(record.release(owner));
    fenced(record.doubt(owner, now));
    assert_eq!(record, before);
}

#[test]
fn another_fingerprint_is_told_before_anything_else_in_every_live_state() {
    for mut record in [in_progress(), done(), in_doubt()] {
        let before = record.clone();
        // Also from the same owner, and also when the lease is over, whatever the policy.
        for now in [at(1), LEASE, LEASE + at(1)] {
            for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
                for number in [1, 2] {
                    let ask = Ask { lease_over, ..ask(number, OTHER) };
                    assert_eq!(claim(&mut record, &ask, now), Found::Mismatch);
                }
            }
        }
        assert_eq!(record, before);
    }
}

#[test]
fn the_same_owner_gets_the_same_fence_again_and_a_fresh_lease() {
    let mut record = in_progress();
    assert_eq!(claim(&mut record, &ask(1, PAY), at(50)), granted(7, 0));
    assert_eq!(claim(&mut record, &ask(2, PAY), at(109)), Found::InProgress { lease_left: at(1) });
    // Also when the lease is over and nobody else has come: who asks again has not begun.
    assert_eq!(claim(&mut record, &ask(1, PAY), at(500)), granted(7, 0));
}

#[test]
fn a_claim_while_the_lease_lives_is_told_how_long_it_lasts() {
    let mut record = in_progress();
    for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
        let ask = Ask { lease_over, ..ask(2, PAY) };
        assert_eq!(claim(&mut record, &ask, at(20)), Found::InProgress { lease_left: at(40) });
    }
    assert_eq!(record, in_progress());
}

#[test]
fn a_lease_that_is_over_is_not_a_free_key() {
    let mut record = in_progress();
    let before = LEASE.saturating_sub(TICK);
    assert!(matches!(claim(&mut record, &ask(2, PAY), before), Found::InProgress { .. }));
    assert_eq!(claim(&mut record, &ask(2, PAY), LEASE), Found::InDoubt);
    assert_eq!(claim(&mut record, &ask(3, PAY), at(u64::MAX)), Found::InDoubt);
    // Its owner has lost it, too.
    fenced(record.renew(owner(1), LEASE, at(100)));
    fenced(record.complete(owner(1), answer("late"), RETENTION, at(100)));
}

#[test]
fn who_says_aloud_that_it_may_be_run_again_gets_a_greater_fence() {
    for (lease_over, phase) in [(LeaseOver::Reexecute, 0), (LeaseOver::Resume, 3)] {
        let mut record = in_progress();
        assert_eq!(record.checkpoint(owner(1), 3).ok(), Some(Then::Go));
        let ask = Ask { lease_over, ..ask(2, PAY) };
        assert_eq!(record.claim(&ask, LEASE, || 8), granted(8, phase));
        assert_eq!(claim(&mut record, &ask, LEASE), granted(8, phase));
        owner_is_fenced(record, 1, LEASE);
    }
}

#[test]
fn nothing_but_a_verdict_ends_a_doubt() {
    let mut record = in_doubt();
    for lease_over in [LeaseOver::InDoubt, LeaseOver::Reexecute, LeaseOver::Resume] {
        for number in [1, 2] {
            let ask = Ask { lease_over, ..ask(number, PAY) };
            assert_eq!(claim(&mut record, &ask, at(u64::MAX)), Found::InDoubt);
        }
    }
    assert_eq!(record, in_doubt());
}

#[test]
fn renewing_moves_the_end_of_the_lease() {
    let mut record = in_progress();
    assert_eq!(record.renew(owner(1), LEASE, at(59)).ok(), Some(Then::Go));
    assert_eq!(claim(&mut record, &ask(2, PAY), at(100)), Found::InProgress { lease_left: at(19) });
    // A process that slept through its lease still has it when nobody came meanwhile.
    assert_eq!(record.renew(owner(1), LEASE, at(1000)).ok(), Some(Then::Go));
    assert_eq!(claim(&mut record, &ask(2, PAY), at(1001)), Found::InProgress { lease_left: at(59) });
}

#[test]
fn an_outcome_is_kept_until_its_retention_is_over() {
    let mut record = done();
    let end = at(1) + RETENTION;
    let before = end.saturating_sub(TICK);
    assert_eq!(claim(&mut record, &ask(2, PAY), before), Found::Done(answer("paid")));
    assert!(!record.is_over(before) && record.is_over(end));
    // Then the key is free, for another request as well.
    assert_eq!(record.claim(&ask(2, OTHER), end, || 8), granted(8, 0));
    owner_is_fenced(record, 1, end);
}

#[test]
fn completing_twice_is_fine_and_changes_nothing() {
    let mut record = done();
    let again = record.complete(owner(1), answer("another"), RETENTION, at(9));
    assert_eq!(again.ok(), Some(Then::Go));
    assert_eq!(record, done());
    // Nobody else completes it, and once it is over nobody does.
    fenced(record.complete(owner(2), answer("another"), RETENTION, at(9)));
    fenced(record.complete(owner(1), answer("another"), RETENTION, at(1) + RETENTION));
    assert_eq!(record, done());
}

#[test]
fn a_claim_that_is_done_or_in_doubt_is_not_released() {
    assert_eq!(in_progress().release(owner(1)).ok(), Some(Then::Remove));
    fenced(done().release(owner(1)));
    fenced(in_doubt().release(owner(1)));
}

#[test]
fn doubting_twice_is_fine_and_the_doubt_does_not_get_younger() {
    let mut record = in_doubt();
    assert_eq!(record.doubt(owner(1), at(50)).ok(), Some(Then::Go));
    assert_eq!(record, in_doubt());
    fenced(done().doubt(owner(1), at(2)));
}

#[test]
fn nobody_but_the_owner_writes() {
    for record in [in_progress(), done(), in_doubt()] {
        owner_is_fenced(record.clone(), 2, at(2));
        owner_is_fenced(record, 2, at(u64::MAX));
    }
}

#[test]
fn a_verdict_needs_a_doubt_and_the_fence_of_the_claim_that_was_looked_into() {
    for mut record in [in_progress(), done()] {
        fenced(record.reconcile(7, Verdict::Absent, at(2)));
    }
    for mut record in [in_doubt(), in_progress()] {
        fenced(record.reconcile(6, Verdict::Absent, LEASE));
        assert_eq!(record.reconcile(7, Verdict::Absent, LEASE).ok(), Some(Then::Remove));
    }
}

#[test]
fn after_a_verdict_the_key_is_done_and_the_owner_has_nothing_to_say() {
    for mut record in [in_doubt(), in_progress()] {
        let verdict = Verdict::Done { outcome: Outcome::Tombstone, retention: RETENTION };
        let until = LEASE + RETENTION;
        assert_eq!(record.reconcile(7, verdict.clone(), LEASE).ok(), Some(Then::Keep { until }));
        assert_eq!(claim(&mut record, &ask(2, PAY), LEASE), Found::Done(Outcome::Tombstone));
        owner_is_fenced(record.clone(), 1, LEASE);
        fenced(record.reconcile(7, verdict, LEASE));
    }
}

#[test]
fn a_doubt_is_as_old_as_the_end_of_the_lease() {
    let id = key(1);
    let age = |record: &Record, now| record.in_doubt(id, now).map(|doubt| (doubt.fence, doubt.age));
    assert_eq!(age(&in_progress(), at(59)), None);
    assert_eq!(age(&in_progress(), at(63)), Some((7, at(3))));
    assert_eq!(age(&in_doubt(), at(63)), Some((7, at(62))));
    assert_eq!(age(&done(), at(u64::MAX)), None);
    let mut found = in_progress();
    assert_eq!(claim(&mut found, &ask(2, PAY), at(70)), Found::InDoubt);
    assert_eq!(age(&found, at(80)), Some((7, at(20))));
}
