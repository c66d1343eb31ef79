//! Experiments: faults with a hypothesis, a ramp, guards, and a verdict that can be attached to a post-mortem.
//!
//! An [`Experiment`] is a value: what is done to which calls, what is expected to hold nevertheless, and when it is called off. A
//! [`Lab`] is where it runs: it knows the stacks that can be reached, and the budgets and probes that can be asked. A [`Run`] ends in a
//! [`Report`]. A [`GameDay`] is several of them. Both can be written as TOML or JSON and read from it. See `docs/chaos.md`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use moneta_resilience::{Ratio, chaos::{Experiment, Guard, Hypothesis, Lab, Step, Verdict}, fault::Fault, golden};
//!
//! let quotes = golden::client("market-data").timeout(Duration::from_secs(1)).no_fallback().calls();
//! # let traffic = tokio::spawn({
//! #     let quotes = quotes.clone();
//! #     async move { loop {
//! #         _ = quotes.run(async || Ok::<_, std::io::Error>(7)).await;
//! #         tokio::time::sleep(Duration::from_millis(20)).await;
//! #     } }
//! # });
//! let experiment = Experiment::new("slow-quotes")
//!     .fault("market-data", Fault::latency(Duration::from_millis(300)))
//!     .hypothesis(Hypothesis::new().success(Ratio::percent(99)))
//!     .step(Step::new(Ratio::percent(10)))
//!     .guard(Guard::errors(Ratio::percent(5)));
//! let report = Lab::staging().reaching(quotes.handle()).run(experiment)?.await;
//!
//! println!("{report}");
//! assert_eq!(report.verdict(), Verdict::Confirmed);
//! # traffic.abort(); Ok(()) }
//! ```
//!
//! # The course of a run
//!
//! | phase | what is looked at | it goes on when |
//! |---|---|---|
//! | before | all calls that the faults are meant for | the hypothesis holds; else the verdict is [`NotStarted`](Verdict::NotStarted) |
//! | each step | the calls that are hit; beside them as many that are not | it holds still, and there were enough calls |
//! | after | all of those calls again | it holds again |
//!
//! A hypothesis that does not hold in a step ends the ramp: everything is undone, and the verdict is [`Refuted`](Verdict::Refuted). To
//! say so takes a confidence of 99 %. While nothing can be said for sure the step is held on, up to its limit: then the run is
//! [`Inconclusive`](Verdict::Inconclusive). A [`Guard`] that trips undoes everything at once: [`Aborted`](Verdict::Aborted).
//!
//! # Safety
//!
//! * What was armed ends with its lease, unless the run renews it: when its task is killed, stuck or forgotten, faults end by
//!   themselves. A run that is dropped disarms at once.
//! * [`Grip::abort`] and the [`KillSwitch`](crate::fault::KillSwitch) end injections before they return.
//! * A guard that cannot be evaluated counts as tripped.
//! * A lab reaches what it was given, and in [`production`](Lab::production) runs only what
//!   [says so](Experiment::allow_production) and has a guard.
//!
//! # Telemetry
//!
//! Every [`Entry`] of the audit is an event of `tracing`, level `INFO`, target `moneta_resilience::chaos`, and told to
//! [`Lab::audit`].

mod armory;
mod audit;
mod check;
mod day;
mod experiment;
mod guard;
mod hypothesis;
mod lab;
mod machine;
mod markdown;
mod patterns;
mod readings;
mod report;
mod run;
mod stats;
#[cfg(test)]
mod tests;
mod written;

pub use audit::{Entry, Happened};
pub use check::InvalidExperiment;
pub use day::{DayReport, GameDay};
pub use experiment::{Experiment, Step};
pub use guard::Guard;
pub use hypothesis::Hypothesis;
pub use lab::{Environment, Lab, Place};
pub use report::{Report, Verdict};
pub use run::{Grip, Run};
