use std::{
    mem,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::{BoxFuture, poll_fn};
use pin_project_lite::pin_project;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    DeadLetter, Delivery, Tried, Verdict, Why,
    keys::Messages,
    rules::{Rules, Turn, unasked},
};
use crate::{
    call::Call,
    class::{Class, Ending},
    error::{BoxError, Reason},
    event::{self, Event},
    idempotency::{
        Claim, Ended, Fingerprint, IdempotencyLayer, Identity, Keeper, LeaseOver, Mark, Outcome, Reply, Store,
    },
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, StackFuture, sealed::Sealed},
    spawn::spawn,
};

/// Handles each message once, by its key, and says what the end of its handler means; see [`messaging`](super#keys).
pub struct KeyedMessagesPolicy<M, St, I> {
    keeper: Keeper<St>,
    known: Arc<Messages<M>>,
    rules: Rules<M>,
    dead_letter: DeadLetter<M>,
    /// Shared, because what stands behind a key outlives its delivery.
    inner: Arc<I>,
}

impl<M, St: Store, I> KeyedMessagesPolicy<M, St, I> {
    /// For a consumer whose deliveries may take so long.
    pub(crate) fn new(
        layer: &IdempotencyLayer<St, Messages<M>>,
        limit: Duration,
        rules: Rules<M>,
        dead_letter: DeadLetter<M>,
        inner: I,
    ) -> Self {
        let (mut keeper, known) = layer.parts(dead_letter.observer().clone());
        let config = &mut keeper.config;
        config.run_limit = config.run_limit.max(limit);
        if rules.repeatable && config.lease_over == LeaseOver::InDoubt {
            config.lease_over = LeaseOver::Reexecute;
        }
        Self { keeper, known, rules, dead_letter, inner: Arc::new(inner) }
    }
}

impl<M, St, I> Clone for KeyedMessagesPolicy<M, St, I> {
    fn clone(&self) -> Self {
        Self {
            keeper: self.keeper.clone(),
            known: Arc::clone(&self.known),
            rules: self.rules.clone(),
            dead_letter: self.dead_letter.clone(),
            inner: Arc::clone(&self.inner),
        }
    }
}

pin_project! {
    /// The pass of a [`KeyedMessagesPolicy`].
    pub struct KeyedMessagesPass {
        // There once a task is at it. In a box: it asks a store, which costs more.
        //
        // Beside it stands whether a fault hook did something to the delivery in that task.
        answer: Option<(BoxFuture<'static, Answer<Verdict>>, Mark)>,
    }
}

impl<M, St, I> Sealed for KeyedMessagesPolicy<M, St, I> {}

impl<M, St, I, S> Lend<S, M> for KeyedMessagesPolicy<M, St, I>
where
    I: Lend<S, Tried<M>>,
{
    type Pass = KeyedMessagesPass;

    fn pass(&self) -> Self::Pass {
        KeyedMessagesPass { answer: None }
    }

    fn begin(&self, _pass: Pin<&mut Self::Pass>, _parcel: &mut Parcel<M>, _course: &mut Course) {}

    /// A handler that runs under a key runs on.
    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, _ending: Ending, _now: Instant) {
        if let Some((_, mark)) = pass.project().answer.take() {
            mark.give(course);
        }
    }
}

