use std::fmt;
#[cfg(feature = "otlp")]
use std::ops::RangeInclusive;

use super::super::Ignored;

/// The variables, and what of them means nothing.
pub(in super::super) struct Variables<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    pub(in super::super) ignored: Vec<Ignored>,
}

impl<'a> Variables<'a> {
    /// Those that `read` gives for their names.
    pub(in super::super) fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { read, ignored: Vec::new() }
    }

    /// What the variable says. One that is empty is as good as not set.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        (self.read)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The first of them that says something, and what.
    #[cfg(feature = "otlp")]
    pub(super) fn first<const N: usize>(&self, names: [String; N]) -> Option<(String, String)> {
        names.into_iter().find_map(|name| self.value(&name).map(|value| (name, value)))
    }

    /// The word that it is, of those that are known.
    pub(super) fn word(&mut self, name: &str, known: &[&'static str]) -> Option<&'static str> {
        let value = self.value(name)?;
        let word = known.iter().copied().find(|known| known.eq_ignore_ascii_case(&value));
        if word.is_none() {
            self.ignore(name, format!("`{value}` is none of `{}`", known.join("`, `")));
        }
        word
    }

    /// The number that it is, if it is one of these.
    #[cfg(feature = "otlp")]
    pub(super) fn number(&mut self, name: &str, known: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        let number = value.parse().ok().filter(|number| known.contains(number));
        if number.is_none() {
            let (least, most) = known.into_inner();
            self.ignore(name, format!("`{value}` is no whole number from {least} to {most}"));
        }
        number
    }

    /// Those of `all` that its words are, none when one of them is `none`. A list without any that is known is no choice, and
    /// so are all.
    pub(super) fn list<T: Copy + fmt::Display>(&mut self, name: &str, all: &[T]) -> Vec<T> {
        let value = self.value(name).unwrap_or_default();
        let words: Vec<_> = value.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let is = |known: &str| words.iter().any(|word| word.eq_ignore_ascii_case(known));
        if is("none") {
            return Vec::new();
        }
        let known: Vec<_> = all.iter().map(T::to_string).collect();
        for word in &words {
            if !known.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                self.ignore(name, format!("`{word}` is unknown, or this build has no code for it"));
            }
        }
        let chosen: Vec<T> = all.iter().copied().filter(|one| is(&one.to_string())).collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    }

    /// Its `key=value,key=value`. What is not one of them may be a secret that was written down wrong, and is not shown.
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let value = self.value(name).unwrap_or_default();
        let entries = value.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
        let mut pairs = Vec::new();
        for (at, entry) in entries {
            let pair = entry.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            match pair.filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
                Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
                None => self.ignore(name, format!("its entry {} is no `key=value`", at + 1)),
            }
        }
        pairs
    }

    pub(super) fn ignore(&mut self, variable: &str, why: String) {
        let ignored = Ignored { variable: variable.to_owned(), why };
        // What is said of all signals is read for each.
        if !self.ignored.contains(&ignored) {
            self.ignored.push(ignored);
        }
    }
}
