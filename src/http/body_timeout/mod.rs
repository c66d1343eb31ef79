//! Limits on the body of an answer; see [`BodyTimeoutLayer`].

use std::{fmt, sync::Arc, time::Duration};

use http::response;

pub use self::{
    body::TimedBody,
    layer::{BodyTimeout, BodyTimeoutFuture, BodyTimeoutLayer},
    policy::{BodyTimeoutPass, BodyTimeoutPolicy},
};
use crate::observer::Observer;

mod body;
mod layer;
mod policy;
#[cfg(test)]
mod tests;

/// Whether an answer is a stream, told from its head.
type IsStream = Arc<dyn Fn(&response::Parts) -> bool + Send + Sync>;

/// The limits; each is documented at its setter on [`BodyTimeoutLayer`].
#[derive(Clone)]
pub(crate) struct BodyLimits {
    pub(crate) total: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) streaming: Option<IsStream>,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { total: None, idle: Some(Duration::from_secs(60)), streaming: None }
    }
}

impl BodyLimits {
    /// The same, and what this says are streams as well.
    #[cfg(feature = "grpc")]
    pub(crate) fn or_streaming(self, also: fn(&response::Parts) -> bool) -> Self {
        let said = self.streaming;
        let either = move |head: &_| also(head) || said.as_ref().is_some_and(|said| said(head));
        Self { streaming: Some(Arc::new(either)), ..self }
    }
}

impl fmt::Debug for BodyLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyLimits")
            .field("total", &self.total)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// What the bodies of a layer share.
#[derive(Clone, Debug)]
struct Rules {
    limits: BodyLimits,
    observer: Observer,
}
