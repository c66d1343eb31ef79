use opentelemetry::Context;

/// The span of a call's request, where one is made further in than the end of the call is told. In a box: without a tracer there
/// is none.
#[derive(Debug, Default)]
pub(crate) struct Lent(Option<Box<Context>>);

impl Lent {
    /// Has it be there, if there is one, for who is further out.
    #[inline]
    pub(crate) fn put(&mut self, span: Option<Context>) {
        self.0 = span.map(Box::new);
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Context> {
        self.0.take().map(|span| *span)
    }
}
