//! The store in Redis under the contract of stores, and where its promise ends. The server is a real one, which
//! `tests/servers.sh` starts; tests that restart a server have one of their own.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use moneta_resilience::idempotency::{
    Ask, Fingerprint, Found, Identity, LeaseOver, Outcome, Owner, RedisStore, Store, StoreError, Verdict,
};
use redis::{Client, Script};

use super::stores::{Bench, store_contract};

/// Names of its own for each test.
struct Names {
    prefix: String,
    client: Client,
}

impl Names {
    fn new() -> Self {
        let url = env::var("MONETA_REDIS_URL")
            .expect("a server is needed: run the tests through tests/servers.sh, or set MONETA_REDIS_URL");
        let prefix = format!("test-{:032x}", Owner::random().as_u128());
        Self { prefix, client: Client::open(url).unwrap() }
    }
}

impl Bench for Names {
    type Store = RedisStore;

    const LEASE: Duration = Duration::from_secs(60);
    const RETENTION: Duration = Duration::from_secs(24 * 3600);

    async fn store(&self) -> RedisStore {
        RedisStore::connect(self.client.clone()).await.unwrap().prefix(&self.prefix)
    }

    /// Time passes as well when all that was agreed on lies so much further back.
    async fn pass(&self, time: Duration) {
        let back = Script::new(
            "for _, index in ipairs({'open', 'done'}) do
                for _, id in ipairs(redis.call('ZRANGE', ARGV[1] .. index, 0, -1)) do
                    redis.call('ZINCRBY', ARGV[1] .. index, -ARGV[2], id)
                    redis.call('HINCRBY', ARGV[1] .. id, 'ends_at', -ARGV[2])
                end
            end",
        );
        let mut connection = self.client.get_multiplexed_async_connection().await.unwrap();
        let mut back = back.arg(format!("{{{}}}:", self.prefix));
        let () = back.arg(time.as_millis().to_string()).invoke_async(&mut connection).await.unwrap();
    }
}

store_contract!(tokio::test, Names::new());

fn key() -> Identity {
    Identity::of(b"tenant", b"POST /payments", b"k")
}

fn ask() -> Ask {
    Ask {
        owner: Owner::random(),
        fingerprint: Fingerprint::of([&b"pay"[..]]),
        lease: Duration::from_secs(60),
        lease_over: LeaseOver::InDoubt,
    }
}

/// A server of its own, which can be killed and started again over the same folder.
struct Server {
    folder: PathBuf,
    port: u16,
    settings: &'static [&'static str],
    process: Child,
}

impl Server {
    fn start(settings: &'static [&'static str]) -> Self {
        let folder = env::temp_dir().join(format!("moneta-redis-{:032x}", Owner::random().as_u128()));
        fs::create_dir(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::run(&folder, port, settings);
        Self { folder, port, settings, process }
    }

    /// Comes back when the server takes connections.
    fn run(folder: &PathBuf, port: u16, settings: &[&str]) -> Child {
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(settings)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is needed: run the tests through tests/servers.sh");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("Ready to accept connections")), "it did not start");
        process
    }

    fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::run(&self.folder, self.port, self.settings);
    }

    async fn store(&self) -> Result<RedisStore, StoreError> {
        RedisStore::connect(Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}

/// The weakness that the documentation names. Nothing in the client can end it.
#[tokio::test]
async fn a_restart_that_loses_data_runs_a_key_twice() {
    let mut server = Server::start(&[]);
    let store = server.store().await.unwrap();
    let (working, done, first) = (key(), Identity::of(b"tenant", b"POST /payments", b"done"), ask());
    for id in [working, done] {
        assert!(matches!(store.claim(id, first).await.unwrap(), Found::Granted { .. }));
    }
    let hour = Duration::from_secs(3600);
    store.complete(done, first.owner, Outcome::Answer("paid".into()), hour).await.unwrap();
    server.kill_and_start_again();
    let store = server.store().await.unwrap();
    for id in [working, done] {
        assert!(matches!(store.claim(id, ask()).await.unwrap(), Found::Granted { .. }));
        // The first one can no longer say what it did.
        let completed = store.complete(id, first.owner, Outcome::Tombstone, hour).await;
        assert!(matches!(completed, Err(StoreError::Fenced)), "{completed:?}");
    }
}

#[tokio::test]
async fn a_restart_that_keeps_every_write_runs_a_key_once() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (before, first) = (server.store().await.unwrap(), ask());
    let granted = before.claim(key(), first).await.unwrap();
    server.kill_and_start_again();
    let store = server.store().await.unwrap();
    assert!(matches!(store.claim(key(), ask()).await.unwrap(), Found::InProgress { .. }));
    // A connection that was lost is made again; the first commands after that may find it out.
    let again = loop {
        match before.claim(key(), first).await {
            Err(StoreError::Unavailable(_)) => {}
            again => break again.unwrap(),
        }
    };
    assert_eq!(again, granted);
}

