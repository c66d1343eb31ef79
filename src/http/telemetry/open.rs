//! A call or a request, from when it is seen until its end is told.

use std::{mem, sync::Arc};

use http::{HeaderMap, StatusCode, Version, header::CONTENT_LENGTH};
use http_body::SizeHint;
use tokio::time::Instant;

use super::{
    judge::{Said, Verdict},
    methods,
    teller::{Part, Teller},
    trace,
};
use crate::{
    call::Call,
    circuit_breaker::Late,
    class::Class,
    correlation::Correlation,
    error::BoxError,
    event::{Ended, Event, Outcome},
    head::Head,
    record::{Kind, UnderWay},
    telemetry::{Prepared, Span, SpanEnd},
    trial::Enrolled,
};

/// A request is no larger, whatever it claims: a TiB. Two claims of what fits into the header would wrap the sum of all sizes.
const LARGEST: u64 = 1 << 40;

/// A call or a request whose end is to be told, once it has begun.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) teller: Arc<Teller>,
    pub(super) span: Span,
    pub(super) seen: Seen,
    prepared: Option<Box<Prepared>>,
    under_way: Option<UnderWay>,
    /// When it was called, until it begins.
    pub(super) started: Instant,
    begun: bool,
    /// What tells of calls counts them there as well.
    pub(super) enrolled: Enrolled,
    /// Whether a fault hook has done something to its call.
    pub(super) injected: bool,
    pub(super) answer: Answered,
    /// Its end was told, or is being told: a panic on the way tells no second one.
    told: bool,
}

/// What is known of a request before it begins.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) kind: Option<&'static Kind>,
    /// The method that a gRPC server is asked for, where only the answer tells whether there is one of that name.
    pub(super) asked: Option<Box<str>>,
    request_size: Option<u64>,
    /// On a server.
    pub(super) version: Option<&'static str>,
    /// Whether its answer has no body, whatever its head says of one.
    head_alone: bool,
    /// Which request it is part of.
    correlation: Correlation,
    /// Whether it is nobody's.
    pub(super) synthetic: bool,
}

impl Seen {
    fn look(&mut self, teller: &Teller, call: &Call, head: Head<'_>, version: Version) {
        (self.kind, self.asked) = teller.kind(head);
        self.request_size = length(head.headers).filter(|&size| size <= LARGEST);
        self.version = teller.version(version);
        self.head_alone = *head.method == http::Method::HEAD;
        self.correlation = match teller.part {
            Part::Server => Correlation::of(head.headers, !teller.trust.edge),
            _ => Correlation::current(),
        };
        self.synthetic = call.synthetic || teller.trust.says_synthetic(head);
    }
}

/// What is known of its answer before the body has ended.
#[derive(Debug)]
pub(super) struct Answered {
    /// By its head, and by its end; that it was cancelled before there is one.
    pub(super) verdict: Verdict,
    pub(super) late: Option<Late>,
    /// How long the body is, by the head or by itself, or longer than any where neither says it.
    pub(super) promised: u64,
    /// How many bytes of it passed.
    pub(super) passed: u64,
    /// Whether they are messages, which a gRPC server sends only for a method that it has.
    messages: bool,
    /// Inside a poll of the body; found by the drop only when that poll unwinds.
    pub(super) polling: bool,
}

