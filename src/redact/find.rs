//! The search itself, over bytes: all that it looks for begins and ends between characters.

use super::url::hex;

/// A stretch of a text, and what is shown in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) instead: &'static str,
}

/// A card number has no fewer digits.
const FEWEST_DIGITS: usize = 13;
/// And no more.
const MOST_DIGITS: usize = 19;
/// How long an IBAN is, without spaces: Norway's are the shortest.
const IBAN: std::ops::RangeInclusive<usize> = 15..=34;

/// Whether a closer look is worth its time: there is an `@`, the beginning of a token or of an IBAN, or enough digits.
pub(super) fn may_hold_something(text: &[u8]) -> bool {
    let mut digits = 0;
    let mut before = [0_u8; 3];
    text.iter().any(|&byte| {
        digits += usize::from(byte.is_ascii_digit());
        let [a, b, c] = before;
        let letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
        let iban = letters && c.is_ascii_digit() && byte.is_ascii_digit();
        before = [b, c, byte];
        let telling = before.eq_ignore_ascii_case(b"eyj") || before.eq_ignore_ascii_case(b"rer");
        byte == b'@' || digits == FEWEST_DIGITS || iban || telling || before == *b"%40"
    })
}

/// Everything that is found, from left to right, without overlaps.
pub(super) fn all(text: &[u8]) -> impl Iterator<Item = Found> {
    let (mut from, mut past) = (0, Past::default());
    std::iter::from_fn(move || {
        // What was found ends a word, as what is shown in its place will.
        let found = first(&text[from..], &mut past)?;
        past.token = past.token.saturating_sub(found.end);
        past.email = past.email.saturating_sub(found.end);
        let found = Found { begin: from + found.begin, end: from + found.end, ..found };
        from = found.end;
        Some(found)
    })
}

/// Up to where no token and no address begins: what follows a run that was read in vain need not be read for each of its parts.
#[derive(Default)]
struct Past {
    token: usize,
    email: usize,
}

fn first(text: &[u8], past: &mut Past) -> Option<Found> {
    text.iter().enumerate().find_map(|(at, &byte)| {
        // All but a number begin with a word: the inside of one is passed over quickly.
        let begins = !(byte.is_ascii_alphanumeric() && before(text, at).is_ascii_alphanumeric());
        let number = || if byte.is_ascii_digit() { card(text, at) } else { None };
        let word = || {
            let found = bearer(text, at).or_else(|| token(text, at, &mut past.token));
            found.or_else(|| email(text, at, &mut past.email)).or_else(|| iban(text, at))
        };
        begins.then(word).flatten().or_else(number)
    })
}

/// The byte before, or one that belongs to no word: at the beginning, and behind a character that was escaped.
fn before(text: &[u8], at: usize) -> u8 {
    match text[..at].last() {
        Some(&byte) if !(byte.is_ascii_alphanumeric() && ends_escape(&text[..at])) => byte,
        _ => b' ',
    }
}

