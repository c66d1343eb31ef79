//! What all that a part of a stack tells has in common.

use std::{fmt, sync::Arc};

use http::Version;

use super::{
    judge::{Judge, Verdict},
    methods, words,
};
use crate::{
    circuit_breaker::{CircuitBreakerHandle, Late},
    class::Class,
    event::{Event, Protocol},
    head::{Head, RouteOf},
    observer::Observer,
    record::Kind,
    telemetry::{Side, Spans},
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
    pub(super) fn says_synthetic(&self, head: Head<'_>) -> bool {
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

    /// The kind of a request, where it goes over the wire here. Beside it the method that is asked for, where only the answer tells
    /// whether there is one of that name.
    pub(super) fn kind(&self, head: Head<'_>) -> (Option<&'static Kind>, Option<Box<str>>) {
        let route_of = self.trust.route_of.as_deref();
        let kind = match (self.part, self.protocol) {
            (Part::Call, _) => return (None, None),
            (Part::Server, Protocol::Http) => {
                words::served(head, route_of.and_then(|route_of| route_of(head)))
            }
            (Part::Server, Protocol::Grpc) => {
                let (kind, asked) = methods::served(head, route_of);
                return (Some(kind), asked);
            }
            (Part::Client, Protocol::Http) => Kind::of(words::sent(head)),
            (Part::Client, Protocol::Grpc) => Kind::of(methods::sent(head)),
        };
        (Some(kind), None)
    }

    /// The version of HTTP that a server was asked in, where the conventions ask for it.
    pub(super) fn version(&self, version: Version) -> Option<&'static str> {
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
