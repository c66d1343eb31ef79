use std::convert::Infallible;

use crate::event::FaultKind;

/// What becomes of an answer: without feature `http`, nothing can.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "the trait whose methods take it is sealed")]
pub struct Alteration(Infallible);

impl Alteration {
    pub(super) fn kind(&self) -> FaultKind {
        match self.0 {}
    }
}
