//! Nobody shows how many requests are under way: this build has no backend.

use crate::event::Exchange;

#[derive(Debug)]
pub(crate) struct UnderWay;

impl UnderWay {
    pub(crate) const fn begin(_: &Exchange) -> Option<Self> {
        None
    }
}
