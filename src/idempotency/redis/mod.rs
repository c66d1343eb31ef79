//! The store in Redis.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, FromRedisValue, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{Ask, Found, Identity, InDoubt, LeaseOver, Outcome, Owner, Store, StoreError, Verdict};

/// Keeps records in Redis: fast, shared by all instances of a service, and as safe as the data of that server.
///
/// # What it promises
///
/// At most one start per key *while no data is lost*. This is **not** exactly once, and no setting makes it so:
///
/// * A restart loses what was not on the disk: all of it without persistence, a second of it with `appendfsync everysec`, the
///   default. A key that is lost is free, and what stands behind it is run twice. `appendfsync always` closes that.
/// * A failover loses what the replica had not yet: a claim that was acknowledged may be granted again. `min-replicas-to-write`
///   makes that rarer and does not end it.
/// * `FLUSHALL` pays everything twice.
///
/// Where that is not enough, keep records beside the handler's data, in Postgres or `SQLite`.
///
/// # What it needs
///
/// Redis 6 or later, one primary with or without replicas, not a cluster: a script reaches all records of a store. The user
/// needs `EVAL`, `EVALSHA`, `SCRIPT LOAD` and `INFO`.
///
/// No record has a time to live, since what expires too early is run twice, and it is what the `volatile-` policies evict by.
/// A policy that evicts any key is refused when connecting. What is over is cleared away by later claims, and by
/// [`purge`](Store::purge). A server without memory left refuses new keys ([`Full`](StoreError::Full)).
///
/// Time is the server's, in milliseconds. Commands are given up after half a second, and lost connections are made again. The
/// client speaks TLS once one of the `tls-` features of `redis` is chosen.
///
/// Clones share the connection.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`prefix`](Self::prefix) | `idempotency` |
///
/// ```no_run
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// use moneta_resilience::idempotency::RedisStore;
///
/// let store = RedisStore::connect(redis::Client::open("redis://localhost")?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
    base: Arc<str>,
    scripts: Arc<Scripts>,
}

struct Scripts {
    claim: Script,
    write: Script,
    reconcile: Script,
    in_doubt: Script,
    purge: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("common.lua"), include_str!($file)))
    };
}

impl RedisStore {
    /// Connects, and makes sure that the server evicts no record.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreError::Unavailable), also where the server's `maxmemory-policy` is one that evicts any key
    /// (`allkeys-`), or cannot be asked for. Whoever changes the policy later is not noticed.
    pub async fn connect(client: Client) -> Result<Self, StoreError> {
        // A caller waits for the store. If it is away, that is to be told soon; the next one tries again.
        let config = ConnectionManagerConfig::new().set_number_of_retries(1);
        let mut connection = ConnectionManager::new_with_config(client, config).await.map_err(unavailable)?;
        let info: String =
            redis::cmd("INFO").arg("memory").query_async(&mut connection).await.map_err(unavailable)?;
        evicts_no_record(&info)?;
        let scripts = Scripts {
            claim: script!("claim.lua"),
            write: script!("write.lua"),
            reconcile: script!("reconcile.lua"),
            in_doubt: script!("in_doubt.lua"),
            purge: script!("purge.lua"),
        };
        Ok(Self { connection, base: base("idempotency"), scripts: Arc::new(scripts) })
    }

    /// What the names of all its keys begin with. Stores with different prefixes know nothing of each other.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        Self { base: base(prefix), ..self }
    }

    /// A script that is about the record of a key.
    fn about<'s>(&self, script: &'s Script, id: Identity) -> ScriptInvocation<'s> {
        let mut invocation = script.key(format!("{}{id}", self.base));
        for name in ["open", "done", "fence"] {
            invocation.key(format!("{}{name}", self.base));
        }
        invocation.arg(id.to_string());
        invocation
    }

    /// A script that is about many records, which stand in the index of this name.
    async fn over<T: FromRedisValue>(
        &self,
        script: &Script,
        index: &str,
        limit: usize,
    ) -> Result<T, StoreError> {
        let mut invocation = script.key(format!("{}{index}", self.base));
        invocation.arg(&*self.base).arg(i64::try_from(limit).unwrap_or(i64::MAX));
        invocation.invoke_async(&mut self.connection.clone()).await.map_err(unavailable)
    }

    /// What only the owner may do; `number` is what it does it with.
    async fn write(
        &self,
        id: Identity,
        owner: Owner,
        what: &str,
        number: u64,
        outcome: Option<&Outcome>,
    ) -> Result<(), StoreError> {
        let mut invocation = self.about(&self.scripts.write, id);
        invocation.arg(&owner.as_u128().to_be_bytes()[..]).arg(what).arg(number);
        answer(&mut invocation, outcome);
        self.written(&invocation).await
    }

    async fn written(&self, invocation: &ScriptInvocation<'_>) -> Result<(), StoreError> {
        let written = invocation.invoke_async(&mut self.connection.clone()).await.map_err(unavailable)?;
        if written { Ok(()) } else { Err(StoreError::Fenced) }
    }
}

