use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use pin_project_lite::pin_project;
use tokio::time::{Instant, timeout};

use super::{Delivery, Verdict, Why, rules::Rules};
use crate::{
    call::{Carried, later},
    class::{Class, Ending},
    error::BoxError,
    event::{Event, Outcome},
    observer::Observer,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, sealed::Sealed},
};

/// Where the messages go that will not be handled.
pub(crate) struct DeadLetter<M> {
    ask: Arc<StoreDeadLetter<M>>,
    limit: Duration,
    observer: Observer,
}

/// Stores one. In a box: few messages end here.
pub type StoreDeadLetter<M> = dyn Fn(M, Why) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

impl<M> DeadLetter<M> {
    pub(crate) fn new(ask: Arc<StoreDeadLetter<M>>, limit: Duration, observer: Observer) -> Self {
        Self { ask, limit, observer }
    }

    #[cfg(feature = "idempotency")]
    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Sets a message aside, in time of its own, and says whether it is there. Whatever it does instead is a failure.
    pub(super) fn store(&self, message: M, why: Why) -> impl Future<Output = bool> + Send + use<M>
    where
        M: Send + 'static,
    {
        let Self { ask, limit, observer } = self.clone();
        async move {
            // Not that of the delivery, which may be over.
            let carried = Carried { deadline: Some(later(Instant::now(), limit)), ..Carried::current() };
            let asked =
                AssertUnwindSafe(carried.scope(async move { ask(message, why).await })).catch_unwind();
            let stored = matches!(timeout(limit, asked).await, Ok(Ok(Ok(()))));
            if !stored {
                observer.emit(Event::DeadLetterFailed);
            }
            stored
        }
    }
}

impl<M> Clone for DeadLetter<M> {
    fn clone(&self) -> Self {
        Self { ask: Arc::clone(&self.ask), limit: self.limit, observer: self.observer.clone() }
    }
}

/// Sets aside the messages that are not to come again undone. It gets each delivery to an end, also when the handler panics.
pub struct DeadLetterPolicy<M, I> {
    dead_letter: DeadLetter<M>,
    rules: Rules<M>,
    inner: I,
}

impl<M, I> DeadLetterPolicy<M, I> {
    pub(crate) fn new(dead_letter: DeadLetter<M>, rules: Rules<M>, inner: I) -> Self {
        Self { dead_letter, rules, inner }
    }

    /// What is known of a message whose delivery was cut by its deadline.
    fn judge(&self, answer: Answer<Verdict>, reached: bool) -> Judged {
        let Answer { result, class, outcome, .. } = answer;
        Judged { verdict: result.unwrap_or_else(|_cut| self.rules.cut(reached)), class, outcome }
    }
}

/// A verdict, and how the call ended that it is the verdict on.
struct Judged {
    verdict: Verdict,
    class: Class,
    outcome: Outcome,
}

const PANICKED: Judged = Judged {
    verdict: Verdict::SetAside { why: Why::Panicked, then: Delivery::Parked },
    class: Class::Fault,
    outcome: Outcome::Panicked,
};

pin_project! {
    /// The pass of a [`DeadLetterPolicy`].
    pub struct DeadLetterPass<M, P> {
        // The copy for the dead letter.
        message: Option<M>,
        reached: bool,
        aside: Option<SettingAside>,
        #[pin]
        inner: P,
    }
}

/// The end of a message that is not to come again undone.
struct SettingAside {
    stored: BoxFuture<'static, bool>,
    then: Delivery,
    class: Class,
    outcome: Outcome,
}

impl<M, I> Sealed for DeadLetterPolicy<M, I> {}

impl<M, I, S> Lend<S, M> for DeadLetterPolicy<M, I>
where
    M: Clone,
    I: Lend<S, M>,
{
    type Pass = DeadLetterPass<M, I::Pass>;

    fn pass(&self) -> Self::Pass {
        DeadLetterPass { message: None, reached: false, aside: None, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<M>, course: &mut Course) {
        let pass = pass.project();
        *pass.message = Some(parcel.request().clone());
        self.inner.begin(pass.inner, parcel, course);
    }

    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        *pass.aside = None;
        self.inner.abandon(pass.inner, course, ending, now);
    }
}

impl<M, I, S> Policy<S, M> for DeadLetterPolicy<M, I>
where
    M: Clone + Send + 'static,
    I: Policy<S, M, Response = Verdict>,
{
    type Response = Delivery;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<M>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Delivery>,
    ) -> Poll<()> {
        let mut pass = pass.project();
        if pass.aside.is_none() {
            let mut inner = pass.inner.as_mut();
            let mut slot = Slot::new();
            let poll = || self.inner.poll(inner.as_mut(), parcel, seat, cx, &mut slot);
            let polled = catch_unwind(AssertUnwindSafe(poll));
            *pass.reached |= cx.reached();
            let Judged { verdict, class, outcome } = if let Ok(poll) = polled {
                ready!(poll);
                self.judge(slot.into_answer(), *pass.reached)
            } else {
                let now = cx.now();
                self.inner.abandon(inner.as_mut(), cx.course, Ending::Panicked, now);
                PANICKED
            };
            // What the handler held goes before the dead letter is asked.
            inner.set(self.inner.pass());
            let (why, then) = match verdict {
                Verdict::Settled(delivery) => {
                    return out.put(Answer::new(Ok(delivery), class, outcome));
                }
                Verdict::SetAside { why, then } => (why, then),
            };
            let message = pass.message.take().expect("a message is set aside once");
            let stored = Box::pin(self.dead_letter.store(message, why));
            *pass.aside = Some(SettingAside { stored, then, class, outcome });
        }
        let SettingAside { stored, then, class, outcome } =
            pass.aside.as_mut().expect("it is set aside above or before");
        let stored = ready!(stored.as_mut().poll(cx.task));
        let delivery = if stored { *then } else { Delivery::Nack { after: self.rules.redeliver_after } };
        out.put(Answer::new(Ok(delivery), *class, *outcome))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}
