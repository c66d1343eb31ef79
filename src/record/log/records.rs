use std::{error::Error, fmt, thread};

use opentelemetry::{
    Context as Telling,
    logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity},
    trace::{SpanId, TraceFlags, TraceId},
};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tokio::time::Instant;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{calls::TARGET, correlation, text};
use crate::{clock, correlation::Trace, redact};

/// The layer of a subscriber that gives events to OpenTelemetry, redacted like the lines of [`JsonLines`](super::JsonLines):
/// what [`Telemetry::log_records`](crate::Telemetry::log_records) exports to a collector.
///
/// A record belongs to the span in which it was told, or to the trace that its request came in where there is none, and has the
/// `request_id`. A call never waits: what there is no room for is dropped. What the threads that export log of that is not
/// exported, which below `INFO` would go on for ever; that is so for whatever uses `reqwest`'s blocking client.
#[derive(Debug)]
pub struct LogRecords {
    logger: SdkLogger,
}

impl LogRecords {
    pub(crate) fn new(provider: &SdkLoggerProvider) -> Self {
        Self { logger: provider.logger_with_scope(crate::telemetry::scope()) }
    }
}

impl<S: Subscriber> Layer<S> for LogRecords {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if exports() {
            return;
        }
        let about = event.metadata();
        let mut record = self.logger.create_log_record();
        record.set_timestamp(clock::wall(Instant::now()));
        record.set_severity_number(severity(*about.level()));
        record.set_severity_text(about.level().as_str());
        record.set_target(about.target());
        let (request, trace) = correlation::current();
        if let Some(Trace { id, span, sampled }) = trace {
            let (id, span) = (id.0.to_be_bytes(), span.0.to_be_bytes());
            let flags = TraceFlags::default().with_sampled(sampled);
            record.set_trace_context(TraceId::from_bytes(id), SpanId::from_bytes(span), Some(flags));
        }
        let mut fields = Fields { record: &mut record, ours: about.target() == TARGET, has_id: false };
        event.record(&mut fields);
        if let (false, Some(id)) = (fields.has_id, request.id()) {
            record.add_attribute("request_id", id.to_owned());
        }
        self.logger.emit(record);
    }
}

/// Whether this thread is one that exports: what it tells of that is not to be exported in turn, for ever. The HTTP client of the
/// exporters has a thread of its own, which knows nothing of the SDK and is found by its name.
fn exports() -> bool {
    thread_local! {
        static OF_THE_CLIENT: bool = thread::current().name() == Some("reqwest-internal-sync-runtime");
    }
    Telling::map_current(Telling::is_telemetry_suppressed)
        || OF_THE_CLIENT.try_with(|is| *is).unwrap_or(false)
}

const fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

/// Puts the fields of an event into its record.
struct Fields<'a> {
    record: &'a mut SdkLogRecord,
    /// Whether it is an event of the crate.
    ours: bool,
    /// Whether it says itself for which request it is.
    has_id: bool,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl FnOnce() -> AnyValue) {
        let name = field.name();
        self.has_id |= name == "request_id";
        if name == "message" {
            self.record.set_body(value());
        } else if self.ours && ["trace_id", "span_id", "trace_flags"].contains(&name) {
            // The record has them as what they are.
        } else if redact::is_sensitive(name) {
            self.record.add_attribute(name, "[redacted]");
        } else {
            self.record.add_attribute(name, value());
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || text::shown_debug(value).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || text::shown(value).into_owned().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || number(value, value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || {
            let whole = i64::try_from(value).map_or_else(|_| value.to_string().into(), AnyValue::from);
            number(value, whole)
        });
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, || number(value, value.to_string().into()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, || number(value, value.to_string().into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, || number(value, value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, || text::shown_debug(&format_args!("{value}")).into());
    }
}

/// The number, unless its digits are nobody's business.
fn number(number: impl fmt::Display, value: AnyValue) -> AnyValue {
    match redact::text(&number.to_string()) {
        std::borrow::Cow::Borrowed(_) => value,
        std::borrow::Cow::Owned(redacted) => redacted.into(),
    }
}
