//! What a call through each stack costs in time: `cargo bench --bench overhead`, or `-- timeout` for one stack.

mod scenarios;

use std::time::Duration;

use criterion::Criterion;
use tokio::time::Instant;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for mut scenario in scenarios::all().into_iter().chain(scenarios::refusals()) {
        let name = scenario.name.clone();
        criterion.bench_function(&name, |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                scenario.run(calls);
                start.elapsed()
            });
        });
    }
    criterion.final_summary();
}
