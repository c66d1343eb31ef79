/// Names of fields whose values are nobody's business.
const DENIED: [&str; 19] = [
    "authorization",
    "cookie",
    "setcookie",
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "pan",
    "cardnumber",
    "cvv",
    "cvc",
    "pin",
    "iban",
    "accountnumber",
    "ssn",
    "email",
    "phone",
    "dob",
];

/// Whether the value of a field, header or parameter of this name must not be shown.
///
/// The name is taken apart into its words, at capitals and at whatever is no letter: `accountNumber`, `ACCOUNT-NUMBER` and
/// `customer.account_number` are sensitive as `account_number` is, and `shipping` is not for its `pin`. A name that is
/// written together (`apikey`) is known as well, and so is one behind an abbreviation (`DBPassword`), or of several (`tokens`).
pub fn is_sensitive(name: &str) -> bool {
    [words(name, false), words(name, true)].iter().any(|words| {
        let mut ends = (0..words.len()).map(|first| &words[first..]);
        ends.any(|words| DENIED.iter().any(|denied| begin_with(words, denied)))
    })
}

/// Whether the first of these words are the denied one, written together.
fn begin_with(words: &[&str], denied: &str) -> bool {
    let mut rest = denied.as_bytes();
    for word in words {
        // One `s` more, as of several.
        let several = word.len() == rest.len() + 1 && word.ends_with(['s', 'S']);
        let word = if several { &word[..rest.len()] } else { word };
        match rest.split_at_checked(word.len()) {
            Some((begin, end)) if begin.eq_ignore_ascii_case(word.as_bytes()) => rest = end,
            _ => break,
        }
    }
    rest.is_empty()
}

/// The words of a name: runs of letters, of which a capital after a small one begins another; and, with `abbreviations`, also a
/// capital before a small one.
fn words(name: &str, abbreviations: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = None;
    let mut was_small = false;
    for (at, letter) in name.char_indices() {
        let is_before_small = || name[at..].chars().nth(1).is_some_and(char::is_lowercase);
        let ends = !letter.is_alphabetic()
            || (letter.is_uppercase() && (was_small || abbreviations && is_before_small()));
        if let (true, Some(first)) = (ends, begin) {
            words.push(&name[first..at]);
            begin = None;
        }
        if letter.is_alphabetic() && begin.is_none() {
            begin = Some(at);
        }
        was_small = letter.is_lowercase();
    }
    words.extend(begin.map(|first| &name[first..]));
    words
}
