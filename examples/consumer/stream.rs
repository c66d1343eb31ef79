//! A queue in Redis Streams: one consumer group, and a stream beside it for the dead letters.
//!
//! A message that was read is *pending* until it is acknowledged. One that has been pending for longer than the visibility timeout is
//! claimed by whoever asks next, because its worker died, or said `Nack`.

use std::{collections::HashMap, time::Duration};

use redis::{Client, RedisResult, aio::MultiplexedConnection, cmd};

/// A message as it came off the queue. Cloning one is cheap enough; with large contents, put them into `Bytes`.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// What the producer calls the event: the same in every copy of the message.
    pub(crate) id: String,
    pub(crate) body: String,
    /// What the queue calls this copy.
    entry: String,
    /// How often this copy was delivered.
    pub(crate) deliveries: u32,
}

/// One worker's view of the queue. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Stream {
    connection: MultiplexedConnection,
    name: String,
    worker: String,
    visibility: Duration,
}

const GROUP: &str = "payments";

type Entry = (String, HashMap<String, String>);

impl Stream {
    /// `visibility` has to be longer than a delivery may take, dead letter included.
    pub(crate) async fn open(
        client: &Client,
        name: &str,
        worker: &str,
        visibility: Duration,
    ) -> RedisResult<Self> {
        let connection = client.get_multiplexed_async_connection().await?;
        let stream = Self { connection, name: name.into(), worker: worker.into(), visibility };
        let made: RedisResult<()> = cmd("XGROUP")
            .arg(&["CREATE", name, GROUP, "0", "MKSTREAM"])
            .query_async(&mut stream.connection.clone())
            .await;
        match made {
            // Another worker was here first.
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(stream),
        }
    }

    pub(crate) async fn publish(&self, id: &str, body: &str) -> RedisResult<()> {
        let fields = [("id", id), ("body", body)];
        cmd("XADD").arg(&self.name).arg("*").arg(&fields[..]).query_async(&mut self.connection.clone()).await
    }

    /// At most so many messages: those first whose worker gave them up, then new ones. May come back with none.
    pub(crate) async fn receive(&self, most: usize) -> RedisResult<Vec<Message>> {
        let connection = &mut self.connection.clone();
        let idle = self.visibility.as_millis().to_string();
        let (_, again, _): (String, Vec<Entry>, Vec<String>) = cmd("XAUTOCLAIM")
            .arg(&[&self.name, GROUP, &self.worker, &idle, "0", "COUNT"])
            .arg(most)
            .query_async(connection)
            .await?;
        let mut messages = Vec::new();
        for (entry, fields) in again {
            let pending: Vec<(String, String, u64, u32)> = cmd("XPENDING")
                .arg(&[&self.name, GROUP, &entry, &entry, "1"])
                .query_async(connection)
                .await?;
            let deliveries = pending.first().map_or(1, |&(.., deliveries)| deliveries);
            messages.push(Message::new(entry, fields, deliveries));
        }
        if messages.len() < most {
            let wait = if messages.is_empty() { "100" } else { "1" };
            let read: Option<Vec<(String, Vec<Entry>)>> = cmd("XREADGROUP")
                .arg(&["GROUP", GROUP, &self.worker, "BLOCK", wait, "COUNT"])
                .arg(most - messages.len())
                .arg(&["STREAMS", &self.name, ">"])
                .query_async(connection)
                .await?;
            let new = read.into_iter().flatten().flat_map(|(_, entries)| entries);
            messages.extend(new.map(|(entry, fields)| Message::new(entry, fields, 1)));
        }
        Ok(messages)
    }

    /// Takes it off the queue.
    pub(crate) async fn acknowledge(&self, message: &Message) -> RedisResult<()> {
        let entry = [&*self.name, GROUP, &message.entry];
        cmd("XACK").arg(&entry).query_async(&mut self.connection.clone()).await
    }

    /// Keeps it beside the queue, with the reason, for somebody who looks.
    pub(crate) async fn set_aside(&self, message: Message, why: &str) -> RedisResult<()> {
        let fields = [("id", &*message.id), ("body", &*message.body), ("why", why)];
        let connection = &mut self.connection.clone();
        cmd("XADD").arg(self.dead_letters()).arg("*").arg(&fields[..]).query_async(connection).await
    }

    /// Which messages were set aside, and why.
    pub(crate) async fn aside(&self) -> RedisResult<Vec<(String, String)>> {
        let connection = &mut self.connection.clone();
        let entries: Vec<Entry> =
            cmd("XRANGE").arg(self.dead_letters()).arg(&["-", "+"]).query_async(connection).await?;
        let told = |(_, mut fields): Entry| (take(&mut fields, "id"), take(&mut fields, "why"));
        Ok(entries.into_iter().map(told).collect())
    }

    fn dead_letters(&self) -> String {
        format!("{}:dead", self.name)
    }
}

impl Message {
    fn new(entry: String, mut fields: HashMap<String, String>, deliveries: u32) -> Self {
        Self { id: take(&mut fields, "id"), body: take(&mut fields, "body"), entry, deliveries }
    }

    /// One that never was on a stream.
    pub(crate) fn local(id: &str, body: &str) -> Self {
        Self { id: id.into(), body: body.into(), entry: String::new(), deliveries: 1 }
    }
}

/// A field; empty where there is none, and a message without an id goes to the dead letter.
fn take(fields: &mut HashMap<String, String>, name: &str) -> String {
    fields.remove(name).unwrap_or_default()
}
