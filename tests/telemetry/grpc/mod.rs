//! The conventions for gRPC: what is told of each call, exactly.

mod client;
mod metrics;
mod server;
mod trace;
#[expect(dead_code, reason = "the other tests of gRPC use all of it")]
#[path = "../../it/grpc/wire.rs"]
mod wire;

use std::io;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use moneta_resilience::event::{Ended, Outcome};
use tonic::Code;

use self::wire::{framed, trailers};
use crate::seen::Seen;

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

impl Seen {
    /// How the one request ended that began.
    fn ended(&self) -> Ended {
        let (begun, ended) = self.requests();
        assert_eq!((begun.len(), ended.len()), (1, 1), "{:?}", self.tape);
        ended[0].1
    }
}
