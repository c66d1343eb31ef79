//! What a caller gets instead.

use super::ClientBuilder;
use crate::golden::HasFallback;
#[cfg(feature = "http")]
use crate::http::StaleCache;
use crate::{
    error::BoxError,
    fallback::{Answering, AnsweringAsync, AnsweringByService, Judged, NoFallback, When, Why},
};

impl<T, F, C, H> ClientBuilder<T, F, C, H> {
    /// What a caller gets when the dependency fails, times out or is not asked. It has no default.
    ///
    /// It runs inside the call and must not block. For `.http(..)` and `.grpc(..)` it gives a response, with a body of any type.
    pub fn fallback<G, Res>(self, answer: G) -> ClientBuilder<T, Answering<G>, C, H>
    where
        G: Fn(Why) -> Result<Res, BoxError>,
    {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback: Answering(answer), classifier, hedge, settings }
    }

    /// Like [`fallback`](Self::fallback), for an answer that takes time: from a cache, from another region.
    ///
    /// Its time is kept free inside the [`timeout`](Self::timeout): the attempts end a quarter of it, and at most 100 ms,
    /// sooner. The fallback is cut where the timeout ends; until then it sees that as its
    /// [`Deadline`](crate::Deadline).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use moneta_resilience::{BoxError, Repeatable, golden};
    /// use tower::service_fn;
    /// # async fn cached() -> Result<u32, BoxError> { Ok(9311) }
    ///
    /// let hangs = service_fn(async |_: Repeatable<()>| std::future::pending::<Result<u32, BoxError>>().await);
    /// let quotes = golden::client("market-data")
    ///     .timeout(Duration::from_millis(800)) // 700 of them for the dependency
    ///     .fallback_async(|_why| cached())
    ///     .service(hangs);
    /// assert_eq!(quotes.send(Repeatable(())).await?, 9311);
    /// # Ok(()) }
    /// ```
    pub fn fallback_async<G, Fut, Res>(self, answer: G) -> ClientBuilder<T, AnsweringAsync<G, Fut>, C, H>
    where
        G: Fn(Why) -> Fut,
        Fut: Future<Output = Result<Res, BoxError>>,
    {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback: AnsweringAsync::new(answer), classifier, hedge, settings }
    }

    /// Like [`fallback`](Self::fallback), answered by another service with a copy of the request: a replica, another region.
    ///
    /// A clone of the service gets ready, and is called, inside the call, in the time that
    /// [`fallback_async`](Self::fallback_async) has. Dropping the call drops it.
    ///
    /// The copy is [`Repeat::again`](crate::Repeat::again)'s, so only a request that may be sent twice has this fallback: the
    /// dependency may have done the work that it did not answer for. Any other's failure stays a failure, and so does
    /// that of a recorded body which turned out to be too long. The copy is made before the first attempt, so each call pays for it.
    ///
    /// Over `.http(..)` the body that it answers with has no limits but the service's own. Another golden client goes in
    /// [`boxed`](crate::golden::Client::boxed), or no task that is spawned could make the call: the compiler cannot see then that it is
    /// `Send`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// use std::{io, time::Duration};
    /// use moneta_resilience::{Repeatable, golden};
    /// use tower::service_fn;
    ///
    /// let down = service_fn(async |_: Repeatable<&str>| Err::<u32, _>(io::Error::from(io::ErrorKind::ConnectionRefused)));
    /// let replica = service_fn(async |Repeatable(pair): Repeatable<&str>| Ok::<_, io::Error>(u32::from(pair == "EURCHF")));
    /// let quotes = golden::client("market-data")
    ///     .timeout(Duration::from_millis(800))
    ///     .fallback_service(replica)
    ///     .service(down);
    /// assert_eq!(quotes.send(Repeatable("EURCHF")).await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn fallback_service<S>(self, service: S) -> ClientBuilder<T, AnsweringByService<S>, C, H> {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback: AnsweringByService::new(service), classifier, hedge, settings }
    }

    /// Lets the last good answer to a request stand in for one that fails, over `.http(..)`; see [`StaleCache`]. It takes the
    /// place of [`fallback`](Self::fallback): what answers when there is no copy is said with [`StaleCache::or`].
    #[cfg(feature = "http")]
    pub fn stale_cache<K>(self, cache: StaleCache<K>) -> ClientBuilder<T, StaleCache<K>, C, H> {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback: cache, classifier, hedge, settings }
    }

    /// Asks the fallback that was given before when `is_wanted` says so, and only then, whatever the class of the result:
    /// fewer failures, or an answer that is a success to all layers further in.
    ///
    /// It is asked at the end of every call, also of those that went well, and must not block.
    ///
    /// ```
    /// # #[cfg(not(feature = "http"))] fn main() {}
    /// # #[cfg(feature = "http")] #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use http::{Request, Response, StatusCode};
    /// use http_body_util::Full;
    /// use moneta_resilience::golden;
    /// # let transport = tower::service_fn(async |_: Request<Full<Bytes>>| {
    /// #     let missing = Response::builder().status(404).body(Full::<Bytes>::default());
    /// #     Ok::<_, std::io::Error>(missing.expect("it is valid"))
    /// # });
    ///
    /// let quotes = golden::client("market-data")
    ///     .timeout(Duration::from_millis(800))
    ///     .fallback(|_why| Ok(Response::new(Full::<Bytes>::from("no quote"))))
    ///     .fallback_when(|end| end.is_failure() || end.status() == Some(StatusCode::NOT_FOUND))
    ///     .http(transport);
    /// assert_eq!(quotes.send(Request::get("/EURAAA").body(Full::default())?).await?.status(), 200);
    /// # Ok(()) }
    /// ```
    pub fn fallback_when<W, Res>(self, is_wanted: W) -> ClientBuilder<T, When<F, W>, C, H>
    where
        F: HasFallback,
        W: Fn(Judged<'_, Res>) -> bool,
    {
        let Self { timeout, fallback, classifier, hedge, settings } = self;
        ClientBuilder { timeout, fallback: When::new(fallback, is_wanted), classifier, hedge, settings }
    }

    /// Says that there is no answer but the dependency's: a failure reaches the caller as an error.
    pub fn no_fallback(self) -> ClientBuilder<T, NoFallback, C, H> {
        let Self { timeout, classifier, hedge, settings, .. } = self;
        ClientBuilder { timeout, fallback: NoFallback, classifier, hedge, settings }
    }
}