#[tokio::test]
async fn a_server_that_evicts_any_key_is_refused() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let refused = server.store().await.unwrap_err();
    let StoreError::Unavailable(why) = refused else { panic!("{refused}") };
    assert!(why.to_string().contains("allkeys-lru"), "{why}");
    Server::start(&["--maxmemory-policy", "volatile-lru"]).store().await.unwrap();
}

#[tokio::test]
async fn a_server_without_memory_left_refuses_new_keys_and_serves_known_ones() {
    let server = Server::start(&[]);
    let store = server.store().await.unwrap();
    let id = |key: &str| Identity::of(b"tenant", b"POST /payments", key.as_bytes());
    let (first, day) = (ask(), Duration::from_secs(24 * 3600));
    let [done, died, looked_into] = ["done", "died", "looked into"].map(id);
    for known in [key(), done] {
        store.claim(known, first).await.unwrap();
    }
    for known in [died, looked_into] {
        store.claim(known, Ask { lease: Duration::ZERO, ..first }).await.unwrap();
    }

    let client = Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let mut operator = client.get_multiplexed_async_connection().await.unwrap();
    let mut limit = async |bytes: &str| {
        let mut limit = redis::cmd("CONFIG");
        let () = limit.arg("SET").arg("maxmemory").arg(bytes).query_async(&mut operator).await.unwrap();
    };
    limit("1").await;
    let new = store.claim(id("new"), ask()).await;
    assert!(matches!(new, Err(StoreError::Full)), "{new:?}");
    assert!(matches!(store.claim(key(), ask()).await.unwrap(), Found::InProgress { .. }));
    assert!(matches!(store.claim(key(), first).await.unwrap(), Found::Granted { .. }));
    store.renew(key(), first.owner, first.lease).await.unwrap();
    store.checkpoint(key(), first.owner, 7).await.unwrap();
    store.doubt(key(), first.owner).await.unwrap();
    let paid = Outcome::Answer("paid".into());
    store.complete(done, first.owner, paid.clone(), day).await.unwrap();
    assert_eq!(store.claim(done, ask()).await.unwrap(), Found::Done(paid.clone()));
    assert_eq!(store.claim(died, ask()).await.unwrap(), Found::InDoubt);
    let doubts = store.in_doubt(10).await.unwrap();
    let doubt = doubts.iter().find(|doubt| doubt.id == looked_into).unwrap();
    let verdict = Verdict::Done { outcome: paid.clone(), retention: day };
    store.reconcile(looked_into, doubt.fence, verdict).await.unwrap();
    assert_eq!(store.claim(looked_into, ask()).await.unwrap(), Found::Done(paid));

    limit("0").await;
    assert!(matches!(store.claim(id("new"), ask()).await.unwrap(), Found::Granted { .. }));
}

#[tokio::test]
async fn what_is_over_is_cleared_away_by_later_claims() {
    let names = Names::new();
    let store = names.store().await;
    for n in 0..10_u8 {
        let (id, ask) = (Identity::of(b"", b"", &[n]), ask());
        store.claim(id, ask).await.unwrap();
        store.complete(id, ask.owner, Outcome::Tombstone, Duration::from_secs(60)).await.unwrap();
    }
    names.pass(Duration::from_secs(60)).await;
    for n in 10..13_u8 {
        store.claim(Identity::of(b"", b"", &[n]), ask()).await.unwrap();
    }
    assert_eq!(store.purge(100).await.unwrap(), 10 - 3 * 2);
}

#[tokio::test]
async fn times_of_any_length_are_kept() {
    let store = Names::new().store().await;
    let endless = Ask { lease: Duration::MAX, ..ask() };
    store.claim(key(), endless).await.unwrap();
    match store.claim(key(), ask()).await.unwrap() {
        Found::InProgress { lease_left } => assert!(lease_left > Duration::from_secs(900 * 365 * 86_400)),
        other => panic!("{other:?}"),
    }
    store.complete(key(), endless.owner, Outcome::Tombstone, Duration::MAX).await.unwrap();
    assert_eq!(store.claim(key(), ask()).await.unwrap(), Found::Done(Outcome::Tombstone));
}

#[tokio::test]
async fn a_server_that_is_away_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = RedisStore::connect(Client::open(format!("redis://127.0.0.1:{port}")).unwrap()).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))));
}
