use std::{
    mem,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::future::{BoxFuture, poll_fn};
use pin_project_lite::pin_project;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Claim, Ended, Identity, Keeper, Mark, Outcome, Reply, Store,
    face::{Converse, Decision, Face},
};
use crate::{
    call::Call,
    class::Ending,
    error::{BoxError, KeyRefusal, Reason, Rejected},
    event::Event,
    policy::{Answer, Course, Lend, Parcel, Policy, Poller, Seat, Slot, StackFuture, sealed::Sealed},
    spawn::spawn,
};

/// The policy of an [`IdempotencyLayer`](super::IdempotencyLayer).
pub struct IdempotencyPolicy<I, St, F> {
    pub(super) keeper: Keeper<St>,
    pub(super) face: Arc<F>,
    /// Shared, because what stands behind a key outlives its caller.
    inner: Arc<I>,
}

impl<I, St, F> IdempotencyPolicy<I, St, F> {
    pub(super) fn new(keeper: Keeper<St>, face: Arc<F>, inner: I) -> Self {
        Self { keeper, face, inner: Arc::new(inner) }
    }
}

impl<I, St, F> Clone for IdempotencyPolicy<I, St, F> {
    fn clone(&self) -> Self {
        Self { keeper: self.keeper.clone(), face: Arc::clone(&self.face), inner: Arc::clone(&self.inner) }
    }
}

pin_project! {
    /// The pass of an [`IdempotencyPolicy`]: that of a call without a key, or what becomes of one with a key.
    pub struct IdempotencyPass<P, R, K, A> {
        stage: Stage<K, A>,
        // What is called where there is no key, and its pass.
        parcel: Parcel<R>,
        #[pin]
        inner: P,
    }
}

