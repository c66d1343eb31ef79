//! `Telemetry::init`, with what is really installed: each test has a process of its own, because the global providers and
//! the environment are the process's.
#![cfg(any(feature = "otlp", feature = "prometheus"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod environment;
#[cfg(all(feature = "prometheus", feature = "http"))]
mod order;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "prometheus")]
mod scrape;

use std::{env, process::Command};

use futures::FutureExt;
use moneta_resilience::telemetry::TelemetryLayer;
use tower::{BoxError, Layer, Service, service_fn};

#[cfg(feature = "prometheus")]
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

/// What is measured is scraped, and nothing goes to a collector.
#[cfg(feature = "prometheus")]
const SCRAPED: [(&str, &str); 3] = [
    ("OTEL_METRICS_EXPORTER", "prometheus"),
    ("OTEL_TRACES_EXPORTER", "none"),
    ("OTEL_LOGS_EXPORTER", "none"),
];

/// Says to a process that it is the one of the test.
const OWN: &str = "MONETA_TEST_HAS_A_PROCESS";

/// Does the work of the test `name` in a process of its own, with these variables and no others of OpenTelemetry. Gives
/// whether that was another one, which is over.
fn process(name: &str, variables: &[(&str, &str)], work: impl FnOnce()) -> bool {
    if env::var_os(OWN).is_some() {
        work();
        return false;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    for (inherited, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
        command.env_remove(inherited);
    }
    let output = command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .env(OWN, "yes")
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && told[0].contains("1 passed"), "{}\n{}", told[0], told[1]);
    true
}

/// A call of the pipeline that succeeds.
fn call(pipeline: &str) {
    let work = service_fn(|()| async { Ok::<_, BoxError>(()) });
    TelemetryLayer::new(pipeline).layer(work).call(()).now_or_never().unwrap().unwrap();
}
