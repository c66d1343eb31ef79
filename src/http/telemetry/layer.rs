use std::{fmt, sync::Arc};

use tower::Layer;

use super::{
    HttpTelemetryPolicy,
    judge::Http,
    teller::{Part, Teller, Trust},
};
use crate::{
    classify::ByStatus,
    head::Head,
    name::Name,
    observer::Observer,
    policy::{Leaf, Stack, StackFuture},
    record,
};

/// An HTTP server whose calls are told of.
pub type ServerTelemetry<S> = Stack<HttpTelemetryPolicy<Leaf<ByStatus>>, S>;
/// The future of a [`ServerTelemetry`].
pub type ServerTelemetryFuture<S, Req> = StackFuture<HttpTelemetryPolicy<Leaf<ByStatus>>, S, Req>;

/// Tells of the calls of an HTTP server by OpenTelemetry's conventions, and of nothing else: what a
/// [golden server](crate::golden::server) has anyway, for one that is not on the golden path.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use moneta_resilience::{http::ServerTelemetryLayer, respond::RespondLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(RespondLayer::new())
///     .layer(ServerTelemetryLayer::new("accounts").route_of(|_| Some("/accounts/{id}")))
///     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new("{}".to_owned())) }));
/// let Ok(answer) = service.oneshot(Request::new(())).await;
/// assert_eq!(answer.status(), 200);
/// # }
/// ```
///
/// # Cancellation
///
/// A dropped call, or a dropped body, is told once, as `cancelled`; that is no error.
#[must_use = "a layer does nothing until it is put in front of a service"]
pub struct ServerTelemetryLayer {
    policy: Arc<HttpTelemetryPolicy<Leaf<ByStatus>>>,
}

impl ServerTelemetryLayer {
    /// Tells of the calls of the pipeline `name`, through [`record::observer`].
    ///
    /// # Panics
    ///
    /// When [`Name::new`] refuses `name`.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::with(record::observer(&Name::literal(name)), Trust::default())
    }

    /// Tells this observer, under its name.
    pub fn observer(self, observer: Observer) -> Self {
        Self::with(observer, self.teller().trust.clone())
    }

    /// Finds the route of a request; see [`ServerBuilder::route_of`](crate::golden::ServerBuilder::route_of).
    pub fn route_of(
        self,
        route_of: impl Fn(Head<'_>) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let Teller { observer, trust, .. } = self.teller();
        Self::with(observer.clone(), Trust { route_of: Some(Arc::new(route_of)), ..trust.clone() })
    }

    /// For a service that faces the internet; see [`ServerBuilder::edge`](crate::golden::ServerBuilder::edge).
    pub fn edge(self) -> Self {
        let Teller { observer, trust, .. } = self.teller();
        Self::with(observer.clone(), Trust { edge: true, ..trust.clone() })
    }

    fn with(observer: Observer, trust: Trust) -> Self {
        let teller = Teller::new(&Http, observer, Part::Server).trusting(trust);
        Self { policy: Arc::new(HttpTelemetryPolicy::new(teller, Leaf::new(ByStatus))) }
    }

    fn teller(&self) -> &Teller {
        self.policy.teller()
    }
}

impl Clone for ServerTelemetryLayer {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl fmt::Debug for ServerTelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTelemetryLayer")
            .field("observer", &self.teller().observer)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerTelemetryLayer {
    type Service = ServerTelemetry<S>;

    fn layer(&self, service: S) -> Self::Service {
        Stack::new(Arc::clone(&self.policy), service)
    }
}
