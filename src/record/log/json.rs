use std::{
    fmt::{self, Write},
    io,
};

use tokio::time::Instant;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    calls::TARGET,
    correlation, text,
    writer::{self, LogGuard, Queue},
};
use crate::{
    clock,
    correlation::{Correlation, Trace},
    redact,
};

/// Beyond so many bytes a line takes no further field.
const MAX_LINE: usize = 16 * 1024;

/// The names that a line has by itself. A field of an event that has one of them is written as `field.name`.
const OWN: [&str; 7] = ["timestamp", "severity_text", "body", "target", "service", "version", "instance"];

/// Writes events as lines of JSON, one each; see the [module](super).
///
/// ```
/// use std::io;
/// use moneta_resilience::record::log::JsonLines;
/// use tracing_subscriber::{Registry, filter::LevelFilter, layer::SubscriberExt};
///
/// # fn main() -> io::Result<()> {
/// # struct Page; impl io::Write for Page {
/// #     fn write(&mut self, line: &[u8]) -> io::Result<usize> {
/// #         let line = std::str::from_utf8(line).unwrap();
/// #         assert!(line.contains(r#""service":"payments""#), "{line}");
/// #         assert!(line.contains(r#""body":"refused for [email]","amount":499,"iban":"[redacted]"}"#), "{line}");
/// #         Ok(line.len())
/// #     }
/// #     fn flush(&mut self) -> io::Result<()> { Ok(()) }
/// # }
/// # let stdout = || Page;
/// # /*
/// let stdout = io::stdout;
/// # */
/// let (json, guard) = JsonLines::new("payments").version("1.4.2").instance("payments-7f9c").write_to(stdout())?;
/// let subscriber = Registry::default().with(LevelFilter::INFO).with(json);
/// // In a service: `subscriber.init()`, and `guard` lives as long as `main`.
/// tracing::subscriber::with_default(subscriber, || {
///     tracing::info!(amount = 499, iban = "DE89370400440532013000", "refused for {}", "ada@example.com");
/// });
/// drop(guard); // Writes what is left.
/// # Ok(()) }
/// ```
///
/// A field whose name is sensitive shows as `[redacted]`, whatever its value. Texts are redacted whole and then cut at 4 KiB;
/// one beyond 64 KiB is not shown. A line with more than 16 KiB takes no further field and says `"truncated":true`. Spans of
/// `tracing` do not show: what belongs together has the same `trace_id`.
#[derive(Clone, Debug)]
#[must_use = "it writes nothing until it is a layer of a subscriber"]
pub struct JsonLines {
    /// `,"service":…`: what all lines say.
    resource: String,
    capacity: usize,
}

impl JsonLines {
    /// For the service of this name.
    pub fn new(service: &str) -> Self {
        Self { resource: String::new(), capacity: 4_096 }.say("service", service)
    }

    /// The version of the service, on every line.
    pub fn version(self, version: &str) -> Self {
        self.say("version", version)
    }

    /// Which instance of the service this is, on every line.
    pub fn instance(self, instance: &str) -> Self {
        self.say("instance", instance)
    }

    /// How many lines may wait to be written, 4,096 unless it is set. Beyond that, or beyond 16 MiB, they are dropped and
    /// counted.
    ///
    /// # Panics
    ///
    /// When it is 0.
    #[track_caller]
    pub fn capacity(self, lines: usize) -> Self {
        assert!(lines > 0, "a log that may keep no line writes none");
        Self { capacity: lines, ..self }
    }

    /// The layer, and what keeps its thread going, which does the writing.
    ///
    /// A line that cannot be written, because there is no room for it or because `out` fails or panics, is dropped and
    /// counted. A call never waits for `out`.
    ///
    /// # Errors
    ///
    /// When the operating system grants no thread.
    pub fn write_to(self, out: impl io::Write + Send + 'static) -> io::Result<(JsonLayer, LogGuard)> {
        let (queue, guard) = writer::start(out, self.capacity)?;
        Ok((JsonLayer { resource: self.resource, queue }, guard))
    }

    fn say(mut self, name: &str, value: &str) -> Self {
        self.resource.extend([",\"", name, "\":"]);
        text::push(&mut self.resource, value);
        self
    }
}

/// The layer of [`JsonLines`].
#[derive(Debug)]
pub struct JsonLayer {
    resource: String,
    queue: Queue,
}

impl<S: Subscriber> Layer<S> for JsonLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.offer(self.line(event));
    }
}

impl JsonLayer {
    fn line(&self, event: &Event<'_>) -> String {
        let mut line = String::with_capacity(512);
        let now = humantime::format_rfc3339_micros(clock::wall(Instant::now()));
        let about = event.metadata();
        write!(line, "{{\"timestamp\":\"{now}\",\"severity_text\":\"{}\",\"target\":", about.level())
            .expect("a string takes all that is written to it");
        text::push(&mut line, about.target());
        line.push_str(&self.resource);
        let ours = about.target() == TARGET;
        let (request, trace) = correlation::current();
        let mut fields = Fields { line, ours, request: Some(request), trace, truncated: false };
        event.record(&mut fields);
        fields.correlate();
        let Fields { mut line, truncated, .. } = fields;
        line.push_str(if truncated { ",\"truncated\":true}\n" } else { "}\n" });
        line
    }
}

/// Appends the fields of an event to its line.
struct Fields {
    line: String,
    /// Whether it is an event of the crate.
    ours: bool,
    /// What the work in hand belongs to, as far as the event does not say it.
    request: Option<Correlation>,
    trace: Option<Trace>,
    truncated: bool,
}

impl Fields {
    fn put(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.line.push(',');
        text::push_plain(&mut self.line, format_args!("{name}"));
        self.line.push(':');
        value(&mut self.line);
    }

    fn correlate(&mut self) {
        let request = self.request.take();
        if let Some(id) = request.as_ref().and_then(|request| request.id()) {
            self.put("request_id", |line| text::push(line, id));
        }
        if let Some(trace) = self.trace {
            self.put("trace_id", |line| text::push_plain(line, format_args!("{}", trace.id)));
            self.put("span_id", |line| text::push_plain(line, format_args!("{}", trace.span)));
            self.put("trace_flags", |line| text::push_plain(line, format_args!("{}", trace.flags())));
        }
    }

    fn field(&mut self, field: &Field, value: impl FnOnce(&mut String)) {
        let name = field.name();
        if self.line.len() > MAX_LINE {
            self.truncated = true;
            return;
        }
        match name {
            "request_id" => self.request = None,
            "trace_id" | "span_id" | "trace_flags" => self.trace = None,
            _ => {}
        }
        if redact::is_sensitive(name) {
            self.put(name, |line| line.push_str("\"[redacted]\""));
        } else if name == "message" {
            self.put("body", value);
        } else if OWN.contains(&name) || name == "truncated" {
            self.put(&format!("field.{name}"), value);
        } else {
            self.put(name, value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.ours && ["trace_id", "span_id"].contains(&field.name()) {
            // Of so many digits some would pass for a card number.
            return self.field(field, |line| text::push_plain(line, format_args!("{value:?}")));
        }
        self.field(field, |line| text::push_debug(line, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| text::push(line, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| line.push_str(if value { "true" } else { "false" }));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| text::push_number(line, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| text::push_number(line, value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.field(field, |line| text::push_number(line, value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.field(field, |line| text::push_number(line, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |line| {
            if value.is_finite() {
                text::push_number(line, value);
            } else {
                // JSON has no other word for it.
                line.push_str("null");
            }
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field, |line| text::push_debug(line, &format_args!("{value}")));
    }
}