impl<M, St, I, S> Policy<S, M> for KeyedMessagesPolicy<M, St, I>
where
    I: Policy<S, Tried<M>, Pass: Send> + Send + Sync + 'static,
    M: Clone + Send + 'static,
    St: Store,
    S: Clone + Send + 'static,
{
    type Response = Verdict;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        parcel: &mut Parcel<M>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Verdict>,
    ) -> Poll<()> {
        let (answer, mark) = match pass.project().answer {
            Some(running) => running,
            answer => {
                let message = parcel.take();
                let Some((id, fingerprint)) = self.known.identify(self.keeper.observer.name(), &message)
                else {
                    return out.put(unasked(Verdict::dead(Why::NoKey), Class::CallerFault));
                };
                // The instance that said it is ready goes to the task that calls it.
                let fresh = seat.another();
                let seat = mem::replace(seat, fresh);
                let mark = Mark::default();
                let run = self.clone().answer(cx.course.call, id, fingerprint, seat, message, mark.clone());
                answer.insert((Box::pin(run), mark))
            }
        };
        let poll = answer.as_mut().poll(cx.task);
        mark.give(cx.course);
        out.put(ready!(poll))
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<M, St, I> KeyedMessagesPolicy<M, St, I> {
    /// Has the message handled, or finds out what came of it.
    async fn answer<S>(
        self,
        call: Call,
        id: Identity,
        fingerprint: Fingerprint,
        seat: Seat<S>,
        message: M,
        mark: Mark,
    ) -> Answer<Verdict>
    where
        I: Policy<S, Tried<M>, Pass: Send> + Send + Sync + 'static,
        M: Clone + Send + 'static,
        St: Store,
        S: Clone + Send + 'static,
    {
        let rules = self.rules.clone();
        let (reply, answer) = oneshot::channel();
        let keeper = self.keeper.clone();
        let run = keeper.run(id, fingerprint, |claim| self.work(seat, message, claim, mark), reply);
        // The handler is told the deadline of the delivery, and is not cut by it.
        call.carried().enter(|| drop(spawn(run)));
        match answer.await {
            Ok(Reply::Ran(answer)) => answer,
            Ok(Reply::Panicked(panic)) => resume_unwind(panic),
            Ok(Reply::Replayed(_)) => unasked(Verdict::Settled(Delivery::Ack), Class::Success),
            // Never an acknowledgement: whoever is at it may not come to an end.
            Ok(Reply::InProgress) => unasked(rules.nack(), Class::CallerFault),
            Ok(Reply::Mismatch) => unasked(Verdict::dead(Why::Mismatch), Class::CallerFault),
            Ok(Reply::InDoubt) => unasked(Verdict::unknown(Why::InDoubt), Class::CallerFault),
            Ok(Reply::Refused) => unasked(rules.nack(), Class::TRANSIENT),
            // The runtime shuts down, or the store's own code panicked. The record tells the next delivery.
            Err(_) => unasked(rules.nack(), Class::Fault),
        }
    }

    /// Calls the handler within the run limit, sets its message aside where that is final, and says how that ended.
    async fn work<S>(
        self,
        seat: Seat<S>,
        message: M,
        claim: Option<Claim>,
        mark: Mark,
    ) -> (Answer<Verdict>, Ended)
    where
        I: Policy<S, Tried<M>>,
        M: Clone + Send + 'static,
    {
        let handled = self.handle(seat, message.clone(), claim.as_ref(), &mark);
        let Answer { result, class, outcome, .. } = handled.await;
        let verdict = result.expect("what the rules judge is a verdict");
        let (verdict, ended) = self.end(verdict, message, claim.as_ref()).await;
        (Answer::new(Ok(verdict), class, outcome), ended)
    }

    async fn handle<S>(
        &self,
        seat: Seat<S>,
        message: M,
        claim: Option<&Claim>,
        mark: &Mark,
    ) -> Answer<Verdict>
    where
        I: Policy<S, Tried<M>>,
    {
        let turn = self.rules.turn(&message);
        if turn == Turn::TooMany {
            return unasked(Verdict::dead(Why::TooManyDeliveries), Class::Fault);
        }
        let mut reached = false;
        let handled = {
            let call = StackFuture::new(Arc::clone(&self.inner), seat, Tried::new(message, &self.rules));
            let mut call = pin!(call);
            let run = poll_fn(|cx| {
                let poll = Claim::enter(claim, || call.as_mut().poll_answer(cx, &mut reached));
                mark.take(&call);
                poll
            });
            timeout(self.keeper.config.run_limit, run).await
        };
        if let Ok(answer) = handled {
            let not_executed = claim.is_some_and(Claim::is_not_executed);
            return self.rules.judge(answer, reached, not_executed, turn);
        }
        self.keeper.observer.emit(Event::TimedOut { reason: Reason::Timeout });
        Answer::new(Ok(self.rules.cut(reached)), Class::TRANSIENT, event::Outcome::Timeout)
    }

    /// What is kept of a verdict. A message that will not be handled is set aside first: only then is it done.
    async fn end(&self, verdict: Verdict, message: M, claim: Option<&Claim>) -> (Verdict, Ended)
    where
        M: Send + 'static,
    {
        let why = match verdict {
            Verdict::Settled(Delivery::Nack { .. }) => return (verdict, Ended::NotRun),
            Verdict::Settled(_) => return (verdict, Ended::Done(Outcome::Tombstone)),
            // Whoever waits for it parks it; if nobody does, the next delivery finds it in doubt and does so.
            Verdict::SetAside { then: Delivery::Parked, .. } => return (verdict, Ended::InDoubt),
            Verdict::SetAside { why, .. } => why,
        };
        if claim.is_some_and(Claim::is_lost) {
            // It is somebody else's to decide.
            return (self.rules.nack(), Ended::InDoubt);
        }
        if claim.is_some_and(Claim::is_completed_in) {
            // Its transaction may have been committed although it failed; the keeper looks that up.
            return (Verdict::unknown(why), Ended::InDoubt);
        }
        if self.dead_letter.store(message, why).await {
            // Somebody may send it again under another key: a copy under this one must not be handled as well.
            claim.inspect(|claim| claim.keep());
            return (Verdict::Settled(Delivery::DeadLettered), Ended::Done(Outcome::Tombstone));
        }
        (self.rules.nack(), Ended::InDoubt)
    }
}