/// Whether that ends as a URL writes a character, or `Debug` or JSON one that does not print.
fn ends_escape(text: &[u8]) -> bool {
    match *text {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', a, b] if [a, b].iter().all(u8::is_ascii_hexdigit) => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// How many bytes from `at` on are of a kind.
fn run(text: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    text[at..].iter().take_while(|&&byte| is(byte)).count()
}

fn bearer(text: &[u8], at: usize) -> Option<Found> {
    const SCHEME: &[u8] = b"bearer";
    let begins = text[at..].get(..SCHEME.len())?.eq_ignore_ascii_case(SCHEME);
    if !begins || before(text, at).is_ascii_alphanumeric() {
        return None;
    }
    let after = at + SCHEME.len();
    let token = after + gap(&text[after..]);
    // Not only what RFC 6750 lets a token be: the rest of one that has more would show.
    let end =
        token + run(text, token, |byte| byte.is_ascii_graphic() && !b"\"'`,;()<>[]{}\\".contains(&byte));
    (after < token && token < end).then_some(Found { begin: token, end, instead: "[token]" })
}

/// How many bytes stand between a scheme and its token: spaces as they are or as a URL has them, or what parts a name from its
/// value.
fn gap(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += match rest.first() {
            Some(b' ' | b'\t' | b'+' | b':' | b'=' | b'"' | b'\'') => 1,
            Some(b'%') if rest.starts_with(b"%20") => 3,
            _ => return at,
        };
    }
}

/// Two parts or more, of which the first is the base64 of `{"`.
fn token(text: &[u8], at: usize, past: &mut usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if at < *past || !text[at..].starts_with(b"eyJ") {
        return None;
    }
    *past = at + run(text, at, |byte| is_part(byte) || byte == b'.');
    // The full stop of a sentence is no part of it.
    let end = *past - usize::from(text[*past - 1] == b'.');
    let parts = text[at..end].split(|&byte| byte == b'.').filter(|part| !part.is_empty());
    (parts.count() >= 2).then_some(Found { begin: at, end, instead: "[token]" })
}

fn email(text: &[u8], at: usize, past: &mut usize) -> Option<Found> {
    // Letters beyond ASCII are taken whole, so that no character is cut.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"._%+'-".contains(&byte);
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b".-".contains(&byte);
    if at < *past || !is_name(text[at]) || is_name(before(text, at)) {
        return None;
    }
    let end = at + run(text, at, is_name);
    *past = end;
    let domain = |from: usize| {
        let host = &text[from..from + run(text, from, is_domain)];
        let host = host.strip_suffix(b".").unwrap_or(host);
        host.contains(&b'.').then_some(Found { begin: at, end: from + host.len(), instead: "[email]" })
    };
    let plain = (text.get(end) == Some(&b'@')).then(|| domain(end + 1)).flatten();
    // As a URL has it, which is a part of the run.
    plain.or_else(|| {
        let signs = text[at..end].windows(3).enumerate().rev().filter(|(_, three)| three == b"%40");
        signs.filter(|&(name, _)| name > 0).find_map(|(name, _)| domain(at + name + 3))
    })
}

fn iban(text: &[u8], at: usize) -> Option<Found> {
    let [a, b, c, d] = *text[at..].first_chunk()?;
    let begins =
        a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if !begins || before(text, at).is_ascii_alphanumeric() {
        return None;
    }
    let is_valid = |iban: &[u8]| {
        // Country and check digits count as if they stood at the end (ISO 7064, MOD 97-10).
        let (country, account) = iban.split_at(4);
        let remainder = || account.iter().chain(country).copied().fold(0, append);
        IBAN.contains(&iban.len()) && remainder() == 1
    };
    // Statements of accounts have the currency behind it, without a gap.
    let before_currency = || {
        let word = &text[at..at + run(text, at, |byte| byte.is_ascii_alphanumeric())];
        let (iban, currency) = word.split_last_chunk::<3>()?;
        let is_iban = currency.iter().all(u8::is_ascii_uppercase) && iban.len() > 4 && is_valid(iban);
        is_iban.then_some(at + iban.len())
    };
    let end = longest(text, at, |byte| byte.is_ascii_alphanumeric(), is_valid).or_else(before_currency)?;
    Some(Found { begin: at, end, instead: "[iban]" })
}

/// The number so far, modulo 97, with one more digit, or two for a letter: A is 10, Z is 35.
fn append(number: u64, byte: u8) -> u64 {
    let digit = char::from(byte).to_digit(36).map_or(0, u64::from);
    (number * if digit < 10 { 10 } else { 100 } + digit) % 97
}

fn card(text: &[u8], at: usize) -> Option<Found> {
    if !text[at].is_ascii_digit() || before(text, at).is_ascii_digit() {
        return None;
    }
    let end = longest(
        text,
        at,
        |byte| byte.is_ascii_digit(),
        |number| (FEWEST_DIGITS..=MOST_DIGITS).contains(&number.len()) && has_check_digit(number),
    )?;
    Some(Found { begin: at, end, instead: "[card]" })
}

/// Luhn's formula: every second digit from the right counts double, and the digits of the sums add up to a multiple of 10.
fn has_check_digit(number: &[u8]) -> bool {
    let digits = number.iter().rev().map(|byte| u32::from(byte - b'0'));
    let (mut sum, mut any) = (0, 0);
    for (place, digit) in digits.enumerate() {
        any |= digit;
        sum += if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 };
    }
    any > 0 && sum % 10 == 0
}

