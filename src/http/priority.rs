use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    class::Ending,
    error::BoxError,
    event::Event,
    head::Head,
    observer::Observer,
    policy::{Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
    priority::Priority,
};

/// The header that says how much it matters that the call is served.
pub(crate) const REQUEST_PRIORITY: HeaderName = HeaderName::from_static("x-request-priority");

/// What a server makes of the priority that a caller asks for.
#[derive(Clone, Default)]
pub(crate) struct Priorities {
    /// What a request is worth to this service; by default `Critical`.
    pub(crate) own: Option<Judge<Priority>>,
    /// Who may ask for more than that; by default nobody.
    pub(crate) trusted: Option<Judge<bool>>,
}

/// What a service says of a request.
type Judge<T> = Arc<dyn Fn(Head<'_>) -> T + Send + Sync>;

impl Priorities {
    /// The priority of a request, and whether it asked in a way that cannot be read.
    fn of(&self, head: Head<'_>) -> (Priority, bool) {
        let own = self.own.as_ref().map_or_else(Priority::default, |own| own(head));
        let (asked, malformed) = asked(head.headers);
        let priority = match asked {
            Some(asked) if asked > own => {
                if self.trusted.as_ref().is_some_and(|trusted| trusted(head)) {
                    asked
                } else {
                    own
                }
            }
            Some(asked) => asked,
            None => own,
        };
        (priority, malformed)
    }
}

/// The least of the priorities that the headers ask for, and whether one of them cannot be read.
fn asked(headers: &HeaderMap) -> (Option<Priority>, bool) {
    let mut malformed = false;
    let mut least: Option<Priority> = None;
    for value in headers.get_all(REQUEST_PRIORITY) {
        match Priority::parse(value.as_bytes()) {
            Some(asked) => least = Some(least.map_or(asked, |least| least.min(asked))),
            None => malformed = true,
        }
    }
    (least, malformed)
}

impl fmt::Debug for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, trusted } = self;
        f.debug_struct("Priorities")
            .field("own", &own.is_some())
            .field("trusted", &trusted.is_some())
            .finish()
    }
}

/// Reads the priority of a request; see the [module](super).
#[derive(Clone, Debug)]
pub struct PriorityHeaderPolicy<I> {
    priorities: Priorities,
    observer: Observer,
    inner: I,
}

impl<I> PriorityHeaderPolicy<I> {
    pub(crate) fn new(priorities: Priorities, observer: Observer, inner: I) -> Self {
        Self { priorities, observer, inner }
    }
}

pin_project! {
    /// The pass of a [`PriorityHeaderPolicy`].
    #[derive(Debug)]
    pub struct PriorityHeaderPass<P> {
        malformed: bool,
        #[pin]
        inner: P,
    }
}

impl<I> Sealed for PriorityHeaderPolicy<I> {}

impl<I, S, B> Lend<S, Request<B>> for PriorityHeaderPolicy<I>
where
    I: Lend<S, Request<B>>,
{
    type Pass = PriorityHeaderPass<I::Pass>;

    fn pass(&self) -> Self::Pass {
        PriorityHeaderPass { malformed: false, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Request<B>>, course: &mut Course) {
        let pass = pass.project();
        let (priority, malformed) = self.priorities.of(Head::of(parcel.request()));
        course.call.priority = Some(priority);
        *pass.malformed = malformed;
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        self.inner.abandon(pass.project().inner, course, ending, now);
    }
}

impl<I, S, B> Policy<S, Request<B>> for PriorityHeaderPolicy<I>
where
    I: Policy<S, Request<B>>,
{
    type Response = I::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<Request<B>>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        if std::mem::take(pass.malformed) {
            self.observer.emit(Event::PriorityMalformed);
        }
        self.inner.poll(pass.inner, parcel, seat, cx, out)
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(priorities: &Priorities, values: &[&'static str]) -> (Priority, bool) {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(REQUEST_PRIORITY, value.parse().expect("no control bytes"));
        }
        priorities.of(Head::of(&request))
    }

    #[test]
    fn a_caller_from_outside_can_lower_its_priority_and_not_raise_it() {
        for (asked, priority) in [
            ("sheddable", Priority::Sheddable),
            ("sheddable_plus", Priority::SheddablePlus),
            ("critical", Priority::Critical),
            ("critical_plus", Priority::Critical),
        ] {
            assert_eq!(of(&Priorities::default(), &[asked]), (priority, false));
        }
        let reports = Priorities { own: Some(Arc::new(|_| Priority::SheddablePlus)), trusted: None };
        assert_eq!(of(&reports, &["critical"]).0, Priority::SheddablePlus);
        assert_eq!(of(&reports, &["sheddable"]).0, Priority::Sheddable);
        assert_eq!(of(&reports, &[]).0, Priority::SheddablePlus);
    }

    #[test]
    fn whoever_is_trusted_can_raise_it() {
        let inside = |head: Head<'_>| !head.headers.contains_key("x-from-outside");
        let trusting = Priorities { own: None, trusted: Some(Arc::new(inside)) };
        assert_eq!(of(&trusting, &["critical_plus"]).0, Priority::CriticalPlus);
        let request =
            Request::builder().header("x-from-outside", "1").header(REQUEST_PRIORITY, "critical_plus");
        let request = request.body(()).expect("well-formed");
        assert_eq!(trusting.of(Head::of(&request)).0, Priority::Critical);
    }

    #[test]
    fn garbage_is_ignored_and_noticed_and_of_several_the_least_counts() {
        assert_eq!(of(&Priorities::default(), &["urgent"]), (Priority::Critical, true));
        assert_eq!(of(&Priorities::default(), &["", "sheddable"]), (Priority::Sheddable, true));
        assert_eq!(of(&Priorities::default(), &["critical", "sheddable"]), (Priority::Sheddable, false));
    }
}
