//! A build without lines of a log, or without requests that have an id: nothing, at no cost.

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Correlation;

#[expect(clippy::unused_self, reason = "what it stands in for has a self")]
impl Correlation {
    pub(crate) const fn current() -> Self {
        Self
    }

    #[cfg(feature = "http")]
    pub(crate) const fn of(_: &http::HeaderMap, _: bool) -> Self {
        Self
    }

    #[cfg(feature = "logs")]
    pub(crate) const fn id(self) -> Option<&'static str> {
        None
    }

    #[cfg(feature = "logs")]
    pub(crate) const fn trace(self) -> Option<super::Trace> {
        None
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn scope<F: Future>(self, work: F) -> F {
        work
    }
}
