//! What becomes of a message: the tables of `messaging`, cell by cell.

mod ends;
#[cfg(feature = "idempotency")]
mod keyed;
#[cfg(feature = "redis")]
mod streams;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use moneta_resilience::{
    BoxError, Registry,
    event::DeliveryResult,
    golden::{self, ConsumerBuilder, DeadLetterTo, Handle, Limit},
    messaging::{Delivery, Why},
};

const LIMIT: Duration = Duration::from_secs(30);
const NACK: Delivery = Delivery::Nack { after: Duration::from_secs(5) };

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    id: &'static str,
    body: &'static str,
    /// How often it has come.
    deliveries: u32,
}

const PAY: Message = Message { id: "invoice-7", body: "100 CHF", deliveries: 1 };

/// What was set aside, and why.
#[derive(Clone, Default)]
struct Aside(Arc<Mutex<Vec<(Message, String)>>>);

impl Aside {
    fn put(&self, message: Message, why: &Why) {
        self.0.lock().unwrap().push((message, why.to_string()));
    }

    /// The reasons, of which there is one for each message.
    fn reasons(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, why)| why.clone()).collect()
    }
}

type Builder = ConsumerBuilder<Message, Limit, DeadLetterTo<Message>>;

/// A consumer in a world of its own, whose dead letter puts messages aside.
fn consumer(aside: &Aside) -> Builder {
    let aside = aside.clone();
    golden::consumer("invoices").registry(&Registry::new()).timeout(LIMIT).dead_letter(move |message, why| {
        aside.put(message, &why);
        async { Ok::<_, BoxError>(()) }
    })
}

/// How often each result was counted: ack, nack, parked, dead-lettered.
fn counts(handle: &Handle) -> [u64; 4] {
    DeliveryResult::ALL.map(|result| handle.counts().deliveries(result))
}
