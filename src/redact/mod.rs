//! Redaction: personal data and secrets stay out of spans, logs and metrics.
//!
//! What a service tells about its calls ends up in places that many people can read, and for long. So whatever comes from
//! outside is looked at on its way there: [`text`] looks for what betrays itself by its form, [`is_sensitive`] knows the
//! names of fields whose values say too much, [`query`] and [`path`] do the same for the parts of a URL, and [`Sensitive`] is
//! a value that does not print.
//!
//! # What is found
//!
//! | what | how it is told apart | what stands there instead |
//! |---|---|---|
//! | card number | 13 to 19 digits, in one or in groups with up to three spaces or dashes between, of whatever width, as they are or as a URL, `Debug` or JSON writes them, with a valid check digit (ISO/IEC 7812-1, Luhn) | `[card]` |
//! | IBAN | two letters, two digits, 11 to 30 letters or digits, in one or in such groups, with remainder 1 modulo 97 (ISO 13616), also with the currency behind it (`…EUR`) | `[iban]` |
//! | e-mail address | a name, `@` or `%40`, a domain with a dot | `[email]` |
//! | bearer token | `Bearer` and a token, up to a space, a quote, a comma or a bracket (RFC 6750) | `Bearer [token]` |
//! | JSON web token | `eyJ…`, two or three parts (RFC 7519) | `[token]` |
//!
//! They are found wherever they begin a word, which is also behind a character that was escaped (`%3D`, `\n`, `\u00a0`); a card
//! number also inside of one, unless there is a digit beside it.
//!
//! An order number that looks like a card number and has no valid check digit survives; one in ten has one by chance and
//! does not. A text in which nothing can be found is given back as it is, after one look at its bytes.
//!
//! ```
//! use moneta_resilience::redact;
//!
//! assert_eq!(redact::text("card 4111 1111 1111 1111 declined"), "card [card] declined");
//! assert_eq!(redact::text("order 4111 1111 1111 1112 declined"), "order 4111 1111 1111 1112 declined");
//! assert_eq!(redact::query("user=ada&page=2"), "user=[redacted]&page=[redacted]");
//! assert!(redact::is_sensitive("X-Api-Key"));
//! ```

mod fields;
mod find;
mod sensitive;
#[cfg(test)]
mod tests;
mod url;

use std::borrow::Cow;

pub use fields::is_sensitive;
pub use sensitive::{Kind, Sensitive, kind};
#[cfg(feature = "setup")]
pub(crate) use url::decode;
pub use url::{path, query};

/// The text without what the [module](self) finds in it.
///
/// It never fails, whatever the text, and it takes time that grows with its length alone.
pub fn text(text: &str) -> Cow<'_, str> {
    if !find::may_hold_something(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::new();
    let mut kept = 0;
    for found in find::all(text.as_bytes()) {
        redacted.push_str(&text[kept..found.begin]);
        redacted.push_str(found.instead);
        kept = found.end;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(&text[kept..]);
    Cow::Owned(redacted)
}
