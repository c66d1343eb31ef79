//! The golden path: every pattern, in the right order, on by default.
//!
//! A service team names the stack, gives the choices that have no good default, and says what it is for. Everything
//! else is on: telemetry, a fault hook, retries within a budget, a circuit breaker, a bulkhead. Each can be tuned, or
//! turned off aloud. The profile fixes the order of the *layers*; the order of the calls does not matter.
//!
//! | profile | order, outside to inside |
//! |---|---|
//! | `server` | respond · telemetry · ingress fault hook · deadline in and caller timeout · rate limit (off) · idempotency (off) · bulkhead · fault hook · handler |
//! | `consumer` | telemetry · ingress fault hook · dead letter · deadline of the delivery · idempotency (off) · bulkhead (waits) · retry · fault hook · handler |
//! | `client` | telemetry · fallback · limits on the body (HTTP, gRPC) · idempotency key (HTTP, off) · deadline · retry · hedge, if given · per attempt: circuit breaker · throttle (off) · rate limit (off) · bulkhead · attempt telemetry · attempt timeout · wire headers (HTTP, gRPC) · fault hook · transport |
//!
//! Permits are not held during a backoff; the breaker sees timeouts and is not fed by local rejections; a rejected call
//! makes no attempt's span; the fault hook is innermost, so that every pattern has to cope with what it injects.
//!
//! A stack is always ready: readiness of the service is awaited inside the call, under its deadline, so that one that
//! never gets ready cannot hang a caller.
//!
//! # Defaults
//!
//! | setting | server | client | consumer |
//! |---|---|---|---|
//! | `timeout` | has to be given | has to be given: the whole call | has to be given: the delivery |
//! | `fallback` | – | has to be given, or declined with `no_fallback` | – |
//! | `dead_letter` | – | – | has to be given |
//! | body of the answer (HTTP, gRPC) | – | ends by `timeout`, silent for 60 s at most | – |
//! | limit of one attempt | – | what is left of the whole call | what is left of the delivery |
//! | retry | – | 3 attempts, full jitter from 50 ms, budget 20 % + 10/s | the same, where it does no harm |
//! | hedge | – | off | – |
//! | circuit breaker | – | on | – |
//! | throttle | – | off | – |
//! | rate limit (feature `rate-limit`) | off | off | – |
//! | idempotency (feature `idempotency`) | off | – | off |
//! | bulkhead | 1024 at once, no queue | 256 at once, 64 waiting up to 100 ms | 64 at once, the others wait |
//! | fault hook | disarmed, and another at the ingress | disarmed | disarmed, and another at the ingress |
//! | wire headers (HTTP, gRPC) | the deadline is read | the deadline that is left and the number of the attempt are written | – |
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use moneta_resilience::golden;
//! # async fn balance(_: u64) -> Result<i64, std::io::Error> { Ok(42) }
//!
//! let ledger = golden::client("ledger").timeout(Duration::from_secs(1)).no_fallback().calls();
//! let balance = ledger.run_repeatable(|| balance(7)).await?;
//! assert_eq!(balance, 42);
//! # Ok(()) }
//! ```

mod boxed;
mod calls;
mod choice;
mod client;
mod consumer;
#[cfg(feature = "idempotency")]
mod copies;
#[cfg(feature = "grpc")]
mod grpc_client;
#[cfg(feature = "grpc")]
mod grpc_server;
mod handle;
#[cfg(feature = "http")]
mod keys;
#[doc(hidden)]
pub mod measured;
#[cfg(not(feature = "slo"))]
#[path = "no_objectives.rs"]
mod objectives;
#[cfg(feature = "slo")]
mod objectives;
mod send;
#[cfg(feature = "http")]
mod server;
#[cfg(test)]
mod tests;

pub use boxed::BoxedClient;
pub use calls::{Calls, CallsPolicy, Closure, Or, OrPolicy};
pub use choice::{
    DeadLetterTo, DeclinesFallback, HasDeadLetter, HasFallback, HasOneTimeout, HasTimeout, Limit, Missing,
    Off,
};
pub use client::{
    Admitted, AttemptPolicy, Attempts, ClientBuilder, ClientPolicy, Innermost, PlainAttempts, RateLimited,
};
#[cfg(feature = "http")]
pub use client::{
    AttemptBody, ClientBody, ClientBodyOr, ClientBodyOrStale, HttpAttempts, HttpClientPolicy, Wired,
    WiredAttempts,
};
pub use consumer::{
    Consumer, ConsumerBuilder, ConsumerFuture, ConsumerPolicy, Delivered, DeliveryFuture, Handled,
    MessagesKeyedOrNot,
};
#[cfg(feature = "idempotency")]
pub use copies::ByReading;
#[cfg(feature = "grpc")]
pub use grpc_client::{BoxedGrpcClient, GrpcAttempts, GrpcClient, GrpcClientPolicy, GrpcFuture};
#[cfg(feature = "grpc")]
pub use grpc_server::{GrpcServer, GrpcServerFuture, GrpcServerLayer};
pub use handle::Handle;
#[cfg(feature = "http")]
pub use keys::KeyedOrNot;
pub use send::{Client, SendFuture};
#[cfg(feature = "http")]
pub use server::{Server, ServerBody, ServerBuilder, ServerFuture, ServerLayer, ServerPolicy};

/// Begins the stack of a client: what stands between a service and one of its dependencies.
///
/// # Panics
///
/// When `name` is not a good [`Name`](crate::Name): empty, longer than 64 bytes, or with control characters.
#[track_caller]
pub fn client(name: &str) -> ClientBuilder<Missing, Missing> {
    ClientBuilder::new(crate::Name::literal(name))
}

/// Begins the stack of a consumer: what stands between the worker that takes messages off a queue and their handler. What
/// becomes of a message is said in [`messaging`](crate::messaging).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use moneta_resilience::{BoxError, golden, messaging::{Delivery, Why}};
/// use tower::service_fn;
///
/// #[derive(Clone)]
/// struct Message { id: u64, cents: u64 }
///
/// async fn handle(invoice: Message) -> Result<(), BoxError> {
///     if invoice.cents == 0 { Err("nothing to pay".into()) } else { Ok(()) }
/// }
///
/// async fn park(invoice: Message, why: Why) -> Result<(), BoxError> {
///     // … into a table, with why.as_str() beside it
/// #   let _ = (invoice.id, why);
///     Ok(())
/// }
///
/// let worker = golden::consumer("invoices")
///     .timeout(Duration::from_secs(30))
///     .dead_letter(|m, why| park(m, why))
///     .service(service_fn(handle));
///
/// assert_eq!(worker.deliver(Message { id: 7, cents: 100 }).await, Delivery::Ack);
/// assert_eq!(worker.deliver(Message { id: 8, cents: 0 }).await, Delivery::DeadLettered);
/// # }
/// ```
///
/// # Panics
///
/// When `name` is not a good [`Name`](crate::Name): empty, longer than 64 bytes, or with control characters.
#[track_caller]
pub fn consumer<M>(name: &str) -> ConsumerBuilder<M, Missing, Missing> {
    ConsumerBuilder::new(crate::Name::literal(name))
}

/// Begins the stack of a server, of HTTP or gRPC: what stands in front of a service's handlers.
///
/// # Panics
///
/// When `name` is not a good [`Name`](crate::Name): empty, longer than 64 bytes, or with control characters.
#[cfg(feature = "http")]
#[track_caller]
pub fn server(name: &str) -> ServerBuilder<Missing> {
    ServerBuilder::new(crate::Name::literal(name))
}
