//! The store against a slow and obvious model: a list of all that ever happened to a key, read anew for every question.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, advance};

use super::{LEASE, RETENTION, answer, ask, key, owner};
use crate::idempotency::{Ask, Found, LeaseOver, MemoryStore, Outcome, Store, StoreError, Verdict};

#[derive(Clone, Copy, Debug)]
enum Step {
    Claim { key: u32, owner: u8, what: u8, lease_over: LeaseOver },
    Renew { key: u32, owner: u8 },
    Checkpoint { key: u32, owner: u8, phase: u32 },
    Complete { key: u32, owner: u8, text: &'static str },
    Release { key: u32, owner: u8 },
    Doubt { key: u32, owner: u8 },
    Reconcile { key: u32, older: u8, happened: bool },
    Purge,
    Pass { seconds: u64 },
}

/// What happened to a key, and when. A refusal is nothing that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happened {
    Started { owner: u8, what: u8, fence: i64, phase: u32 },
    Leased,
    Phase(u32),
    Done { by: Option<u8>, outcome: Option<&'static str> },
    Doubted,
    Forgotten,
}

#[derive(Default)]
struct Model {
    now: u64,
    log: Vec<(u32, u64, Happened)>,
}

/// How things stand with a key, by the log.
struct Standing {
    owner: Option<u8>,
    what: u8,
    fence: i64,
    phase: u32,
    is: Is,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Working { until: u64 },
    Doubted { since: u64 },
    Done { outcome: Option<&'static str> },
}

impl Model {
    fn note(&mut self, key: u32, what: Happened) {
        self.log.push((key, self.now, what));
    }

    fn standing(&self, key: u32) -> Option<Standing> {
        let mut standing: Option<Standing> = None;
        for &(_, at, happened) in self.log.iter().filter(|(of, ..)| *of == key) {
            if let Happened::Started { owner, what, fence, phase } = happened {
                let is = Is::Working { until: at + LEASE.as_secs() };
                standing = Some(Standing { owner: Some(owner), what, fence, phase, is });
                continue;
            }
            let current = standing.as_mut().expect("only what was started goes on");
            match happened {
                Happened::Leased => current.is = Is::Working { until: at + LEASE.as_secs() },
                Happened::Phase(phase) => current.phase = phase,
                Happened::Doubted => current.is = Is::Doubted { since: at },
                Happened::Done { by, outcome } => {
                    current.owner = by;
                    current.is = Is::Done { outcome };
                    if at + RETENTION.as_secs() <= self.now {
                        standing = None;
                    }
                }
                Happened::Forgotten => standing = None,
                Happened::Started { .. } => unreachable!("it was met above"),
            }
        }
        standing
    }

    /// The standing of a key that this owner is working on.
    fn working(&self, key: u32, owner: u8) -> bool {
        self.standing(key).is_some_and(|now| now.owner == Some(owner) && matches!(now.is, Is::Working { .. }))
    }

    fn claim(&mut self, key: u32, owner: u8, what: u8, lease_over: LeaseOver, fence: i64) -> Found {
        let Some(now) = self.standing(key) else {
            self.note(key, Happened::Started { owner, what, fence, phase: 0 });
            return Found::Granted { fence, phase: 0 };
        };
        match now.is {
            _ if now.what != what => Found::Mismatch,
            Is::Done { outcome } => Found::Done(outcome.map_or(Outcome::Tombstone, answer)),
            Is::Doubted { .. } => Found::InDoubt,
            Is::Working { .. } if now.owner == Some(owner) => {
                self.note(key, Happened::Leased);
                Found::Granted { fence: now.fence, phase: now.phase }
            }
            Is::Working { until } if self.now < until => {
                Found::InProgress { lease_left: Duration::from_secs(until - self.now) }
            }
            Is::Working { until } if lease_over == LeaseOver::InDoubt => {
                self.log.push((key, until, Happened::Doubted));
                Found::InDoubt
            }
            Is::Working { .. } => {
                let phase = if lease_over == LeaseOver::Resume { now.phase } else { 0 };
                self.note(key, Happened::Started { owner, what, fence, phase });
                Found::Granted { fence, phase }
            }
        }
    }

    /// Whether a write of this owner goes through.
    fn write(&mut self, key: u32, owner: u8, happened: Happened) -> bool {
        let Some(now) = self.standing(key).filter(|now| now.owner == Some(owner)) else { return false };
        let again = match happened {
            Happened::Done { .. } => matches!(now.is, Is::Done { .. }),
            Happened::Doubted => matches!(now.is, Is::Doubted { .. }),
            _ => false,
        };
        let working = self.working(key, owner);
        if working {
            self.note(key, happened);
        }
        working || again
    }

    fn reconcile(&mut self, key: u32, fence: i64, happened: bool) -> bool {
        let doubted = self.standing(key).filter(|now| match now.is {
            Is::Doubted { .. } => now.fence == fence,
            Is::Working { until } => now.fence == fence && until <= self.now,
            Is::Done { .. } => false,
        });
        if doubted.is_some() {
            let verdict = Happened::Done { by: None, outcome: None };
            self.note(key, if happened { verdict } else { Happened::Forgotten });
        }
        doubted.is_some()
    }

