//! Logs: one line for each call that a server answered, for each call of a client that failed, and for each alert of an error
//! budget.
//!
//! [`calls`] is the sink that tells [`tracing`](https://docs.rs/tracing) of them, as events with fields under the target
//! `moneta_resilience`. Golden stacks and [`record::observer`](super::observer) tell it by themselves; any subscriber takes
//! it, and without one nothing is done. [`JsonLines`] is the layer of a subscriber that writes these events, and those of the
//! service itself, as lines of JSON: redacted, correlated with the trace, and without ever making a call wait.
//!
//! # What is logged
//!
//! | what | severity | sampled |
//! |---|---|---|
//! | a server's call that went well | `INFO` | if [asked for](CallLog::successes) |
//! | one that took longer than [`slow`](CallLog::slow) | `WARN`, with `slow` | never |
//! | one that was refused, was at fault itself, or whose caller went away | `INFO` | never |
//! | one that failed | `ERROR` | never |
//! | a client's call that failed, was refused, or was answered by its fallback | `WARN` | never |
//! | an answer to a gRPC client that began well and ended badly, ahead of the end of its call | `WARN`; `INFO` for a `caller_fault` | never |
//! | one that panicked | `ERROR` | never |
//! | an alert of an error budget that begins: a page | `ERROR` | never |
//! | a ticket | `WARN` | never |
//! | one that ends | `INFO` | never |
//!
//! # Fields
//!
//! | field | meaning |
//! |---|---|
//! | `trace_id`, `span_id`, `trace_flags` | the span of the call, also when it is not sampled; where nobody makes spans, those that the server's caller sent |
//! | `request_id` | the `x-request-id` of the server's request that it belongs to: up to 128 visible ASCII characters |
//! | `pipeline` | the stack |
//! | `kind` | `server` or `client` |
//! | `protocol`, `method`, `route`, `status` | of the request, where there is one: words of closed or bounded sets |
//! | `outcome` | of a client's call: as the label `outcome` of metrics; of a server's, `cancelled` where its caller went away |
//! | `error.type` | what kind of error a server's call was, as on its span; absent if it was none |
//! | `duration` | seconds, to the end of the answer's body |
//! | `broken` | `true` for an answer that began well: there is no `duration` |
//! | `slow` | `true` where it took longer than it should |
//! | `slo`, `severity`, `window`, `firing` | of an alert, which has no others but `pipeline`: the objective; `page` or `ticket`; its long window, in seconds; whether it begins |
//!
//! [`JsonLines`] adds `timestamp` (RFC 3339, UTC), `severity_text`, `body`, `target`, `service`, `version` and `instance`.
//!
//! # Personal data
//!
//! The lines of calls hold no path, no query, no header and no message of an error. [`JsonLines`] redacts whatever the
//! service itself logs, as [`redact`](crate::redact) describes it: the values of fields with sensitive names, and what betrays
//! itself by its form in texts and numbers. What is in a line cannot end it: control characters and all that anybody takes
//! for the end of a line are escaped.

mod alert;
mod calls;
mod correlation;
mod json;
#[cfg(feature = "otlp")]
mod records;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use calls::{CallLog, calls};
pub use json::{JsonLayer, JsonLines};
#[cfg(feature = "otlp")]
pub use records::LogRecords;
pub use writer::{LogGuard, dropped};