enum Stage<K, A> {
    /// There is no key.
    Passed,
    Refused(KeyRefusal),
    /// There is one, and nothing was done yet.
    Keyed(Identity, Option<K>),
    /// The request is read, and after that a task is at it. In a box: a call with a key asks a store and has a task of its
    /// own, which costs more; one without is not boxed.
    ///
    /// Beside it stands whether a fault hook did something to the call in that task.
    Running(BoxFuture<'static, Answer<A>>, Mark),
}

/// What the service behind a face is called with.
type InnerOf<F, Req> = <F as Face<Req>>::Inner;

impl<I, St, F> Sealed for IdempotencyPolicy<I, St, F> {}

impl<I, St, F, S, Req> Lend<S, Req> for IdempotencyPolicy<I, St, F>
where
    F: Face<Req>,
    I: Lend<S, F::Inner>,
{
    type Pass = IdempotencyPass<I::Pass, F::Inner, F::Keyed, F::Answered>;

    fn pass(&self) -> Self::Pass {
        IdempotencyPass { stage: Stage::Passed, parcel: Parcel::EMPTY, inner: self.inner.pass() }
    }

    fn begin(&self, pass: Pin<&mut Self::Pass>, parcel: &mut Parcel<Req>, course: &mut Course) {
        let pass = pass.project();
        match self.face.decide(parcel.take()) {
            Decision::Pass(request) => {
                pass.parcel.put(request);
                self.inner.begin(pass.inner, pass.parcel, course);
            }
            Decision::Refuse(refusal) => *pass.stage = Stage::Refused(refusal),
            Decision::Keyed(id, keyed) => *pass.stage = Stage::Keyed(id, Some(keyed)),
        }
    }

    /// A handler that runs under a key runs on.
    fn abandon(&self, pass: Pin<&mut Self::Pass>, course: &mut Course, ending: Ending, now: Instant) {
        let pass = pass.project();
        if let Stage::Running(_, mark) = pass.stage {
            mark.give(course);
        }
        self.inner.abandon(pass.inner, course, ending, now);
    }
}

impl<I, St, F, S, Req, Res> Policy<S, Req> for IdempotencyPolicy<I, St, F>
where
    F: Converse<Req, Res> + Face<Req, Inner: Send, Keyed: Send + 'static>,
    I: Policy<S, InnerOf<F, Req>, Pass: Send, Response = Res> + Send + Sync + 'static,
    St: Store,
    S: Clone + Send + 'static,
    Req: 'static,
    Res: Send + 'static,
{
    type Response = F::Response;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        _parcel: &mut Parcel<Req>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
        out: &mut Slot<Self::Response>,
    ) -> Poll<()> {
        let pass = pass.project();
        if let Stage::Keyed(id, keyed) = pass.stage {
            let keyed = keyed.take().expect("it is there until it is run");
            // The instance that said it is ready goes to the task that calls it.
            let fresh = seat.another();
            let (seat, mark) = (mem::replace(seat, fresh), Mark::default());
            let answer = self.clone().answer::<S, Req, Res>(cx.course.call, *id, seat, keyed, mark.clone());
            *pass.stage = Stage::Running(Box::pin(answer), mark);
        }
        match pass.stage {
            Stage::Passed => {
                let mut slot = Slot::new();
                ready!(self.inner.poll(pass.inner, pass.parcel, seat, cx, &mut slot));
                out.put_changed(slot, F::passed)
            }
            Stage::Refused(refusal) => out.put(self.refused(*refusal).map(F::answered)),
            // It stays there while it is polled: also a call that ends by the panic of its handler is told of the mark.
            Stage::Running(answer, mark) => {
                let poll = answer.as_mut().poll(cx.task);
                mark.give(cx.course);
                out.put(ready!(poll).map(F::answered))
            }
            Stage::Keyed(..) => unreachable!("it was made to run above"),
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, St, F> IdempotencyPolicy<I, St, F> {
    /// Reads the request, has it run or finds out what came of it, and waits for that.
    async fn answer<S, Req, Res>(
        self,
        call: Call,
        id: Identity,
        seat: Seat<S>,
        keyed: F::Keyed,
        mark: Mark,
    ) -> Answer<F::Answered>
    where
        F: Converse<Req, Res> + Face<Req, Inner: Send>,
        I: Policy<S, InnerOf<F, Req>, Pass: Send, Response = Res> + Send + Sync + 'static,
        St: Store,
        S: Clone + Send + 'static,
        Req: 'static,
        Res: Send + 'static,
    {
        let (fingerprint, request) = match self.face.read(keyed).await {
            Ok(read) => read,
            Err(refusal) => return self.refused(refusal),
        };
        let (reply, answer) = oneshot::channel();
        let policy = self.clone();
        let run =
            self.keeper.clone().run(id, fingerprint, |claim| policy.work(seat, request, claim, mark), reply);
        // The handler is told the deadline of its caller, and is not cut by it.
        call.carried().enter(|| drop(spawn(run)));
        let refusal = match answer.await {
            Ok(Reply::Ran(answer)) => return answer,
            Ok(Reply::Panicked(panic)) => resume_unwind(panic),
            Ok(Reply::Replayed(Outcome::Answer(kept))) => match self.face.replay(kept) {
                Some(result) => return self.face.judged(result),
                None => KeyRefusal::NotReplayable,
            },
            Ok(Reply::Replayed(Outcome::Tombstone)) => KeyRefusal::NotReplayable,
            Ok(Reply::InProgress) => KeyRefusal::InProgress,
            Ok(Reply::Mismatch) => KeyRefusal::Mismatch,
            // An error: the runtime shuts down, or the store's own code panicked. What came of it is not known here.
            Ok(Reply::InDoubt) | Err(_) => KeyRefusal::InDoubt,
            Ok(Reply::Refused) => KeyRefusal::Unavailable,
        };
        self.refused(refusal)
    }

    /// Calls the handler, within the run limit, and says how that ended.
    async fn work<S, Req, Res>(
        self,
        seat: Seat<S>,
        mut request: InnerOf<F, Req>,
        claim: Option<Claim>,
        mark: Mark,
    ) -> (Answer<F::Answered>, Ended)
    where
        F: Converse<Req, Res>,
        I: Policy<S, InnerOf<F, Req>, Response = Res>,
    {
        if let Some(claim) = claim {
            self.face.hand_over(&mut request, claim);
        }
        let mut reached = false;
        let run = async {
            let mut call = pin!(StackFuture::new(self.inner, seat, request));
            let answer = poll_fn(|cx| {
                let poll = call.as_mut().poll_answer(cx, &mut reached);
                mark.take(&call);
                poll
            });
            let answer = answer.await;
            kept(&*self.face, answer, reached).await
        };
        let worked = timeout(self.keeper.config.run_limit, run).await;
        worked.unwrap_or_else(|_late| {
            let observer = &self.keeper.observer;
            observer.emit(Event::TimedOut { reason: Reason::Timeout });
            let answer = Answer::rejected(Rejected::new(observer.name(), Reason::Timeout));
            (answer, if reached { Ended::InDoubt } else { Ended::NotRun })
        })
    }

    fn refused<Req, Res>(&self, refusal: KeyRefusal) -> Answer<F::Answered>
    where
        F: Converse<Req, Res>,
    {
        self.face.judged(self.face.refuse(self.keeper.observer.name(), refusal))
    }
}

/// What is kept of the end of a call, which `reached` the service or was refused on the way.
async fn kept<Req, Res, F>(face: &F, answer: Answer<Res>, reached: bool) -> (Answer<F::Answered>, Ended)
where
    F: Converse<Req, Res>,
{
    let Answer { result, class, outcome, .. } = answer;
    match result {
        Err(error) => {
            let ended = if reached { face.failed(&error) } else { Ended::NotRun };
            (Answer::new(Err(error), class, outcome), ended)
        }
        Ok(response) => match face.keep(response).await {
            Ok((answered, ended)) => (Answer::new(Ok(answered), class, outcome), ended),
            Err(error) => (face.judged(Err(error)), Ended::InDoubt),
        },
    }
}
