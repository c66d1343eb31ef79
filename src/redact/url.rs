use std::{borrow::Cow, fmt::Write};

use super::text;

/// The query of a URL with its keys and without its values.
///
/// Keys are redacted as [`path`]s are: they come from outside as well. A part without `=` is a value.
pub fn query(query: &str) -> String {
    let mut redacted = String::with_capacity(query.len());
    for (at, part) in query.split('&').enumerate() {
        if at > 0 {
            redacted.push('&');
        }
        match part.split_once('=') {
            Some((key, _)) => {
                redacted.push_str(&path(key));
                redacted.push_str("=[redacted]");
            }
            None if part.is_empty() => {}
            None => redacted.push_str("[redacted]"),
        }
    }
    redacted
}

/// The path of a URL without what [`text`] finds in it, also where it is percent-encoded.
///
/// A path in which nothing is found stays as it is, to the byte.
pub fn path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return text(path);
    }
    match text(&decode(path)) {
        Cow::Borrowed(_) => text(path),
        Cow::Owned(redacted) => Cow::Owned(encode(&redacted)),
    }
}

/// What is percent-encoded as it is meant. Bytes that are no UTF-8 become U+FFFD: nothing can be found in them.
pub(crate) fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3).and_then(hex)).flatten();
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The byte that two digits are.
pub(super) fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

/// What cannot stand in a path (RFC 3986, section 3.3) is encoded; the brackets of what was redacted stay readable.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/[]".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all that is written to it");
        }
    }
    encoded
}
