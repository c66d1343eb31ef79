//! `google.rpc.RetryInfo`, read from the details of a status without the generated types: three nested messages, of which
//! one field each is wanted.

use std::time::Duration;

/// The wait that the details (a `google.rpc.Status`) ask for. What cannot be read is ignored.
pub(super) fn retry_delay(details: &[u8]) -> Option<Duration> {
    let info = Fields(details).find_map(|field| match field {
        (3, Value::Bytes(any)) => retry_info(any),
        _ => None,
    })?;
    let delay = bytes(info, 1)?;
    // A field that is missing is zero; one that is negative has the highest bit set, as every negative varint.
    let seconds = i64::try_from(varint(delay, 1).unwrap_or(0)).ok()?;
    let nanos = u32::try_from(varint(delay, 2).unwrap_or(0)).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// The message in a `google.protobuf.Any`, if it is the one.
fn retry_info(any: &[u8]) -> Option<&[u8]> {
    let url = bytes(any, 1)?;
    if url.ends_with(b"/google.rpc.RetryInfo") { bytes(any, 2) } else { None }
}

fn bytes(message: &[u8], number: u64) -> Option<&[u8]> {
    Fields(message).find_map(|field| match field {
        (found, Value::Bytes(bytes)) if found == number => Some(bytes),
        _ => None,
    })
}

fn varint(message: &[u8], number: u64) -> Option<u64> {
    Fields(message).find_map(|field| match field {
        (found, Value::Varint(value)) if found == number => Some(value),
        _ => None,
    })
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a fixed length, and of no interest.
    Fixed,
}

/// The fields of a message, by number, up to the first that is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).expect("seven bits"));
        out
    }

    /// As it stands on the wire.
    fn unsigned(value: i64) -> u64 {
        u64::from_ne_bytes(value.to_ne_bytes())
    }

    fn field(tag: u8, message: &[u8]) -> Vec<u8> {
        let length = number(message.len().try_into().expect("short"));
        [&[tag << 3 | 2][..], &length, message].concat()
    }

    /// A status with another detail before the one that asks for this wait.
    pub(in crate::classify) fn details(seconds: i64, nanos: i32) -> Vec<u8> {
        let delay =
            [&[1 << 3][..], &number(unsigned(seconds)), &[2 << 3], &number(unsigned(nanos.into()))].concat();
        let any = |name: &str, message: &[u8]| {
            let url = format!("type.googleapis.com/google.rpc.{name}");
            field(3, &[field(1, url.as_bytes()), field(2, message)].concat())
        };
        [
            [1 << 3, 8].to_vec(),
            field(2, b"slow down"),
            any("DebugInfo", b"\x12\x02ab"),
            any("RetryInfo", &field(1, &delay)),
        ]
        .concat()
    }

    #[test]
    fn the_wait_is_found_among_the_details() {
        assert_eq!(retry_delay(&details(1, 500_000_000)), Some(Duration::from_millis(1_500)));
        assert_eq!(retry_delay(&details(0, 0)), Some(Duration::ZERO));
        assert_eq!(retry_delay(&details(i64::MAX, 0)), Some(Duration::from_secs(unsigned(i64::MAX))));
    }

    #[test]
    fn a_wait_that_is_none_is_ignored() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, 1_000_000_000)] {
            assert_eq!(retry_delay(&details(seconds, nanos)), None, "{seconds} {nanos}");
        }
        assert_eq!(retry_delay(b""), None);
        let whole = details(1, 500_000_000);
        for cut in 0..whole.len() {
            let _ = retry_delay(&whole[..cut]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), at in any::<usize>()) {
            let _ = retry_delay(&bytes);
            let mut whole = details(3, 4);
            let at = at % whole.len();
            bytes.truncate(whole.len() - at);
            whole[at..at + bytes.len()].copy_from_slice(&bytes);
            let _ = retry_delay(&whole);
        }
    }
}
