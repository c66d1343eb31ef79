//! The spans of HTTP and gRPC, and how a trace goes on over the wire.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tokio::time::Instant;

use super::{
    judge::Verdict,
    open::Seen,
    teller::{Part, Teller},
};
use crate::{
    call::Call,
    correlation::Trace,
    event::{Exchange, Protocol},
    head::Head,
    policy::Course,
    record::Kind,
    redact,
    telemetry::{Prepared, Span, Spans, has_tracer, names},
    words::OTHER,
};

/// What gRPC is called, and a span of it whose method nobody knows.
const GRPC: &str = "grpc";

/// The longest value of an attribute that comes from outside, in bytes.
const MAX_LEN: usize = 1_024;

/// The span of a request that is to be answered or sent, unless nobody would see it.
pub(super) fn prepare(
    teller: &Teller,
    seen: &Seen,
    started: Instant,
    call: &Call,
    head: Head<'_>,
) -> Option<Box<Prepared>> {
    let spans = teller.spans.as_ref().filter(|_| has_tracer(started))?;
    let Some(Kind { exchange, .. }) = seen.kind else { return Some(Box::new(spans.plain(1))) };
    let mut span = match exchange.protocol {
        Protocol::Http => over_http(spans, exchange, seen.version, teller.part, call, head),
        Protocol::Grpc => over_grpc(spans, exchange, seen.asked.is_some(), head.uri),
    };
    if let Some(address) = exchange.address {
        span.note(names::SERVER_ADDRESS, address);
    }
    if let Some(port) = exchange.port {
        span.note(names::SERVER_PORT, i64::from(port));
    }
    if teller.part == Part::Server {
        go_on(&mut span, teller, head.headers);
    }
    Some(Box::new(span))
}

fn over_http(
    spans: &Spans,
    exchange: &Exchange,
    version: Option<&'static str>,
    part: Part,
    call: &Call,
    head: Head<'_>,
) -> Prepared {
    let method = if exchange.method == OTHER { "HTTP" } else { exchange.method };
    let mut span = match exchange.route {
        Some(route) => spans.named(format!("{method} {route}")),
        None => spans.named(method),
    };
    span.note(names::HTTP_METHOD, exchange.method);
    if exchange.method == OTHER {
        span.note(names::HTTP_METHOD_ORIGINAL, cut(redact::text(head.method.as_str()).into_owned()));
    }
    match part {
        Part::Server => serve(&mut span, head.uri, version),
        _ => send(&mut span, call, head.uri),
    }
    for (key, value) in [(names::URL_SCHEME, exchange.scheme), (names::HTTP_ROUTE, exchange.route)] {
        if let Some(value) = value {
            span.note(key, value);
        }
    }
    span
}

/// `awaits`: only the answer tells whether there is a method of that name.
fn over_grpc(spans: &Spans, exchange: &Exchange, awaits: bool, uri: &Uri) -> Prepared {
    let mut span = spans.named(if exchange.method == OTHER { GRPC } else { exchange.method });
    span.note(names::RPC_SYSTEM, GRPC);
    if !awaits {
        span.note(names::RPC_METHOD, exchange.method);
        if exchange.method == OTHER {
            span.note(names::RPC_METHOD_ORIGINAL, original(uri.path()));
        }
    }
    span
}

/// What a method is called that nobody knows.
fn original(path: &str) -> String {
    cut(redact::path(path.strip_prefix('/').unwrap_or(path)).into_owned())
}

fn serve(span: &mut Prepared, uri: &Uri, version: Option<&'static str>) {
    span.note(names::URL_PATH, cut(redact::path(uri.path()).into_owned()));
    if let Some(query) = uri.query() {
        span.note(names::URL_QUERY, cut(redact::query(query)));
    }
    if let Some(version) = version {
        span.note(names::PROTOCOL_VERSION, version);
    }
}

