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
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`target`](Objective::target) | 99.9 % |
//! | [`within`](Objective::within) | no limit: to succeed is enough |
//! | [`by`](Objective::by) | calls are counted, not runs |
//! | period of the budget | [`Objective::PERIOD`], 30 days, rolling |

mod due;
mod objective;
mod target;

pub use due::{Day, Due, InvalidDay, InvalidDue};
pub use objective::{Objective, Promise};
pub use target::{InvalidTarget, Millionths, Target};
