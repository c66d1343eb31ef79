use std::{fmt, sync::OnceLock};

use crate::name::Name;

/// The first names that were told. A place that is taken stays so.
static KNOWN: [OnceLock<Name>; Experiment::MAX_NAMES] = [const { OnceLock::new() }; Experiment::MAX_NAMES];

/// The experiment that a fault is for, as events and metrics call it.
///
/// The first [`MAX_NAMES`](Self::MAX_NAMES) experiments of a process that hit a call are called by their names. All further ones, and
/// those whose names could be none of a [pipeline](Name), share one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Experiment(u8);

impl Experiment {
    /// How many experiments of a process are called by their names.
    pub const MAX_NAMES: usize = 64;
    /// What all others are called.
    pub const OVERFLOW: &str = "_other";
    /// The one of all others comes last.
    pub(crate) const COUNT: usize = Self::MAX_NAMES + 1;

    /// The one of this name; none where it is empty.
    pub(crate) fn of(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self::at(place(&KNOWN, name)))
    }

    /// All that there may be, by their places.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self::at)
    }

    fn at(place: usize) -> Self {
        Self(u8::try_from(place).expect("there are fewer than 256"))
    }

    pub(crate) fn place(self) -> usize {
        self.0.into()
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        KNOWN.get(self.place()).and_then(OnceLock::get).map_or(Self::OVERFLOW, Name::as_str)
    }
}

/// Where the name is, which takes the first place that is free; behind all where there is none.
fn place(known: &[OnceLock<Name>], name: &str) -> usize {
    if name == Experiment::OVERFLOW {
        return known.len();
    }
    for (index, place) in known.iter().enumerate() {
        let taken = match place.get() {
            Some(taken) => taken,
            None => match Name::new(name) {
                // Another thread may be there first, with another name.
                Ok(name) => place.get_or_init(|| name),
                Err(_) => break,
            },
        };
        if taken.as_str() == name {
            return index;
        }
    }
    known.len()
}

impl fmt::Debug for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place_and_what_is_no_name_or_comes_too_late_has_none() {
        let known = [const { OnceLock::new() }; 2];
        let places = ["a", "_other", "", "line\nfeed", "b", "a", "c", "b"].map(|name| place(&known, name));
        assert_eq!(places, [0, 2, 2, 2, 1, 0, 2, 1]);
    }

    #[test]
    fn threads_never_give_a_name_two_places() {
        let known = [const { OnceLock::new() }; 50];
        let names: Vec<_> = (0..100).map(|name| name.to_string()).collect();
        let look = || names.iter().map(|name| place(&known, name)).collect::<Vec<_>>();
        let seen: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(look)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let settled = look();
        assert!(seen.iter().all(|seen| *seen == settled));
        let mut taken: Vec<_> = settled.into_iter().filter(|&place| place < 50).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn an_experiment_is_called_by_its_name_and_no_name_is_none() {
        assert_eq!(Experiment::of("slow-quotes").map(Experiment::as_str), Some("slow-quotes"));
        assert_eq!(Experiment::of(&"x".repeat(65)).map(Experiment::as_str), Some(Experiment::OVERFLOW));
        assert_eq!(Experiment::of(""), None);
    }
}
