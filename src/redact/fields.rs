/// Names of fields whose values are nobody's business, in words.
const DENIED: [&[&str]; 20] = [
    &["authorization"],
    &["cookie"],
    &["set", "cookie"],
    &["password"],
    &["passwd"],
    &["secret"],
    &["token"],
    &["api", "key"],
    &["pan"],
    &["card", "number"],
    &["cvv"],
    &["cvc"],
    &["pin"],
    &["iban"],
    &["account", "number"],
    &["ssn"],
    &["email"],
    &["e", "mail"],
    &["phone"],
    &["dob"],
];

/// Whether the value of a field, header or parameter of this name must not be shown.
///
/// The name is taken apart into its words, at capitals and at whatever is no letter: `accountNumber`, `ACCOUNT-NUMBER` and
/// `customer.account_number` are sensitive as `account_number` is, and `shipping` is not for its `pin`. A name that is
/// written together (`apikey`) is known as well.
pub fn is_sensitive(name: &str) -> bool {
    let words = words(name);
    DENIED.iter().any(|denied| {
        let apart = words
            .windows(denied.len())
            .any(|window| window.iter().zip(*denied).all(|(word, denied)| word.eq_ignore_ascii_case(denied)));
        apart || words.iter().any(|word| is_joined(word, denied))
    })
}

/// Whether the word is all of these in one.
fn is_joined(word: &str, denied: &[&str]) -> bool {
    let mut rest = word.as_bytes();
    denied.iter().all(|part| match rest.split_at_checked(part.len()) {
        Some((begin, end)) if begin.eq_ignore_ascii_case(part.as_bytes()) => {
            rest = end;
            true
        }
        _ => false,
    }) && rest.is_empty()
}

/// The words of a name: runs of letters, of which a capital after a small one begins another.
fn words(name: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = None;
    let mut was_small = false;
    for (at, letter) in name.char_indices() {
        let ends = !letter.is_alphabetic() || (was_small && letter.is_uppercase());
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
