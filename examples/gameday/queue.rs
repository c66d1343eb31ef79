//! The queue of payment orders: a process that delivers at least once, and can be told to garble a message, or to deliver one
//! twice.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, ensure};
use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};

use crate::{
    process::listen,
    transport::{HttpClient, http_client},
};

/// An order to pay, as the worker gets it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The amount in cents, unless it was garbled.
    pub(crate) body: String,
    /// How often it was delivered, this time included.
    pub(crate) deliveries: u32,
}

/// The queue as its producer and its worker see it.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    http: HttpClient,
    address: SocketAddr,
}

impl Queue {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { http: http_client(), address }
    }

    pub(crate) async fn publish(&self, id: u64, cents: u64) -> Result<()> {
        self.ask("POST", &format!("/publish/{id}/{cents}")).await.map(drop)
    }

    /// The next message, if there is one.
    pub(crate) async fn receive(&self) -> Result<Option<Message>> {
        let said = self.ask("POST", "/receive").await?;
        let mut words = said.split_whitespace();
        let message = (|| {
            Some(Message {
                id: words.next()?.to_owned(),
                deliveries: words.next()?.parse().ok()?,
                body: words.next()?.to_owned(),
            })
        })();
        Ok(message)
    }

    /// Takes a message off the queue.
    pub(crate) async fn acknowledge(&self, id: &str) -> Result<()> {
        self.ask("POST", &format!("/acknowledge/{id}")).await.map(drop)
    }

    /// Puts it back to its end.
    pub(crate) async fn give_back(&self, id: &str) -> Result<()> {
        self.ask("POST", &format!("/give-back/{id}")).await.map(drop)
    }

    /// Has the next message that is delivered garbled, in every delivery.
    pub(crate) async fn garble_one(&self) -> Result<()> {
        self.ask("POST", "/garble").await.map(drop)
    }

    /// Has the one after it delivered twice.
    pub(crate) async fn double_one(&self) -> Result<()> {
        self.ask("POST", "/double").await.map(drop)
    }

    async fn ask(&self, method: &str, path: &str) -> Result<String> {
        let uri = format!("http://{}{path}", self.address);
        let answer =
            self.http.request(Request::builder().method(method).uri(uri).body(Empty::new())?).await?;
        ensure!(answer.status().is_success(), "the queue answered {}", answer.status());
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?)
    }
}

/// The process.
pub(crate) async fn serve() -> Result<()> {
    let garble = async |State(shelf): State<Shelf>| shelf.garble.store(true, Ordering::Relaxed);
    let double = async |State(shelf): State<Shelf>| shelf.double.store(true, Ordering::Relaxed);
    let app = Router::new()
        .route("/publish/{id}/{body}", post(publish))
        .route("/receive", post(receive))
        .route("/acknowledge/{id}", post(acknowledge))
        .route("/give-back/{id}", post(give_back))
        .route("/garble", post(garble))
        .route("/double", post(double))
        .with_state(Shelf::default());
    Ok(axum::serve(listen().await?, app).await?)
}

#[derive(Clone, Default)]
struct Shelf {
    messages: Arc<Mutex<Messages>>,
    garble: Arc<AtomicBool>,
    double: Arc<AtomicBool>,
}

#[derive(Default)]
struct Messages {
    waiting: VecDeque<Message>,
    under_way: HashMap<String, Message>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn publish(State(shelf): State<Shelf>, Path((id, body)): Path<(String, String)>) {
    shelf.lock().waiting.push_back(Message { id, body, deliveries: 0 });
}

async fn receive(State(shelf): State<Shelf>) -> String {
    let mut messages = shelf.lock();
    let Some(mut message) = messages.waiting.pop_front() else { return String::new() };
    if shelf.garble.swap(false, Ordering::Relaxed) {
        message.body = format!("\u{fffd}{}", message.body);
    } else if shelf.double.swap(false, Ordering::Relaxed) {
        messages.waiting.push_back(message.clone());
    }
    message.deliveries += 1;
    let said = format!("{} {} {}\n", message.id, message.deliveries, message.body);
    messages.under_way.insert(message.id.clone(), message);
    said
}

async fn acknowledge(State(shelf): State<Shelf>, Path(id): Path<String>) -> StatusCode {
    if shelf.lock().under_way.remove(&id).is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn give_back(State(shelf): State<Shelf>, Path(id): Path<String>) -> StatusCode {
    let mut messages = shelf.lock();
    let Some(message) = messages.under_way.remove(&id) else { return StatusCode::NOT_FOUND };
    messages.waiting.push_back(message);
    StatusCode::OK
}
