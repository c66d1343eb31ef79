//! By which labels requests over a wire are measured.
//!
//! The labels are closed sets, and texts of which the configuration and the routes of a service have so many. Should that
//! go wrong, there is room for [`MOST`] series of each metric and no more: what comes after them shares one.

use crate::{
    event::{End, Ended, Exchange, Protocol},
    telemetry::names,
};

/// How many series a metric has room for. It is the limit of OpenTelemetry's SDKs, too.
pub(super) const MOST: usize = 2_000;

/// What a series has its labels from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Series {
    pub(super) protocol: Protocol,
    pub(super) end: End,
    method: Option<&'static str>,
    route: Option<&'static str>,
    status: Option<u16>,
    error: Option<&'static str>,
    version: Option<&'static str>,
    scheme: Option<&'static str>,
    address: Option<&'static str>,
    port: Option<u16>,
}

/// The value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Text(&'static str),
    Number(u16),
}

/// What the durations of requests are called, and what they measure.
pub(super) const fn duration(protocol: Protocol, end: End) -> (&'static str, &'static str) {
    match (protocol, end) {
        (Protocol::Http, End::Server) => {
            (names::HTTP_SERVER_DURATION, "How long HTTP requests took to answer")
        }
        (Protocol::Http, End::Client) => (names::HTTP_CLIENT_DURATION, "How long HTTP requests took"),
        (Protocol::Grpc, End::Server) => (names::RPC_SERVER_DURATION, "How long gRPC calls took to answer"),
        (Protocol::Grpc, End::Client) => (names::RPC_CLIENT_DURATION, "How long gRPC calls took"),
    }
}

impl Series {
    /// That of a request that ended.
    pub(super) fn finished(exchange: &Exchange, ended: &Ended) -> Self {
        let (server, http) = (exchange.end == End::Server, exchange.protocol == Protocol::Http);
        Self {
            protocol: exchange.protocol,
            end: exchange.end,
            method: Some(exchange.method),
            route: exchange.route.filter(|_| server && http),
            status: ended.status,
            error: ended.error,
            version: ended.version.filter(|_| http),
            scheme: exchange.scheme.filter(|_| server && http),
            address: exchange.address.filter(|_| !server),
            port: exchange.port.filter(|_| !server),
        }
    }

    /// That of a request that is under way.
    pub(super) fn active(exchange: &Exchange) -> Self {
        let server = exchange.end == End::Server;
        Self {
            protocol: exchange.protocol,
            end: exchange.end,
            method: server.then_some(exchange.method),
            route: None,
            status: None,
            error: None,
            version: None,
            scheme: exchange.scheme.filter(|_| server),
            address: exchange.address.filter(|_| !server),
            port: exchange.port.filter(|_| !server),
        }
    }

    /// Its labels, in the order of their names.
    pub(super) fn labels(&self) -> Vec<(&'static str, Label)> {
        let text = |text: Option<&'static str>| text.map(Label::Text);
        let all: &[_] = match self.protocol {
            Protocol::Http => &[
                (names::ERROR_TYPE, text(self.error)),
                (names::HTTP_METHOD, text(self.method)),
                (names::HTTP_STATUS, self.status.map(Label::Number)),
                (names::HTTP_ROUTE, text(self.route)),
                (names::PROTOCOL_VERSION, text(self.version)),
                (names::SERVER_ADDRESS, text(self.address)),
                (names::SERVER_PORT, self.port.map(Label::Number)),
                (names::URL_SCHEME, text(self.scheme)),
            ],
            Protocol::Grpc => &[
                (names::ERROR_TYPE, text(self.error)),
                (names::RPC_METHOD, text(self.method)),
                (names::RPC_STATUS, text(self.status.and_then(|status| self.protocol.status_name(status)))),
                (names::RPC_SYSTEM, text(Some("grpc"))),
                (names::SERVER_ADDRESS, text(self.address)),
                (names::SERVER_PORT, self.port.map(Label::Number)),
            ],
        };
        all.iter().filter_map(|&(name, label)| Some((name, label?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Outcome;

    fn exchange(protocol: Protocol, end: End) -> Exchange {
        Exchange {
            protocol,
            end,
            method: "GET",
            scheme: Some("https"),
            route: Some("/payments/{id}"),
            address: Some("ledger"),
            port: Some(8443),
        }
    }

    fn ended(status: Option<u16>, error: Option<&'static str>) -> Ended {
        Ended {
            outcome: Outcome::Success,
            synthetic: false,
            injected: false,
            status,
            error,
            version: Some("1.1"),
            elapsed: Duration::ZERO,
            request_size: None,
            response_size: 0,
        }
    }

    fn labels(series: Series) -> String {
        let label = |(name, label)| match label {
            Label::Text(text) => format!("{name}={text}"),
            Label::Number(number) => format!("{name}={number}"),
        };
        series.labels().into_iter().map(label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_end_of_each_protocol_has_the_labels_of_the_conventions() {
        use {End::*, Protocol::*};
        let of = |protocol, end, error| {
            labels(Series::finished(&exchange(protocol, end), &ended(Some(14), error)))
        };
        assert_eq!(
            of(Http, Server, None),
            "http.request.method=GET http.response.status_code=14 http.route=/payments/{id} \
             network.protocol.version=1.1 url.scheme=https"
        );
        assert_eq!(
            of(Http, Client, Some("14")),
            "error.type=14 http.request.method=GET http.response.status_code=14 network.protocol.version=1.1 \
             server.address=ledger server.port=8443"
        );
        assert_eq!(
            of(Grpc, Server, Some("UNAVAILABLE")),
            "error.type=UNAVAILABLE rpc.method=GET rpc.response.status_code=UNAVAILABLE rpc.system.name=grpc"
        );
        assert_eq!(
            of(Grpc, Client, None),
            "rpc.method=GET rpc.response.status_code=UNAVAILABLE rpc.system.name=grpc server.address=ledger \
             server.port=8443"
        );
        assert_eq!(
            labels(Series::active(&exchange(Http, Server))),
            "http.request.method=GET url.scheme=https"
        );
        assert_eq!(labels(Series::active(&exchange(Http, Client))), "server.address=ledger server.port=8443");
    }

    #[test]
    fn what_was_not_known_is_not_a_label() {
        let nothing = Exchange {
            scheme: None,
            route: None,
            address: None,
            port: None,
            ..exchange(Protocol::Http, End::Client)
        };
        let unanswered = Ended { version: None, ..ended(None, Some("timeout")) };
        let series = Series::finished(&nothing, &unanswered);
        assert_eq!(labels(series), "error.type=timeout http.request.method=GET");
        assert_eq!(labels(Series::active(&nothing)), "");
    }
}
