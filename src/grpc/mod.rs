//! What is special about gRPC, over [`tonic`].
//!
//! # Results
//!
//! [`ByCode`](crate::classify::ByCode) judges responses by `grpc-status`, and has the table.
//!
//! A status may come in the headers or after them. A client waits with its verdict, and with its answer, for the first frame
//! of the body, as a generated client does anyway: a status that comes instead of a message is judged, and tried again, like
//! one in the headers. gRFC A6 commits a call once its headers are there, because the caller may have seen them; here
//! nobody has. So a call's first message counts into its attempt, and a server that stalls before it has timed out. Answers to
//! [`streaming_methods`](crate::golden::GrpcClient::streaming_methods), and those that come while the request is still being
//! sent, are not waited with: the server may be waiting for its caller.
//!
//! What comes later is told when it comes. An answer that has begun well and breaks off, by a status, an error or no end at
//! all, is not tried again, because its caller has had messages. It is counted in `resilience.answers.broken`, and as one
//! failure more by a circuit breaker that is still closed.
//!
//! A call ends with its answer, on both sides, and is counted then in `resilience.calls`: by its status, or as cancelled where
//! its caller has not waited for that.
//!
//! # Deadlines
//!
//! A server reads `grpc-timeout`, at most eight digits and a unit (`H`, `M`, `S`, `m`, `u`, `n`), turns it into a local
//! instant on arrival and combines it with its own timeout by the minimum. What cannot be read is ignored and counted, in
//! `resilience.deadlines.malformed`; a caller's garbage is never the server's error.
//!
//! A client writes what is left of the attempt's time into `grpc-timeout`, innermost, so each attempt says what is left when
//! *it* begins, and from the second attempt on `grpc-previous-rpc-attempts`. A `grpc-timeout` that a request already
//! carries (`tonic::Request::set_timeout`) shortens the whole call.
//!
//! A call is not over when its headers are there. The client's timeout goes on until the answer is read to its end, and a
//! call that stalls on the way ends with `DEADLINE_EXCEEDED`. A method that streams for as long as it likes is named:
//! [`streaming_methods`](crate::golden::GrpcClient::streaming_methods). Its timeout ends with the headers, it may be silent
//! for 60 s, and no `grpc-timeout` goes with it but the one that its caller gave it: the server would end the stream by it.
//!
//! # What is repeated
//!
//! Every gRPC call is a POST, so nothing about it says whether it may be sent twice. No method is repeated until its name
//! is given: [`repeatable_methods`](crate::golden::GrpcClient::repeatable_methods). A call that was never processed is sent
//! again whatever its method, once: see [`never_processed`](crate::retry::RetryLayer::never_processed).
//!
//! For that the messages of a call are recorded while they stream, up to 64 KiB, as in
//! [`RecordBody`](crate::http::RecordBody), until its answer is there; without retries they are not.
//!
//! # Idempotency keys
//!
//! With feature `idempotency`, [`ServerBuilder::idempotency`](crate::golden::ServerBuilder) goes for gRPC as for HTTP: a unary call with
//! the metadata `idempotency-key` is run once, and its message and status are given again to the byte. See `docs/idempotency.md`.
//!
//! # Telemetry
//!
//! By the conventions of OpenTelemetry: a SERVER span for each call of a server, and one CLIENT span for each call of a client
//! of which an attempt was admitted, however many it took. Both end with the status, as the events `RequestStarted` and
//! `RequestFinished` do. A call that is refused on this side is no request.
//!
//! What a caller asks for becomes a name in spans and metrics only once an answer shows that there is such a method; see
//! `docs/telemetry.md`.
//!
//! # What a call pays
//!
//! Eleven small allocations, where tonic and hyper make many more: four for a body that is recorded and says when it is sent,
//! four for the copy of the headers that is kept for when nobody listens (none with
//! [`without_retry`](crate::golden::ClientBuilder::without_retry)), three for `grpc-timeout` (none with
//! [`without_wire_headers`](crate::golden::ClientBuilder::without_wire_headers)). The answer costs none.
//!
//! # Refusals
//!
//! | error | code | `grpc-retry-pushback-ms` from a server |
//! |---|---|---|
//! | [`Rejected`], `Timeout`, `DeadlineExceeded` or `BodyIdle` | `DEADLINE_EXCEEDED` | – |
//! | [`Rejected`], `RateLimited` | `RESOURCE_EXHAUSTED` | when there is room in the quota again |
//! | [`Rejected`], `IdempotencyKey`: missing, unreadable, used for another request | `INVALID_ARGUMENT` | – |
//! | [`Rejected`], `IdempotencyKey`: in progress | `ABORTED` | 1000 |
//! | [`Rejected`], `IdempotencyKey`: in doubt | `FAILED_PRECONDITION` | – |
//! | [`Rejected`], `IdempotencyKey`: done, and its answer was not kept | `ALREADY_EXISTS` | – |
//! | [`Rejected`], any other reason | `UNAVAILABLE` | what the policy knows, else 1000 |
//! | [`InjectedFault`] | as what it stands for: `INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED`, `INTERNAL`, `UNAVAILABLE` | its hint |
//! | a [`tonic::Status`] | its own | its own |
//! | any other error of a server, a panic | `INTERNAL`, without the error's text | – |
//! | any other error of a client | what tonic makes of it: `UNAVAILABLE` when it cannot connect | |
//!
//! A full bulkhead is `UNAVAILABLE`, not `RESOURCE_EXHAUSTED`, as it is 503 and not 429 over HTTP: it says that this
//! instance has no room now, which another one may have, and not that this caller asked for too much. Retries and
//! breakers on the other side then do the same whichever protocol lies between.
//!
//! A status that stands for a refusal has the [`Rejected`] as its source, so [`Rejected::find`] finds it there. A server
//! also keeps it in the extensions of the answer.

mod begun;
mod body;
mod reply;
mod request;
mod status;
mod telemetry;
mod timeout;
mod transport;

pub use begun::BegunBody;
pub use body::GrpcAnswerBody;
pub use reply::reply;
pub use request::GrpcBody;
pub(crate) use request::is_stream;
pub(crate) use status::{refusal, status};
pub(crate) use telemetry::Grpc;
pub(crate) use timeout::{GRPC_TIMEOUT, patience, wire_headers};
pub use transport::{GrpcTransport, GrpcTransportFuture};

/// The body of a server's answer: the handler's own, or nothing, where the status in the headers says it all.
pub type RefusalBody<B> = http_body_util::Either<B, http_body_util::Empty<bytes::Bytes>>;

#[cfg(doc)]
use crate::{InjectedFault, Rejected};
