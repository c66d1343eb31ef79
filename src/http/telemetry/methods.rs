//! What the conventions ask about a gRPC call, in words of bounded sets.
//!
//! The method is what the caller says, and nothing keeps a caller from making methods up. So a server's are known by its
//! answers: a method is one once a call of it has had an answer that only a method gives. Until then, and where all answers
//! are refusals, it is [`OTHER`].

use super::words;
use crate::{
    event::{End, Exchange, Protocol},
    head::{Head, RouteOf},
    record::Kind,
    words::{OTHER, Words},
};

/// As many methods keep their names.
const MAX: usize = 2_000;

static SERVED: Words = Words::new(MAX);
static SENT: Words = Words::new(MAX);

/// A call that a server was sent, and the method that was asked for, where its answer has yet to tell whether there is one
/// of that name. `route_of` knows that before, where it is given.
pub(super) fn served(head: Head<'_>, route_of: Option<&RouteOf>) -> (&'static Kind, Option<Box<str>>) {
    let asked = method(head.uri.path());
    let known = match route_of.map(|route_of| route_of(head)) {
        Some(told) => Some(told.map_or(OTHER, |told| told.strip_prefix('/').unwrap_or(told))),
        None => asked.map_or(Some(OTHER), |asked| SERVED.find(asked)),
    };
    let exchange = Exchange {
        protocol: Protocol::Grpc,
        end: End::Server,
        method: known.unwrap_or(OTHER),
        scheme: None,
        route: None,
        address: None,
        port: None,
    };
    (Kind::of(exchange), asked.filter(|_| known.is_none()).map(Into::into))
}

/// A call that a client sends.
pub(super) fn sent(head: Head<'_>) -> Exchange {
    let method = method(head.uri.path()).map_or(OTHER, |method| SENT.get(method));
    Exchange { protocol: Protocol::Grpc, method, scheme: None, ..words::sent(head) }
}

/// The method was asked for, and there is one of that name: the kind of that request.
pub(super) fn learn(exchange: Exchange, asked: &str) -> &'static Kind {
    Kind::of(Exchange { method: SERVED.get(asked), ..exchange })
}

/// The method that a path names: `package.Service/Method`.
fn method(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    (!service.is_empty() && !name.is_empty() && !name.contains('/')).then_some(method)
}
