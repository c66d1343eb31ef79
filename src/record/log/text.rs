//! Values as JSON, fit to be read by anybody: redacted, bounded, and without anything that ends a line.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use crate::redact;

/// Texts beyond so many bytes are not shown at all: what could be cut is what would betray itself as a whole.
const MAX_REDACTED: usize = 64 * 1024;
/// So many bytes of a text are shown.
const MAX_SHOWN: usize = 4 * 1024;

/// What is shown of a text that comes from anywhere.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() > MAX_REDACTED {
        return format!("[{} bytes]", text.len()).into();
    }
    let redacted = redact::text(text);
    // Cut only once it is redacted: half a card number would not be found.
    let shown = beginning(&redacted, MAX_SHOWN);
    if shown.len() < redacted.len() { format!("{shown}…").into() } else { redacted }
}

/// What is shown of what a value says of itself.
#[cfg(feature = "otlp")]
pub(super) fn shown_debug(value: &dyn fmt::Debug) -> String {
    debug(value).map_or_else(too_much, |text| shown(&text).into_owned())
}

/// Appends a text that comes from anywhere, in quotes.
pub(super) fn push(line: &mut String, text: &str) {
    line.push('"');
    escape(line, &shown(text));
    line.push('"');
}

/// Appends a text of our own, in quotes.
pub(super) fn push_plain(line: &mut String, text: fmt::Arguments<'_>) {
    line.push('"');
    write!(Escaping(line), "{text}").expect("a string takes all that is written to it");
    line.push('"');
}

/// Appends a number, unless its digits are nobody's business.
pub(super) fn push_number(line: &mut String, number: impl fmt::Display) {
    let digits = number.to_string();
    match redact::text(&digits) {
        Cow::Borrowed(_) => line.push_str(&digits),
        Cow::Owned(redacted) => push_plain(line, format_args!("{redacted}")),
    }
}

/// Appends what a value says of itself.
pub(super) fn push_debug(line: &mut String, value: &dyn fmt::Debug) {
    match debug(value) {
        Some(text) => push(line, &text),
        None => push_plain(line, format_args!("{}", too_much())),
    }
}

fn too_much() -> String {
    format!("[more than {MAX_REDACTED} bytes]")
}

/// What a value says of itself; `None` when that is too much.
fn debug(value: &dyn fmt::Debug) -> Option<String> {
    /// Takes what will be shown, and refuses more.
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            if self.0.len() + text.len() > MAX_REDACTED {
                return Err(fmt::Error);
            }
            self.0.push_str(text);
            Ok(())
        }
    }

    let mut text = Bounded(String::new());
    write!(text, "{value:?}").ok().map(|()| text.0)
}

struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// RFC 8259, section 7, and beyond it whatever some reader takes for the end of a line or lets run backwards.
fn escape(line: &mut String, text: &str) {
    let mut kept = 0;
    for (at, character) in text.char_indices() {
        let harmful = matches!(character,
            '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || character.is_control();
        if !harmful {
            continue;
        }
        line.push_str(&text[kept..at]);
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            // All of these are in the basic plane: four digits are enough.
            _ => write!(line, "\\u{:04x}", u32::from(character))
                .expect("a string takes all that is written to it"),
        }
        kept = at + character.len_utf8();
    }
    line.push_str(&text[kept..]);
}

/// At most so many bytes from the beginning, in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}