    /// The ages of the doubts, oldest first.
    fn doubts(&self) -> Vec<u64> {
        let since = |key| match self.standing(key)?.is {
            Is::Doubted { since } => Some(since),
            Is::Working { until } => Some(until).filter(|until| *until <= self.now),
            Is::Done { .. } => None,
        };
        let mut ages: Vec<u64> = (0..KEYS).filter_map(since).map(|since: u64| self.now - since).collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        ages
    }
}

const KEYS: u32 = 3;

fn step() -> impl Strategy<Value = Step> {
    let (key, owner) = (0..KEYS, 0..3_u8);
    let lease_over = prop_oneof![4 => Just(LeaseOver::InDoubt), 1 => Just(LeaseOver::Reexecute), 1 => Just(LeaseOver::Resume)];
    let texts = prop_oneof![Just("one"), Just("two")];
    prop_oneof![
        8 => (key.clone(), owner.clone(), prop_oneof![5 => Just(0_u8), 1 => Just(1)], lease_over)
            .prop_map(|(key, owner, what, lease_over)| Step::Claim { key, owner, what, lease_over }),
        2 => (key.clone(), owner.clone()).prop_map(|(key, owner)| Step::Renew { key, owner }),
        2 => (key.clone(), owner.clone(), 1..9_u32)
            .prop_map(|(key, owner, phase)| Step::Checkpoint { key, owner, phase }),
        3 => (key.clone(), owner.clone(), texts)
            .prop_map(|(key, owner, text)| Step::Complete { key, owner, text }),
        1 => (key.clone(), owner.clone()).prop_map(|(key, owner)| Step::Release { key, owner }),
        1 => (key.clone(), owner).prop_map(|(key, owner)| Step::Doubt { key, owner }),
        1 => (key, 0..2_u8, any::<bool>())
            .prop_map(|(key, older, happened)| Step::Reconcile { key, older, happened }),
        1 => Just(Step::Purge),
        4 => prop_oneof![0..20_u64, Just(60), Just(600)].prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What a write said, or nothing when it was fenced.
#[track_caller]
fn went_through(result: Result<(), StoreError>) -> bool {
    match result {
        Ok(()) => true,
        Err(StoreError::Fenced) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn agree(steps: Vec<Step>) {
    let (store, mut model) = (MemoryStore::new(), Model::default());
    let start = Instant::now();
    let mut newest = 0;
    for step in steps {
        let (said, expected) = match step {
            Step::Pass { seconds } => {
                advance(Duration::from_secs(seconds)).await;
                model.now += seconds;
                assert_eq!(start.elapsed().as_secs(), model.now);
                continue;
            }
            Step::Purge => {
                store.purge(usize::MAX).await.expect("it is there");
                continue;
            }
            Step::Claim { key: number, owner, what, lease_over } => {
                let found = store.claim(key(number), Ask { lease_over, ..ask(owner, what) }).await;
                let found = found.expect("there is room");
                let expected = model.claim(number, owner, what, lease_over, newest + 1);
                assert_eq!(found, expected, "{step:?}");
                if let Found::Granted { fence, .. } = found {
                    newest = newest.max(fence);
                }
                continue;
            }
            Step::Renew { key: number, owner: by } => {
                (store.renew(key(number), owner(by), LEASE).await, model.write(number, by, Happened::Leased))
            }
            Step::Checkpoint { key: number, owner: by, phase } => (
                store.checkpoint(key(number), owner(by), phase).await,
                model.write(number, by, Happened::Phase(phase)),
            ),
            Step::Complete { key: number, owner: by, text } => (
                store.complete(key(number), owner(by), answer(text), RETENTION).await,
                model.write(number, by, Happened::Done { by: Some(by), outcome: Some(text) }),
            ),
            Step::Release { key: number, owner: by } => {
                (store.release(key(number), owner(by)).await, model.write(number, by, Happened::Forgotten))
            }
            Step::Doubt { key: number, owner: by } => {
                (store.doubt(key(number), owner(by)).await, model.write(number, by, Happened::Doubted))
            }
            Step::Reconcile { key: number, older, happened } => {
                let fence = model.standing(number).map_or(newest, |now| now.fence - i64::from(older));
                let done = Verdict::Done { outcome: Outcome::Tombstone, retention: RETENTION };
                let verdict = if happened { done } else { Verdict::Absent };
                (store.reconcile(key(number), fence, verdict).await, model.reconcile(number, fence, happened))
            }
        };
        assert_eq!(went_through(said), expected, "{step:?}");
        let doubts = store.in_doubt(usize::MAX).await.expect("it is there");
        let ages: Vec<u64> = doubts.iter().map(|doubt| doubt.age.as_secs()).collect();
        assert_eq!(ages, model.doubts());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_as_the_model(steps in vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a thread is all it needs").block_on(agree(steps));
    }
}
