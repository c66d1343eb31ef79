//! Nobody shows how many requests are under way: this build has no backend.

use super::kinds::Kind;

#[derive(Debug)]
pub(super) struct Gauge;

#[derive(Debug)]
pub(crate) struct UnderWay;

impl UnderWay {
    pub(crate) const fn begin(_: &Kind) -> Option<Self> {
        None
    }
}