/// Goes on with the trace of the caller, or begins one beside it.
fn go_on(span: &mut Prepared, teller: &Teller, headers: &HeaderMap) {
    let here = Context::current();
    if here.has_active_span() {
        // Somebody further out, in this process, went on with the caller's trace already.
        return;
    }
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&here, &Headers::new(headers))
    });
    if teller.trust.edge {
        let theirs = caller.span().span_context().clone();
        if theirs.is_valid() {
            span.link(theirs);
        }
    } else {
        span.child_of(caller);
    }
}

fn send(span: &mut Prepared, call: &Call, uri: &Uri) {
    span.note(names::URL_FULL, cut(full(uri)));
    if call.attempt > 1 {
        span.note(names::HTTP_RESEND_COUNT, i64::from(call.attempt - 1));
    }
}

/// The URL without what is nobody's business, and without who asks: user and password are no part of it.
fn full(uri: &Uri) -> String {
    let mut url = String::new();
    if let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) {
        url.extend([scheme, "://", &redact::path(host)]);
        if let Some(port) = uri.port() {
            url.extend([":", port.as_str()]);
        }
    }
    url.push_str(&redact::path(uri.path()));
    if let Some(query) = uri.query() {
        url.extend(["?", &redact::query(query)]);
    }
    url
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_LEN {
        let end = (0..=MAX_LEN).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

/// Adds to a span what only its end tells. `asked`: the method, where that is known only now.
pub(super) fn note_end(span: &Span, exchange: &Exchange, asked: Option<&str>, verdict: &Verdict) {
    if let Some(asked) = asked {
        span.note(names::RPC_METHOD, exchange.method);
        if exchange.method == OTHER {
            span.note(names::RPC_METHOD_ORIGINAL, original(asked));
        } else {
            span.rename(exchange.method);
        }
    }
    if let Some(status) = verdict.status {
        match exchange.protocol.status_name(status) {
            Some(name) => span.note(names::RPC_STATUS, name),
            None => span.note(names::HTTP_STATUS, i64::from(status)),
        }
    }
    if let Some(version) = verdict.version {
        span.note(names::PROTOCOL_VERSION, version);
    }
}

/// Has the call be told of in the span of its request.
#[inline]
pub(super) fn lend(span: &Span, course: &mut Course) {
    course.span.put(span.lend());
}

/// The span of the request, if there is one, for what is told of the call.
#[inline]
pub(super) fn borrow(span: &mut Span, course: &mut Course) {
    if let Some(lent) = course.span.take() {
        span.borrow(lent);
    }
}

/// Writes the trace of the work in hand, and its baggage, for the other side.
pub(in crate::http) fn inject(headers: &mut HeaderMap) {
    Context::map_current(|here| {
        if here.has_active_span() {
            global::get_text_map_propagator(|propagator| {
                propagator.inject_context(here, &mut HeadersMut(headers));
            });
        }
    });
}

struct Headers<'a> {
    headers: &'a HeaderMap,
    /// What is a list, where it comes in several parts: a propagator asks for one.
    lists: [(&'static str, Option<String>); 2],
}

impl<'a> Headers<'a> {
    fn new(headers: &'a HeaderMap) -> Self {
        let lists = ["tracestate", "baggage"].map(|name| (name, joined(headers, name)));
        Self { headers, lists }
    }
}

/// The parts of a list (RFC 9110, section 5.3), where there is more than one.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let parts = headers.get_all(name);
    parts.iter().nth(1)?;
    Some(parts.iter().filter_map(|part| part.to_str().ok()).collect::<Vec<_>>().join(","))
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == "traceparent" {
            // OpenTelemetry's propagator takes one with short ids, too.
            Trace::of(self.headers)?;
        }
        if let Some((_, Some(list))) = self.lists.iter().find(|(name, _)| *name == key) {
            return Some(list);
        }
        self.headers.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.headers.keys().map(HeaderName::as_str).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values: Vec<_> =
            self.headers.get_all(key).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then_some(values)
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        // What cannot stand in a header, an exotic propagator's, is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
