use std::time::Duration;

use super::Outcome;

/// A request over a wire, by what the conventions of OpenTelemetry ask about one before it ends.
///
/// Each of its texts is one of a closed or of a bounded set, so that no caller can make up values of metric labels. So there are
/// not many that differ, and each is kept for good: requests of which the same is known refer to one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Exchange {
    /// What is spoken.
    pub protocol: Protocol,
    /// Which end of the wire tells of it.
    pub end: End,
    /// The method: of HTTP one of those that are registered, else `_OTHER`; of gRPC `package.Service/Method` where that is
    /// known to be one, else `_OTHER`.
    pub method: &'static str,
    /// `http` or `https`, where it is known.
    pub scheme: Option<&'static str>,
    /// The pattern of paths that matched, on a server: `/payments/{id}`.
    pub route: Option<&'static str>,
    /// The host that is asked, on a client.
    pub address: Option<&'static str>,
    /// Its port.
    pub port: Option<u16>,
}

/// A protocol that [`Exchange`]s are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP, of any version.
    Http,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// What a status is called: of gRPC `DEADLINE_EXCEEDED` and its like. HTTP calls them by their numbers: `None`.
    pub const fn status_name(self, status: u16) -> Option<&'static str> {
        const CODES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        match self {
            Self::Grpc if (status as usize) < CODES.len() => Some(CODES[status as usize]),
            _ => None,
        }
    }
}

/// An end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// The one that is asked.
    Server,
    /// The one that asks.
    Client,
}

/// How an [`Exchange`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The status, of HTTP 100 to 599, of gRPC 0 to 16; `None` where none was sent or received. Of gRPC there is always one:
    /// where the other side has sent none, it is this side's.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it is synthetic: a probe, a test in production, or made for one. See [`synthetic`](crate::synthetic).
    pub synthetic: bool,
    /// Whether a fault hook of its stack had done something by then to the call that it is part of.
    pub injected: bool,
    /// What kind of error it is, `None` where it is none: the status, of gRPC by its name, a reason of this crate, or an
    /// outcome, as
    /// [`Outcome::as_str`](super::Outcome::as_str) has it.
    pub error: Option<&'static str>,
    /// The version of the protocol, such as `1.1`.
    pub version: Option<&'static str>,
    /// Time from its start to the end of the answer's body.
    pub elapsed: Duration,
    /// The size of the request's body in bytes, where the request says it.
    pub request_size: Option<u64>,
    /// How many bytes of the answer's body passed.
    pub response_size: u64,
}
