//! The golden path over HTTP: axum in front, hyper-util behind, and real connections over the loopback between them.
//!
//! What is about time runs in memory on a paused clock; over real connections nothing about time is asserted.

mod client;
mod deadline;
#[cfg(feature = "idempotency")]
mod keys;
mod server;
mod stale;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, mpsc},
};

/// hyper-util's client, with connections of its own.
type Hyper = legacy::Client<HttpConnector, Full<Bytes>>;

fn hyper() -> Hyper {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// Serves the routes on a free port, until the runtime ends.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A port that nobody listens on, as long as the socket holds it.
fn nobody() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

fn request(method: &str, address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(format!("http://{address}{path}")).body(Full::default()).unwrap()
}

fn get_of(address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    request("GET", address, path)
}

async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// A route whose calls say that they have begun and wait to be let go.
struct Gate {
    entered: mpsc::UnboundedReceiver<()>,
    left: mpsc::UnboundedReceiver<()>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// The gate, and the handler behind it.
    fn new() -> (Self, axum::routing::MethodRouter) {
        struct Leaves(mpsc::UnboundedSender<()>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (enter, entered) = mpsc::unbounded_channel();
        let (leave, left) = mpsc::unbounded_channel();
        let open = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&open);
        let handler = get(move || {
            let (enter, leaves, waits) = (enter.clone(), Leaves(leave.clone()), Arc::clone(&waits));
            async move {
                let _leaves = leaves;
                enter.send(()).unwrap();
                waits.acquire().await.unwrap().forget();
                "waited"
            }
        });
        (Self { entered, left, open }, handler)
    }

    async fn entered(&mut self) {
        self.entered.recv().await.unwrap();
    }

    /// A handler's future is gone, with or without an answer.
    async fn left(&mut self) {
        self.left.recv().await.unwrap();
    }

    /// Lets one call go on.
    fn let_go(&self) {
        self.open.add_permits(1);
    }
}
