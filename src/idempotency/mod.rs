//! Idempotency keys: one effect per key, however often a caller asks.
//!
//! A caller that gets no answer does not know whether its payment was made. It asks again with the same key, and gets the
//! answer of the first time; the handler is not run twice. What a [`Store`] keeps of a key is in one of four states:
//!
//! ```text
//!                 claim                              complete
//!       Absent ────────────▶ InProgress ──────────────────────────────▶ Done
//!        ▲ ▲                  │  │  ▲ │                                 ▲ │
//!        │ └───── release ────┘  │  └─┘ renew, or the lease is over:    │ │
//!        │     provably not run  │      Reexecute, Resume               │ │
//!        │                       │                                      │ │
//!        │      panic, error, run limit; the lease is over and          │ │
//!        │      somebody comes (default)                                │ │
//!        │                       ▼                                      │ │
//!        ├───── reconcile ─── InDoubt ───────── reconcile ──────────────┘ │
//!        └─────────────────── the retention is over ──────────────────────┘
//! ```
//!
//! * Whoever comes with the key of another request is told so (`Mismatch`), before anything else is looked at.
//! * A claim is held under a *lease*, which is renewed while the work goes on. A lease that is over is not a free key: nobody
//!   knows what the work has done, so by default it is `InDoubt` until an operator or a job [reconciles](Store::reconcile) it.
//! * Each claim has a *fence*, a number greater than all before, and an [`Owner`]. A write of an owner that lost its claim is
//!   refused, so that a process that slept through its lease cannot spoil what came after.
//! * `Done` is kept for its *retention*, a different time than the lease.
//!
//! [`IdempotencyLayer`] puts this in front of a service: of [HTTP](http), or of [any other](IdempotencyLayer::by) whose requests
//! are [identified](Identify) and whose outcomes are [replayed](Replay).
//!
//! # What a store promises
//!
//! | store | survives | promises |
//! |---|---|---|
//! | [`MemoryStore`] | nothing | one start per key in the lifetime of the process |
#![cfg_attr(
    feature = "sqlite",
    doc = "| [`SqliteStore`] | `kill -9` | one start per key on one machine; *exactly one effect* in one transaction |"
)]
#![cfg_attr(
    feature = "postgres",
    doc = "| [`PostgresStore`] | restarts, of the service and of the server | one start per key; *exactly one effect* in one transaction |"
)]
#![cfg_attr(
    feature = "redis",
    doc = "| [`RedisStore`] | what the server keeps | at most one start per key, while no data is lost |"
)]

mod by;
mod claim;
mod config;
mod digest;
mod doubts;
mod ended;
mod face;
mod handle;
pub mod http;
mod keeper;
mod layer;
mod machine;
mod mark;
mod memory;
mod policy;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod running;
mod seal;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(test)]
mod tests;

pub use by::{By, Identify, Keyed, Replay};
pub use claim::Claim;
pub use digest::{Fingerprint, Identity, Owner};
pub use ended::Ended;
pub(crate) use ended::Reply;
pub use face::{Converse, Face};
pub use handle::IdempotencyHandle;
pub(crate) use keeper::Keeper;
pub use layer::{Idempotency, IdempotencyFuture, IdempotencyLayer};
pub(crate) use mark::Mark;
pub use memory::MemoryStore;
pub use policy::{IdempotencyPass, IdempotencyPolicy};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use seal::Sealer;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{Ask, CompleteIn, Found, InDoubt, LeaseOver, Outcome, Store, StoreError, Verdict};
