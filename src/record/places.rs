//! What a thread finds by where texts lie.
//!
//! The texts of requests stay for good, so that a thread can compare addresses instead of them. What is the same here is the same;
//! what is the same may be found in several places.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    ptr,
};

use crate::{
    event::{Ended, Exchange},
    mix::ByAddress,
};

/// Where something is found: numbers, and addresses and lengths of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    numbers: u64,
    texts: [Text; 3],
}

/// Where a text lies, and how long it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    at: usize,
    len: usize,
}

impl Place {
    /// That of the kind of a request of which this is known.
    #[inline]
    pub(super) fn of(exchange: &Exchange) -> Self {
        let kind = exchange.protocol as u64 * 2 + exchange.end as u64;
        // A server has no address and a client no route.
        let texts = [Some(exchange.method), exchange.route.or(exchange.address), exchange.scheme];
        Self { numbers: kind << 17 | number(exchange.port), texts: texts.map(at) }
    }

    /// That of such an end of a request of this kind.
    #[inline]
    pub(super) fn finished(exchange: &'static Exchange, ended: &Ended) -> Self {
        let kind = Text { at: ptr::from_ref(exchange).addr(), len: 0 };
        Self { numbers: number(ended.status), texts: [kind, at(ended.error), at(ended.version)] }
    }
}

fn at(text: Option<&'static str>) -> Text {
    text.map_or_else(Text::default, |text| Text { at: text.as_ptr().addr(), len: text.len() })
}

fn number(number: Option<u16>) -> u64 {
    number.map_or(0, |number| u64::from(number) + 1)
}

impl Hash for Place {
    /// By what tells most of them apart.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first, second, _] = self.texts.map(|text| text.at);
        // Mixed once, by the hasher: a step for each would wait for the one before.
        let all = [first, second].into_iter();
        state.write_u64(all.fold(self.numbers, |all, at| all.rotate_left(21) ^ at as u64));
    }
}

/// What one thread found. It finds it again by comparing addresses, and allocates nothing for that.
pub(super) struct Known<T> {
    /// Where in `found` it is.
    places: HashMap<Place, usize, ByAddress>,
    found: Vec<T>,
}

impl<T> Known<T> {
    /// As many at most: the same may be found in several places, so nothing else bounds it.
    pub(super) const MOST: usize = 8_000;

    pub(super) const fn new() -> Self {
        Self { places: HashMap::with_hasher(ByAddress::new()), found: Vec::new() }
    }

    /// What there is at this place; `find` knows it.
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
    use crate::event::{End, Outcome, Protocol};

    const CLIENT: Exchange = Exchange {
        protocol: Protocol::Http,
        end: End::Client,
        method: "GET",
        scheme: Some("https"),
        route: None,
        address: Some("ledger"),
        port: Some(8443),
    };
    const ENDED: Ended = Ended {
        outcome: Outcome::Success,
        synthetic: false,
        injected: false,
        status: Some(200),
        error: None,
        version: Some("1.1"),
        elapsed: Duration::ZERO,
        request_size: None,
        response_size: 0,
    };

    #[test]
    fn different_kinds_have_different_places() {
        let server = Exchange { end: End::Server, route: Some("/payments/{id}"), address: None, ..CLIENT };
        let all = [
            CLIENT,
            server,
            Exchange { protocol: Protocol::Grpc, ..CLIENT },
            Exchange { method: "GE", ..CLIENT },
            Exchange { method: &CLIENT.method[..2], ..CLIENT },
            Exchange { route: Some("/"), ..server },
            Exchange { route: None, ..server },
            Exchange { scheme: Some("http"), ..CLIENT },
            Exchange { scheme: None, ..CLIENT },
            Exchange { address: None, ..CLIENT },
            Exchange { port: Some(0), ..CLIENT },
            Exchange { port: None, ..CLIENT },
        ];
        let places: HashSet<_> = all.iter().map(Place::of).collect();
        assert_eq!(places.len(), all.len());
    }

    #[test]
    fn different_ends_have_different_places() {
        let [here, there]: [&'static Exchange; 2] = [(); 2].map(|()| &*Box::leak(Box::new(CLIENT)));
        let all = [
            (here, ENDED),
            (there, ENDED),
            (here, Ended { status: None, ..ENDED }),
            (here, Ended { status: Some(0), ..ENDED }),
            (here, Ended { error: Some("500"), ..ENDED }),
            (here, Ended { version: None, ..ENDED }),
        ];
        let places: HashSet<_> = all.iter().map(|(kind, ended)| Place::finished(kind, ended)).collect();
        assert_eq!(places.len(), all.len());
    }

    #[test]
    fn what_a_thread_knows_is_bounded() {
        let mut known = Known::new();
        for port in 0..u16::MAX {
            let place = Place::of(&Exchange { port: Some(port), ..CLIENT });
            assert_eq!(*known.get(place, || port), port);
            assert_eq!(*known.get(place, || unreachable!("it is known")), port);
        }
        assert!(known.places.len() <= Known::<u16>::MOST);
    }
}
