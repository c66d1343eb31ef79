//! The spans of HTTP, and how a trace goes on over the wire.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};

use super::{
    open::{Part, Seen, Teller, Verdict},
    words,
};
use crate::{
    call::Call,
    redact,
    telemetry::{Prepared, Span, has_tracer, names},
    words::OTHER,
};

/// The longest value of an attribute that comes from outside, in bytes.
const MAX_LEN: usize = 1_024;

/// The span of a request that is to be answered or sent, unless nobody would see it.
pub(super) fn prepare<B>(
    teller: &Teller,
    seen: &Seen,
    call: &Call,
    request: &Request<B>,
) -> Option<Box<Prepared>> {
    has_tracer(call.started).then(|| Box::new(prepared(teller, seen, call, request)))
}

fn prepared<B>(teller: &Teller, seen: &Seen, call: &Call, request: &Request<B>) -> Prepared {
    let Some(exchange) = &seen.exchange else { return teller.spans.plain(1, call.started) };
    let method = if exchange.method == OTHER { "HTTP" } else { exchange.method };
    let name = match exchange.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let mut span = teller.spans.named(name, call.started);
    span.note(names::HTTP_METHOD, exchange.method);
    if exchange.method == OTHER {
        span.note(names::HTTP_METHOD_ORIGINAL, cut(redact::text(request.method().as_str()).into_owned()));
    }
    match teller.part {
        Part::Server => serve(&mut span, teller, request),
        _ => send(&mut span, call, request.uri()),
    }
    for (key, value) in [
        (names::URL_SCHEME, exchange.scheme),
        (names::HTTP_ROUTE, exchange.route),
        (names::SERVER_ADDRESS, exchange.address),
    ] {
        if let Some(value) = value {
            span.note(key, value);
        }
    }
    if let Some(port) = exchange.port {
        span.note(names::SERVER_PORT, i64::from(port));
    }
    span
}

fn serve<B>(span: &mut Prepared, teller: &Teller, request: &Request<B>) {
    span.note(names::URL_PATH, cut(redact::path(request.uri().path()).into_owned()));
    if let Some(query) = request.uri().query() {
        span.note(names::URL_QUERY, cut(redact::query(query)));
    }
    if let Some(version) = words::version(request.version()) {
        span.note(names::PROTOCOL_VERSION, version);
    }
    let here = Context::current();
    let named = with_request_id(request.headers(), &here);
    let here = named.as_ref().unwrap_or(&here);
    if let Some(named) = &named {
        span.child_of(named.clone());
    }
    if here.has_active_span() {
        // Somebody further out, in this process, went on with the caller's trace already.
        return;
    }
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(here, &Headers(request.headers()))
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

/// The context with the id that the request came with, for the log.
#[cfg(feature = "logs")]
fn with_request_id(headers: &HeaderMap, context: &Context) -> Option<Context> {
    crate::request_id::put(headers.get("x-request-id")?.to_str().ok()?, context)
}

/// No log is kept that would show an id.
#[cfg(not(feature = "logs"))]
fn with_request_id(_: &HeaderMap, _: &Context) -> Option<Context> {
    None
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

/// Adds to a span what only its end tells.
pub(super) fn note_end(span: &Span, verdict: &Verdict) {
    if let Some(status) = verdict.status {
        span.note(names::HTTP_STATUS, i64::from(status));
    }
    if let Some(version) = verdict.version {
        span.note(names::PROTOCOL_VERSION, version);
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

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values: Vec<_> = self.0.get_all(key).iter().filter_map(|value| value.to_str().ok()).collect();
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
