use std::{fmt, sync::Arc};

use crate::{
    idempotency::{Fingerprint, IdempotencyLayer, Identity, Store},
    name::Name,
};

type Read<M> = Arc<dyn Fn(&M) -> Vec<u8> + Send + Sync>;

/// How messages `M` are known again, in the place of a protocol: [`IdempotencyLayer::messages`].
pub struct Messages<M> {
    key: Read<M>,
    meaning: Option<Read<M>>,
    handler: Arc<str>,
}

impl<M> Messages<M> {
    /// Under which the record of a message is kept, and what is asked under that; `None` without a key.
    pub(super) fn identify(&self, consumer: &Name, message: &M) -> Option<(Identity, Fingerprint)> {
        let key = (self.key)(message);
        let id = Identity::of(consumer.as_str().as_bytes(), self.handler.as_bytes(), &key);
        let meaning = self.meaning.as_ref().map(|meaning| meaning(message));
        (!key.is_empty()).then(|| (id, Fingerprint::of(meaning.as_deref())))
    }
}

impl<M, St: Store> IdempotencyLayer<St, Messages<M>> {
    /// Keeps in `store` which messages were handled, each by the key that its *producer* gave to what happened: the id of the
    /// event, of the payment, of the invoice. Never an offset or a delivery tag, which another copy of the message does not
    /// share. For [`golden::consumer`](crate::golden::consumer); see [`messaging`](crate::messaging#keys).
    ///
    /// A message whose key is empty goes to the dead letter. The functions are asked once a delivery and must not block.
    pub fn messages<K: AsRef<[u8]>>(store: St, key: impl Fn(&M) -> K + Send + Sync + 'static) -> Self {
        let key = Arc::new(move |message: &M| key(message).as_ref().to_vec());
        Self::over_face(store, Messages { key, meaning: None, handler: "".into() })
    }

    /// Says what a message means: two under one key must mean the same, or the second goes to the dead letter as a
    /// [`Mismatch`](super::Why::Mismatch). Without this, whatever comes under a key that is known counts as the same.
    pub fn meaning<B: AsRef<[u8]>>(self, meaning: impl Fn(&M) -> B + Send + Sync + 'static) -> Self {
        let meaning = Arc::new(move |message: &M| meaning(message).as_ref().to_vec());
        self.face(|face| face.meaning = Some(meaning))
    }

    /// The name of the handler, where consumers of one name have several that each do something for the same message. Default: none.
    pub fn handler(self, name: &str) -> Self {
        self.face(|face| face.handler = name.into())
    }
}

impl<M> Clone for Messages<M> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), meaning: self.meaning.clone(), handler: Arc::clone(&self.handler) }
    }
}

impl<M> fmt::Debug for Messages<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("handler", &self.handler).finish_non_exhaustive()
    }
}
