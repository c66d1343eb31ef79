use std::{sync::Arc, time::Duration};

use http::response;
use tower::Layer;

use super::{BodyLimits, BodyTimeoutPolicy, Rules};
use crate::{
    classify::ByError,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
};

/// An HTTP service whose answers have limits on their bodies.
pub type BodyTimeout<S, C = ByError> = Stack<BodyTimeoutPolicy<Leaf<C>>, S>;
/// The future of a [`BodyTimeout`].
pub type BodyTimeoutFuture<S, Req, C = ByError> = StackFuture<BodyTimeoutPolicy<Leaf<C>>, S, Req>;

/// Cuts the body of an answer that does not come.
///
/// A timeout ends with the head of an answer. A dependency that sends its head in time and then nothing, or a byte a
/// second, would hold its caller all the same. So the deadline goes on over the body, as `total`, and `idle` is the
/// longest wait for a single frame. What is cut ends with a [`CallError`](crate::CallError) that is a
/// [`Rejected`](crate::Rejected), and the body is dropped, so that its connection is free.
///
/// Only waiting counts. Time in which the reader does something else moves the deadline by as much, and begins no idle
/// time: a slow reader is not blamed. A frame that is there is given out, however late.
///
/// The golden HTTP client has this layer, with the client's timeout as `total`. Used alone it says nothing about the
/// head; put a [`TimeoutLayer`](crate::timeout::TimeoutLayer) inside it.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`total`](Self::total) | the [`Deadline`](crate::Deadline) of the work in hand, if there is one |
/// | [`idle`](Self::idle) | 60 s |
/// | [`streaming`](Self::streaming) | no answer is a stream |
///
/// # Telemetry
///
/// Event `TimedOut`; total `resilience.timeouts{pipeline, reason}`, with the reasons `deadline_exceeded` and `body_idle`.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::{convert::Infallible, time::Duration};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body::Frame;
/// use http_body_util::{BodyExt, StreamBody};
/// use moneta_resilience::{Reason, http::BodyTimeoutLayer};
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(BodyTimeoutLayer::new().total(Duration::from_secs(1)))
///     .service(service_fn(|_: Request<()>| async {
///         let silence = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
///         Ok::<_, BoxError>(Response::new(StreamBody::new(silence)))
///     }));
///
/// let answer = service.oneshot(Request::new(())).await.expect("the head is there");
/// let error = answer.into_body().collect().await.expect_err("the body never comes");
/// assert_eq!(error.rejected().map(|rejected| rejected.reason()), Some(Reason::DeadlineExceeded));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct BodyTimeoutLayer {
    policy: Arc<BodyTimeoutPolicy<Leaf>>,
}

impl Default for BodyTimeoutLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyTimeoutLayer {
    /// Limits with their defaults.
    pub fn new() -> Self {
        Self::with(Rules { limits: BodyLimits::default(), observer: Observer::unnamed("body_timeout") })
    }

    /// The longest that a caller waits for an answer from the start of the call to the end of the body, the waits added
    /// up. The [`Deadline`](crate::Deadline) of the work in hand shortens it.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn total(self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "a limit of zero would cut every body; give it a limit above zero");
        self.map(|rules| rules.limits.total = Some(limit))
    }

    /// The longest wait for a single frame, while the body is read and nothing comes.
    ///
    /// # Panics
    ///
    /// When `limit` is zero.
    #[track_caller]
    pub fn idle(self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "an idle limit of zero would cut every body; give it a limit above zero");
        self.map(|rules| rules.limits.idle = Some(limit))
    }

    /// Lets a body be silent for as long as its deadline allows; without one, for ever.
    pub fn without_idle(self) -> Self {
        self.map(|rules| rules.limits.idle = None)
    }

    /// Says which answers are streams that may go on for ever: server-sent events, downloads, upgrades. They keep the
    /// idle limit and have no `total`.
    ///
    /// ```
    /// use http::header::CONTENT_TYPE;
    /// use moneta_resilience::http::BodyTimeoutLayer;
    ///
    /// let layer = BodyTimeoutLayer::new().streaming(|head| {
    ///     head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    /// });
    /// # drop(layer);
    /// ```
    pub fn streaming(self, is_stream: impl Fn(&response::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.map(|rules| rules.limits.streaming = Some(Arc::new(is_stream)))
    }

    /// Tells this observer; by default the layer has one of its own, named `body_timeout`.
    pub fn observer(self, observer: Observer) -> Self {
        self.map(|rules| rules.observer = observer)
    }

    fn map(self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules::clone(&self.policy.rules);
        change(&mut rules);
        Self::with(rules)
    }

    fn with(rules: Rules) -> Self {
        Self { policy: Arc::new(BodyTimeoutPolicy { rules: Arc::new(rules), inner: Leaf::default() }) }
    }
}

impl<S> Layer<S> for BodyTimeoutLayer {
    type Service = BodyTimeout<S>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
