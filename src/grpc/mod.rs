//! What is special about gRPC, over [`tonic`].
//!
//! # Results
//!
//! [`ByCode`](crate::classify::ByCode) judges responses by `grpc-status`, and has the table.
//!
//! # Deadlines
//!
//! A server reads `grpc-timeout`, at most eight digits and a unit (`H`, `M`, `S`, `m`, `u`, `n`), turns it into a local
//! instant on arrival and combines it with its own timeout by the minimum. What cannot be read is ignored and counted, in
//! `resilience.deadlines.malformed`; a caller's garbage is never the server's error.
//!
//! # Refusals
//!
//! | error | code | `grpc-retry-pushback-ms` from a server |
//! |---|---|---|
//! | [`Rejected`], `Timeout` or `DeadlineExceeded` | `DEADLINE_EXCEEDED` | – |
//! | [`Rejected`], any other reason | `UNAVAILABLE` | what the policy knows, else 1000 |
//! | [`InjectedFault`] | as what it stands for: `INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED`, `INTERNAL`, `UNAVAILABLE` | its hint |
//! | a [`tonic::Status`] | its own | its own |
//! | any other error of a server, a panic | `INTERNAL`, without the error's text | – |
//!
//! A full bulkhead is `UNAVAILABLE`, not `RESOURCE_EXHAUSTED`, as it is 503 and not 429 over HTTP: it says that this
//! instance has no room now, which another one may have, and not that this caller asked for too much. Retries and
//! breakers on the other side then do the same whichever protocol lies between.
//!
//! A status that stands for a refusal has the [`Rejected`] as its source, so [`Rejected::find`] finds it there. A server
//! also keeps it in the extensions of the answer.

mod status;
mod timeout;

pub(crate) use status::refusal;
pub(crate) use timeout::{GRPC_TIMEOUT, patience};

/// The body of a server's answer: the handler's own, or nothing, where the status in the headers says it all.
pub type RefusalBody<B> = http_body_util::Either<B, http_body_util::Empty<bytes::Bytes>>;

#[cfg(doc)]
use crate::{InjectedFault, Rejected};
