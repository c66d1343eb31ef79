//! The store in memory under the contract of stores.

use std::time::Duration;

use moneta_resilience::idempotency::MemoryStore;

use super::stores::{Bench, store_contract};

struct Memory;

impl Bench for Memory {
    type Store = MemoryStore;

    const LEASE: Duration = Duration::from_secs(60);
    const RETENTION: Duration = Duration::from_secs(24 * 3600);

    async fn store(&self) -> MemoryStore {
        MemoryStore::new()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

store_contract!(tokio::test(start_paused = true), Memory);
