//! The layer in front of a service that speaks no protocol: transfers between accounts.

use std::{
    future::{Ready, pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use moneta_resilience::{
    BoxError, Class, Deadline, KeyRefusal, Name, Priority, Reason, Registry, Rejected,
    event::IdempotencyResult,
    idempotency::{
        Ask, By, Claim, Ended, Fingerprint, IdempotencyLayer, Identify, Identity, Keyed, LeaseOver,
        MemoryStore, Outcome, Owner, Replay, Store,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{
    Runs,
    faulty::{Faulty, Mode},
    settle,
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Transfer {
    key: Option<&'static str>,
    amount: u32,
    claim: Option<Claim>,
}

/// A transfer of 100 under a key.
fn transfer(key: &'static str) -> Transfer {
    Transfer { key: Some(key), amount: 100, claim: None }
}

/// There is not enough in the account: a result like any other, and nothing has moved.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("declined")]
struct Declined;

/// The books could not be opened, so nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("closed")]
struct Closed;

/// How transfers are known again, and what is kept of them.
struct Transfers;

impl Identify<Transfer> for Transfers {
    fn identify(&self, transfer: &Transfer) -> Result<Option<Keyed>, KeyRefusal> {
        let id = match transfer.key {
            Some("") => return Err(KeyRefusal::Invalid),
            None if transfer.amount > 1_000 => return Err(KeyRefusal::Missing),
            None => return Ok(None),
            Some(key) => Identity::of(b"tenant", b"transfer", key.as_bytes()),
        };
        Ok(Some(Keyed { id, fingerprint: Fingerprint::of([&transfer.amount.to_be_bytes()[..]]) }))
    }

    fn hand_over(&self, transfer: &mut Transfer, claim: Claim) {
        transfer.claim = Some(claim);
    }
}

impl Replay for Transfers {
    type Response = String;

    fn capture(&self, result: Result<&String, &BoxError>) -> Ended {
        match result {
            Ok(receipt) if receipt.len() > 20 => Ended::Done(Outcome::Tombstone),
            Ok(receipt) => Ended::Done(Bytes::from(format!("+{receipt}")).into()),
            Err(error) if error.is::<Declined>() => Ended::Done(Bytes::from("-").into()),
            Err(error) if error.is::<Closed>() => Ended::NotRun,
            Err(_) => Ended::InDoubt,
        }
    }

    fn replay(&self, kept: Bytes) -> Option<Result<String, BoxError>> {
        match kept.split_first()? {
            (b'+', receipt) => Some(Ok(String::from_utf8_lossy(receipt).into_owned())),
            (b'-', _) => Some(Err(Declined.into())),
            _ => None,
        }
    }
}

fn layer() -> IdempotencyLayer<MemoryStore, By<Transfers>> {
    IdempotencyLayer::by(MemoryStore::new(), Transfers)
}

/// A service that says which transfer it is.
fn counting(
    runs: &Runs,
) -> impl Service<Transfer, Response = String, Error = BoxError, Future = Ready<Result<String, BoxError>>>
+ Clone
+ Send
+ use<> {
    let runs = runs.clone();
    service_fn(move |_| ready(Ok(format!("transfer {}", runs.run()))))
}

#[track_caller]
fn reason(result: Result<String, BoxError>) -> (KeyRefusal, Option<Duration>) {
    let error = result.expect_err("it is refused");
    let rejected = Rejected::find(&*error).expect("it is refused on this side");
    match rejected.reason() {
        Reason::IdempotencyKey(refusal) => (refusal, rejected.retry_after()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_runs_any_service_once() {
    let runs = Runs::default();
    let service = layer().layer(counting(&runs));
    let ask = |transfer| service.clone().oneshot(transfer);
    assert_eq!(ask(transfer("k1")).await.unwrap(), "transfer 1");
    assert_eq!(ask(transfer("k1")).await.unwrap(), "transfer 1");
    assert_eq!(ask(transfer("k2")).await.unwrap(), "transfer 2");
    let other = Transfer { amount: 900, ..transfer("k1") };
    assert_eq!(reason(ask(other).await), (KeyRefusal::Mismatch, None));
    // Without a key nothing is different.
    for run in 3..=4 {
        assert_eq!(ask(Transfer::default()).await.unwrap(), format!("transfer {run}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_refused_for_its_key_or_for_having_none() {
    let runs = Runs::default();
    let service = layer().layer(counting(&runs));
    assert_eq!(reason(service.clone().oneshot(transfer("")).await), (KeyRefusal::Invalid, None));
    let large = Transfer { amount: 5_000, ..Transfer::default() };
    assert_eq!(reason(service.oneshot(large).await), (KeyRefusal::Missing, None));
    assert_eq!(runs.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_the_name_of_its_pipeline_and_is_the_callers_fault() {
    let registry = Registry::new();
    let name = Name::new("ledger").unwrap();
    let service = layer().observer(registry.observer(&name)).layer(counting(&Runs::default()));
    let error = service.oneshot(transfer("")).await.unwrap_err();
    assert_eq!(error.to_string(), "ledger: the idempotency key cannot be read");
    for refusal in KeyRefusal::ALL {
        let here = refusal == KeyRefusal::Unavailable;
        let class = if here { Class::Neutral } else { Class::CallerFault };
        assert_eq!(Reason::IdempotencyKey(refusal).class(), class, "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_what_the_service_says_it_is() {
    let runs = Runs::default();
    let ran = runs.clone();
    let service = layer().layer(service_fn(move |transfer: Transfer| {
        let run = ran.run();
        ready(match transfer.key {
            Some("declined") => Err(Declined.into()),
            Some("closed") if run == 2 => Err(Closed.into()),
            Some("lost") => Err(BoxError::from("connection reset")),
            _ => Ok(format!("transfer {run}")),
        })
    }));
    let ask = |key| service.clone().oneshot(transfer(key));
    // Kept, and given again as the error that it was.
    for _ in 0..2 {
        assert!(ask("declined").await.unwrap_err().is::<Declined>());
    }
    assert_eq!(runs.count(), 1);
    // Nothing was done, so the key is free.
    assert!(ask("closed").await.unwrap_err().is::<Closed>());
    assert_eq!(ask("closed").await.unwrap(), "transfer 3");
    // Nobody knows.
    assert_eq!(ask("lost").await.unwrap_err().to_string(), "connection reset");
    assert_eq!(reason(ask("lost").await), (KeyRefusal::InDoubt, None));
    assert_eq!(runs.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_kept_or_cannot_be_read_is_never_run_again() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let ran = runs.clone();
    let service = IdempotencyLayer::by(store.clone(), Transfers).layer(service_fn(move |_: Transfer| {
        ran.run();
        ready(Ok::<_, BoxError>("a very long receipt of a transfer".to_owned()))
    }));
    service.clone().oneshot(transfer("long")).await.unwrap();
    assert_eq!(reason(service.clone().oneshot(transfer("long")).await), (KeyRefusal::NotReplayable, None));

    // Kept by another version of the service.
    let Keyed { id, fingerprint } = Transfers.identify(&transfer("old")).unwrap().unwrap();
    let owner = Owner::random();
    let lease_over = LeaseOver::InDoubt;
    let ask = Ask { owner, fingerprint, lease: SECOND, lease_over };
    store.claim(id, ask).await.unwrap();
    store.complete(id, owner, Bytes::from("?").into(), SECOND).await.unwrap();
    assert_eq!(reason(service.oneshot(transfer("old")).await), (KeyRefusal::NotReplayable, None));
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_service_runs_on_when_its_caller_goes_away_and_is_told_what_the_caller_was() {
    let (told, mut seen) = mpsc::unbounded_channel();
    let layer = layer();
    let handle = layer.handle();
    let service = layer.layer(service_fn(move |_: Transfer| {
        let told = told.clone();
        async move {
            told.send((Deadline::current().map(Deadline::remaining), Priority::current())).unwrap();
            sleep(5 * SECOND).await;
            Ok::<_, BoxError>("late".to_owned())
        }
    }));
    let call = Priority::Sheddable.scope(timeout(SECOND, service.clone().oneshot(transfer("k1"))));
    assert!(Deadline::after(2 * SECOND).scope(call).await.is_err());
    assert_eq!(handle.running(), 1);
    assert_eq!(seen.recv().await.unwrap(), (Some(2 * SECOND), Priority::Sheddable));
    let busy = service.clone().oneshot(transfer("k1")).await;
    assert_eq!(reason(busy), (KeyRefusal::InProgress, Some(SECOND)));
    handle.drain().await;
    assert_eq!(service.oneshot(transfer("k1")).await.unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn the_run_limit_and_a_panic_leave_the_key_in_doubt() {
    let service = layer().run_limit(30 * SECOND).layer(service_fn(|transfer: Transfer| async move {
        assert!(transfer.key != Some("panic"), "a bug in the service");
        pending::<Result<String, BoxError>>().await
    }));
    let begun = Instant::now();
    let late = service.clone().oneshot(transfer("hang")).await.unwrap_err();
    assert_eq!(Rejected::find(&*late).map(Rejected::reason), Some(Reason::Timeout));
    assert_eq!(begun.elapsed(), 30 * SECOND);
    assert!(tokio::spawn(service.clone().oneshot(transfer("panic"))).await.unwrap_err().is_panic());
    for key in ["hang", "panic"] {
        assert_eq!(reason(service.clone().oneshot(transfer(key)).await), (KeyRefusal::InDoubt, None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_holds_its_claim() {
    let claims = Arc::new(Mutex::new(Vec::new()));
    let seen = claims.clone();
    let service = layer().layer(service_fn(move |transfer: Transfer| {
        let mut seen = seen.lock().unwrap();
        let claim = transfer.claim.expect("it is under a key");
        if seen.is_empty() {
            claim.not_executed();
        }
        seen.push(claim);
        ready(Ok::<_, BoxError>(format!("transfer {}", seen.len())))
    }));
    for receipt in ["transfer 1", "transfer 2", "transfer 2"] {
        assert_eq!(service.clone().oneshot(transfer("k1")).await.unwrap(), receipt);
    }
    let claims = claims.lock().unwrap();
    assert_eq!(claims[0].id(), Identity::of(b"tenant", b"transfer", b"k1"));
    assert!(claims[0].fence() < claims[1].fence());
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nothing_runs_unless_that_is_said_aloud() {
    let registry = Registry::new();
    let name = Name::new("transfers").unwrap();
    let (store, runs) = (Faulty::new(), Runs::default());
    store.set(Mode::Down);
    let layer = IdempotencyLayer::by(store, Transfers).observer(registry.observer(&name));
    let closed = layer.clone().layer(counting(&runs));
    assert_eq!(reason(closed.oneshot(transfer("k1")).await), (KeyRefusal::Unavailable, Some(SECOND)));
    assert_eq!(runs.count(), 0);
    let open = layer.fail_open().layer(service_fn(|transfer: Transfer| {
        assert!(transfer.claim.is_none(), "there is no claim to hold");
        ready(Ok::<_, BoxError>("unkept".to_owned()))
    }));
    assert_eq!(open.oneshot(transfer("k1")).await.unwrap(), "unkept");
    settle().await;
    let counts = registry.cells_by_name();
    assert_eq!(counts[0].1.idempotency(IdempotencyResult::Rejected), 1);
    assert_eq!(counts[0].1.idempotency(IdempotencyResult::Bypassed), 1);
}
