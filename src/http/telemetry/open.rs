use std::{fmt, sync::Arc};

use http::{Request, Response, StatusCode, Version, header::CONTENT_LENGTH};
use http_body::Body;
use tokio::time::Instant;

use super::{
    judge::{Judge, Verdict},
    methods, trace, words,
};
use crate::{
    call::Call,
    circuit_breaker::{CircuitBreakerHandle, Late},
    class::Class,
    correlation::Correlation,
    event::{Ended, Event, Exchange, Protocol},
    head::{Head, RouteOf},
    observer::Observer,
    telemetry::{Prepared, Side, Span, SpanEnd, Spans},
    trial::Enrolled,
};

/// Says whether a request is synthetic.
pub(super) type IsSynthetic = dyn Fn(Head<'_>) -> bool + Send + Sync;

/// Which part of a stack tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The calls of a server.
    Server,
    /// The calls of a client, with whatever it does for them.
    Call,
    /// The requests of a client: over HTTP its attempts, over gRPC all the attempts of a call as one.
    Client,
}

impl Part {
    pub(crate) fn side(self) -> Side {
        match self {
            Self::Server => Side::Server,
            Self::Call => Side::Internal,
            Self::Client => Side::Client,
        }
    }

    /// Whether it tells of calls, as the stack's observers know them.
    pub(super) fn is_call(self) -> bool {
        self != Self::Client
    }
}

/// What all that a part tells has in common.
pub(crate) struct Teller {
    pub(super) observer: Observer,
    pub(super) part: Part,
    pub(super) judge: &'static dyn Judge,
    pub(super) protocol: Protocol,
    #[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "there are no spans"))]
    pub(super) spans: Option<Spans>,
    pub(super) trust: Trust,
    breaker: Option<CircuitBreakerHandle>,
}

/// What a server makes of what its callers say.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    /// The pattern of paths that a request matched, where the server framework does not leave it in the extensions.
    pub(crate) route_of: Option<Arc<RouteOf>>,
    /// Which requests are nobody's: probes, tests.
    pub(crate) synthetic: Option<Arc<IsSynthetic>>,
    /// Whether the service faces the internet: nobody's trace is gone on with.
    pub(crate) edge: bool,
}

impl Trust {
    fn says_synthetic(&self, head: Head<'_>) -> bool {
        self.synthetic.as_deref().is_some_and(|is_synthetic| is_synthetic(head))
    }
}

impl Teller {
    pub(crate) fn new(judge: &'static dyn Judge, observer: Observer, part: Part) -> Self {
        let protocol = judge.protocol();
        // Over gRPC a call has one span, that of its requests.
        let has_span = (protocol, part) != (Protocol::Grpc, Part::Call);
        let spans = has_span.then(|| Spans::new(&observer, part.side()));
        Self { observer, part, judge, protocol, spans, trust: Trust::default(), breaker: None }
    }

    pub(crate) fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Tells this breaker of answers that begin well and end badly.
    #[cfg(feature = "grpc")]
    pub(crate) fn breaking(self, breaker: Option<CircuitBreakerHandle>) -> Self {
        Self { breaker, ..self }
    }

    /// Whether what it tells of begins with an attempt that is let in, and not before.
    pub(super) fn awaits_attempt(&self) -> bool {
        (self.protocol, self.part) == (Protocol::Grpc, Part::Client)
    }

    /// What the conventions ask about a request, where it goes over the wire here. Beside it the method that is asked for,
    /// where only the answer tells whether there is one of that name.
    fn exchange(&self, head: Head<'_>) -> (Option<Exchange>, Option<Box<str>>) {
        let route_of = self.trust.route_of.as_deref();
        let exchange = match (self.part, self.protocol) {
            (Part::Call, _) => return (None, None),
            (Part::Server, Protocol::Http) => {
                words::served(head, route_of.and_then(|route_of| route_of(head)))
            }
            (Part::Server, Protocol::Grpc) => {
                let (exchange, asked) = methods::served(head, route_of);
                return (Some(exchange), asked);
            }
            (Part::Client, Protocol::Http) => words::sent(head),
            (Part::Client, Protocol::Grpc) => methods::sent(head),
        };
        (Some(exchange), None)
    }

    /// The version of HTTP that a server was asked in, where the conventions ask for it.
    fn version(&self, version: Version) -> Option<&'static str> {
        let told = (self.protocol, self.part) == (Protocol::Http, Part::Server);
        told.then(|| words::version(version)).flatten()
    }

    /// Leave to tell the breaker later of an answer with such a head, if that is not all there is to say.
    pub(super) fn late(&self, head: &Verdict) -> Option<Late> {
        let goes_on = self.part == Part::Client && head.status.is_none();
        self.breaker.as_ref().filter(|_| goes_on).and_then(CircuitBreakerHandle::late)
    }

    /// An answer has ended otherwise than its head said, by which it was counted.
    pub(super) fn turned_out(&self, head: &Verdict, late: Option<Late>, end: &Verdict) {
        if self.part != Part::Client || head.status.is_some() || end.class == Class::Success {
            return;
        }
        self.observer.emit(Event::AnswerBroken { outcome: end.outcome });
        // It knows of the call already, as one that the dependency has answered.
        if let (Some(breaker), Some(late)) = (&self.breaker, late.filter(|_| end.class != Class::CallerFault))
        {
            breaker.record_late(late, end.class);
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("observer", &self.observer)
            .field("part", &self.part)
            .field("judge", &self.judge)
            .finish_non_exhaustive()
    }
}

