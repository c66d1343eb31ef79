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
    ] {
        assert!(is_sensitive(name), "{name}");
    }
    for name in [
        "shipping", "spin", "amount", "panel", "keyboard", "number", "account", "company", "status", "",
        "größe",
    ] {
        assert!(!is_sensitive(name), "{name}");
    }
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
    fn text_without_anything_to_find_is_given_back_as_it_is(words in "[a-zäß€ ,.!]{0,60}") {
        prop_assert!(matches!(text(&words), std::borrow::Cow::Borrowed(_)));
    }
}
