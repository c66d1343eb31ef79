//! How many requests over a wire are under way.
//!
//! They are counted in one place of the process, whether or not there is a backend yet: it may come before they end. Who
//! shows them reads them there.

use std::sync::LazyLock;

use super::{
    capped::Capped,
    kinds::Kind,
    requests::{MOST, Series},
};
use crate::{
    event::{End, Exchange, Protocol},
    lane::Laned,
    sync::{AtomicU64, Ordering},
};

static ACTIVE: LazyLock<Active> = LazyLock::new(Active::default);

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(&'static Gauge);

impl UnderWay {
    /// One of this kind that begins. The conventions know no such metric of gRPC.
    #[inline]
    pub(crate) fn begin(kind: &Kind) -> Option<Self> {
        let is_http = kind.exchange.protocol == Protocol::Http;
        is_http.then(|| Self::at(kind.gauge.get_or_init(|| ACTIVE.gauge(&kind.exchange))))
    }

    #[inline]
    fn at(gauge: &'static Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for UnderWay {
    #[inline]
    fn drop(&mut self) {
        self.0.add(u64::MAX);
    }
}

/// Shows how many requests of an end of the wire are under way, series by series; `None` is what those share for which there
/// was no room.
pub(super) fn each(end: End, show: impl FnMut(Option<&Series>, i64)) {
    ACTIVE.each(end, show);
}

/// By end of the wire. A gauge stays for good, so that whoever counts in it needs to hold nothing: there are few.
struct Active([Capped<Series, &'static Gauge>; 2]);

impl Default for Active {
    fn default() -> Self {
        Self([(); 2].map(|()| Capped::new(MOST, Gauge::leaked())))
    }
}

impl Active {
    fn gauge(&self, exchange: &Exchange) -> &'static Gauge {
        self.0[exchange.end as usize].with(&Series::active(exchange), Gauge::leaked, |gauge| *gauge)
    }

    fn each(&self, end: End, mut show: impl FnMut(Option<&Series>, i64)) {
        self.0[end as usize].each(|series, gauge| show(series, gauge.value()));
    }
}

/// A number that goes up and down, in [lanes](crate::lane) like the cells of pipelines.
#[derive(Debug, Default)]
pub(super) struct Gauge(Laned<Part, 0>);

/// What of it was counted in a lane.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(AtomicU64);

impl Gauge {
    fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Adds what wraps round: what goes up in one lane may come down in another.
    #[inline]
    fn add(&self, change: u64) {
        let (lane, Part(part)) = self.0.here();
        lane.add(part, change);
    }

    fn value(&self) -> i64 {
        let sum = self.0.iter().fold(0_u64, |sum, part| sum.wrapping_add(part.0.load(Ordering::Relaxed)));
        // Below 0 when a request moved on, from a lane that was read to one that was not yet.
        i64::try_from(sum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn exchange(protocol: Protocol, port: u16) -> Exchange {
        Exchange {
            protocol,
            end: End::Client,
            method: "GET",
            scheme: Some("https"),
            route: None,
            address: Some("active"),
            port: Some(port),
        }
    }

    fn kind(protocol: Protocol, port: u16) -> &'static Kind {
        Kind::of(exchange(protocol, port))
    }

    /// What the process shows of clients that ask the host of this test.
    fn shown(port: u16) -> Option<i64> {
        let series = Series::active(&exchange(Protocol::Http, port));
        let mut shown = None;
        each(End::Client, |known, value| {
            if known == Some(&series) {
                shown = Some(value);
            }
        });
        shown
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped_on_any_thread() {
        let request = kind(Protocol::Http, 1);
        let [first, second] = [(); 2].map(|()| UnderWay::begin(request).expect("HTTP is counted"));
        assert_eq!(shown(1), Some(2));
        drop(second);
        assert_eq!(shown(1), Some(1));
        thread::spawn(|| drop(first)).join().expect("it does not panic");
        assert_eq!(shown(1), Some(0), "back at 0, and still there");
    }

    #[test]
    fn a_call_over_grpc_is_no_such_request() {
        assert!(UnderWay::begin(kind(Protocol::Grpc, 2)).is_none());
        assert_eq!(shown(2), None);
    }

    #[test]
    fn a_request_begins_and_ends_in_a_thread_that_is_torn_down() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                drop(UnderWay::begin(kind(Protocol::Http, 3)));
            }
        }
        thread_local! {
            static LATE: Late = const { Late };
        }
        let torn_down = thread::spawn(|| {
            LATE.with(|_| ());
            drop(UnderWay::begin(kind(Protocol::Http, 3)));
        });
        torn_down.join().expect("it does not panic");
        assert_eq!(shown(3), Some(0));
    }

    #[test]
    fn more_requests_than_there_is_room_for_are_counted_together_and_go_back_to_zero() {
        let active = Active::default();
        let sum = || {
            let (mut sum, mut series) = (0, 0);
            active.each(End::Client, |_, value| (sum, series) = (sum + value, series + 1));
            (sum, series)
        };
        let begin = |port| UnderWay::at(active.gauge(&exchange(Protocol::Http, port)));
        let all: Vec<_> = (0..3_000).map(begin).collect();
        assert_eq!(sum(), (3_000, MOST + 1));
        drop(all);
        assert_eq!(sum(), (0, MOST + 1));
    }
}
