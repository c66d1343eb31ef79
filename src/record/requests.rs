//! By which labels requests over a wire are measured.
//!
//! The labels are closed sets, and texts of which the configuration and the routes of a service have so many. Should that
//! go wrong, there is room for [`MOST`] series of each metric and no more: what comes after them shares one.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use crate::{
    event::{End, Ended, Exchange, Protocol},
    mix::ByAddress,
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

    /// Where its texts lie, and the rest of it. What is the same here is the same series, though a series may be found in
    /// several places; and numbers are compared and hashed faster than texts.
    #[inline]
    pub(super) fn place(&self) -> Place {
        let at = |text: Option<&'static str>| text.map_or([0; 2], |text| [text.as_ptr().addr(), text.len()]);
        let number = |number: Option<u16>| number.map_or(0, |number| u64::from(number) + 1);
        let kind = self.protocol as u64 * 2 + self.end as u64;
        // A server has no address and a client no route.
        let texts = [self.method, self.route.or(self.address), self.error, self.version, self.scheme];
        Place { numbers: kind << 34 | number(self.status) << 17 | number(self.port), texts: texts.map(at) }
    }
}

/// Where a series is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    numbers: u64,
    texts: [[usize; 2]; 5],
}

impl Hash for Place {
    /// By what tells most series apart.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [[method, _], [route, _], [error, _], ..] = self.texts;
        // Mixed once, by the hasher: a step for each would wait for the one before.
        let all = [method, route, error].into_iter();
        state.write_u64(all.fold(self.numbers, |all, at| all.rotate_left(21) ^ at as u64));
    }
}

/// What one thread found for series. It finds it again by comparing addresses, and allocates nothing for that.
pub(super) struct Known<T> {
    /// Where in `found` it is.
    places: HashMap<Place, usize, ByAddress>,
    found: Vec<T>,
}

impl<T> Known<T> {
    const MOST: usize = 4 * MOST;

    pub(super) const fn new() -> Self {
        Self { places: HashMap::with_hasher(ByAddress::new()), found: Vec::new() }
    }

    /// What there is for the series at this place; `find` knows it.
    #[inline]
    pub(super) fn get(&mut self, place: Place, find: impl FnOnce() -> T) -> &T {
        let index = match self.places.get(&place) {
            Some(&index) => index,
            None => self.learn(place, find()),
        };
        &self.found[index]
    }

    #[cold]
    fn learn(&mut self, place: Place, found: T) -> usize {
        // Of several metrics, and a series may be found in several places: all that bounds it is this.
        if self.found.len() >= Self::MOST {
            self.places.clear();
            self.found.clear();
        }
        self.places.insert(place, self.found.len());
        self.found.push(found);
        self.found.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

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

    #[test]
    fn different_series_have_different_places() {
        let base = Series::finished(&exchange(Protocol::Http, End::Client), &ended(Some(200), None));
        let all = [
            base,
            Series { protocol: Protocol::Grpc, ..base },
            Series { end: End::Server, ..base },
            Series { method: Some("GE"), ..base },
            Series { method: Some(&base.method.expect("it has one")[..2]), ..base },
            Series { route: Some("/"), ..base },
            Series { status: None, ..base },
            Series { status: Some(0), ..base },
            Series { error: Some("500"), ..base },
            Series { version: None, ..base },
            Series { scheme: Some("http"), ..base },
            Series { address: None, ..base },
            Series { port: None, ..base },
        ];
        let places: HashSet<_> = all.iter().map(Series::place).collect();
        assert_eq!(places.len(), all.len());
    }

    #[test]
    fn equal_texts_in_different_places_are_one_series() {
        let base = Series::active(&exchange(Protocol::Http, End::Server));
        let elsewhere: &'static str = Box::leak("GET".to_owned().into_boxed_str());
        let other = Series { method: Some(elsewhere), ..base };
        assert_ne!(base.place(), other.place());
        assert_eq!(base, other);
    }

    #[test]
    fn what_a_thread_knows_is_bounded() {
        let mut known = Known::new();
        let base = Series::active(&exchange(Protocol::Http, End::Client));
        for port in 0..u16::MAX {
            let series = Series { port: Some(port), ..base };
            assert_eq!(*known.get(series.place(), || port), port);
            assert_eq!(*known.get(series.place(), || unreachable!("it is known")), port);
        }
        assert!(known.places.len() <= Known::<u16>::MOST);
    }
}
