//! How gRPC puts messages into a body: a flag, the length in four bytes, the message.

use bytes::{BufMut, Bytes, BytesMut};

/// What stands before a message.
const PREFIX: usize = 5;

/// A message as it stands in a body, not compressed.
///
/// # Panics
///
/// When it is longer than 4 GiB.
pub(crate) fn framed(message: &Bytes) -> Bytes {
    let length = u32::try_from(message.len()).expect("a gRPC message is shorter than 4 GiB");
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    frame.freeze()
}

/// Whether a body that begins so has more than one message.
#[cfg(feature = "idempotency")]
pub(crate) fn has_another(body: &[u8]) -> bool {
    let Some((&[_flag, a, b, c, d], rest)) = body.split_first_chunk::<PREFIX>() else { return false };
    rest.len() as u64 > u64::from(u32::from_be_bytes([a, b, c, d]))
}

#[cfg(all(test, feature = "idempotency"))]
mod tests {
    use super::*;

    #[test]
    fn a_second_message_shows_with_its_first_byte() {
        for message in ["", "100 CHF"] {
            let frame = framed(&Bytes::from(message));
            for end in 0..=frame.len() {
                assert!(!has_another(&frame[..end]));
            }
            assert!(has_another(&[&frame[..], b"\0"].concat()));
        }
        // A length that nothing has: there is no second message behind it.
        assert!(!has_another(&[&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 100]].concat()));
    }
}
