use std::sync::Arc;

use http::{HeaderValue, Method};

use super::{
    Need, OnServerError,
    face::{Http, needed_by},
};
use crate::{
    head::Head,
    idempotency::{IdempotencyLayer, Store},
};

/// Over HTTP, and over gRPC.
impl<St: Store> IdempotencyLayer<St> {
    /// Keeps in `store` what came of the requests that carry an `Idempotency-Key`; see [`http`](super).
    pub fn new(store: St) -> Self {
        Self::over_face(store, Http::default())
    }

    /// Refuses POST and PATCH requests without a key, with a link to `documentation`, an absolute URL that says how to make one.
    /// Over gRPC, where each call is a POST, the status has no link.
    ///
    /// # Panics
    ///
    /// When the URL has characters that do not belong into one.
    #[track_caller]
    pub fn required(self, documentation: &str) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
        assert!(documentation.bytes().all(is_plain), "{documentation:?} is not a URL");
        let link = HeaderValue::try_from(format!("<{documentation}>; rel=\"describedby\""))
            .expect("visible characters and spaces");
        self.face(|face| {
            face.need = Arc::new(|head| needed_by(head.method, Need::Required));
            face.documentation = Some(link);
        })
    }

    /// Says for each request whether it needs a key, by its method, its path or whatever its head says.
    pub fn need(self, need: impl Fn(Head<'_>) -> Need + Send + Sync + 'static) -> Self {
        self.face(|face| face.need = Arc::new(need))
    }

    /// The methods whose requests may carry a key; by default POST and PATCH.
    pub fn methods(self, methods: impl Into<Vec<Method>>) -> Self {
        let methods = methods.into();
        self.need(move |head| if methods.contains(head.method) { Need::Optional } else { Need::Ignored })
    }

    /// Says whose key it is: a tenant, a customer, whoever was authenticated. Without this it is a digest of `Authorization`.
    ///
    /// Two callers with one scope can get each other's answers.
    pub fn scope<K: AsRef<[u8]>>(self, scope: impl Fn(Head<'_>) -> K + Send + Sync + 'static) -> Self {
        self.face(|face| face.scope = Arc::new(move |head| scope(head).as_ref().to_vec()))
    }

    /// Says what the key is for; by default the method and the path, over gRPC the full method. With a route in the place of the
    /// path, a key that is used again for another resource of that route is refused as a mismatch. Whatever it is, it must stay
    /// the same as long as answers are kept: under another one each of them would be made again.
    pub fn operation<K: AsRef<[u8]>>(
        self,
        operation: impl Fn(Head<'_>) -> K + Send + Sync + 'static,
    ) -> Self {
        self.face(|face| face.operation = Some(Arc::new(move |head| operation(head).as_ref().to_vec())))
    }

    /// Says what a request means, from its head and its body: two requests under one key must mean the same. By default they must
    /// have the same method, target, content type and body, to the byte.
    pub fn meaning<M: AsRef<[u8]>>(
        self,
        meaning: impl Fn(Head<'_>, &[u8]) -> M + Send + Sync + 'static,
    ) -> Self {
        let meaning = Arc::new(move |head: Head<'_>, body: &[u8]| meaning(head, body).as_ref().to_vec());
        self.face(|face| face.meaning = Some(meaning))
    }

    /// Takes a key only in quotes, as the draft writes it. By default a bare one is taken as well: `k1` and `"k1"` are the same.
    pub fn strict(self) -> Self {
        self.face(|face| face.strict = true)
    }

    /// The longest body of a request that carries a key. Default 1 MiB.
    pub fn max_request(self, bytes: usize) -> Self {
        self.face(|face| face.max_request = bytes)
    }

    /// The longest body of an answer that is kept. Default 256 KiB. Of a longer one, and of `text/event-stream`, no more is kept than
    /// that it was given.
    pub fn max_answer(self, bytes: usize) -> Self {
        self.face(|face| face.max_answer = bytes)
    }

    /// What becomes of a key whose handler answered with 5xx. Default: the answer is kept.
    pub fn on_server_error(self, then: OnServerError) -> Self {
        self.face(|face| face.on_server_error = then)
    }
}
