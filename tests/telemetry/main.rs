//! What arrives at OpenTelemetry, through the global providers. A binary of its own, because those are the process's.
#![cfg(feature = "otel")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(all(feature = "http", feature = "logs", feature = "metrics"))]
mod canaries;
#[cfg(feature = "http")]
mod consumer;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http_client;
#[cfg(feature = "http")]
mod http_server;
#[cfg(feature = "idempotency")]
mod keys;
#[cfg(all(feature = "http", feature = "logs"))]
mod logs;
mod metrics;
#[cfg(feature = "http")]
mod seen;
mod spans;
mod traces;

use std::time::Duration;

use moneta_resilience::telemetry::TelemetryLayer;
use opentelemetry::{
    global, metrics::noop::NoopMeterProvider, propagation::TextMapCompositePropagator,
    trace::noop::NoopTracerProvider,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// One test at a time may change the global providers; each begins without any.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    global::set_meter_provider(NoopMeterProvider::new());
    global::set_tracer_provider(NoopTracerProvider::new());
    global::set_text_map_propagator(TextMapCompositePropagator::new(Vec::new()));
    alone
}

/// A call of the pipeline that takes a second.
async fn call(pipeline: &str) {
    let service =
        ServiceBuilder::new().layer(TelemetryLayer::new(pipeline)).service(service_fn(|()| async {
            sleep(SECOND).await;
            Ok::<_, BoxError>(())
        }));
    service.oneshot(()).await.unwrap();
}
