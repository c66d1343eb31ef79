use proptest::prelude::*;

use super::{is_sensitive, path, query, text};

const CARDS: [&str; 8] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500005555555559",
    "378282246310005",
    "3782 822463 10005",
    "4222222222222",
    "6304000000000000000",
];
const IBANS: [&str; 6] = [
    "DE89370400440532013000",
    "DE89 3704 0044 0532 0130 00",
    "GB82 WEST 1234 5698 7654 32",
    "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S",
    "gb82west12345698765432",
];
const EMAILS: [&str; 4] =
    ["ada@example.com", "a.b+c@mail.example.co.uk", "jörg@bücher.example", "O'Neil_%7@x-y.org"];
const JWT: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

#[test]
fn what_betrays_itself_by_its_form_is_found() {
    for (secrets, instead) in
        [(&CARDS[..], "[card]"), (&IBANS[..], "[iban]"), (&EMAILS[..], "[email]"), (&[JWT], "[token]")]
    {
        for secret in secrets {
            assert_eq!(text(secret), instead);
            assert_eq!(text(&format!("before {secret}, after")), format!("before {instead}, after"));
            assert_eq!(text(&format!("({secret})")), format!("({instead})"));
            assert_eq!(
                text(&format!("a=\"{secret}\" {secret}.")),
                format!("a=\"{instead}\" {instead}."),
                "{secret}"
            );
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(
            text(&format!("authorization: {scheme}  abc.DEF-12/3=, x")),
            format!("authorization: {scheme}  [token], x")
        );
    }
    assert_eq!(text(&format!("Bearer {JWT}")), "Bearer [token]");
}

#[test]
fn what_only_looks_like_it_survives() {
    for harmless in [
        "",
        "order 4111 1111 1111 1112",
        "order 4111111111111112",
        "411111111111111",
        "0000000000000000",
        "41111111111111111111111111111111",
        "DE88370400440532013000",
        "xDE89370400440532013000",
        "bearer",
        "the bearer, here",
        "unbearer x",
        "eyJhbGciOiJIUzI1NiJ9",
        "root@localhost",
        "@example.com",
        "ada@",
        "1763843288",
        "bearer [token]",
        "a%40b and %40example.com",
        "0af7651916cd43dd8448eb211c80319c",
    ] {
        assert_eq!(text(harmless), harmless);
    }
}

#[test]
fn a_number_is_found_among_other_numbers() {
    assert_eq!(text("12 4111 1111 1111 1111 35"), "12 [card] 35");
    assert_eq!(text("7-4111-1111-1111-1111"), "7-[card]");
    assert_eq!(text("pan4111111111111111x"), "pan[card]x");
    assert_eq!(text("IBAN DE89 3704 0044 0532 0130 00 and more"), "IBAN [iban] and more");
}

/// As statements of accounts have it: field 25 of SWIFT's MT940.
#[test]
fn an_iban_is_found_with_its_currency_at_its_heels() {
    assert_eq!(text(":25:DE89370400440532013000EUR\n"), ":25:[iban]EUR\n");
    for other in ["DE89370400440532013000eur", "DE89370400440532013000EURO", "DE88370400440532013000EUR"] {
        assert_eq!(text(other), other);
    }
}

#[test]
fn sensitive_fields_are_known_however_they_are_written() {
    for name in [
        "authorization",
        "Authorization",
        "PASSWORD",
        "user_password",
        "userPassword",
        "X-Api-Key",
        "apiKey",
        "apikey",
        "api.key",
        "card_number",
        "cardNumber",
        "CardNumber",
        "account-number",
        "customer.email",
        "e-mail",
        "pin",
        "userPin",
        "cvv",
        "dob",
        "Set-Cookie",
        "access_token",
        "phone2",
        "iban",
        "DBPassword",
        "HTTPAuthorization",
        "CSRFToken",
        "APIKey",
        "PASSword",
        "pass_word",
        "P.I.N.",
        "passwords",
        "refreshTokens",
        "ACCOUNT_NUMBERS",
        "e-mails",
    ] {
        assert!(is_sensitive(name), "{name}");
    }
    for name in [
        "shipping", "spin", "amount", "panel", "keyboard", "number", "account", "company", "status", "",
        "größe", "toPInt", "card", "pinss", "pass", "pinś",
    ] {
        assert!(!is_sensitive(name), "{name}");
    }
}

#[test]
fn numbers_are_found_also_where_debug_has_written_what_parts_them() {
    for between in [' ', '-', '\u{a0}', '\u{ad}', '\u{2003}', '\u{2011}', '\u{202f}', '\u{2212}'] {
        let groups = |number: &str| number.replace(' ', &between.to_string());
        let told = format!("{:?}", [groups(CARDS[1]), groups(IBANS[1])]);
        assert_eq!(text(&told), r#"["[card]", "[iban]"]"#, "{told}");
    }
}

/// A character that was escaped, by a URL, by `Debug` or by JSON, is no part of the word behind it.
#[test]
fn what_was_escaped_before_a_secret_does_not_hide_it() {
    for escape in ["%20", "%3D", "%3d", "%22", "\\n", "\\r\\n", "\\t", "\\u{a0}", "\\u00a0", "\\u003d"] {
        for (secret, instead) in [(CARDS[0], "[card]"), (IBANS[0], "[iban]"), (JWT, "[token]")] {
            let redacted = text(&format!("to{escape}{secret}{escape}")).into_owned();
            // Where the escape ends with a zero, that may count as the first digit.
            assert!(redacted.ends_with(&format!("{instead}{escape}")), "{redacted}");
        }
        let redacted = text(&format!("as{escape}Bearer abcdef")).into_owned();
        assert_eq!(redacted, format!("as{escape}Bearer [token]"));
    }
}

#[test]
fn numbers_are_found_whatever_parts_them_and_however_that_is_written() {
    let gaps = [
        ' ', '-', '\u{a0}', '\u{ad}', '\u{1680}', '\u{2003}', '\u{200b}', '\u{2011}', '\u{2014}', '\u{202f}',
        '\u{205f}', '\u{2060}', '\u{2212}', '\u{3000}', '\u{feff}', '\u{ff0d}',
    ];
    for gap in gaps {
        let encoded = gap.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let json = format!("\\u{:04x}", u32::from(gap));
        for written in [gap.to_string(), encoded, json, gap.escape_unicode().to_string()] {
            for (secret, instead) in [(CARDS[1], "[card]"), (IBANS[1], "[iban]")] {
                assert_eq!(text(&secret.replace(' ', &written)), instead, "{written}");
            }
        }
    }
}

#[test]
fn an_address_is_found_also_before_another_sign() {
    assert_eq!(text("ada%40example.com%40"), "[email]%40");
    assert_eq!(text("ada%40example.com%40x"), "[email]%40x");
}

#[test]
fn a_query_keeps_its_keys_and_loses_its_values() {
    assert_eq!(query("a=1&b=2&a="), "a=[redacted]&b=[redacted]&a=[redacted]");
    assert_eq!(query("flag&&x=y=z"), "[redacted]&&x=[redacted]");
    assert_eq!(
        query("ada@example.com=1&4111%201111%201111%201111=2"),
        "[email]=[redacted]&[card]=[redacted]"
    );
    assert_eq!(query(""), "");
}

#[test]
fn a_path_is_searched_through_its_encoding() {
    assert_eq!(
        path("/users/ada%40example.com/cards/4111%201111%201111%201111"),
        "/users/[email]/cards/[card]"
    );
    assert_eq!(path("/users/ada@example.com"), "/users/[email]");
    for harmless in ["/a%20b/%zz/%", "/orders/7", "/caf%C3%A9", "/%ff%fe", ""] {
        assert_eq!(path(harmless), harmless);
    }
}

/// What stands between the groups of a number: by hand, by an office program, by a URL.
const GAPS: [&str; 9] = ["", " ", "-", "  ", " - ", "%20", "+", "\u{a0}", "\u{2013}"];

/// A card number, in digits and as somebody wrote it.
fn card() -> impl Strategy<Value = (String, String)> {
    let groups = prop::collection::vec(1..=6_usize, 19);
    ("[1-9][0-9]{11,17}", groups, prop::sample::select(&GAPS[..])).prop_map(|(payload, groups, gap)| {
        let digits = format!("{payload}{}", check_digit(&payload));
        let written = apart(&digits, &groups, gap);
        (digits, written)
    })
}

/// By the book, digit by digit.
fn check_digit(payload: &str) -> u32 {
    let digits = payload.chars().rev().map(|digit| digit.to_digit(10).expect("a digit"));
    let doubled = |(place, digit)| match (place % 2, digit * 2) {
        (0, double @ 10..) => double - 9,
        (0, double) => double,
        _ => digit,
    };
    (10 - digits.enumerate().map(doubled).sum::<u32>() % 10) % 10
}

fn apart(text: &str, groups: &[usize], gap: &str) -> String {
    let (mut rest, mut written) = (text, String::new());
    for &group in groups {
        let (head, tail) = rest.split_at(group.min(rest.len()));
        written.push_str(head);
        if !tail.is_empty() {
            written.push_str(gap);
        }
        rest = tail;
    }
    written + rest
}

/// An IBAN as somebody wrote it.
fn iban() -> impl Strategy<Value = String> {
    let gap = prop::sample::select(&GAPS[..]);
    ("[A-Z]{2}", "[A-Z0-9]{11,30}", gap).prop_map(|(country, account, gap)| {
        let number = |text: &str| {
            let value = |c: char| u128::from(c.to_digit(36).expect("a letter or a digit"));
            text.chars().map(value).fold(0, |n, v| (n * if v < 10 { 10 } else { 100 } + v) % 97)
        };
        let check = 98 - number(&format!("{account}{country}00"));
        apart(&format!("{country}{check:02}{account}"), &[4; 9], gap)
    })
}

proptest! {
    #[test]
    fn any_text_is_taken_and_redacting_twice_changes_nothing(any in any::<String>()) {
        let once = text(&any).into_owned();
        prop_assert_eq!(text(&once), once.as_str());
        path(&any);
        query(&any);
        is_sensitive(&any);
    }

    #[test]
    fn what_is_around_a_secret_does_not_hide_it(
        before in "\\PC{0,20}",
        after in "\\PC{0,20}",
        secret in prop::sample::select([&CARDS[..], &IBANS[..], &EMAILS[..], &[JWT]].concat()),
    ) {
        let redacted = text(&format!("{before} {secret} {after}")).into_owned();
        prop_assert!(!redacted.contains(secret), "{redacted}");
    }

    #[test]
    fn card_numbers_are_found_however_they_are_written(
        (digits, card) in card(),
        before in "\\PC{0,20}[^0-9]",
        after in "[^0-9]\\PC{0,20}",
    ) {
        let redacted = text(&format!("{before}{card}{after}")).into_owned();
        prop_assert!(!redacted.contains(&card), "{redacted}");
        prop_assert_eq!(&*text(&card), "[card]", "{}", digits);
    }

    #[test]
    fn a_number_without_a_valid_check_digit_survives(
        (digits, _) in card(),
        off in 1..10_u8,
        before in "[^0-9@%]{0,20}",
        after in "[^0-9@%]{0,20}",
    ) {
        let (rest, last) = digits.split_at(digits.len() - 1);
        let last = (last.as_bytes()[0] - b'0' + off) % 10;
        let order = format!("{rest}{last}");
        let whole = format!("{before}{order}{after}");
        prop_assume!(!whole.to_ascii_lowercase().contains("bearer") && !whole.contains("eyJ"));
        // Two letters before it would make it a candidate for an IBAN.
        prop_assume!(!before.ends_with(|c: char| c.is_ascii_alphanumeric()));
        prop_assert_eq!(&*text(&whole), &whole);
    }

    #[test]
    fn ibans_are_found_however_they_are_written(
        iban in iban(),
        before in "(\\PC{0,20}[^0-9A-Za-z])?",
        after in "([^0-9A-Za-z]\\PC{0,20})?",
    ) {
        let redacted = text(&format!("{before}{iban}{after}")).into_owned();
        prop_assert!(!redacted.contains(&iban), "{redacted}");
        prop_assert_eq!(&*text(&iban), "[iban]");
    }

    #[test]
    fn tokens_and_addresses_are_found_among_anything(
        before in "(\\PC{0,20}[^0-9A-Za-z])?",
        after in any::<String>(),
        secret in prop_oneof![
            "[A-Za-z0-9._+-]{1,20}(@|%40)[a-z0-9]{1,10}(\\.[a-z]{2,5}){1,3}",
            "eyJ[A-Za-z0-9_-]{5,40}(\\.[A-Za-z0-9_-]{5,40}){1,2}",
            "[Bb]earer( |%20|: |\t|=\")[A-Za-z0-9._~+/-]{10,60}={0,2}",
        ],
    ) {
        let redacted = text(&format!("{before}{secret}{after}")).into_owned();
        // What names the scheme stays.
        let shown = secret.rsplit([' ', '"', '\t']).next().expect("there is a last").replace("%20", "");
        let hidden = shown.trim_start_matches("Bearer").trim_start_matches("bearer");
        prop_assert!(!redacted.contains(hidden), "{hidden} is in {redacted}");
    }

    #[test]
    fn redacting_twice_changes_nothing_among_many_findings(
        parts in prop::collection::vec(prop_oneof![
            prop::sample::select([&CARDS[..], &IBANS[..], &EMAILS[..], &[JWT, "bearer ", "eyJ", "@", "%40", "DE89"]].concat())
                .prop_map(str::to_owned),
            "[0-9a-zA-Z ._:=%+-]{0,6}",
        ], 0..12),
    ) {
        let once = text(&parts.join(" | ")).into_owned();
        prop_assert_eq!(text(&once), once.as_str());
    }

    #[test]
    fn text_without_anything_to_find_is_given_back_as_it_is(words in "[a-zäß€ ,.!]{0,60}") {
        prop_assert!(matches!(text(&words), std::borrow::Cow::Borrowed(_)));
    }
}
