use std::task::{Poll, ready};

use super::{Unseen, alter::Alteration, arming::Suffering};
use crate::{
    class::Class,
    policy::{Slot, sealed::Sealed},
    random::Random,
};

/// What a fault hook makes of an answer.
pub trait Alter<R>: Sealed {
    /// An answer that passed the hook.
    type Altered;

    #[doc(hidden)]
    fn pass(&self, answer: R) -> Self::Altered;

    /// Polls for an answer that passes the hook.
    #[doc(hidden)]
    #[inline]
    fn poll_into(
        &self,
        out: &mut Slot<Self::Altered>,
        poll: impl FnOnce(&mut Slot<R>) -> Poll<()>,
    ) -> Poll<()> {
        let mut slot = Slot::new();
        ready!(poll(&mut slot));
        out.put_changed(slot, |given| self.pass(given))
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

    // Where it lies.
    #[inline]
    fn poll_into(&self, out: &mut Slot<R>, poll: impl FnOnce(&mut Slot<R>) -> Poll<()>) -> Poll<()> {
        poll(out)
    }

    fn can(&self, _answer: &R, _alteration: &Alteration) -> bool {
        false
    }

    fn alter(&self, _answer: &mut R, _altering: Altering<'_>) -> Option<Class> {
        unreachable!("it cannot be altered")
    }
}