/// Where the longest valid number ends that begins at `at`: at the end of one of its groups, without what is between them.
fn longest(
    text: &[u8],
    at: usize,
    is_part: impl Fn(u8) -> bool,
    is_valid: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    let mut number = [0; *IBAN.end()];
    let (mut end, mut length, mut found) = (at, 0, None);
    loop {
        let group = text[end..].iter().take(number.len() + 1).take_while(|&&byte| is_part(byte)).count();
        let Some(place) = number.get_mut(length..length + group).filter(|place| !place.is_empty()) else {
            return found;
        };
        place.copy_from_slice(&text[end..end + group]);
        (end, length) = (end + group, length + group);
        if is_valid(&number[..length]) {
            found = Some(end);
        }
        end += separators(&text[end..]);
    }
}

/// How many bytes there are of what parts the groups of a number: up to three spaces or dashes, of whatever kind and width, as
/// they are or as a URL, `Debug` or JSON writes them.
fn separators(text: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..3 {
        match character(&text[at..]) {
            Some((character, length)) if parts(character) => at += length,
            _ => break,
        }
    }
    at
}

/// Whether it is a space, one that takes no room too, or a dash.
fn parts(character: char) -> bool {
    let plain = matches!(character, ' ' | '-' | '+' | '\u{a0}' | '\u{ad}');
    let wide = matches!(
        character,
        '\u{1680}' | '\u{2000}'..='\u{2015}' | '\u{202f}' | '\u{205f}' | '\u{2060}' | '\u{2212}'
    );
    plain || wide || matches!(character, '\u{3000}' | '\u{fe58}' | '\u{fe63}' | '\u{feff}' | '\u{ff0d}')
}

/// The character that a text begins with, however it is written, and how many bytes that takes.
fn character(text: &[u8]) -> Option<(char, usize)> {
    match text {
        [b'%', ..] => encoded(text),
        [b'\\', b'u', b'{', rest @ ..] => {
            let digits = rest.iter().take(7).position(|&byte| byte == b'}')?;
            Some((hexadecimal(&rest[..digits])?, digits + 4))
        }
        [b'\\', b'u', rest @ ..] => Some((hexadecimal(rest.get(..4)?)?, 6)),
        [first, ..] if first.is_ascii() => Some((char::from(*first), 1)),
        _ => first_of(text).map(|character| (character, character.len_utf8())),
    }
}

fn encoded(text: &[u8]) -> Option<(char, usize)> {
    let mut bytes = [0; 4];
    let escapes = text.chunks_exact(3).map_while(|escape| hex(escape.strip_prefix(b"%")?));
    let count = bytes.iter_mut().zip(escapes).map(|(byte, escape)| *byte = escape).count();
    first_of(&bytes[..count]).map(|character| (character, 3 * character.len_utf8()))
}

fn hexadecimal(digits: &[u8]) -> Option<char> {
    let digit = |&byte: &u8| char::from(byte).to_digit(16);
    char::from_u32(digits.iter().try_fold(0, |number, byte| Some(number * 16 + digit(byte)?))?)
}

fn first_of(text: &[u8]) -> Option<char> {
    text[..text.len().min(4)].utf8_chunks().next()?.valid().chars().next()
}