/// A call or a request whose end is to be told, once it has begun. It stays in its place until then, for to move it costs
/// more than to tell of it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) teller: Arc<Teller>,
    pub(super) span: Span,
    pub(super) seen: Seen,
    prepared: Option<Box<Prepared>>,
    /// When it was called, until it begins.
    pub(super) started: Instant,
    begun: bool,
    /// What tells of calls counts them there as well.
    pub(super) enrolled: Enrolled,
}

/// What is known of a request before it begins.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) exchange: Option<Exchange>,
    /// The method that a gRPC server is asked for, where only the answer tells whether there is one of that name.
    pub(super) asked: Option<Box<str>>,
    request_size: Option<u64>,
    /// On a server.
    version: Option<&'static str>,
    /// Whether its answer has no body, whatever its head says of one.
    head_alone: bool,
    /// Which request it is part of.
    correlation: Correlation,
    /// Whether it is nobody's.
    pub(super) synthetic: bool,
}

impl Seen {
    fn of<B>(teller: &Teller, call: &Call, request: &Request<B>) -> Self {
        let (exchange, asked) = teller.exchange(Head::of(request));
        Self {
            exchange,
            asked,
            request_size: length(request.headers()),
            version: teller.version(request.version()),
            head_alone: request.method() == http::Method::HEAD,
            correlation: match teller.part {
                Part::Server => Correlation::of(request.headers(), !teller.trust.edge),
                _ => Correlation::current(),
            },
            synthetic: call.synthetic || teller.trust.says_synthetic(Head::of(request)),
        }
    }
}

/// What a head says of the length of its body.
pub(super) fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Open {
    /// What was called at this instant, and of which nothing is known yet.
    pub(super) fn new(teller: &Arc<Teller>, started: Instant) -> Self {
        let (span, seen, enrolled) = (Span::new(), Seen::default(), Enrolled::default());
        Self { teller: Arc::clone(teller), span, seen, prepared: None, started, begun: false, enrolled }
    }

    /// Looks at the request, before it begins.
    pub(super) fn see<B>(&mut self, call: &Call, request: &Request<B>) {
        self.seen = Seen::of(&self.teller, call, request);
        self.prepared = trace::prepare(&self.teller, &self.seen, call, request);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether there is more to the answer than its head.
    pub(super) fn goes_on<B: Body>(&self, answer: &Response<B>) -> bool {
        let bodiless = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !self.seen.head_alone && !bodiless && !answer.body().is_end_stream()
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.begun, self.started) = (true, now);
        if let Some(prepared) = self.prepared.take() {
            self.span.begin(now, || Some(*prepared));
        }
        if let Some(exchange) = self.seen.exchange {
            self.enter(|| self.teller.observer.emit(Event::RequestStarted { exchange }));
        }
    }

    /// Does a piece of the work inside its span, and for its request.
    #[inline]
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        self.seen.correlation.enter(|| self.span.enter(work))
    }

    /// Tells how it ended, `response_size` bytes of body later.
    pub(super) fn end(&mut self, verdict: Verdict, response_size: u64, now: Instant) {
        let Verdict { outcome, error, status, recognised, .. } = verdict;
        let elapsed = now.saturating_duration_since(self.started);
        self.enrolled.tell(outcome, elapsed);
        if let (Some(exchange), Some(asked), true) = (&mut self.seen.exchange, &self.seen.asked, recognised) {
            exchange.method = methods::learn(asked);
        }
        let seen = &self.seen;
        // Inside, so that a line in a log is found by it.
        self.enter(|| {
            let observer = &self.teller.observer;
            if let Some(exchange) = seen.exchange {
                let ended = Ended {
                    status,
                    outcome,
                    synthetic: seen.synthetic,
                    error,
                    version: seen.version.or(verdict.version),
                    elapsed,
                    request_size: seen.request_size,
                    response_size,
                };
                observer.emit(Event::RequestFinished { exchange, ended });
            }
            if self.teller.part.is_call() {
                observer.emit(Event::CallFinished { outcome, elapsed, synthetic: seen.synthetic });
            }
        });
        if let Some(exchange) = &seen.exchange {
            trace::note_end(&self.span, exchange, seen.asked.as_deref(), &verdict);
        }
        self.span.end(|| SpanEnd { outcome, error, now });
    }
}
