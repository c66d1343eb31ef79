use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{call::Call, http::Patience};

/// The header that says how long the caller will wait.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How many attempts there were before this one (gRFC A6).
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// The units of the header, finest first, in nanoseconds.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

/// The most that the eight digits of the header can say.
const MOST: u128 = 99_999_999;

/// How long the caller will wait. Of several values the shortest counts.
pub(crate) fn patience(headers: &HeaderMap, name: &HeaderName) -> Patience {
    Patience::of(headers.get_all(name).iter(), parse)
}

fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    Some(of_nanos(number * nanos))
}

/// Eight digits of hours are some eleven thousand years, far less than a `Duration` holds.
fn of_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % SECOND).expect("less than a second");
    Duration::new(seconds, rest)
}

/// Writes what is left of the attempt's time and, on later attempts, how many there were before.
pub(crate) fn wire_headers(name: &HeaderName, call: &Call, now: Instant, headers: &mut HeaderMap) {
    if let Some(deadline) = call.deadline {
        headers.insert(name.clone(), value(deadline.saturating_duration_since(now)));
    }
    if call.attempt > 1 {
        headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(call.attempt - 1));
    } else {
        // It may have come with the headers of an inbound call that were passed on.
        headers.remove(PREVIOUS_ATTEMPTS);
    }
}

/// `limit` in the finest unit whose eight digits hold it, rounded up, so that this side's own limit is never the
/// later one, and never nothing: the specification asks for a positive number.
fn value(limit: Duration) -> HeaderValue {
    let nanos = limit.as_nanos().max(1);
    let (letter, unit) =
        *UNITS.iter().find(|(_, unit)| nanos.div_ceil(*unit) <= MOST).unwrap_or(&UNITS[UNITS.len() - 1]);
    let text = format!("{}{}", nanos.div_ceil(unit).min(MOST), char::from(letter));
    HeaderValue::try_from(text).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::Carried;

    fn read(values: &[&[u8]]) -> Patience {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(GRPC_TIMEOUT, HeaderValue::from_bytes(value).expect("no control bytes"));
        }
        patience(&headers, &GRPC_TIMEOUT)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, limit) in [
            (&b"2H"[..], Duration::from_secs(7_200)),
            (b"3M", Duration::from_secs(180)),
            (b"4S", Duration::from_secs(4)),
            (b"5m", Duration::from_millis(5)),
            (b"6u", Duration::from_micros(6)),
            (b"7n", Duration::from_nanos(7)),
            (b"00000008n", Duration::from_nanos(8)),
            (b"0S", Duration::ZERO),
            (b"99999999H", Duration::from_secs(99_999_999 * 3_600)),
        ] {
            assert_eq!(read(&[text]), Patience { limit: Some(limit), malformed: false }, "{text:?}");
        }
    }

    #[test]
    fn hostile_values_are_ignored_and_noticed() {
        for garbage in [
            &b""[..],
            b"S",
            b"1",
            b"-1S",
            b"+1S",
            b"1.5S",
            b"1s",
            b" 1S",
            b"1 S",
            b"100000000n",
            b"\xff",
            b"1\xff",
        ] {
            let limit = Some(Duration::from_millis(5));
            assert_eq!(read(&[garbage, b"5m"]), Patience { limit, malformed: true }, "{garbage:?}");
        }
    }

    #[test]
    fn the_shortest_of_several_counts_and_none_is_no_limit() {
        assert_eq!(read(&[b"3S", b"2S", b"1M"]).limit, Some(Duration::from_secs(2)));
        assert_eq!(read(&[]), Patience::default());
    }

    #[test]
    fn what_is_left_is_written_in_the_finest_unit_that_holds_it() {
        for (limit, text) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(800), "800000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(86_400 * 30), "2592000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(value(limit), text, "{limit:?}");
        }
    }

    #[test]
    fn a_first_attempt_says_nothing_of_attempts_before_it_whatever_it_was_made_of() {
        for (attempt, expected) in [(1, None), (3, Some("2"))] {
            let mut call = Call::new(Carried::default());
            call.attempt = attempt;
            let mut headers = HeaderMap::from_iter([(PREVIOUS_ATTEMPTS, HeaderValue::from_static("7"))]);
            wire_headers(&GRPC_TIMEOUT, &call, Instant::now(), &mut headers);
            let said = headers.get(PREVIOUS_ATTEMPTS).map(|said| said.to_str().expect("digits"));
            assert_eq!(said, expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![32_u8..127, 128_u8..], 0..12)) {
            let patience = read(&[&bytes]);
            prop_assert_eq!(patience.malformed, patience.limit.is_none());
        }

        /// Never shorter than what is left, and longer by one part in a hundred thousand at most.
        #[test]
        fn what_is_written_is_read_back(nanos in 1_u64..) {
            let limit = Duration::from_nanos(nanos);
            let back = parse(&value(limit)).expect("our own");
            prop_assert!(back >= limit);
            prop_assert!(back <= limit + limit / 100_000);
        }
    }
}
