use std::sync::Arc;

use bytes::Bytes;

use super::{Identity, Outcome};
use crate::error::BoxError;

/// Through which answers pass on their way into a store and out of it: encryption at rest, with a key of the service's own.
///
/// The crate brings no cryptography. `id` is fit to be the associated data of an authenticated cipher, so that an answer
/// cannot be given under another key.
///
/// An answer that cannot be sealed is kept as a [`Tombstone`](Outcome::Tombstone), and one that cannot be opened any more counts
/// as one: its key is never run again.
pub trait Sealer: Send + Sync + 'static {
    /// Makes of an answer what is kept.
    ///
    /// # Errors
    ///
    /// When it cannot be sealed.
    fn seal(&self, id: &Identity, answer: Bytes) -> Result<Bytes, BoxError>;

    /// Makes of what was kept the answer.
    ///
    /// # Errors
    ///
    /// When it was not sealed by this sealer, or for another key.
    fn open(&self, id: &Identity, kept: Bytes) -> Result<Bytes, BoxError>;
}

/// An outcome as it goes into a store.
pub(super) fn sealed(sealer: Option<&Arc<dyn Sealer>>, id: Identity, outcome: Outcome) -> Outcome {
    pass(outcome, |answer| match sealer {
        Some(sealer) => sealer.seal(&id, answer),
        None => Ok(answer),
    })
}

/// An outcome as it was before it went into a store.
pub(super) fn opened(sealer: Option<&Arc<dyn Sealer>>, id: Identity, outcome: Outcome) -> Outcome {
    pass(outcome, |kept| match sealer {
        Some(sealer) => sealer.open(&id, kept),
        None => Ok(kept),
    })
}

fn pass(outcome: Outcome, through: impl FnOnce(Bytes) -> Result<Bytes, BoxError>) -> Outcome {
    match outcome {
        Outcome::Answer(answer) => through(answer).map_or(Outcome::Tombstone, Outcome::Answer),
        Outcome::Tombstone => Outcome::Tombstone,
    }
}
