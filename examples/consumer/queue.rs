//! What a worker asks of a queue, and one inside the process that behaves like the real ones: at least once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use moneta_resilience::BoxError;
use tokio::time::{Duration, Instant, sleep};

use super::stream::{Message, Stream};

pub(crate) trait Queue: Clone + Send + Sync + 'static {
    /// At most so many messages. May come back with none, after a while.
    fn receive(&self, most: usize) -> impl Future<Output = Result<Vec<Message>, BoxError>> + Send;

    /// Takes a message off the queue.
    fn acknowledge(&self, message: &Message) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Leaves it there; not to be delivered sooner than after this time.
    fn give_back(&self, message: Message, after: Duration) -> impl Future<Output = ()> + Send;

    /// Keeps it for somebody who looks.
    fn set_aside(&self, message: Message, why: &str) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl Queue for Stream {
    async fn receive(&self, most: usize) -> Result<Vec<Message>, BoxError> {
        Ok(Stream::receive(self, most).await?)
    }

    async fn acknowledge(&self, message: &Message) -> Result<(), BoxError> {
        Ok(Stream::acknowledge(self, message).await?)
    }

    /// It is pending as it is: the visibility timeout brings it back.
    async fn give_back(&self, _: Message, _: Duration) {}

    async fn set_aside(&self, message: Message, why: &str) -> Result<(), BoxError> {
        Ok(Stream::set_aside(self, message, why).await?)
    }
}

/// A queue inside the process.
#[derive(Clone, Default)]
pub(crate) struct Local(Arc<Mutex<Shelves>>);

#[derive(Default)]
struct Shelves {
    waiting: VecDeque<(Instant, Message)>,
    aside: Vec<(String, String)>,
}

impl Local {
    pub(crate) fn publish(&self, id: &str, body: &str) {
        self.with(|shelves| shelves.waiting.push_back((Instant::now(), Message::local(id, body))));
    }

    pub(crate) fn aside(&self) -> Vec<(String, String)> {
        self.with(|shelves| shelves.aside.clone())
    }

    fn with<T>(&self, then: impl FnOnce(&mut Shelves) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for Local {
    async fn receive(&self, most: usize) -> Result<Vec<Message>, BoxError> {
        let now = Instant::now();
        let due = self.with(|Shelves { waiting, .. }| {
            let (due, later): (Vec<_>, _) = waiting.drain(..).partition(|&(at, _)| at <= now);
            let mut due = VecDeque::from(due);
            *waiting = due.split_off(most.min(due.len()));
            waiting.extend::<Vec<_>>(later);
            due
        });
        if due.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(due.into_iter().map(|(_, message)| message).collect())
    }

    async fn acknowledge(&self, _: &Message) -> Result<(), BoxError> {
        Ok(())
    }

    async fn give_back(&self, mut message: Message, after: Duration) {
        message.deliveries += 1;
        self.with(|shelves| shelves.waiting.push_back((Instant::now() + after, message)));
    }

    async fn set_aside(&self, message: Message, why: &str) -> Result<(), BoxError> {
        self.with(|shelves| shelves.aside.push((message.id, why.to_owned())));
        Ok(())
    }
}
