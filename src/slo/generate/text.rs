//! Names that come from anywhere, in texts that others read.

use std::fmt::Write;

use crate::fnv::fnv;

/// A text in double quotes, as both queries and YAML have it.
///
/// All but letters, digits and harmless signs is escaped by its number: quotes and backslashes, what those who read YAML take
/// for the end of a line, and `$` and `[`, behind which Grafana looks for variables.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        if c.is_alphanumeric() || " !#%&'()*+,-./:;<=>?@^_{|}~".contains(c) {
            quoted.push(c);
        } else {
            let number = u32::from(c);
            match u16::try_from(number) {
                Ok(number) => push(&mut quoted, format_args!("\\u{number:04x}")),
                Err(_) => push(&mut quoted, format_args!("\\U{number:08x}")),
            }
        }
    }
    quoted.push('"');
    quoted
}

/// A text as Markdown shows it, whatever it looks like. What means nothing inside a line stays as it is, for those who read
/// the file itself.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() && !"-.,:;/%'\"=?".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// What the files of an objective are called. Every name has its own, on every file system, and it stays in its folder.
pub(super) fn file_stem(name: &str) -> String {
    let mut stem = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => stem.push(char::from(byte)),
            // Capitals, too: there are file systems that take them for small letters.
            _ => push(&mut stem, format_args!("_{byte:02x}")),
        }
    }
    stem
}

/// What Grafana knows a dashboard by: at most 40 characters, always the same ones for a name.
pub(super) fn uid(name: &str) -> String {
    let stem = file_stem(name);
    if stem.len() <= 36 { format!("slo-{stem}") } else { format!("slo-{:016x}", fnv(name.as_bytes())) }
}

/// A number of so many decimals, without those at its end that are zeros.
pub(super) fn decimal(number: u128, decimals: u32) -> String {
    let unit = 10_u128.pow(decimals);
    let digits = format!("{}.{:0width$}", number / unit, number % unit, width = decimals as usize);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_something_to_a_reader_is_escaped() {
        assert_eq!(markdown("log-in: 99.9 % by 06:00, \"A/B\""), "log-in: 99.9 % by 06:00, \"A/B\"");
        assert_eq!(markdown("*_~#|&$@!+{}^\\"), r"\*\_\~\#\|\&\$\@\!\+\{\}\^\\");
        assert_eq!(quoted("log-in/{id} é"), r#""log-in/{id} é""#);
        assert_eq!(quoted(r#"a"\b"#), r#""a\u0022\u005cb""#);
        assert_eq!(quoted("$job[[x]]"), r#""\u0024job\u005b\u005bx\u005d\u005d""#);
        assert_eq!(quoted("\u{2028}\u{feff}"), r#""\u2028\ufeff""#);
        assert_eq!(markdown("a <b> [c](d) `e`"), r"a \<b\> \[c\]\(d\) \`e\`");
    }

    #[test]
    fn a_number_has_no_more_digits_than_it_needs() {
        for (number, decimals, text) in [
            (0, 3, "0"),
            (1, 3, "0.001"),
            (144_000, 7, "0.0144"),
            (2_000, 3, "2"),
            (2_500, 3, "2.5"),
            (70, 0, "7"),
        ] {
            let number = if decimals == 0 { number / 10 } else { number };
            assert_eq!(decimal(number, decimals), text);
        }
    }

    #[test]
    fn every_name_has_files_and_a_dashboard_of_its_own() {
        let long = "x".repeat(64);
        let names = [
            "login",
            "Login",
            "LOGIN",
            "log in",
            "log_in",
            "log_20in",
            "log/in",
            "../login",
            "é",
            "e\u{301}",
            "..",
            &long,
            &long[1..],
        ];
        let stems: BTreeSet<_> = names.iter().map(|name| file_stem(name).to_lowercase()).collect();
        let uids: BTreeSet<_> = names.iter().map(|name| uid(name)).collect();
        assert_eq!((stems.len(), uids.len()), (names.len(), names.len()));
        assert_eq!((&*file_stem("login"), &*uid("login")), ("login", "slo-login"));
        assert_eq!(uid(&long), "slo-b96a5acbb56db825");
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_quotes_its_line_its_folder_or_its_forty_characters(name in "\\PC{1,64}") {
            let inner = quoted(&name);
            let inner = &inner[1..inner.len() - 1];
            let ends = ['"', '\n', '$', '[', '\u{2028}', '\u{85}'];
            prop_assert!(!inner.contains(ends));
            prop_assert_eq!(unescaped(inner), name.clone());
            let stem = file_stem(&name);
            prop_assert!(stem.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)));
            let uid = uid(&name);
            prop_assert!(uid.len() <= 40 && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }

        #[test]
        fn a_decimal_number_is_read_back_as_the_nearest_there_is(number in 0_u32.., decimals in 0_u32..9) {
            let text = decimal(number.into(), decimals);
            let scale = f64::from(10_u32.pow(decimals));
            prop_assert_eq!(text.parse::<f64>(), Ok(f64::from(number) / scale));
        }
    }

    /// What a reader of queries or YAML makes of it.
    fn unescaped(text: &str) -> String {
        let mut parts = text.split('\\');
        let mut plain = parts.next().expect("there is a first").to_owned();
        for part in parts {
            let digits = if part.starts_with('u') { 4 } else { 8 };
            let (number, rest) = part[1..].split_at(digits);
            let number = u32::from_str_radix(number, 16).expect("digits");
            plain.extend(char::from_u32(number));
            plain.push_str(rest);
        }
        plain
    }
}
