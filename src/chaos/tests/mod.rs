mod copies;
mod course;
mod day;
mod guard;
mod machine;
mod report;
mod safety;
mod written;

use std::{io, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::sleep};

use super::{Experiment, Guard, Happened, Hypothesis, Lab, Report, Step, Verdict};
use crate::{
    Class, Ratio, Registry,
    circuit_breaker::CircuitBreakerLayer,
    event::Outcome,
    fault::{Fault, Faults, Outcomes},
    golden::{self, Calls},
    sync::{Mutex, lock},
    trial::{Enrolled, Group, Trial},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A client that is called a hundred times a second, whose breaker opens on nothing that happens here.
struct Ledger {
    calls: Calls,
    traffic: JoinHandle<()>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.traffic.abort();
    }
}

fn patient() -> CircuitBreakerLayer {
    let one = Ratio::ONE;
    CircuitBreakerLayer::new().minimum_calls(1_000_000).outage(one, 1_000_000).without_consecutive_failures()
}

fn ledger_of(breaker: CircuitBreakerLayer, faults: Faults) -> Ledger {
    let builder = golden::client("ledger").timeout(60 * SECOND).no_fallback().without_bulkhead();
    let calls = builder.circuit_breaker(breaker).faults(faults).registry(&Registry::new()).calls();
    let made = calls.clone();
    let traffic = tokio::spawn(async move {
        loop {
            let calls = made.clone();
            // Calls do not wait for each other.
            tokio::spawn(async move { calls.run(async || Ok::<_, io::Error>(7)).await });
            sleep(10 * MILLI).await;
        }
    });
    Ledger { calls, traffic }
}

/// So many calls that ended so, and took so long.
fn calls(groups: &[(u8, Outcome, Duration)]) -> Outcomes {
    let trial = Arc::new(Trial::default());
    for &(times, outcome, took) in groups {
        for _ in 0..times {
            let mut call = Enrolled::default();
            call.add(&trial, Group::Hit);
            call.tell(outcome, took);
        }
    }
    trial.outcomes(Group::Hit)
}

fn ledger() -> Ledger {
    ledger_of(patient(), Faults::seeded(7))
}

fn lab(ledger: &Ledger) -> Lab {
    Lab::staging().reaching(ledger.calls.handle())
}

fn broken() -> Fault {
    Fault::error(Class::Fault)
}

/// What is expected of a fault of the ledger, in two steps.
fn experiment(fault: Fault) -> Experiment {
    let step = |percent| Step::new(Ratio::percent(percent)).hold(20 * SECOND).min_calls(50);
    Experiment::new("broken-ledger")
        .fault("ledger", fault)
        .hypothesis(Hypothesis::new().success(Ratio::percent(99)))
        .step(step(10))
        .step(step(50))
}

async fn run(ledger: &Ledger, experiment: Experiment) -> Report {
    lab(ledger).run(experiment).expect("it is valid").await
}

fn told(report: &Report) -> Vec<String> {
    report.audit().iter().map(|entry| entry.what.to_string()).collect()
}

fn nothing_is_armed(ledger: &Ledger) -> bool {
    ledger.calls.handle().faults().armed().is_empty()
}
