//! The last good answers, for when there is no new one; see [`StaleCache`].

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use self::store::Store;
pub use self::{body::KeptBody, kind::StalePass};
use super::AnswerBody;
use crate::{
    classify::ByStatus,
    error::BoxError,
    fallback::{Answering, FallbackLayer, NoFallback, Why},
    head::Head,
    sync::{Mutex, lock},
};

mod body;
mod copy;
mod kind;
mod store;
#[cfg(test)]
mod tests;

/// Stands in the extensions of an answer that is a copy of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// How old it is at most: since it was asked for, with the time that it spent in other caches before.
    pub age: Duration,
}

/// The body of an answer of the dependency, or of a copy.
pub type StaleBody<B> = AnswerBody<KeptBody<B>, Full<Bytes>>;

/// Tells callers apart.
type CallerOf = dyn Fn(Head<'_>) -> Option<String> + Send + Sync;

/// A fallback that remembers: the last good answer to a request stands in for one that fails.
///
/// A copy is made of each answer to a GET or HEAD while its body is read; nothing is held back for it. When a later call
/// for the same URI fails, times out or is refused, the copy is served and says so: [`Stale`] and
/// [`Degraded`](super::Degraded) in its extensions, `Age` and `Cache-Status` (RFC 9211) in its header. The call is counted
/// as degraded. Where there is no copy the failure stays, or [`or`](Self::or) answers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// use std::{io, time::Duration};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use moneta_resilience::{golden, http::{Stale, StaleCache}};
/// use tower::service_fn;
///
/// # let calls = std::sync::atomic::AtomicU32::new(0);
/// # let transport = service_fn(|_: Request<Full<Bytes>>| {
/// #     let first = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
/// #     std::future::ready(match first {
/// #         true => Ok(Response::new(Full::<Bytes>::from("1.0931"))),
/// #         false => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
/// #     })
/// # });
/// let quotes = golden::client("market-data")
///     .timeout(Duration::from_millis(800))
///     .stale_cache(StaleCache::new().max_age(Duration::from_secs(60)))
///     .http(transport);
/// let ask = || Request::get("http://market-data/EURCHF").body(Full::default());
///
/// let answer = quotes.send(ask()?).await?;
/// assert_eq!(answer.into_body().collect().await?.to_bytes(), "1.0931");
///
/// // Then the dependency goes down.
/// let answer = quotes.send(ask()?).await?;
/// assert!(answer.extensions().get::<Stale>().is_some());
/// assert_eq!(answer.into_body().collect().await?.to_bytes(), "1.0931");
/// # Ok(()) }
/// ```
///
/// # What is kept
///
/// * Answers with a 2xx status to GET and HEAD, apart. Never a part of one (206), nor an answer to a request with `Range`.
/// * Not what `Cache-Control` forbids to keep or to serve stale: `no-store`, `no-cache`, `must-revalidate`. A request
///   that says `no-store` or `no-cache` has nothing to do with the cache.
/// * For all callers, not what is for one: an answer to a request with `Authorization` or `Cookie`, one with `Set-Cookie`,
///   or one whose `Cache-Control` says `private`, `proxy-revalidate` or `s-maxage`. With
///   [`per_caller`](Self::per_caller) these are kept, for each caller apart. A client that says in a field of its own whose
///   request it is (`x-user-id`, the key of a user) needs it, too: no cache can know that field, unless the answer's
///   `Vary` names it.
/// * Only what was read to its end, and came whole: not a body that is longer than [`max_body`](Self::max_body), that
///   failed, or that its reader dropped; nor one with trailers.
/// * One answer for each URI, and each `Host` where requests say one. When the dependency chose it by fields of the
///   request (`Vary`), it stands in only for requests with the same values.
///
/// A copy is gone once the dependency, being well, says something else: an error of the caller's (404, 403), a redirect, an
/// answer that must not be kept; or when an unsafe method on the same URI succeeds. An answer that was asked for
/// earlier never takes the place of what is known from a later one, however slowly it comes.
///
/// # Defaults
///
/// | setting | default | why |
/// |---|---|---|
/// | [`max_age`](Self::max_age) | 5 min | outlives a deployment and most outages; how old a price may be is known to its user |
/// | [`max_entries`](Self::max_entries) | 1,024 | |
/// | [`max_bytes`](Self::max_bytes) | 16 MiB | all copies, with their fields and keys |
/// | [`max_body`](Self::max_body) | 64 KiB | what is also recorded of a request |
/// | [`per_caller`](Self::per_caller) | none | nobody is served what was meant for somebody else |
///
/// `stale-if-error` (RFC 5861) in the answer's `Cache-Control` shortens `max_age`.
///
/// # Memory
///
/// When there is no room, the copy that was not used for longest goes. Bytes are copied, not shared, so a copy does not hold
/// on to the buffers that it came in. A body that is being read holds what it has recorded, up to `max_body`. Clones
/// share the copies; a setter makes a cache that is empty.
///
/// # Cost
///
/// Each GET pays for a copy of its header fields, and of its answer. A short lock is taken when an answer has been read,
/// and when a call has failed.
pub struct StaleCache<K = NoFallback> {
    store: Arc<Mutex<Store>>,
    max_age: Duration,
    max_body: usize,
    caller: Option<Arc<CallerOf>>,
    fallback: K,
}

impl Default for StaleCache {
    fn default() -> Self {
        Self::new()
    }
}

impl StaleCache {
    /// A cache with its defaults, empty.
    pub fn new() -> Self {
        Self {
            store: Arc::new(Mutex::new(Store::new(1_024, 16 << 20))),
            max_age: Duration::from_secs(5 * 60),
            max_body: 64 << 10,
            caller: None,
            fallback: NoFallback,
        }
    }

    /// Asks `answer` when there is no copy. It gives a response, with a body of any type over `.http(..)`.
    ///
    /// It runs inside the call and must not block.
    #[must_use]
    pub fn or<G, Res>(self, answer: G) -> StaleCache<Answering<G>>
    where
        G: Fn(Why) -> Result<Response<Res>, BoxError>,
    {
        let Self { store, max_age, max_body, caller, .. } = self;
        StaleCache { store, max_age, max_body, caller, fallback: Answering(answer) }
    }

    /// A layer of its own, for a stack that is put together by hand. It judges answers by their
    /// [status](crate::classify::ByStatus).
    pub fn layer(self) -> FallbackLayer<Self, ByStatus> {
        FallbackLayer::with_kind(self).classify(ByStatus)
    }
}

impl<K> StaleCache<K> {
    /// How old a copy may be that is served.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[must_use]
    #[track_caller]
    pub fn max_age(self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "no copy is as young as that; give `max_age` a limit above zero");
        Self { max_age: limit, ..self }.emptied()
    }

    /// How many answers are kept.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[must_use]
    #[track_caller]
    pub fn max_entries(self, limit: usize) -> Self {
        assert!(limit > 0, "a cache without entries keeps nothing; give `max_entries` a limit above zero");
        let max_bytes = lock(&self.store).max_bytes();
        Self { store: Arc::new(Mutex::new(Store::new(limit, max_bytes))), ..self }
    }

    /// How many bytes all copies may take, with their fields and keys.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[must_use]
    #[track_caller]
    pub fn max_bytes(self, limit: usize) -> Self {
        assert!(limit > 0, "a cache without bytes keeps nothing; give `max_bytes` a limit above zero");
        let max_entries = lock(&self.store).max_entries();
        Self { store: Arc::new(Mutex::new(Store::new(max_entries, limit))), ..self }
    }

    /// How long a body may be that is kept, in bytes.
    #[must_use]
    pub fn max_body(self, limit: usize) -> Self {
        Self { max_body: limit, ..self }.emptied()
    }

    /// Says whose answer it is: a user's, a tenant's, that of an account of this service. It becomes a part of the key, and
    /// so answers to requests with `Authorization` or `Cookie`, and private ones, are kept too.
    ///
    /// With `None` a request has nothing to do with the cache. Whoever gets the same word is served the same copies. The
    /// function is asked in every call and must not block.
    ///
    /// ```
    /// use moneta_resilience::http::StaleCache;
    ///
    /// let cache = StaleCache::new().per_caller(|head| {
    ///     let tenant = head.headers.get("x-tenant")?;
    ///     Some(tenant.to_str().ok()?.to_owned())
    /// });
    /// # drop(cache);
    /// ```
    #[must_use]
    pub fn per_caller(self, caller: impl Fn(Head<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { caller: Some(Arc::new(caller)), ..self }.emptied()
    }

    /// The same with a store of its own.
    fn emptied(self) -> Self {
        let (max_entries, max_bytes) = {
            let store = lock(&self.store);
            (store.max_entries(), store.max_bytes())
        };
        Self { store: Arc::new(Mutex::new(Store::new(max_entries, max_bytes))), ..self }
    }
}

impl<K: Clone> Clone for StaleCache<K> {
    /// The clone shares the copies.
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            max_age: self.max_age,
            max_body: self.max_body,
            caller: self.caller.clone(),
            fallback: self.fallback.clone(),
        }
    }
}

impl<K> fmt::Debug for StaleCache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleCache")
            .field("max_age", &self.max_age)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}
