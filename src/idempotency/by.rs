//! Keys of any service.

use bytes::Bytes;

use super::{
    Claim, Ended, Fingerprint, IdempotencyLayer, Identity, Store,
    face::{Converse, Decision, Face},
};
use crate::{
    classify::{ByError, Classify},
    error::{BoxError, KeyRefusal},
    name::Name,
    policy::{Answer, sealed::Sealed},
};

/// What is known of a request by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Whose key it is, what for, and which.
    pub id: Identity,
    /// What is asked under it: all that must be the same when it is asked again.
    pub fingerprint: Fingerprint,
}

/// How a request of type `Req` is known again.
pub trait Identify<Req>: Send + Sync + 'static {
    /// The key of a request, and what is asked under it; `None` where it has no key, and is passed on as if there were no layer.
    ///
    /// It is asked once a call and must not block.
    ///
    /// # Errors
    ///
    /// Why the request is refused: [`Missing`](KeyRefusal::Missing) where it should have a key, or
    /// [`Invalid`](KeyRefusal::Invalid).
    fn identify(&self, request: &Req) -> Result<Option<Keyed>, KeyRefusal>;

    /// Puts the [`Claim`] where the service finds it, before it is called. A service that has no use for it is given none, which
    /// is the default.
    fn hand_over(&self, request: &mut Req, claim: Claim) {
        _ = (request, claim);
    }
}

/// How what came of a request is kept, and given again.
pub trait Replay: Send + Sync + 'static {
    /// What the service answers.
    type Response: Send + 'static;

    /// What is kept of the end of a call that the service was reached by.
    ///
    /// An error proves nothing about what was done before: it is [`InDoubt`](Ended::InDoubt) unless more is known of it.
    fn capture(&self, result: Result<&Self::Response, &BoxError>) -> Ended;

    /// What was kept, as the caller gets it who comes again; `None` when it cannot be read, which that caller is told.
    fn replay(&self, kept: Bytes) -> Option<Result<Self::Response, BoxError>>;
}

/// Keys of any service, as `T` knows them: its requests by [`Identify`], and what comes of them by [`Replay`].
#[derive(Clone, Copy, Debug)]
pub struct By<T> {
    known: T,
}

impl<St: Store, T> IdempotencyLayer<St, By<T>> {
    /// Keeps in `store` what came of the requests of any service, as `known` [identifies](Identify) them and
    /// [replays](Replay) what came of them.
    ///
    /// Refusals are a [`Rejected`](crate::Rejected) with the reason [`IdempotencyKey`](crate::Reason::IdempotencyKey).
    pub fn by(store: St, known: T) -> Self {
        Self::over_face(store, By { known })
    }
}

impl<T> Sealed for By<T> {}

impl<T, Req> Face<Req> for By<T>
where
    T: Identify<Req> + Replay,
{
    type Inner = Req;
    type Keyed = (Fingerprint, Req);
    type Answered = T::Response;

    fn decide(&self, request: Req) -> Decision<Req, (Fingerprint, Req)> {
        match self.known.identify(&request) {
            Ok(Some(Keyed { id, fingerprint })) => Decision::Keyed(id, (fingerprint, request)),
            Ok(None) => Decision::Pass(request),
            Err(refusal) => Decision::Refuse(refusal),
        }
    }
}

impl<T, Req> Converse<Req, T::Response> for By<T>
where
    T: Identify<Req> + Replay,
    Req: Send,
{
    type Response = T::Response;

    async fn read(&self, keyed: (Fingerprint, Req)) -> Result<(Fingerprint, Req), KeyRefusal> {
        Ok(keyed)
    }

    fn hand_over(&self, request: &mut Req, claim: Claim) {
        self.known.hand_over(request, claim);
    }

    async fn keep(&self, response: T::Response) -> Result<(T::Response, Ended), BoxError> {
        let ended = self.known.capture(Ok(&response));
        Ok((response, ended))
    }

    fn failed(&self, error: &BoxError) -> Ended {
        self.known.capture(Err(error))
    }

    fn replay(&self, kept: Bytes) -> Option<Result<T::Response, BoxError>> {
        self.known.replay(kept)
    }

    fn refuse(&self, by: &Name, refusal: KeyRefusal) -> Result<T::Response, BoxError> {
        Err(refusal.rejected(by).into())
    }

    fn judged(&self, result: Result<T::Response, BoxError>) -> Answer<T::Response> {
        let class = ByError.classify(result.as_ref());
        Answer::judged(result, class)
    }

    fn passed(response: T::Response) -> T::Response {
        response
    }

    fn answered(answered: T::Response) -> T::Response {
        answered
    }
}
