//! The kinds of requests over a wire that the process knows.
//!
//! Requests are of one kind when the same is known of them as they begin: their [`Exchange`]. A kind stays for good, so that
//! what is told of a request refers to it, and is found by its address. To find the kind is the one look-up with which a request
//! begins.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

use super::{
    active::Gauge,
    places::{Known, Place},
};
use crate::{
    event::{Exchange, Protocol},
    sync::{Mutex, lock},
    words::OTHER,
};

/// By end of the wire: what a client asks for takes no room from what a server is asked for.
static KINDS: LazyLock<[Kinds; 2]> = LazyLock::new(Default::default);

thread_local! {
    static KNOWN: RefCell<Known<&'static Kind>> = const { RefCell::new(Known::new()) };
}

/// A kind of requests.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) exchange: Exchange,
    /// Where those are counted that are under way, once one was.
    pub(super) gauge: OnceLock<&'static Gauge>,
}

impl Kind {
    /// That of a request of which this is known.
    #[inline]
    pub(crate) fn of(exchange: Exchange) -> &'static Self {
        Self::cleaned(exchange, |exchange| exchange)
    }

    /// The same of texts that nobody has looked at yet. A thread finds it by where they lie, and asks once what is to be told of
    /// requests whose texts lie there.
    #[inline]
    pub(crate) fn cleaned(exchange: Exchange, clean: impl Fn(Exchange) -> Exchange) -> &'static Self {
        let find = || KINDS[exchange.end as usize].find(clean(exchange));
        // A thread that is being torn down knows nothing any more, and yet a request may begin in it.
        let known = KNOWN.try_with(|known| *known.borrow_mut().get(Place::of(&exchange), find));
        known.unwrap_or_else(|_| find())
    }
}

/// All kinds of one end. A thread takes the lock when it meets one that it does not know.
#[derive(Default)]
struct Kinds(Mutex<HashMap<Exchange, &'static Kind>>);

impl Kinds {
    /// As many there are before requests lose what makes so many of them: a server has less, unless it has many hundred routes.
    const MOST: usize = Known::<()>::MOST;

    fn find(&self, exchange: Exchange) -> &'static Kind {
        let mut kinds = lock(&self.0);
        let is_known = kinds.len() < Self::MOST || kinds.contains_key(&exchange);
        let exchange = if is_known { exchange } else { bare(exchange) };
        kinds
            .entry(exchange)
            .or_insert_with(|| Box::leak(Box::new(Kind { exchange, gauge: OnceLock::new() })))
    }
}

/// What is left is of closed sets.
fn bare(exchange: Exchange) -> Exchange {
    let other = |text: Option<&'static str>| text.map(|_| OTHER);
    Exchange {
        method: if exchange.protocol == Protocol::Http { exchange.method } else { OTHER },
        route: other(exchange.route),
        address: other(exchange.address),
        port: None,
        ..exchange
    }
}

#[cfg(test)]
mod tests {
    use std::{ptr, thread};

    use super::*;
    use crate::event::End;

    fn exchange(method: &'static str, port: u16) -> Exchange {
        Exchange {
            protocol: Protocol::Http,
            end: End::Client,
            method,
            scheme: Some("https"),
            route: None,
            address: Some("kinds"),
            port: Some(port),
        }
    }

    fn kind(method: &'static str, port: u16) -> &'static Kind {
        Kind::of(exchange(method, port))
    }

    #[test]
    fn requests_of_which_the_same_is_known_are_of_one_kind_on_all_threads() {
        let here = kind("GET", 1);
        assert_eq!(here.exchange, exchange("GET", 1));
        let elsewhere: &'static str = "GET".to_owned().leak();
        assert!(ptr::eq(here, kind("GET", 1)) && ptr::eq(here, kind(elsewhere, 1)));
        let there = thread::spawn(|| kind("GET", 1)).join().expect("it does not panic");
        assert!(ptr::eq(here, there));
        for other in [kind("PUT", 1), kind("GET", 2), kind(&elsewhere[..2], 1)] {
            assert!(!ptr::eq(here, other), "{other:?}");
        }
    }

    #[test]
    fn a_text_is_cleaned_once_for_each_place_where_it_lies() {
        let clean = |exchange| Exchange { method: "CLEAN", ..exchange };
        let first = Kind::cleaned(exchange("/cards/1", 3), clean);
        assert_eq!(first.exchange, exchange("CLEAN", 3));
        let again = Kind::cleaned(exchange("/cards/1", 3), |_| unreachable!("it is known by its place"));
        assert!(ptr::eq(first, again));
    }

    #[test]
    fn more_kinds_than_there_is_room_for_are_told_by_what_is_of_closed_sets() {
        let kinds = Kinds::default();
        let total = 10_000;
        let known =
            (0..total).filter(|&port| kinds.find(exchange("GET", port)).exchange == exchange("GET", port));
        assert_eq!(known.count(), Kinds::MOST);
        let rest = Exchange { address: Some(OTHER), port: None, ..exchange("GET", 0) };
        assert_eq!(kinds.find(exchange("GET", total)).exchange, rest);
        assert_eq!(kinds.find(exchange("GET", 0)).exchange, exchange("GET", 0), "the first ones stay");
        assert_eq!(lock(&kinds.0).len(), Kinds::MOST + 1);
        let grpc = Exchange { protocol: Protocol::Grpc, ..exchange("bank.Ledger/Book", total) };
        assert_eq!(kinds.find(grpc).exchange, Exchange { protocol: Protocol::Grpc, method: OTHER, ..rest });
    }
}
