//! The conventions for gRPC: what is told of each call, exactly.

mod client;
mod server;
mod trace;
#[expect(dead_code, reason = "the other tests of gRPC use all of it")]
#[path = "../../it/grpc/wire.rs"]
mod wire;

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use moneta_resilience::{
    event::{Ended, Event, Exchange, Outcome},
    record::Tape,
};
use opentelemetry_sdk::trace::SpanData;
use tokio::{sync::MutexGuard, time::advance};
use tonic::Code;

use self::wire::{framed, trailers};
use crate::{
    SECOND, alone,
    traces::{Traces, words},
};

type Body = BoxBody<Bytes, io::Error>;

/// Every code with its name.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

/// How a call is counted that ended with this code.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Success,
        Code::Unavailable | Code::DeadlineExceeded => Outcome::Transient,
        Code::ResourceExhausted => Outcome::Throttled,
        Code::Internal | Code::Unknown | Code::DataLoss => Outcome::Fault,
        _ => Outcome::CallerFault,
    }
}

fn number(code: Code) -> u16 {
    u16::try_from(code as i32).unwrap()
}

fn ask(path: &str) -> Request<()> {
    Request::post(path).body(()).unwrap()
}

fn body(frames: impl IntoIterator<Item = io::Result<Frame<Bytes>>>) -> Body {
    let frames: Vec<_> = frames.into_iter().collect();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

fn message() -> Frame<Bytes> {
    Frame::data(framed("9311"))
}

/// How long a message is in a body.
const MESSAGE: u64 = 9;

/// A message, and then this status.
fn after_a_message(code: Code) -> Response<Body> {
    Response::new(body([Ok(message()), Ok(trailers(code))]))
}

/// This status in the head, and nothing after it.
fn trailers_only(code: Code) -> Response<Body> {
    Response::builder().header("grpc-status", code as i32).body(body([])).unwrap()
}

/// What is told.
struct Seen {
    pipeline: &'static str,
    tape: Arc<Tape>,
    traces: Traces,
    _alone: MutexGuard<'static, ()>,
}

impl Seen {
    async fn new(pipeline: &'static str) -> Self {
        let alone = alone().await;
        let traces = Traces::new();
        traces.set();
        // That is noticed within a second.
        advance(SECOND).await;
        Self { pipeline, tape: Arc::default(), traces, _alone: alone }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.traces.spans(self.pipeline)
    }

    /// The one span that ended.
    fn span(&self) -> SpanData {
        let mut spans = self.spans();
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }

    fn words(&self) -> Vec<String> {
        words(&self.span())
    }

    /// The requests over the wire, as they began, and as they ended.
    fn requests(&self) -> (Vec<Exchange>, Vec<(Exchange, Ended)>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for event in self.tape.events() {
            match event {
                Event::RequestStarted { exchange } => begun.push(exchange),
                Event::RequestFinished { exchange, ended: how } => ended.push((exchange, how)),
                _ => {}
            }
        }
        (begun, ended)
    }

    /// How the one request ended that began.
    fn ended(&self) -> Ended {
        let (begun, ended) = self.requests();
        assert_eq!((begun.len(), ended.len()), (1, 1), "{:?}", self.tape);
        ended[0].1
    }

    /// How its calls ended.
    fn outcomes(&self) -> Vec<Outcome> {
        self.told(|event| match event {
            Event::CallFinished { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    fn told<T>(&self, pick: impl Fn(Event) -> Option<T>) -> Vec<T> {
        self.tape.events().into_iter().filter_map(pick).collect()
    }
}
