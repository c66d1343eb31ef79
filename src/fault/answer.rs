use std::task::Poll;

use super::{Unseen, alter::Alteration, arming::Suffering};
use crate::{
    class::Class,
    policy::{Answer, sealed::Sealed},
    random::Random,
};

/// What a fault hook makes of an answer.
pub trait Alter<R>: Sealed {
    /// An answer that passed the hook.
    type Altered;

    #[doc(hidden)]
    fn pass(&self, answer: R) -> Self::Altered;

    /// The same of what a poll gave.
    #[doc(hidden)]
    #[inline]
    fn pass_answer(&self, polled: Poll<Answer<R>>) -> Poll<Answer<Self::Altered>> {
        polled.map(|answer| answer.map(|given| self.pass(given)))
    }

    /// Whether this can be done to this answer.
    #[doc(hidden)]
    fn can(&self, answer: &Self::Altered, alteration: &Alteration) -> bool;

    /// Does it, and says what the answer stands for now, where that is something else.
    #[doc(hidden)]
    fn alter(&self, answer: &mut Self::Altered, altering: Altering<'_>) -> Option<Class>;
}

/// What is done to an answer, and by whom.
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "nothing is known of answers but those of HTTP")
)]
#[expect(unnameable_types, reason = "the trait whose methods take it is sealed")]
pub struct Altering<'a> {
    pub(super) alteration: &'a Alteration,
    pub(super) suffering: Suffering,
    pub(super) random: Random,
}

/// Nothing is known of the answer, so nothing is done to it.
impl<R> Alter<R> for Unseen {
    type Altered = R;

    #[inline]
    fn pass(&self, answer: R) -> R {
        answer
    }

    // Not copied on its way.
    #[inline]
    fn pass_answer(&self, polled: Poll<Answer<R>>) -> Poll<Answer<R>> {
        polled
    }

    fn can(&self, _answer: &R, _alteration: &Alteration) -> bool {
        false
    }

    fn alter(&self, _answer: &mut R, _altering: Altering<'_>) -> Option<Class> {
        unreachable!("it cannot be altered")
    }
}
