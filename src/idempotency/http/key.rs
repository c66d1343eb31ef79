//! The key in its header: a string of structured fields (RFC 9651), or a bare one where that is accepted.

use http::HeaderMap;

use crate::repeat::IDEMPOTENCY_KEY;

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// What cannot be read as one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidKey;

/// The key of a request, without its quotes; `None` where there is no header.
pub(super) fn key_of(headers: &HeaderMap, strict: bool) -> Result<Option<Vec<u8>>, InvalidKey> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(InvalidKey);
    }
    let value = trimmed(line.as_bytes());
    let key = match value.strip_prefix(b"\"") {
        Some(rest) => quoted(rest)?,
        None if strict => return Err(InvalidKey),
        None => bare(value)?,
    };
    if (1..=LONGEST).contains(&key.len()) { Ok(Some(key)) } else { Err(InvalidKey) }
}

/// Spaces round a field are no part of it.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ';
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// What stands behind the opening quote, up to the closing one, which must be the last byte: the draft defines no parameters.
fn quoted(rest: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let mut key = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return if bytes.as_slice().is_empty() { Ok(key) } else { Err(InvalidKey) },
            b'\\' => match bytes.next() {
                Some(&escaped @ (b'"' | b'\\')) => key.push(escaped),
                _ => return Err(InvalidKey),
            },
            b' '..=b'~' => key.push(byte),
            _ => return Err(InvalidKey),
        }
    }
    Err(InvalidKey)
}

/// Visible ASCII, but for what would have a meaning in a structured field: two keys that a proxy has put into one line must not
/// be read as one.
fn bare(value: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';');
    if value.iter().all(is_plain) { Ok(value.to_vec()) } else { Err(InvalidKey) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&[u8]], strict: bool) -> Result<Option<Vec<u8>>, InvalidKey> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line).expect("a valid value"));
        }
        key_of(&headers, strict)
    }

    #[test]
    fn a_string_is_read_without_its_quotes_and_escapes() {
        for strict in [true, false] {
            assert_eq!(read(&[br#""k1""#], strict), Ok(Some(b"k1".to_vec())));
            assert_eq!(read(&[br#"  "k1"  "#], strict), Ok(Some(b"k1".to_vec())));
            assert_eq!(read(&[br#""a \"b\" \\ c;d,e""#], strict), Ok(Some(br#"a "b" \ c;d,e"#.to_vec())));
            assert_eq!(read(&[], strict), Ok(None));
        }
    }

    #[test]
    fn a_bare_key_is_the_same_key_unless_it_must_be_a_string() {
        assert_eq!(read(&[b"k1"], false), read(&[br#""k1""#], false));
        let uuid = b"8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(read(&[uuid], false), Ok(Some(uuid.to_vec())));
        assert_eq!(read(&[b"aGVsbG8+/w=="], false), Ok(Some(b"aGVsbG8+/w==".to_vec())));
        assert_eq!(read(&[b"k1"], true), Err(InvalidKey));
    }

    #[test]
    fn what_is_not_one_key_is_refused() {
        let bad: [&[&[u8]]; 17] = [
            &[b""],
            &[b"   "],
            &[br#""""#],
            &[br#"""#],
            &[br#""k1"#],
            &[br#"k1""#],
            &[br#""k1"x"#],
            &[br#""k1";a=1"#],
            &[br#""k1", "k2""#],
            &[b"k1,k2"],
            &[b"k1 k2"],
            &[br#""\n""#],
            &[br#""k1\"#],
            &[b"\"k\tx\""],
            &["\"k\u{e9}\"".as_bytes()],
            &["k\u{e9}".as_bytes()],
            &[b"k1", b"k1"],
        ];
        for lines in bad {
            for strict in [true, false] {
                assert_eq!(read(lines, strict), Err(InvalidKey), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_key_has_at_most_255_bytes_and_escapes_count_as_one() {
        let of = |length: usize| format!("\"{}\"", "k".repeat(length));
        assert_eq!(read(&[of(255).as_bytes()], true), Ok(Some([b'k'; 255].to_vec())));
        assert_eq!(read(&[of(256).as_bytes()], true), Err(InvalidKey));
        assert_eq!(read(&["k".repeat(256).as_bytes()], false), Err(InvalidKey));
        let escaped = format!("\"{}\"", "\\\\".repeat(255));
        assert_eq!(read(&[escaped.as_bytes()], true), Ok(Some([b'\\'; 255].to_vec())));
    }
}
