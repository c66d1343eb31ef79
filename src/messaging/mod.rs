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
//!
//! # Keys
//!
//! With `.idempotency(store, key)` (feature `idempotency`) a message is handled once, however often it comes. Its key is what its
//! *producer* calls the event; a store keeps what came of it.
//!
//! | the key | delivery |
//! |---|---|
//! | is new | as the handler ends |
//! | is done | `Ack`; not run |
//! | is being worked on, here or elsewhere | `Nack`, never an acknowledgement |
//! | was used for another message, as far as its meaning is told | not run; `DeadLettered` |
//! | is in doubt | not run; `Parked` |
//! | is empty | not run; `DeadLettered` |
//! | cannot be asked for: the store is down or full | not run; `Nack` |
//!
//! | the handler of a new key | record | delivery |
//! |---|---|---|
//! | succeeds | done | `Ack` |
//! | may be tried again, or was not reached, or called `Claim::not_executed` | none | `Nack` |
//! | fails for good, and the dead letter has the message | done | `DeadLettered` |
//! | fails for good, and the dead letter fails | in doubt | `Nack`; the next delivery is parked |
//! | fails after it completed its claim in a transaction that was committed | done | `Ack` |
//! | fails after it tried to, and nobody knows whether it was committed | in doubt | `Parked` |
//! | panics, or is cut by its run limit | in doubt | `Parked` |
//! | is `repeatable` and is cut by its run limit | none | `Nack` |
//! | runs longer than its delivery | as it ends | `Nack`; the next delivery finds what came of it |
//! | ends when its claim is lost, and fails | is not its own to write | `Nack` |
//! | dies with its process | in doubt once the lease is over; free again if `repeatable` | the queue's |
//!
//! A handler runs in a task of its own. It runs on when its delivery is dropped, cut or at its end; the run limit drops it. At a
//! shutdown take no more messages, wait for the deliveries, then for `Handle::drain`. It finds its `Claim` in
//! `Claim::current`: with `complete_in`, what it writes and the record of it are committed together, so the effect is exactly
//! one.

mod dead_letter;
mod delivery;
mod handled;
#[cfg(feature = "idempotency")]
mod keyed;
#[cfg(feature = "idempotency")]
mod keys;
mod rules;
mod telemetry;
mod told;
#[cfg(feature = "otel")]
mod trace;
#[cfg(not(feature = "otel"))]
#[path = "no_trace.rs"]
mod trace;

pub use dead_letter::{DeadLetterPass, DeadLetterPolicy, StoreDeadLetter};
pub use delivery::{Delivery, NotExecuted, Verdict, Why};
pub use handled::{Handling, Tried, VerdictPass, VerdictPolicy};
#[cfg(feature = "idempotency")]
pub use keyed::{KeyedMessagesPass, KeyedMessagesPolicy};
#[cfg(feature = "idempotency")]
pub use keys::Messages;
pub use rules::{ByHandler, Marked};
pub use telemetry::{DeliveryTelemetryPass, DeliveryTelemetryPolicy};

pub(crate) use dead_letter::DeadLetter;
pub(crate) use rules::{Deliveries, Rules};
pub(crate) use told::Told;
