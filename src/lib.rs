#![cfg_attr(any(feature = "http", not(doctest)), doc = include_str!("../README.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
#[cfg(any(feature = "setup", all(test, moneta_loom)))]
#[cfg_attr(moneta_loom, allow(dead_code, reason = "loom looks at a ring"))]
mod buffer;
pub mod bulkhead;
mod call;
mod cells;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod circuit_breaker;
mod class;
pub mod classify;
#[cfg(any(feature = "http", feature = "otel", feature = "logs", feature = "slo"))]
mod clock;
mod correlation;
mod dial;
mod error;
pub mod event;
mod facts;
pub mod fallback;
pub mod fault;
mod fnv;
#[cfg(feature = "grpc")]
mod frame;
pub mod golden;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
mod head;
pub mod hedge;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "idempotency")]
pub mod idempotency;
mod key;
mod keyed;
mod lane;
mod latency;
pub mod load_shed;
mod local;
pub mod messaging;
#[cfg(any(feature = "http", feature = "metrics", feature = "otel"))]
mod mix;
mod name;
pub mod observer;
#[cfg(feature = "fault-file")]
pub mod ops;
pub mod policy;
mod priority;
#[cfg(feature = "http")]
mod problem;
mod quota;
mod random;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
mod ratio;
pub mod record;
pub mod redact;
mod registry;
mod repeat;
#[cfg(feature = "http")]
pub mod respond;
pub mod retry;
#[cfg(feature = "setup")]
pub mod setup;
#[cfg(feature = "slo")]
pub mod slo;
mod spawn;
mod sync;
#[cfg_attr(not(feature = "slo"), allow(dead_code, reason = "there are no objectives"))]
mod tally;
pub mod telemetry;
pub mod timeout;
mod timer;
mod trial;
mod window;
#[cfg(any(feature = "http", feature = "slo", feature = "otel", feature = "metrics"))]
#[cfg_attr(
    not(any(feature = "http", feature = "slo")),
    allow(dead_code, reason = "no words come from outside")
)]
mod words;

pub use budget::RetryBudget;
pub use call::{Deadline, synthetic};
pub use cells::Cells;
pub use class::{Class, Ending};
pub use dial::Dial;
pub use error::{BoxError, CallError, InjectedFault, KeyRefusal, Reason, Rejected};
pub use facts::Record;
#[cfg(feature = "http")]
pub use head::Head;
pub use name::{InvalidName, Name};
pub use priority::Priority;
pub use quota::{InvalidQuota, Quota};
pub use ratio::{InvalidRatio, Ratio};
pub use registry::{BulkheadState, Inspect, Profile, Registry, StackState};
pub use repeat::{Once, Repeat, Repeatable};
#[cfg(feature = "setup")]
pub use setup::Telemetry;
pub use spawn::spawn;

/// The snippets of the guides compile, too.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/circuit-breaker.md")]
#[doc = include_str!("../docs/fallback.md")]
#[doc = include_str!("../docs/faults.md")]
#[doc = include_str!("../docs/golden-path.md")]
#[doc = include_str!("../docs/overload.md")]
#[doc = include_str!("../docs/telemetry.md")]
#[cfg_attr(feature = "idempotency", doc = include_str!("../docs/idempotency.md"))]
#[cfg_attr(feature = "idempotency", doc = include_str!("../docs/consumers.md"))]
#[cfg_attr(feature = "chaos", doc = include_str!("../docs/chaos.md"))]
#[cfg_attr(feature = "slo-generate", doc = include_str!("../docs/slo.md"))]
struct Guides;
