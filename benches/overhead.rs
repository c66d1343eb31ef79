//! What a call through each stack costs in time: `cargo bench --bench overhead`, or `-- timeout` for one stack.
//!
//! And how many bytes a second are redacted: `-- redact`.

mod scenarios;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use moneta_resilience::redact;
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
    redaction(&mut criterion);
    criterion.final_summary();
}

/// Texts of a log by what the detectors have to do: nothing at all, to look closely for nothing, and to find something on
/// every line.
fn redaction(criterion: &mut Criterion) {
    let texts = [
        ("clean", "the ledger did not answer in time, the payment is tried again\n"),
        ("numbers", "order 4111111111111112 of 2026-11-23T00:10:07.482913Z took 12.904 ms\n"),
        ("findings", "card 4111 1111 1111 1111 of ada@example.com was refused, Bearer abc.DEF-12\n"),
    ];
    let mut group = criterion.benchmark_group("redact");
    for (name, line) in texts {
        let text = line.repeat(64);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| redact::text(black_box(&text)).len()));
    }
    group.finish();
}
