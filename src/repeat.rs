//! May this request be sent twice?
//!
//! Retries and hedges ask the request itself, because nothing else knows: repeating a read is free, repeating a payment
//! moves money twice. A plain value says nothing, so plain values are not [`Repeat`]; a type of yours says it by
//! implementing the trait, a request whose type is not yours by being wrapped in [`Repeatable`] or [`Once`].

#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub(crate) use http::{IDEMPOTENCY_KEY, has_key, may_be_sent_twice};

/// A request that can say whether it may be sent twice, and gives the copy to send.
///
/// With feature `http` it is implemented for `http::Request<B>` with a body that is `Clone`: a request may be repeated
/// when its method is safe or idempotent (GET, HEAD, OPTIONS, TRACE, PUT, DELETE; RFC 9110, section 9.2.2), or when it
/// carries an `Idempotency-Key`. Extensions are cloned with it.
///
/// ```
/// use moneta_resilience::Repeat;
///
/// #[derive(Clone)]
/// enum Command {
///     Balance { account: u64 },
///     Transfer { from: u64, to: u64, cents: u64 },
/// }
///
/// impl Repeat for Command {
///     fn again(&self) -> Option<Self> {
///         matches!(self, Self::Balance { .. }).then(|| self.clone())
///     }
/// }
///
/// assert!(Command::Balance { account: 1 }.again().is_some());
/// assert!(Command::Transfer { from: 1, to: 2, cents: 100 }.again().is_none());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether it may be sent twice",
    label = "a retry would have to send this request again",
    note = "implement `Repeat` for your own request type; `again` returns `None` where sending twice would do harm",
    note = "or wrap the request: `Repeatable(request)` may be sent twice, `Once(request)` never; \
            `.map_request(Repeatable::into_inner)` gives the service below its own type back",
    note = "an `http::Request<B>` is `Repeat` when `B: Clone`; any other body is when it is recorded: \
            `request.map(RecordBody::new)`"
)]
pub trait Repeat: Sized {
    /// The same request once more, or `None` when it must not be sent twice.
    ///
    /// Asked before each attempt that another might follow, so it should cost little.
    fn again(&self) -> Option<Self>;

    /// Asked of the copy, once the attempt before it has failed: can it still be sent?
    ///
    /// `true` unless a type says otherwise: one whose copy depends on what the attempt did, such as a body that is
    /// recorded while it is sent.
    fn still_repeatable(&self) -> bool {
        true
    }

    /// Asked of a request that must not be sent twice, before its first attempt: the same request once more, for when
    /// that attempt fails in a way that shows that the service has not even begun.
    ///
    /// `None` unless a type says otherwise. HTTP requests with a body that is `Clone`, or is recorded, give a copy, whatever
    /// the method.
    fn if_unprocessed(&self) -> Option<Self> {
        None
    }
}

/// The word of the user that this request may be sent any number of times.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use moneta_resilience::{BoxError, Repeatable, retry::RetryLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let lookup = service_fn(|key: String| async move { Ok::<_, BoxError>(key.len()) });
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::new())
///     .map_request(Repeatable::into_inner) // below the retry, the service's own type
///     .service(lookup);
/// assert_eq!(service.oneshot(Repeatable("EUR/CHF".to_owned())).await.expect("it is there"), 7);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Repeatable<T>(pub T);

/// The word of the user that this request must not be sent twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Once<T>(pub T);

impl<T: Clone> Repeat for Repeatable<T> {
    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<T> Repeat for Once<T> {
    fn again(&self) -> Option<Self> {
        None
    }
}

impl<T> Repeatable<T> {
    /// The request itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Once<T> {
    /// The request itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}
