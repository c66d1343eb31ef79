use std::{
    mem,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    body::{KeyedBody, ReadBody},
    face::{Decision, Face, Refusal},
};
use crate::{
    call::{Call, Carried},
    class::Ending,
    classify::{ByStatus, Classify},
    error::{BoxError, Reason, Rejected},
    event::Event,
    head::Head,
    idempotency::{
        Claim, Identity, Store,
        keeper::{Ended, Keeper, Reply},
    },
    policy::{Answer, Lend, Policy, Poller, Seat, StackFuture, sealed::Sealed},
    spawn::spawn,
};

/// The policy of an [`IdempotencyLayer`](super::IdempotencyLayer).
pub struct IdempotencyPolicy<I, St> {
    pub(super) keeper: Keeper<St>,
    pub(super) face: Arc<Face>,
    /// Shared, because what stands behind a key outlives its caller.
    inner: Arc<I>,
}

impl<I, St> IdempotencyPolicy<I, St> {
    pub(super) fn new(keeper: Keeper<St>, face: Arc<Face>, inner: I) -> Self {
        Self { keeper, face, inner: Arc::new(inner) }
    }
}

impl<I, St> Clone for IdempotencyPolicy<I, St> {
    fn clone(&self) -> Self {
        Self { keeper: self.keeper.clone(), face: Arc::clone(&self.face), inner: Arc::clone(&self.inner) }
    }
}

