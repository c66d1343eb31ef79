//! What the conventions ask about a request, in words of closed or bounded sets.

use http::{Method, StatusCode, Uri, Version};

use crate::{
    event::{End, Exchange, Protocol},
    head::Head,
    record::Kind,
    words::{OTHER, Words},
};

/// As many routes and hosts keep their names.
const MAX: usize = 2_000;

static ROUTES: Words = Words::new(MAX);
static HOSTS: Words = Words::new(MAX);

/// A request that a server was sent. The route is what its framework says that matched, unless it is told.
pub(super) fn served(head: Head<'_>, told: Option<&'static str>) -> &'static Kind {
    let exchange = Exchange {
        protocol: Protocol::Http,
        end: End::Server,
        method: method(head.method),
        scheme: Some(scheme(head.uri).unwrap_or("http")),
        // What is told lies in its place, by which it is found without being read.
        route: told.or_else(|| head.route(None).map(|route| ROUTES.get(route))),
        address: None,
        port: None,
    };
    Kind::cleaned(exchange, |exchange| Exchange {
        route: told.map_or(exchange.route, |told| Some(ROUTES.get(told))),
        ..exchange
    })
}

/// A request that a client sends.
pub(super) fn sent(head: Head<'_>) -> Exchange {
    let scheme = scheme(head.uri);
    let usual = match scheme {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    Exchange {
        protocol: Protocol::Http,
        end: End::Client,
        method: method(head.method),
        scheme,
        route: None,
        address: head.uri.host().map(|host| HOSTS.get(host)),
        port: head.uri.port_u16().or(usual),
    }
}

/// The methods of RFC 9110, of RFC 5789, and QUERY: all that the conventions know.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ if method.as_str() == "QUERY" => "QUERY",
        _ => OTHER,
    }
}

fn scheme(uri: &Uri) -> Option<&'static str> {
    match uri.scheme_str() {
        Some("https") => Some("https"),
        Some("http") => Some("http"),
        _ => None,
    }
}

/// A status as the name of a kind of error.
pub(super) fn error(status: StatusCode) -> &'static str {
    // As many as the type has from 400 on.
    static STATUSES: Words = Words::new(600);
    STATUSES.get(status.as_str())
}

pub(super) fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}