impl Store for RedisStore {
    async fn claim(&self, id: Identity, ask: Ask) -> Result<Found, StoreError> {
        let policy = match ask.lease_over {
            LeaseOver::InDoubt => "in doubt",
            LeaseOver::Reexecute => "reexecute",
            LeaseOver::Resume => "resume",
        };
        let mut invocation = self.about(&self.scripts.claim, id);
        invocation
            .arg(&*self.base)
            .arg(&ask.fingerprint.as_bytes()[..])
            .arg(&ask.owner.as_u128().to_be_bytes()[..])
            .arg(millis(ask.lease))
            .arg(policy);
        let reply = invocation.invoke_async(&mut self.connection.clone()).await;
        found(reply.map_err(|error| match error.code() {
            Some("OOM") => StoreError::Full,
            _ => unavailable(error),
        })?)
    }

    async fn renew(&self, id: Identity, owner: Owner, lease: Duration) -> Result<(), StoreError> {
        self.write(id, owner, "renew", millis(lease), None).await
    }

    async fn checkpoint(&self, id: Identity, owner: Owner, phase: u32) -> Result<(), StoreError> {
        self.write(id, owner, "checkpoint", phase.into(), None).await
    }

    async fn complete(
        &self,
        id: Identity,
        owner: Owner,
        outcome: Outcome,
        retention: Duration,
    ) -> Result<(), StoreError> {
        self.write(id, owner, "complete", millis(retention), Some(&outcome)).await
    }

    async fn release(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.write(id, owner, "release", 0, None).await
    }

    async fn doubt(&self, id: Identity, owner: Owner) -> Result<(), StoreError> {
        self.write(id, owner, "doubt", 0, None).await
    }

    async fn reconcile(&self, id: Identity, fence: i64, verdict: Verdict) -> Result<(), StoreError> {
        let mut invocation = self.about(&self.scripts.reconcile, id);
        invocation.arg(fence);
        match &verdict {
            Verdict::Absent => invocation.arg("absent"),
            Verdict::Done { outcome, retention } => {
                answer(invocation.arg("done").arg(millis(*retention)), Some(outcome))
            }
        };
        self.written(&invocation).await
    }

    async fn in_doubt(&self, limit: usize) -> Result<Vec<InDoubt>, StoreError> {
        let doubts: Vec<(String, i64, u32, i64)> = self.over(&self.scripts.in_doubt, "open", limit).await?;
        doubts.iter().map(|(id, fence, phase, age)| doubted(id, *fence, *phase, *age)).collect()
    }

    async fn purge(&self, limit: usize) -> Result<usize, StoreError> {
        self.over(&self.scripts.purge, "done", limit).await
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What every name begins with. The braces keep all of a store together where a proxy shards by them.
fn base(prefix: &str) -> Arc<str> {
    format!("{{{prefix}}}:").into()
}

fn evicts_no_record(info: &str) -> Result<(), StoreError> {
    let policy = info.lines().find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
    match policy {
        // None that evicts records: they have no time to live.
        Some(policy) if policy == "noeviction" || policy.starts_with("volatile-") => Ok(()),
        Some(policy) => Err(unavailable(format!(
            "the server's maxmemory-policy is {policy}: to evict the record of a key is to run it twice; set it to noeviction"
        ))),
        None => Err(unavailable("the server does not tell its maxmemory-policy")),
    }
}

/// What `claim.lua` answers: what was found, the answer, and two numbers.
fn found((what, answer, first, second): (String, Option<Vec<u8>>, i64, i64)) -> Result<Found, StoreError> {
    Ok(match what.as_str() {
        "granted" => Found::Granted { fence: first, phase: second.try_into().map_err(unavailable)? },
        "in progress" => {
            Found::InProgress { lease_left: Duration::from_millis(first.try_into().map_err(unavailable)?) }
        }
        "mismatch" => Found::Mismatch,
        "done" => Found::Done(answer.map_or(Outcome::Tombstone, |answer| Outcome::Answer(answer.into()))),
        _ => Found::InDoubt,
    })
}

fn doubted(id: &str, fence: i64, phase: u32, age: i64) -> Result<InDoubt, StoreError> {
    let byte = |at: usize| u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok();
    let mut digest = [0; 32];
    for (at, into) in digest.iter_mut().enumerate() {
        *into = byte(at).ok_or_else(|| unavailable("an identity is not 64 digits long"))?;
    }
    let age = Duration::from_millis(age.try_into().unwrap_or(0));
    Ok(InDoubt { id: Identity::from_bytes(digest), fence, phase, age })
}

/// An outcome as the scripts take it.
fn answer<'i, 's>(
    invocation: &'i mut ScriptInvocation<'s>,
    outcome: Option<&Outcome>,
) -> &'i mut ScriptInvocation<'s> {
    match outcome {
        Some(Outcome::Answer(answer)) => invocation.arg("answer").arg(&answer[..]),
        Some(Outcome::Tombstone) | None => invocation,
    }
}

/// A duration in milliseconds, begun ones as whole ones; a thousand years at most, which Lua's numbers hold exactly.
fn millis(time: Duration) -> u64 {
    const MOST: u128 = 1000 * 365 * 86_400 * 1000;
    u64::try_from(time.as_nanos().div_ceil(1_000_000).min(MOST))
        .expect("it is no longer than a thousand years")
}

fn unavailable(error: impl Into<crate::error::BoxError>) -> StoreError {
    StoreError::Unavailable(error.into())
}
