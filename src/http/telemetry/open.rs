use std::{fmt, sync::Arc};

use http::{Request, Response, header::CONTENT_LENGTH};
use tokio::time::Instant;

use super::words;
use crate::{
    class::Class,
    error::BoxError,
    event::{Ended, Event, Exchange, Outcome},
    head::Head,
    observer::Observer,
    policy::{Answer, outcome_of},
    respond,
    telemetry::{Side, Span, SpanEnd, Spans},
};

/// Finds the pattern of paths that a request matched.
type RouteOf = dyn Fn(Head<'_>) -> Option<&'static str> + Send + Sync;

/// Which part of a stack tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The calls of a server.
    Server,
    /// The calls of a client, with all their attempts.
    Call,
    /// The attempts of a client.
    Attempt,
}

impl Part {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Server => Side::Server,
            Self::Call => Side::Internal,
            Self::Attempt => Side::Client,
        }
    }

    /// Whether it tells of calls, as the stack's observers know them.
    pub(super) fn is_call(self) -> bool {
        self != Self::Attempt
    }
}

/// What all that a part tells has in common.
pub(crate) struct Teller {
    pub(super) observer: Observer,
    pub(super) part: Part,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "there are no spans"))]
    pub(super) spans: Spans,
    pub(super) trust: Trust,
}

/// What a server makes of what its callers say.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    /// The pattern of paths that a request matched, where the server framework does not leave it in the extensions.
    pub(crate) route_of: Option<Arc<RouteOf>>,
    /// Whether the service faces the internet: nobody's trace is gone on with.
    pub(crate) edge: bool,
}

impl Teller {
    pub(crate) fn new(observer: Observer, part: Part, trust: Trust) -> Arc<Self> {
        Arc::new(Self { spans: Spans::new(&observer, part.side()), observer, part, trust })
    }

    /// What the conventions ask about a request, where it goes over the wire here.
    pub(super) fn exchange(&self, head: Head<'_>) -> Option<Exchange> {
        match self.part {
            Part::Server => {
                let told = self.trust.route_of.as_ref().and_then(|route_of| route_of(head));
                let route = told.or_else(|| words::matched_route(head));
                Some(words::served(head, route))
            }
            Part::Attempt => Some(words::sent(head)),
            Part::Call => None,
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("observer", &self.observer)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// How a call or a request ends, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    /// What kind of error that is to this side, if it is one.
    pub(super) error: Option<&'static str>,
    pub(super) status: Option<u16>,
    pub(super) version: Option<&'static str>,
}

impl Verdict {
    /// By the head of an answer, or what came instead.
    pub(super) fn on<B>(part: Part, answer: &Answer<Response<B>>) -> Self {
        match &answer.result {
            Ok(response) => Self::on_head(part, answer.outcome, response),
            Err(error) => Self::on_error(part, answer.outcome, error),
        }
    }

    fn on_head<B>(part: Part, outcome: Outcome, response: &Response<B>) -> Self {
        let status = response.status();
        let error = match part {
            Part::Server => status.as_u16() >= 500,
            Part::Attempt => status.as_u16() >= 400,
            Part::Call => false,
        };
        Self {
            outcome,
            error: match part {
                Part::Call => part.side().error_type(outcome, None),
                _ => error.then(|| words::error(status)),
            },
            status: (part != Part::Call).then(|| status.as_u16()),
            // A server has it from the request.
            version: (part == Part::Attempt).then(|| words::version(response.version())).flatten(),
        }
    }

    fn on_error(part: Part, outcome: Outcome, error: &BoxError) -> Self {
        let kind = part.side().error_type(outcome, Some(error));
        // A server's caller gets a status nevertheless.
        let status = (part == Part::Server).then(|| respond::status(Some(error)));
        Self {
            outcome,
            // Over the limit of its rate, or at fault otherwise: that is no error of the server.
            error: kind.filter(|_| status.is_none_or(|status| status.is_server_error())),
            status: status.map(|status| status.as_u16()),
            version: None,
        }
    }

    /// By how it ended without an answer.
    pub(super) fn on_drop(part: Part, outcome: Outcome) -> Self {
        let status =
            (part == Part::Server && outcome == Outcome::Panicked).then(|| respond::status(None).as_u16());
        Self { outcome, error: part.side().error_type(outcome, None), status, version: None }
    }

    /// By what came of the body, after a head that said otherwise.
    pub(super) fn broken(self, part: Part, error: &BoxError) -> Self {
        let outcome = match part {
            Part::Server => Outcome::Fault,
            Part::Call | Part::Attempt => outcome_of(error, Class::TRANSIENT),
        };
        Self { outcome, error: part.side().error_type(outcome, Some(error)), ..self }
    }
}

/// A call or a request that began, and whose end is to be told.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) teller: Arc<Teller>,
    pub(super) span: Span,
    started: Instant,
    seen: Seen,
}

/// What is known of a request before it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) exchange: Option<Exchange>,
    request_size: Option<u64>,
    /// On a server.
    version: Option<&'static str>,
    /// Whether its answer has no body, whatever its head says of one.
    pub(super) head_alone: bool,
}

impl Seen {
    pub(super) fn of<B>(teller: &Teller, request: &Request<B>) -> Self {
        Self {
            exchange: teller.exchange(Head::of(request)),
            request_size: length(request.headers()),
            version: (teller.part == Part::Server).then(|| words::version(request.version())).flatten(),
            head_alone: request.method() == http::Method::HEAD,
        }
    }
}

/// What a head says of the length of its body.
pub(super) fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Open {
    pub(super) fn begin(teller: &Arc<Teller>, seen: &Seen, span: Span, started: Instant) -> Self {
        if let Some(exchange) = seen.exchange {
            span.enter(|| teller.observer.emit(Event::RequestStarted { exchange }));
        }
        Self { teller: Arc::clone(teller), span, started, seen: *seen }
    }

    /// Tells how it ended, `response_size` bytes of body later.
    pub(super) fn end(mut self, verdict: Verdict, response_size: u64, now: Instant) {
        let Verdict { outcome, error, status, version } = verdict;
        let elapsed = now.saturating_duration_since(self.started);
        // Inside the span, so that a line in a log is found by it.
        self.span.enter(|| {
            let observer = &self.teller.observer;
            let Seen { exchange, request_size, .. } = self.seen;
            if let Some(exchange) = exchange {
                let version = self.seen.version.or(version);
                let ended = Ended { status, error, version, elapsed, request_size, response_size };
                observer.emit(Event::RequestFinished { exchange, ended });
            }
            if self.teller.part.is_call() {
                observer.emit(Event::CallFinished { outcome, elapsed });
            }
        });
        super::trace::note_end(&self.span, &verdict);
        self.span.end(SpanEnd { outcome, error, now });
    }
}
