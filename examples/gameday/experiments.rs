//! The experiments of the day, and the lab that runs them.

use std::{
    future::ready,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moneta_resilience::{
    BoxError, Class, Ratio,
    chaos::{Experiment, GameDay, Guard, Hypothesis, Lab, Step, Verdict},
    fault::Fault,
};

use crate::{
    callers::{Callers, Seen},
    desk::Desk,
    process::Process,
    queue::Queue,
    worker::Worker,
};

const SECOND: Duration = Duration::from_secs(1);
const NO_ERRORS: &str = "no caller gets an error";
const ONE_EFFECT: &str = "each payment has one effect";

/// What is experimented with.
pub(crate) struct System {
    pub(crate) instances: Arc<Mutex<Vec<Process>>>,
    pub(crate) callers: Callers,
    pub(crate) desk: Desk,
    pub(crate) queue: Queue,
    pub(crate) worker: Worker,
}

/// What the experiments may reach, do and ask.
pub(crate) fn lab(system: &System) -> Lab {
    let (instances, queue) = (system.instances.clone(), system.queue.clone());
    let (callers, books) = (system.callers.clone(), system.worker.books.clone());
    let before = Arc::new(Mutex::new(None));
    Lab::staging()
        .every(Duration::from_millis(250))
        .lease(2 * SECOND)
        .reaching(&system.desk.exchange)
        .reaching(&system.desk.ledger)
        .reaching(&system.desk.prices)
        .reaching(&system.worker.handle)
        .action("kill an instance", move || ready(kill_one(&instances)), || ready(Ok(())))
        .action("garble one payment and double another", move || mischief(queue.clone()), || ready(Ok(())))
        .probe(NO_ERRORS, move || no_errors(callers.clone(), before.clone()))
        .probe(ONE_EFFECT, move || ready(books.read().balance()))
}

/// The experiments of the day.
pub(crate) fn day() -> GameDay {
    GameDay::new("What becomes of the desk")
        .experiment(instance_down())
        .experiment(ledger_cut())
        .experiment(prices_trouble())
        .experiment(queue_mischief())
        .experiment(exchange_broken())
        .experiment(exchange_guarded())
}

/// What comes of them.
pub(crate) const EXPECTED: [Verdict; 6] = [
    Verdict::Confirmed,
    Verdict::Confirmed,
    Verdict::Confirmed,
    Verdict::Confirmed,
    Verdict::Refuted,
    Verdict::Aborted,
];

/// An instance goes at peak load. The balancer asks another.
fn instance_down() -> Experiment {
    Experiment::new("an instance is killed at peak load")
        .action("kill an instance", "balancer")
        .hypothesis(
            Hypothesis::new()
                .success(Ratio::percent(99))
                .latency(Ratio::percent(99), Duration::from_millis(500))
                .probe(NO_ERRORS),
        )
        .step(Step::new(Ratio::ONE).hold(3 * SECOND))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

/// The database cannot be reached for a while. Portfolios are valued with the balances of before.
fn ledger_cut() -> Experiment {
    Experiment::new("the ledger is cut off")
        .fault("ledger", Fault::refused())
        .hypothesis(Hypothesis::new().answered(Ratio::percent(99)).probe(NO_ERRORS))
        .step(Step::new(Ratio::ONE).hold(3 * SECOND))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

/// Prices are late, or do not come, for some callers, then for more; the cache has old ones, and says so.
fn prices_trouble() -> Experiment {
    let step = |share| Step::new(Ratio::percent(share)).hold(2 * SECOND).min_calls(20);
    Experiment::new("prices are late, or do not come")
        .fault("market-data", Fault::latency(2 * SECOND))
        .fault("market-data", Fault::error(Class::TRANSIENT))
        .hypothesis(Hypothesis::new().answered(Ratio::percent(99)).probe(NO_ERRORS))
        .guard(Guard::errors(Ratio::percent(5)))
        .step(step(10))
        .step(step(40))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

/// The queue garbles one message, and delivers another twice. The one is set aside, and the other has one effect.
fn queue_mischief() -> Experiment {
    Experiment::new("a payment is garbled, and one comes twice")
        .action("garble one payment and double another", "payments")
        .hypothesis(Hypothesis::new().answered(Ratio::percent(80)).probe(ONE_EFFECT))
        .step(Step::new(Ratio::ONE).hold(3 * SECOND).min_calls(20))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

/// Somebody believes that a bug in the exchange would hurt nobody. Such an answer is not asked for again, and there is no fallback.
fn exchange_broken() -> Experiment {
    Experiment::new("the exchange answers with bugs")
        .fault("balancer", Fault::error(Class::Fault))
        .hypothesis(Hypothesis::new().success(Ratio::percent(99)))
        .step(Step::new(Ratio::percent(10)).hold(2 * SECOND).min_calls(20))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

/// The same with more of them, and with somebody who watches.
fn exchange_guarded() -> Experiment {
    Experiment::new("the exchange answers with more bugs")
        .fault("balancer", Fault::error(Class::Fault))
        .hypothesis(Hypothesis::new().success(Ratio::percent(50)))
        .guard(Guard::errors(Ratio::percent(5)))
        .step(Step::new(Ratio::percent(20)).hold(10 * SECOND).min_calls(20))
        .baseline(2 * SECOND)
        .recovery(2 * SECOND)
}

fn kill_one(instances: &Mutex<Vec<Process>>) -> Result<(), BoxError> {
    let mut instance = instances.lock().unwrap_or_else(PoisonError::into_inner).pop();
    Ok(instance.as_mut().ok_or("there is none left")?.kill()?)
}

async fn mischief(queue: Queue) -> Result<(), BoxError> {
    queue.garble_one().await?;
    Ok(queue.double_one().await?)
}

/// Since this was asked the last time.
async fn no_errors(callers: Callers, before: Arc<Mutex<Option<[Seen; 2]>>>) -> Result<(), BoxError> {
    let seen = [callers.seen("/order").await?, callers.seen("/portfolio").await?];
    let before = before.lock().unwrap_or_else(PoisonError::into_inner).replace(seen).unwrap_or(seen);
    let failed: u64 = seen.iter().zip(before).map(|(seen, before)| seen.since(before).failed).sum();
    if failed == 0 { Ok(()) } else { Err(format!("{failed} callers got an error").into()) }
}
