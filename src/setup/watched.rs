use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::logs::Severity;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter},
    trace::{SpanData, SpanExporter},
};

/// An exporter, and whether it failed: the SDK's queues of spans and of logs end well also where the last of it was refused.
pub(super) struct Watched<E> {
    exporter: E,
    failures: Failures,
}

/// Whether something could not be handed over. Clones know the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<AtomicBool>);

impl<E> Watched<E> {
    pub(super) fn new(exporter: E) -> (Self, Failures) {
        let failures = Failures::default();
        (Self { exporter, failures: failures.clone() }, failures)
    }
}

impl Failures {
    /// Does the work, and gives whether it said that all went well, and nothing failed meanwhile.
    pub(super) fn none_during(&self, work: impl FnOnce() -> OTelSdkResult) -> bool {
        // Relaxed: the work waits for the thread that exports, which makes what that wrote visible.
        self.0.store(false, Ordering::Relaxed);
        work().is_ok() && !self.0.load(Ordering::Relaxed)
    }

    fn note(&self, result: OTelSdkResult) -> OTelSdkResult {
        if result.is_err() {
            self.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// Without the exporter, which would show the headers that it sends.
impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.failures.note(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.failures.note(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.exporter.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
