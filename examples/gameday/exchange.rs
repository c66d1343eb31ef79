//! An instance of the exchange, of which there are three, and the balancer in front of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode, Uri, uri::Authority};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use moneta_resilience::{
    BoxError,
    golden::{self, BoxedClient, ClientBody},
};
use tokio::time::{Instant, sleep};
use tower::Service;

use crate::{
    process::listen,
    transport::{HttpClient, http_client},
};

/// How long an order takes.
const WORK: Duration = Duration::from_millis(3);
const TIMEOUT: Duration = Duration::from_millis(500);

/// One instance.
pub(crate) async fn instance() -> Result<()> {
    let golden = golden::server("exchange").timeout(TIMEOUT).layer();
    let app = Router::new().route("/order", get(order)).layer(golden);
    Ok(axum::serve(listen().await?, app).await?)
}

async fn order() -> &'static str {
    sleep(WORK).await;
    "filled\n"
}

/// The balancer: a golden server in front, behind it one golden client over all instances.
pub(crate) async fn balancer(instances: &[SocketAddr]) -> Result<()> {
    let client =
        golden::client("exchange").timeout(TIMEOUT).no_fallback().http(Balanced::over(instances)?).boxed();
    let golden = golden::server("balancer").timeout(TIMEOUT).layer();
    let app = Router::new().route("/order", get(forward)).with_state(client).layer(golden);
    Ok(axum::serve(listen().await?, app).await?)
}

type Instances = BoxedClient<Request<Empty<Bytes>>, http::Response<ClientBody<Incoming>>>;

async fn forward(State(instances): State<Instances>) -> Response {
    let answer = async {
        let answer = instances.send(Request::get("http://exchange/order").body(Empty::new())?).await?;
        Ok::<_, BoxError>((answer.status(), answer.into_body().collect().await?.to_bytes()))
    };
    answer.await.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string().into())).into_response()
}

/// A transport that asks one instance after the other. One that cannot be reached is left out for a while; the attempts that found
/// that out are followed by others.
#[derive(Clone)]
struct Balanced {
    http: HttpClient,
    instances: Arc<[Instance]>,
    next: Arc<AtomicUsize>,
}

struct Instance {
    authority: Authority,
    /// Until when it is left out.
    out: Mutex<Option<Instant>>,
}

/// For how long an instance is left out.
const OUT: Duration = Duration::from_secs(1);

impl Balanced {
    fn over(instances: &[SocketAddr]) -> Result<Self> {
        let instance = |at: &SocketAddr| {
            anyhow::Ok(Instance { authority: at.to_string().parse()?, out: Mutex::default() })
        };
        let instances = instances.iter().map(instance).collect::<Result<_>>()?;
        Ok(Self { http: http_client(), instances, next: Arc::default() })
    }

    /// The next instance that is not left out; if all are, the next.
    fn choose(&self) -> usize {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut turn = (0..self.instances.len()).map(|further| (next + further) % self.instances.len());
        let is_in = |&index: &usize| self.instances[index].out().is_none_or(|until| until <= now);
        turn.find(is_in).unwrap_or(next % self.instances.len())
    }
}

impl Instance {
    fn out(&self) -> MutexGuard<'_, Option<Instant>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Empty<Bytes>>> for Balanced {
    type Response = http::Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Empty<Bytes>>) -> Self::Future {
        let (index, instances, http) = (self.choose(), self.instances.clone(), self.http.clone());
        Box::pin(async move {
            let instance = &instances[index];
            let uri = Uri::builder().scheme("http").authority(instance.authority.clone());
            *request.uri_mut() = uri.path_and_query(request.uri().path()).build()?;
            let answer = http.request(request).await;
            *instance.out() = answer.as_ref().err().map(|_| Instant::now() + OUT);
            Ok(answer?)
        })
    }
}
