//! Service level objectives: what a service promises, written down once, next to the code.
//!
//! An [`Objective`] is a plain value. "99.9 % of login attempts succeed within 2 seconds" and "daily portfolio report
//! generation completes by 06:00 on 99 % of days" are
//!
//! ```
//! use std::time::Duration;
//! use moneta_resilience::slo::Objective;
//!
//! let login = Objective::new("login").target(99.9).within(Duration::from_secs(2));
//! let report = Objective::new("portfolio-report").target(99.0).by("06:00", "Europe/Zurich");
//!
//! assert_eq!(login.target_value().budget().to_string(), "0.001");
//! assert_eq!(report.to_string(), "99 % of daily runs complete by 06:00 Europe/Zurich");
//! ```
//!
//! An [`ErrorBudget`] counts what became of it in the process: how much of the error budget is left, how fast it burns, and
//! whether that is an alert, by [`BurnRule::ALL`]. Golden stacks count by themselves: `.slo(objective)`.
//!
//! # What is good
//!
//! | outcome | counts as |
//! |---|---|
//! | success | good, if in time |
//! | the caller's fault (4xx but 429) | good, if in time: a slow 404 is slow |
//! | 5xx, 429, a failure, a fallback's answer | bad |
//! | a timeout, a refusal by this side | bad |
//! | a panic | bad |
//! | the caller went away | bad, if it had waited for as long as the objective grants, else nothing |
//! | a call under a fault that was injected | as what became of it, or [apart](Injected::Separate) |
//! | what is [synthetic](crate::synthetic): a request that a server's `.synthetic(..)` says is, a call made for one | nothing |
//! | a daily run | good when it is complete by its time, else, also when it is missing, bad |
//!
//! # What a budget drives
//!
//! Each by choice. One process sees its slice of the traffic; what the whole fleet sees can be
//! [fed in](ErrorBudget::feed), and counts instead of it.
//!
//! | what | how |
//! |---|---|
//! | retries and hedges | [`RetryBudget::scaled_by`](crate::RetryBudget::scaled_by) a [`dial`](ErrorBudget::dial): none while the last 5 minutes burn over 14.4, since retries amplify; less than all when little of the budget is left |
//! | calls that may be shed | `.priorities_scaled_by(&dial)` on a golden server |
//! | the circuit breaker | `.slo_opening_breaker(budget)` on a golden client |
//! | releases, features, experiments | [`gate`](ErrorBudget::gate) |
//!
//! # Telemetry
//!
//! Total `slo.events{slo.name, slo.result}`, both results from 0 on; the same of calls under a fault, where an objective counts them
//! apart, as `slo.injected`. Event `BudgetAlert`: each stack that counts for a budget
//! tells its observer of it, and a budget that no stack counts for tells the log of the process (feature `logs`), or
//! [its own observer](ErrorBudget::observer).
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`target`](Objective::target) | 99.9 % |
//! | [`within`](Objective::within) | no limit: to succeed is enough |
//! | [`by`](Objective::by) | calls are counted, not runs |
//! | [`injected`](Objective::injected) faults | count as what becomes of the call |
//! | [`min_events`](ErrorBudget::min_events) of an alert | 100; of daily runs 1 |
//! | [`observer`](ErrorBudget::observer) of alerts | those of the stacks that count; where there are none, the log of the process |
//! | [`floor`](ErrorBudget::floor), below which the dial is turned down | 10 % of the budget |
//! | period of the budget | [`Objective::PERIOD`], 30 days, rolling |

mod alerts;
mod books;
mod budget;
mod burn;
mod due;
#[cfg(feature = "slo-generate")]
pub mod generate;
mod objective;
mod rings;
mod runs;
mod snapshot;
mod target;
#[cfg(test)]
mod tests;
mod watch;

pub use budget::{ErrorBudget, Gate};
pub use burn::BurnRule;
pub use due::{Day, Due, InvalidDay, InvalidDue};
pub use objective::{Injected, Objective, Promise};
pub use rings::Window;
pub use snapshot::{ForeignSnapshot, InvalidSnapshot, Snapshot};
pub use target::{InvalidTarget, Millionths, Target};
pub(crate) use watch::{OnBurn, Scope, Watch};

pub use crate::event::Severity;