pin_project! {
    /// The pass of an [`IdempotencyPolicy`].
    pub struct IdempotencyPass<B, P> {
        #[pin]
        stage: Stage<B, P>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<B, P> {
        /// There is no key.
        Passed { #[pin] inner: P },
        Refused { refusal: Refusal },
        /// There is one, and nothing was done yet.
        Keyed { call: Call, id: Identity, request: Option<Request<B>> },
        /// The body is read, and after that a task is at it. In a box: a call with a key asks a store and has a task of its
        /// own, which costs more; one without is not boxed.
        Running { answer: BoxFuture<'static, Answer<Response<ReadBody>>> },
    }
}

impl<I, St> Sealed for IdempotencyPolicy<I, St> {}

impl<I, St, S, B> Lend<S, Request<B>> for IdempotencyPolicy<I, St>
where
    I: Lend<S, Request<KeyedBody<B>>>,
{
    type Pass = IdempotencyPass<B, I::Pass>;

    fn start(&self, call: Call, request: Request<B>) -> Self::Pass {
        let stage = match self.face.decide(Head::of(&request)) {
            Decision::Pass => Stage::Passed { inner: self.inner.start(call, request.map(KeyedBody::passed)) },
            Decision::Refuse(refusal) => Stage::Refused { refusal },
            Decision::Keyed(id) => Stage::Keyed { call, id, request: Some(request) },
        };
        IdempotencyPass { stage }
    }

    /// A handler that runs under a key runs on.
    fn abandon(&self, pass: Pin<&mut Self::Pass>, ending: Ending, now: Instant) {
        if let StageProjection::Passed { inner } = pass.project().stage.project() {
            self.inner.abandon(inner, ending, now);
        }
    }
}

impl<I, St, S, B, RB> Policy<S, Request<B>> for IdempotencyPolicy<I, St>
where
    I: Policy<S, Request<KeyedBody<B>>, Response = Response<RB>> + Send + Sync + 'static,
    I::Pass: Send,
    St: Store,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<KeyedBody<RB>>;

    fn poll(
        &self,
        pass: Pin<&mut Self::Pass>,
        seat: &mut Seat<S>,
        cx: &mut Poller<'_, '_>,
    ) -> Poll<Answer<Self::Response>> {
        let mut stage = pass.project().stage;
        if let StageProjection::Keyed { call, id, request } = stage.as_mut().project() {
            let request = request.take().expect("it is there until it is run");
            // The instance that said it is ready goes to the task that calls it.
            let fresh = seat.another();
            let seat = mem::replace(seat, fresh);
            let answer = Box::pin(self.clone().answer(*call, *id, seat, request));
            stage.set(Stage::Running { answer });
        }
        match stage.project() {
            StageProjection::Passed { inner } => {
                let answer = ready!(self.inner.poll(inner, seat, cx));
                Poll::Ready(answer.map(|response| response.map(KeyedBody::passed)))
            }
            StageProjection::Running { answer } => {
                let answer = ready!(answer.as_mut().poll(cx.task));
                Poll::Ready(answer.map(|response| response.map(KeyedBody::from)))
            }
            StageProjection::Refused { refusal } => {
                Poll::Ready(own(self.face.refuse(*refusal)).map(|response| response.map(KeyedBody::from)))
            }
            StageProjection::Keyed { .. } => unreachable!("it was made to run above"),
        }
    }

    fn poll_ready(&self, seat: &mut Seat<S>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(seat, cx)
    }
}

impl<I, St> IdempotencyPolicy<I, St> {
    /// Reads the request, has it run or finds out what came of it, and waits for that.
    async fn answer<S, B, RB>(
        self,
        call: Call,
        id: Identity,
        seat: Seat<S>,
        request: Request<B>,
    ) -> Answer<Response<ReadBody>>
    where
        I: Policy<S, Request<KeyedBody<B>>, Response = Response<RB>> + Send + Sync + 'static,
        I::Pass: Send,
        St: Store,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = request.into_parts();
        let request = match self.face.read(body).await {
            Ok(body) => Request::from_parts(head, body),
            Err(refusal) => return own(self.face.refuse(refusal)),
        };
        let fingerprint = self.face.fingerprint(&request);
        let face = Arc::clone(&self.face);
        let (reply, answer) = oneshot::channel();
        let keeper = self.keeper.clone();
        let run = keeper.run(id, fingerprint, |claim| self.work(seat, request, claim), reply);
        // The handler is told the deadline of its caller, and is not cut by it.
        Carried { deadline: call.deadline, priority: call.priority }.enter(|| drop(spawn(run)));
        match answer.await {
            Ok(Reply::Ran(answer)) => answer,
            Ok(Reply::Panicked(panic)) => resume_unwind(panic),
            Ok(Reply::Replayed(outcome)) => own(face.replay(outcome)),
            Ok(Reply::InProgress) => own(face.refuse(Refusal::InProgress)),
            Ok(Reply::Mismatch) => own(face.refuse(Refusal::Mismatch)),
            // An error: the runtime shuts down, or the store's own code panicked. What came of it is not known here.
            Ok(Reply::InDoubt) | Err(_) => own(face.refuse(Refusal::InDoubt)),
            Ok(Reply::Refused) => own(face.refuse(Refusal::Unavailable)),
        }
    }

    /// Calls the handler, within the run limit, and says how that ended.
    async fn work<S, B, RB>(
        self,
        seat: Seat<S>,
        mut request: Request<ReadBody>,
        claim: Option<Claim>,
    ) -> (Answer<Response<ReadBody>>, Ended)
    where
        I: Policy<S, Request<KeyedBody<B>>, Response = Response<RB>>,
        RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(claim) = claim {
            request.extensions_mut().insert(claim);
        }
        let mut reached = false;
        let run = async {
            let call = StackFuture::new(self.inner, seat, request.map(KeyedBody::<B>::from));
            let mut call = pin!(call);
            let answer = poll_fn(|cx| {
                let (poll, here) = call.as_mut().poll_reaching(cx);
                reached |= here;
                poll
            })
            .await;
            self.face.kept(answer).await
        };
        let worked = timeout(self.keeper.config.run_limit, run).await;
        match worked {
            Ok((answer, Ended::InDoubt)) if !reached => (answer, Ended::NotRun),
            Ok(worked) => worked,
            Err(_) => {
                let observer = &self.keeper.observer;
                observer.emit(Event::TimedOut { reason: Reason::Timeout });
                let answer = Answer::rejected(Rejected::new(observer.name(), Reason::Timeout));
                (answer, if reached { Ended::InDoubt } else { Ended::NotRun })
            }
        }
    }
}

impl Face {
    /// What is kept of the end of a call. An error says nothing about what the handler did before.
    async fn kept<RB>(&self, answer: Answer<Response<RB>>) -> (Answer<Response<ReadBody>>, Ended)
    where
        RB: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Answer { result, class, outcome, .. } = answer;
        match result {
            Err(error) => (Answer::new(Err(error), class, outcome), Ended::InDoubt),
            Ok(response) => match self.keep(response).await {
                Ok((response, ended)) => (Answer::new(Ok(response), class, outcome), ended),
                Err(error) => (judged(Err(error)), Ended::InDoubt),
            },
        }
    }
}

/// The verdict on an answer of this layer.
fn own(response: Response<ReadBody>) -> Answer<Response<ReadBody>> {
    judged(Ok(response))
}

fn judged(result: Result<Response<ReadBody>, BoxError>) -> Answer<Response<ReadBody>> {
    let class = ByStatus.classify(result.as_ref());
    Answer::judged(result, class)
}
