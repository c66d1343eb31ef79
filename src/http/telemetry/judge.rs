//! What became of a call, as its protocol says it.

use std::fmt;

use http::{HeaderMap, Response, StatusCode, Version, header::CONTENT_TYPE};

use super::{Part, words};
use crate::{
    class::Class,
    error::BoxError,
    event::{Outcome, Protocol},
    policy::outcome_of,
    respond,
};

/// How a call or a request ends, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) class: Class,
    pub(crate) outcome: Outcome,
    /// What kind of error that is to this side, if it is one.
    pub(crate) error: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) version: Option<&'static str>,
    /// Whether it shows that what was asked for is there.
    pub(crate) recognised: bool,
}

impl Verdict {
    /// What is known before there is an answer.
    pub(super) const NONE: Self = Self {
        class: Class::Neutral,
        outcome: Outcome::Cancelled,
        error: None,
        status: None,
        version: None,
        recognised: false,
    };
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    version: Version,
}

impl<'a> Said<'a> {
    pub(super) fn by<B>(answer: &'a Response<B>) -> Self {
        Self { status: answer.status(), headers: answer.headers(), version: answer.version() }
    }

    /// Whether a body that follows may be one of messages: it is not said to be something else, as a page is.
    pub(super) fn may_be_grpc(&self) -> bool {
        self.headers.get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    }
}

/// How a protocol over HTTP says what became of a call, and what of that is an error to which part.
pub(crate) trait Judge: fmt::Debug + Send + Sync {
    /// Which protocol it is.
    fn protocol(&self) -> Protocol;

    /// By the head of an answer, which the layers further in have judged so.
    fn on_head(&self, part: Part, class: Class, outcome: Outcome, said: Said<'_>) -> Verdict;

    /// By what came instead of an answer.
    fn on_error(&self, part: Part, outcome: Outcome, error: &BoxError) -> Verdict;

    /// By how it ended without an answer.
    fn on_drop(&self, part: Part, outcome: Outcome) -> Verdict;

    /// By the end of the body, after such a head; `None` where the head has said all.
    fn on_end(&self, part: Part, head: &Verdict, trailers: Option<&HeaderMap>) -> Option<Verdict>;

    /// By the error of the body, after such a head.
    fn on_break(&self, part: Part, head: Verdict, error: &BoxError) -> Verdict;

    /// By the drop of the body, after such a head. `whole`: all that it promised has passed.
    fn on_leave(&self, part: Part, head: Verdict, whole: bool) -> Verdict;
}

/// Judges by the status of HTTP.
#[derive(Debug)]
pub(crate) struct Http;

impl Judge for Http {
    fn protocol(&self) -> Protocol {
        Protocol::Http
    }

    fn on_head(&self, part: Part, class: Class, outcome: Outcome, said: Said<'_>) -> Verdict {
        let status = said.status;
        let error = match part {
            Part::Server => status.as_u16() >= 500,
            Part::Client => status.as_u16() >= 400,
            Part::Call => false,
        };
        Verdict {
            class,
            outcome,
            error: match part {
                Part::Call => part.side().error_type(outcome, None),
                _ => error.then(|| words::error(status)),
            },
            status: (part != Part::Call).then(|| status.as_u16()),
            // A server has it from the request.
            version: (part == Part::Client).then(|| words::version(said.version)).flatten(),
            recognised: false,
        }
    }

    fn on_error(&self, part: Part, outcome: Outcome, error: &BoxError) -> Verdict {
        let kind = part.side().error_type(outcome, Some(error));
        // A server's caller gets a status nevertheless.
        let status = (part == Part::Server).then(|| respond::status(Some(error)));
        Verdict {
            class: Class::Neutral,
            outcome,
            // Over the limit of its rate, or at fault otherwise: that is no error of the server.
            error: kind.filter(|_| status.is_none_or(|status| status.is_server_error())),
            status: status.map(|status| status.as_u16()),
            version: None,
            recognised: false,
        }
    }

    fn on_drop(&self, part: Part, outcome: Outcome) -> Verdict {
        let status =
            (part == Part::Server && outcome == Outcome::Panicked).then(|| respond::status(None).as_u16());
        let error = part.side().error_type(outcome, None);
        Verdict { class: Class::Neutral, outcome, error, status, version: None, recognised: false }
    }

    fn on_end(&self, _: Part, _: &Verdict, _: Option<&HeaderMap>) -> Option<Verdict> {
        None
    }

    fn on_break(&self, part: Part, head: Verdict, error: &BoxError) -> Verdict {
        let outcome = match part {
            Part::Server => Outcome::Fault,
            Part::Call | Part::Client => outcome_of(error, Class::TRANSIENT),
        };
        Verdict { outcome, error: part.side().error_type(outcome, Some(error)), ..head }
    }

    /// A client that drops a body has read as much as it wanted. On a server it means that the caller went away.
    fn on_leave(&self, part: Part, head: Verdict, whole: bool) -> Verdict {
        if part == Part::Server && !whole && head.error.is_none() {
            Verdict { outcome: Outcome::Cancelled, ..head }
        } else {
            head
        }
    }
}
