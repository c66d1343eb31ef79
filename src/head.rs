use http::{Extensions, HeaderMap, Method, Request, Uri};

/// An HTTP request without its body: what a decision is taken on, whatever the type of the body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What servers and layers further out noted: axum's `ConnectInfo`, who was authenticated.
    pub extensions: &'a Extensions,
}

/// Finds the pattern of paths that a request matched, where the server framework does not leave it in the extensions.
pub(crate) type RouteOf = dyn Fn(Head<'_>) -> Option<&'static str> + Send + Sync;

impl<'a> Head<'a> {
    /// The target as the caller wrote it, also behind a router that cuts off the prefix of what is nested in it.
    #[cfg(feature = "idempotency")]
    pub(crate) fn target(self) -> &'a Uri {
        written(self.extensions).unwrap_or(self.uri)
    }

    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
    /// The route that a server matched: what `route_of` says, else axum's router.
    pub(crate) fn route(self, route_of: Option<&RouteOf>) -> Option<&'a str> {
        route_of.and_then(|route_of| route_of(self)).or_else(|| self.matched())
    }

    /// What axum's router says that a request matched.
    #[cfg(feature = "axum")]
    fn matched(self) -> Option<&'a str> {
        self.extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
    }

    /// No server framework is known in this build.
    #[cfg(not(feature = "axum"))]
    #[expect(clippy::unused_self, reason = "what it stands in for has a self")]
    fn matched(self) -> Option<&'a str> {
        None
    }
}

/// What axum's routers note before they cut.
#[cfg(all(feature = "idempotency", feature = "axum"))]
fn written(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<axum::extract::OriginalUri>().map(|original| &original.0)
}

/// No router is known in this build.
#[cfg(all(feature = "idempotency", not(feature = "axum")))]
fn written(_: &Extensions) -> Option<&Uri> {
    None
}
