//! The search itself, over bytes: all that it looks for begins and ends between characters.

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
        let token = before.eq_ignore_ascii_case(b"eyj") || before.eq_ignore_ascii_case(b"rer");
        byte == b'@' || digits == FEWEST_DIGITS || iban || token
    })
}

/// Everything that is found, from left to right, without overlaps.
pub(super) fn all(text: &[u8]) -> impl Iterator<Item = Found> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let found = [bearer, token, email, iban, card].into_iter().find_map(|find| find(text, at));
            if let Some(found) = found {
                at = found.end;
                return Some(found);
            }
            at += 1;
        }
        None
    })
}

/// The byte before, or one that belongs to no word.
fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(b' ', |at| text[at])
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
    let token = after + run(text, after, |byte| byte == b' ');
    let end = token + run(text, token, |byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
    (after < token && token < end).then_some(Found { begin: token, end, instead: "[token]" })
}

/// Two parts or more, of which the first is the base64 of `{"`.
fn token(text: &[u8], at: usize) -> Option<Found> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !text[at..].starts_with(b"eyJ") || is_part(before(text, at)) {
        return None;
    }
    let mut end = at + run(text, at, |byte| is_part(byte) || byte == b'.');
    // The full stop of a sentence is no part of it.
    end -= usize::from(text[end - 1] == b'.');
    let parts = text[at..end].split(|&byte| byte == b'.').filter(|part| !part.is_empty());
    (parts.count() >= 2).then_some(Found { begin: at, end, instead: "[token]" })
}

fn email(text: &[u8], at: usize) -> Option<Found> {
    // Letters beyond ASCII are taken whole, so that no character is cut.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"._%+'-".contains(&byte);
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b".-".contains(&byte);
    if !is_name(text[at]) || is_name(before(text, at)) {
        return None;
    }
    let name = run(text, at, is_name);
    let domain = at + name + 1;
    if text.get(domain - 1) != Some(&b'@') {
        return None;
    }
    let length = run(text, domain, is_domain);
    let host = &text[domain..domain + length];
    let host = host.strip_suffix(b".").unwrap_or(host);
    host.contains(&b'.').then_some(Found { begin: at, end: domain + host.len(), instead: "[email]" })
}

fn iban(text: &[u8], at: usize) -> Option<Found> {
    let [a, b, c, d] = *text[at..].first_chunk()?;
    let begins =
        a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if !begins || before(text, at).is_ascii_alphanumeric() {
        return None;
    }
    // Country and check digits count as if they stood at the end (ISO 7064, MOD 97-10).
    let country = [a, b, c, d].into_iter().fold(0, append);
    let ends = groups(text, at, *IBAN.end(), |byte| byte.is_ascii_alphanumeric());
    let valid = ends.filter(|&(end, length)| {
        let account = text[at..end].iter().filter(|byte| byte.is_ascii_alphanumeric()).skip(4);
        let remainder = account.copied().fold(0, append);
        IBAN.contains(&length) && (remainder * 1_000_000 + country) % 97 == 1
    });
    valid.last().map(|(end, _)| Found { begin: at, end, instead: "[iban]" })
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
    let ends = groups(text, at, MOST_DIGITS, |byte| byte.is_ascii_digit());
    let valid = ends.filter(|&(end, length)| length >= FEWEST_DIGITS && has_check_digit(&text[at..end]));
    valid.last().map(|(end, _)| Found { begin: at, end, instead: "[card]" })
}

/// Luhn's formula: every second digit from the right counts double, and the digits of the sums add up to a multiple of 10.
fn has_check_digit(number: &[u8]) -> bool {
    let digits = number.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let (mut sum, mut any) = (0, 0);
    for (place, digit) in digits.enumerate() {
        any |= digit;
        sum += if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 };
    }
    any > 0 && sum % 10 == 0
}

/// Where the groups of a number that begins at `at` end, each with how many characters there are up to it. Groups have a
/// space or a dash between them; what follows a group's end belongs to no group.
fn groups(
    text: &[u8],
    at: usize,
    most: usize,
    is_part: impl Fn(u8) -> bool,
) -> impl Iterator<Item = (usize, usize)> {
    let (mut end, mut length) = (at, 0);
    std::iter::from_fn(move || {
        if length > 0 {
            let parted = matches!(text.get(end), Some(b' ' | b'-'));
            end += usize::from(parted && text.get(end + 1).is_some_and(|&byte| is_part(byte)));
        }
        let group = text[end..].iter().take(most + 1).take_while(|&&byte| is_part(byte)).count();
        end += group;
        length += group;
        (group > 0 && length <= most).then_some((end, length))
    })
}
