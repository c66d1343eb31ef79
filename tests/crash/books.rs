//! The databases: what the ledger writes, and what is read afterwards.

use std::{env, fs, time::Duration};

use moneta_resilience::idempotency::{
    Claim, Identity, Owner, PostgresStore, SqliteStore, Store, StoreError, http::KeptAnswer,
};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    query, query_as, query_scalar, raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

/// How long a statement waits for a transaction, which may be that of a process that stands still.
const WAIT: Duration = Duration::from_millis(500);

/// A payment as it was written, and by which claim.
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) payment: String,
    pub(crate) id: Vec<u8>,
    pub(crate) fence: i64,
}

/// The record of a key.
pub(crate) struct Record {
    pub(crate) id: Vec<u8>,
    pub(crate) fence: i64,
    pub(crate) state: String,
}

/// A database with a ledger and, beside it, the records of keys.
pub(crate) trait Books: Send + Sync + 'static {
    type Store: Store;
    type Tx: Send;

    /// What a process is told of it, beside its [`place`](Self::place).
    const NAME: &str;

    fn place(&self) -> &str;
    fn store(&self) -> Self::Store;

    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;
    fn insert(
        &self,
        tx: &mut Self::Tx,
        payment: &str,
        claim: &Claim,
    ) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;
    fn complete(
        &self,
        tx: &mut Self::Tx,
        claim: &Claim,
        answer: KeptAnswer,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Outside of any transaction.
    fn note(&self, claim: &Claim, what: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The number of the payment under this key, if it was made.
    async fn paid(&self, id: Identity) -> Result<Option<i64>, sqlx::Error>;
    async fn entries(&self) -> Vec<Entry>;
    async fn records(&self) -> Vec<Record>;
    async fn notes(&self, what: &str) -> i64;

    /// Only where all went well: what is left otherwise can be looked into.
    async fn erase(self);
}

/// In Postgres, a schema of its own.
pub(crate) struct Server {
    place: String,
    pool: PgPool,
    store: PostgresStore,
}

impl Server {
    pub(crate) async fn new() -> Self {
        let this = Self::at(&format!("crash_{:032x}", Owner::random().as_u128())).await;
        query(AssertSqlSafe(format!("CREATE SCHEMA {}", this.place))).execute(&this.pool).await.unwrap();
        let tables =
            "CREATE TABLE ledger (number bigserial PRIMARY KEY, payment text, id bytea, fence bigint);
            CREATE TABLE notes (what text, id bytea, fence bigint)";
        raw_sql(tables).execute(&this.pool).await.unwrap();
        this.store.migrate().await.unwrap();
        this
    }

    pub(crate) async fn at(place: &str) -> Self {
        let url = env::var("MONETA_POSTGRES_URL")
            .expect("a server is needed: run the tests through tests/servers.sh, or set MONETA_POSTGRES_URL");
        let options: PgConnectOptions = url.parse().unwrap();
        let options =
            options.options([("search_path", place), ("lock_timeout", &format!("{}ms", WAIT.as_millis()))]);
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(WAIT * 20).connect_with(options);
        let pool = pool.await.unwrap();
        Self { place: place.to_owned(), store: PostgresStore::new(pool.clone()), pool }
    }

    async fn drop(self) {
        let drop = format!("DROP SCHEMA {} CASCADE", self.place);
        query(AssertSqlSafe(drop)).execute(&self.pool).await.unwrap();
    }

    async fn begun(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.store.begin().await
    }
}

/// A file of `SQLite`.
pub(crate) struct File {
    place: String,
    pool: SqlitePool,
    store: SqliteStore,
}

impl File {
    pub(crate) async fn new() -> Self {
        let path = env::temp_dir().join(format!("moneta-crash-{:032x}.db", Owner::random().as_u128()));
        let this = Self::at(path.to_str().unwrap()).await;
        let tables = "CREATE TABLE ledger (number INTEGER PRIMARY KEY AUTOINCREMENT, payment TEXT, id BLOB, fence INTEGER);
            CREATE TABLE notes (what TEXT, id BLOB, fence INTEGER)";
        raw_sql(tables).execute(&this.pool).await.unwrap();
        this.store.migrate().await.unwrap();
        this
    }

    pub(crate) async fn at(place: &str) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(place)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(WAIT);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
        Self { place: place.to_owned(), store: SqliteStore::new(pool.clone()), pool }
    }

    async fn drop(self) {
        self.pool.close().await;
        for end in ["", "-wal", "-shm"] {
            _ = fs::remove_file(format!("{}{end}", self.place));
        }
    }

    async fn begun(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.store.begin().await
    }
}

/// The statements are the same. A macro, because the bounds that make it generic over `sqlx`'s databases are longer.
macro_rules! books {
    ($books:ident, $store:ident, $database:ident, $name:literal) => {
        impl Books for $books {
            type Store = $store;
            type Tx = Transaction<'static, $database>;

            const NAME: &str = $name;

            fn place(&self) -> &str {
                &self.place
            }

            fn store(&self) -> $store {
                self.store.clone()
            }

            async fn begin(&self) -> Result<Self::Tx, StoreError> {
                self.begun().await
            }

            async fn insert(
                &self,
                tx: &mut Self::Tx,
                payment: &str,
                claim: &Claim,
            ) -> Result<i64, sqlx::Error> {
                query_scalar("INSERT INTO ledger (payment, id, fence) VALUES ($1, $2, $3) RETURNING number")
                    .bind(payment.to_owned())
                    .bind(claim.id().as_bytes().to_vec())
                    .bind(claim.fence())
                    .fetch_one(&mut **tx)
                    .await
            }

            async fn complete(
                &self,
                tx: &mut Self::Tx,
                claim: &Claim,
                answer: KeptAnswer,
            ) -> Result<(), StoreError> {
                claim.complete_in(&self.store, &mut **tx, answer).await
            }

            async fn commit(&self, tx: Self::Tx) -> Result<(), sqlx::Error> {
                tx.commit().await
            }

            async fn note(&self, claim: &Claim, what: &str) -> Result<(), sqlx::Error> {
                let note = query("INSERT INTO notes (what, id, fence) VALUES ($1, $2, $3)")
                    .bind(what.to_owned())
                    .bind(claim.id().as_bytes().to_vec())
                    .bind(claim.fence());
                note.execute(&self.pool).await.map(drop)
            }

            async fn paid(&self, id: Identity) -> Result<Option<i64>, sqlx::Error> {
                let paid = query_scalar("SELECT number FROM ledger WHERE id = $1");
                paid.bind(id.as_bytes().to_vec()).fetch_optional(&self.pool).await
            }

            async fn entries(&self) -> Vec<Entry> {
                let rows = query_as("SELECT number, payment, id, fence FROM ledger").fetch_all(&self.pool);
                let entry = |(number, payment, id, fence)| Entry { number, payment, id, fence };
                rows.await.unwrap().into_iter().map(entry).collect()
            }

            async fn records(&self) -> Vec<Record> {
                let rows = query_as("SELECT id, fence, state FROM idempotency_keys").fetch_all(&self.pool);
                let record = |(id, fence, state)| Record { id, fence, state };
                rows.await.unwrap().into_iter().map(record).collect()
            }

            async fn notes(&self, what: &str) -> i64 {
                let notes = query_scalar("SELECT count(*) FROM notes WHERE what = $1").bind(what.to_owned());
                notes.fetch_one(&self.pool).await.unwrap()
            }

            async fn erase(self) {
                self.drop().await;
            }
        }
    };
}

books!(Server, PostgresStore, Postgres, "postgres");
books!(File, SqliteStore, Sqlite, "sqlite");
