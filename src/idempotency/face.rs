//! What differs between the protocols that requests with keys come in.

use bytes::Bytes;

use super::{Claim, Ended, Fingerprint, Identity};
use crate::{
    error::{BoxError, KeyRefusal},
    name::Name,
    policy::{Answer, sealed::Sealed},
};

/// How requests of one protocol are looked at. Sealed: for any service there are [`Identify`](super::Identify) and
/// [`Replay`](super::Replay).
///
/// It stands apart from [`Converse`] as [`Lend`](crate::policy::Lend) does from [`Policy`](crate::policy::Policy).
pub trait Face<Req>: Sealed + Send + Sync + 'static {
    /// What the service is called with.
    type Inner;
    /// A request with a key, which may have to be read yet.
    type Keyed;
    /// An answer to a call with a key.
    type Answered: Send + 'static;

    /// Looks for a key.
    fn decide(&self, request: Req) -> Decision<Self::Inner, Self::Keyed>;
}

/// What is to be done with a request.
#[derive(Debug)]
#[expect(unnameable_types, reason = "it is between the layer and its faces")]
pub enum Decision<I, K> {
    /// There is no key to look at.
    Pass(I),
    /// It is refused.
    Refuse(KeyRefusal),
    /// There is a key.
    Keyed(Identity, K),
}

/// How requests of one protocol are run, and their answers kept and given again.
pub trait Converse<Req, Res>: Face<Req> {
    /// What the caller gets.
    type Response;

    /// Reads what there is yet to read.
    fn read(
        &self,
        keyed: Self::Keyed,
    ) -> impl Future<Output = Result<(Fingerprint, Self::Inner), KeyRefusal>> + Send;

    /// Gives its claim to the handler.
    fn hand_over(&self, request: &mut Self::Inner, claim: Claim);

    /// Says what is kept of an answer.
    ///
    /// # Errors
    ///
    /// When the answer broke off: the handler has acted, and what it meant to say is not known.
    fn keep(&self, response: Res) -> impl Future<Output = Result<(Self::Answered, Ended), BoxError>> + Send;

    /// Says what the error of a handler that was reached means.
    fn failed(&self, error: &BoxError) -> Ended;

    /// Makes of what was kept the answer; `None` when it cannot be read.
    fn replay(&self, kept: Bytes) -> Option<Result<Self::Answered, BoxError>>;

    /// Refuses, in the words of the protocol.
    ///
    /// # Errors
    ///
    /// The refusal, where the protocol has no answer for it.
    fn refuse(&self, by: &Name, refusal: KeyRefusal) -> Result<Self::Answered, BoxError>;

    /// The verdict on an answer of this side.
    fn judged(&self, result: Result<Self::Answered, BoxError>) -> Answer<Self::Answered>;

    /// The answer to a call without a key, as the caller gets it.
    fn passed(response: Res) -> Self::Response;

    /// The answer to a call with a key, as the caller gets it.
    fn answered(answered: Self::Answered) -> Self::Response;
}