/// What a head says of the length of its body.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Open {
    #[inline]
    pub(super) fn new(teller: &Arc<Teller>, started: Instant) -> Self {
        let (span, seen) = (Span::new(), Seen::default());
        Self {
            teller: Arc::clone(teller),
            span,
            seen,
            prepared: None,
            under_way: None,
            started,
            begun: false,
            enrolled: Enrolled::default(),
            injected: false,
            answer: Answered {
                verdict: Verdict::NONE,
                late: None,
                promised: u64::MAX,
                passed: 0,
                messages: false,
                polling: false,
            },
            told: false,
        }
    }

    /// Looks at the request, before it begins.
    pub(super) fn see(&mut self, call: &Call, head: Head<'_>, version: Version) {
        self.seen.look(&self.teller, call, head, version);
        self.prepared = trace::prepare(&self.teller, &self.seen, self.started, call, head);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Looks at the head of its answer, which the layers further in have judged so, and says whether there is more to come.
    pub(super) fn answered(&mut self, class: Class, outcome: Outcome, said: Said<'_>, ends: bool) -> bool {
        let Teller { judge, part, .. } = *self.teller;
        let verdict = judge.on_head(part, class, outcome, said);
        let bodiless = matches!(said.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let goes_on = !self.seen.head_alone && !bodiless && !ends;
        self.answer.verdict = verdict;
        self.answer.messages = self.seen.asked.is_some() && verdict.status.is_none() && said.may_be_grpc();
        self.answer.late = self.teller.late(&verdict);
        self.answer.promised = length(said.headers).filter(|_| goes_on).unwrap_or(u64::MAX);
        goes_on
    }

    /// A server writes into the head how long the body is that follows, where that is known, and then asks for no more.
    pub(super) fn promises(&mut self, hint: impl FnOnce() -> SizeHint) {
        if self.teller.part == Part::Server && self.answer.promised == u64::MAX {
            self.answer.promised = hint().exact().unwrap_or(u64::MAX);
        }
    }

    /// There is an error in the place of an answer.
    pub(super) fn failed(&mut self, outcome: Outcome, error: &BoxError, now: Instant) {
        let Teller { judge, part, .. } = *self.teller;
        self.answer.verdict = judge.on_error(part, outcome, error);
        self.end(now);
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.begun, self.started) = (true, now);
        if let Some(prepared) = self.prepared.take() {
            self.span.begin(now, || Some(*prepared));
        }
        if let Some(kind) = self.seen.kind {
            let observer = &self.teller.observer;
            if observer.shows_what_is_under_way() {
                self.under_way = UnderWay::begin(kind);
            }
            if observer.tells_of_starts() {
                self.enter(|| observer.emit(Event::RequestStarted { exchange: &kind.exchange }));
            }
        }
    }

    /// Does a piece of the work inside its span, and for its request.
    #[inline]
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        self.seen.correlation.enter(|| self.span.enter(work))
    }

    /// Tells that it has ended, as its verdict says, unless that was told.
    pub(super) fn end(&mut self, now: Instant) {
        if mem::replace(&mut self.told, true) {
            return;
        }
        let Answered { ref verdict, passed: response_size, messages, .. } = self.answer;
        let Verdict { outcome, error, status, .. } = *verdict;
        // Whatever became of it: who has answered with a message is there.
        let recognised = verdict.recognised || messages && response_size > 0;
        let elapsed = now.saturating_duration_since(self.started);
        self.enrolled.tell(outcome, elapsed);
        self.under_way = None;
        if let (Some(kind), Some(asked), true) = (&mut self.seen.kind, &self.seen.asked, recognised) {
            *kind = methods::learn(kind.exchange, asked);
        }
        let seen = &self.seen;
        // Inside, so that a line in a log is found by it.
        self.enter(|| {
            let Teller { observer, part, .. } = &*self.teller;
            let called =
                Event::CallFinished { outcome, elapsed, synthetic: seen.synthetic, injected: self.injected };
            let Some(Kind { exchange, .. }) = seen.kind else {
                if part.is_call() {
                    observer.emit(called);
                }
                return;
            };
            let ended = Ended {
                status,
                outcome,
                synthetic: seen.synthetic,
                injected: self.injected,
                error,
                version: seen.version.or(verdict.version),
                elapsed,
                request_size: seen.request_size,
                response_size,
            };
            let both = [Event::RequestFinished { exchange, ended }, called];
            if part.is_call() {
                observer.emit_both(&both);
            } else {
                observer.emit(both[0]);
            }
        });
        if let Some(Kind { exchange, .. }) = seen.kind {
            trace::note_end(&self.span, exchange, seen.asked.as_deref(), verdict);
        }
        self.span.end(|| SpanEnd { outcome, error, now });
    }
}
