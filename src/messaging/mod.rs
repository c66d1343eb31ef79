//! Messages off a queue: what stands between a worker and its handler, and what the queue is told in the end.
//!
//! A worker takes a message off a queue, has it delivered to its handler, and does what the [`Delivery`] says. What stands
//! between them is built by [`golden::consumer`](crate::golden::consumer).
//!
//! Queues deliver *at least once*: after a crash, a lost acknowledgement, or a time that they think too long, a message comes
//! again. A handler that is not to pay twice has to know what it has done. That is what the keys of messages are for; without
//! them, a message that comes again is handled again.
//!
//! # What becomes of a message
//!
//! | the handler | without keys | delivery |
//! |---|---|---|
//! | succeeds | | `Ack` |
//! | fails, its error is marked [`NotExecuted`] | it may be tried again: once here, then by the queue | `Nack` |
//! | is `repeatable` and fails in passing, or was refused something | tried again here, then by the queue | `Nack` |
//! | fails otherwise, or at the last of `max_deliveries` | the dead letter gets it | `DeadLettered` |
//! | was not reached: no place in the bulkhead in time, a fault at the ingress | nothing has happened | `Nack` |
//! | is cut by the deadline of the delivery | nobody knows, unless it is `repeatable` (`Nack`) | `Parked` |
//! | panics | nobody knows | `Parked` |
//! | came more than `max_deliveries` times | not run; the dead letter gets it | `DeadLettered` |
//!
//! Whatever the dead letter was asked for, and failed to do (an error, a panic, a limit that passed), the message is not lost:
//! it is a `Nack`.
//!
//! A delivery that is dropped has told the queue nothing, so the message comes again.

mod dead_letter;
mod delivery;
mod handled;
mod rules;
mod telemetry;

pub use dead_letter::{DeadLetterPass, DeadLetterPolicy, StoreDeadLetter};
pub use delivery::{Delivery, NotExecuted, Verdict, Why};
pub use handled::{Handling, Tried, VerdictPass, VerdictPolicy};
pub use rules::{ByHandler, Marked};
pub use telemetry::{DeliveryTelemetryPass, DeliveryTelemetryPolicy};

pub(crate) use dead_letter::DeadLetter;
pub(crate) use rules::{Deliveries, Rules};
