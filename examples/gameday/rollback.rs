//! What the kill switch does to calls that are held.

use std::{convert::Infallible, future::ready, time::Duration};

use anyhow::{Result, ensure};
use moneta_resilience::{
    fault::{Fault, KillSwitch},
    golden,
};
use tokio::time::{Instant, sleep};

/// How many calls are held.
pub(crate) const HELD: u64 = 1_000;
const DELAY: Duration = Duration::from_secs(30);

/// Holds a thousand calls in a delay of thirty seconds, pulls the kill switch of the process, and says after what time the last
/// of them was answered.
pub(crate) async fn instant() -> Result<Duration> {
    let settlements =
        golden::client("settlement").timeout(2 * DELAY).without_bulkhead().no_fallback().calls();
    let settle = || ready(Ok::<_, Infallible>(()));
    let armed = settlements.handle().faults().arm(Fault::latency(DELAY));
    let calls: Vec<_> = (0..HELD)
        .map(|_| {
            let settlements = settlements.clone();
            tokio::spawn(async move { settlements.run_repeatable(settle).await })
        })
        .collect();
    while armed.hit() < HELD {
        sleep(Duration::from_millis(1)).await;
    }

    let pulled = Instant::now();
    KillSwitch::process().engage();
    for call in calls {
        call.await??;
    }
    let took = pulled.elapsed();

    settlements.run_repeatable(settle).await?;
    ensure!(armed.hit() == HELD, "a call was hit after the switch was pulled");
    KillSwitch::process().release();
    Ok(took)
}
