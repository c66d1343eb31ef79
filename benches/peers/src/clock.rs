//! The runtime whose timers are used, and nothing else of it: no scheduler stands between two polls.

use std::{sync::OnceLock, thread, time::Duration};

use tokio::runtime::{self, Handle, Runtime};

/// The runtime of the process. A thread of its own drives its timers.
///
/// As in a service that works, there is always a timer that ends earlier than those of the calls: else each of them would
/// wake the driver, which is the cost of an idle process.
pub fn runtime() -> Handle {
    static RUNTIME: OnceLock<&'static Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let runtime: &Runtime = Box::leak(Box::new(runtime.expect("timers ask for nothing")));
        thread::spawn(|| {
            runtime.block_on(async {
                loop {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
            });
        });
        runtime
    });
    runtime.handle().clone()
}
