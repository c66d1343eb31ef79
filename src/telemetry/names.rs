//! What the crate's telemetry is called in OpenTelemetry. These are constants of our own, so that no version of another
//! crate can rename a series.

/// The name of the pipeline, on everything.
pub(crate) const PIPELINE: &str = "pipeline";
/// How a call or an attempt ended: the identifier of an [`Outcome`](crate::event::Outcome).
pub(crate) const OUTCOME: &str = "outcome";
/// Why it is an error: the identifier of a [`Reason`](crate::Reason) or of an outcome. Absent on what is none.
pub(crate) const ERROR_TYPE: &str = "error.type";
/// How many attempts came before this one. Absent on the first.
pub(crate) const RESEND_COUNT: &str = "resilience.resend_count";
