//! What arrives at the recorder of the `metrics` crate. A binary of its own, because the backend is the process's.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Error, ErrorKind},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use moneta_resilience::{
    Name, Registry,
    circuit_breaker::CircuitBreakerLayer,
    event::{AttemptKind, Event, Outcome, StoreOperation, StoreResult},
    golden::{self, Calls},
    record::{self, Backend},
};

const SECOND: Duration = Duration::from_secs(1);

fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    builder.set_buckets(&record::BUCKETS).unwrap().build_recorder()
}

/// The exporter of the process, which is there from now on, with the backend chosen for it.
fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    chosen();
    HANDLE.get_or_init(|| {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).unwrap();
        handle
    })
}

fn chosen() {
    record::choose(Backend::Metrics).expect("no test chooses another");
}

/// Tests that look at the recorder before and after it is there take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The series of the pipeline in a page, without its label, and their values.
fn series(page: &str, pipeline: &str) -> BTreeMap<String, String> {
    let label = format!("pipeline=\"{pipeline}\"");
    let lines = page.lines().filter(|line| line.contains(&label));
    let values = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.replace(&label, "").replace("{,", "{").replace("{}", ""), value.to_owned())
    });
    values.collect()
}

fn published(pipeline: &str) -> BTreeMap<String, String> {
    let handle = prometheus();
    Registry::global().publish();
    series(&handle.render(), pipeline)
}

fn ledger(pipeline: &str) -> Calls {
    let breaker = CircuitBreakerLayer::new().consecutive_failures(1);
    let builder = golden::client(pipeline).timeout(SECOND).no_fallback().without_retry();
    builder.circuit_breaker(breaker).bulkhead(7).sink(record::attempts()).calls()
}

async fn call(ledger: &Calls, result: Result<(), ErrorKind>) {
    let _ = ledger.run(async || result.map_err(Error::from)).await;
}

/// Runs on a paused clock.
fn paused(work: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work);
}

#[test]
fn totals_of_calls_before_there_was_a_recorder_are_not_lost() {
    let _alone = alone();
    chosen();
    paused(async {
        let ledger = ledger("before");
        call(&ledger, Ok(())).await;
        Registry::global().publish();
        let _ = prometheus();
        call(&ledger, Ok(())).await;
        let series = published("before");
        assert_eq!(series[r#"resilience_calls_total{outcome="success"}"#], "2");
        let durations =
            series[r#"resilience_call_duration_seconds_count{outcome="success"}"#].parse::<u32>().unwrap();
        assert!((1..=2).contains(&durations), "from the recorder on: {durations}");
    });
}

#[test]
fn a_stack_shows_its_states_and_what_its_layers_counted() {
    let _alone = alone();
    paused(async {
        let _ = prometheus();
        let ledger = ledger("stack");
        let at_first = published("stack");
        let open = r#"resilience_circuit_breaker_state{state="open"}"#;
        assert_eq!((&*at_first[open], &*at_first["resilience_bulkhead_limit"]), ("0", "7"));
        assert_eq!(at_first[r#"resilience_calls_total{outcome="transient"}"#], "0", "from 0 on");

        call(&ledger, Err(ErrorKind::ConnectionRefused)).await;
        call(&ledger, Ok(())).await;
        let series = published("stack");
        assert_eq!(series[open], "1");
        let calls = |outcome: &str| &*series[&format!(r#"resilience_calls_total{{outcome="{outcome}"}}"#)];
        assert_eq!((calls("transient"), calls("rejected"), calls("success")), ("1", "1", "0"));
        assert_eq!(series[r#"resilience_circuit_breaker_transitions_total{from="closed",to="open"}"#], "1");
        assert_eq!(series[r#"resilience_attempt_duration_seconds_count{outcome="transient"}"#], "1");

        drop(ledger);
        let series = published("stack");
        assert_eq!((&*series[open], &*series["resilience_bulkhead_limit"]), ("0", "0"), "it is gone");
        assert_eq!(series[r#"resilience_calls_total{outcome="transient"}"#], "1", "totals are not");
    });
}

#[test]
fn durations_are_told_in_seconds_with_the_labels_they_have() {
    let recorder = recorder();
    let (sink, name, elapsed) =
        (record::metrics(), Name::new("durations").unwrap(), Duration::from_millis(40));
    metrics::with_local_recorder(&recorder, || {
        sink.record(
            &name,
            &Event::CallFinished { outcome: Outcome::Degraded, elapsed, synthetic: false, injected: false },
        );
        let attempt = Event::AttemptFinished {
            attempt: 2,
            kind: AttemptKind::Retry,
            outcome: Outcome::Timeout,
            elapsed,
        };
        sink.record(&name, &attempt);
        sink.record(&name, &Event::BulkheadWaited { elapsed });
        let (operation, result) = (StoreOperation::Renew, StoreResult::Fenced);
        sink.record(&name, &Event::StoreAsked { operation, result, elapsed });
        Registry::new().publish();
    });
    // A second recorder takes what is told to it, and no handle is left from the first.
    let other = self::recorder();
    metrics::with_local_recorder(&other, || {
        sink.record(&name, &Event::BulkheadWaited { elapsed });
        Registry::new().publish();
    });
    let (page, other) = (recorder.handle().render(), other.handle().render());
    let series = series(&page, "durations");
    for (name, labels) in [
        ("resilience_call_duration_seconds", r#"{outcome="degraded"}"#),
        ("resilience_attempt_duration_seconds", r#"{outcome="timeout"}"#),
        ("resilience_bulkhead_wait_duration_seconds", ""),
        ("resilience_idempotency_store_duration_seconds", r#"{operation="renew",result="fenced"}"#),
    ] {
        assert_eq!(series[&format!("{name}_sum{labels}")], "0.04", "{name}");
        assert_eq!(series[&format!("{name}_count{labels}")], "1", "{name}");
        assert!(page.contains(&format!("# TYPE {name} histogram")), "{page}");
        assert!(page.contains(&format!("# HELP {name} How long ")), "{page}");
    }
    let buckets: BTreeSet<_> =
        page.lines().filter_map(|line| Some(line.split_once("le=\"")?.1.split_once('"')?.0)).collect();
    let expected: BTreeSet<_> =
        record::BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect();
    assert_eq!(buckets, expected.iter().map(String::as_str).collect());
    assert_eq!(self::series(&other, "durations")["resilience_bulkhead_wait_duration_seconds_count"], "1");
}

#[test]
fn two_registries_do_not_write_over_each_others_states() {
    let recorder = recorder();
    let (first, second) = (Registry::new(), Registry::new());
    let build = |name: &str, registry: &Registry| {
        golden::client(name).timeout(SECOND).no_fallback().registry(registry).bulkhead(7).calls()
    };
    let (_a, _b) = (build("of-the-first", &first), build("of-the-second", &second));
    metrics::with_local_recorder(&recorder, || {
        first.publish();
        second.publish();
        first.publish();
    });
    let page = recorder.handle().render();
    for name in ["of-the-first", "of-the-second"] {
        assert_eq!(series(&page, name)["resilience_bulkhead_limit"], "7");
    }
}

#[cfg(feature = "http")]
#[test]
fn requests_over_the_wire_are_measured_at_both_ends() {
    use std::{convert::Infallible, future::pending};

    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};

    type Body = http_body_util::Empty<bytes::Bytes>;

    let _alone = alone();
    let _ = prometheus();
    let page = || {
        Registry::global().publish();
        prometheus().render()
    };
    let has =
        |page: &str, line: &str| assert!(page.lines().any(|known| known == line), "no {line} in {page}");
    let server = golden::server("wire-server").timeout(SECOND).layer();
    let client = golden::client("wire-client").timeout(SECOND).no_fallback();
    let client = client.http(service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::new())) }));
    paused(async {
        let hangs =
            server.layer(service_fn(|_: Request<()>| pending::<Result<Response<Body>, Infallible>>()));
        let mut call = tokio_test::task::spawn(hangs.oneshot(Request::get("/payments/7").body(()).unwrap()));
        assert!(call.poll().is_pending());
        let active = r#"http_server_active_requests{http_request_method="GET",url_scheme="http"}"#;
        has(&page(), &format!("{active} 1"));
        drop(call);
        has(&page(), &format!("{active} 0"));
        client.send(Request::get("http://ledger:8080/accounts/7").body(()).unwrap()).await.unwrap();
    });
    let page = page();
    has(
        &page,
        r#"http_server_request_duration_seconds_count{http_request_method="GET",network_protocol_version="1.1",url_scheme="http"} 1"#,
    );
    let labels = r#"http_request_method="GET",http_response_status_code="200",network_protocol_version="1.1",server_address="ledger",server_port="8080""#;
    has(&page, &format!("http_client_request_duration_seconds_count{{{labels}}} 1"));
    has(&page, r#"http_client_active_requests{server_address="ledger",server_port="8080"} 0"#);
    has(&page, "# TYPE http_client_request_duration_seconds histogram");
    has(&page, "# TYPE http_client_active_requests gauge");
}

#[cfg(feature = "idempotency")]
#[test]
fn the_oldest_doubt_is_told_in_seconds_while_somebody_watches() {
    use futures::FutureExt;
    use moneta_resilience::idempotency::{Ask, Fingerprint, Identity, LeaseOver, MemoryStore, Owner, Store};

    let _alone = alone();
    let oldest = || published("doubts").get("resilience_idempotency_oldest_in_doubt_seconds").cloned();
    paused(async {
        let _ = prometheus();
        let store = MemoryStore::new();
        let layer = golden::server("doubts").timeout(SECOND).idempotency(store.clone()).layer();
        let (id, owner) = (Identity::of(b"", b"", b"k1"), Owner::random());
        let fingerprint = Fingerprint::of([&b"100 CHF"[..]]);
        let ask = Ask { owner, fingerprint, lease: SECOND, lease_over: LeaseOver::InDoubt };
        store.claim(id, ask).await.unwrap();
        store.doubt(id, owner).await.unwrap();
        assert_eq!(oldest(), None, "nobody watches");
        tokio::time::advance(3 * SECOND / 2).await;
        assert!(layer.handle().watch_doubts(SECOND).now_or_never().is_none());
        assert_eq!(oldest().as_deref(), Some("1.5"));
    });
}

#[cfg(feature = "logs")]
#[test]
fn lines_of_logs_that_are_lost_are_a_total_of_the_process() {
    use tracing_subscriber::layer::SubscriberExt;

    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let (json, guard) = record::log::JsonLines::new("payments").write_to(Full).unwrap();
    let subscriber = tracing_subscriber::registry().with(json);
    tracing::subscriber::with_default(subscriber, || tracing::info!("lost"));
    assert!(guard.flush(600 * SECOND));
    let recorder = recorder();
    metrics::with_local_recorder(&recorder, || Registry::new().publish());
    let page = recorder.handle().render();
    assert!(page.contains("\nresilience_log_dropped_total 1\n"), "{page}");
}

#[test]
fn a_backend_that_is_in_use_is_not_changed() {
    let _alone = alone();
    chosen();
    chosen();
    #[cfg(feature = "otel")]
    for other in [Backend::Otel, Backend::Both] {
        let refused = record::choose(other).unwrap_err();
        assert_eq!(refused, record::BackendInUse(Backend::Metrics));
        assert!(refused.to_string().contains("Metrics already"));
    }
}

/// OpenTelemetry, which is in the build, is told nothing.
#[cfg(feature = "otel")]
#[test]
fn the_other_backend_is_not_told() {
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    let _alone = alone();
    chosen();
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    opentelemetry::global::set_meter_provider(provider.clone());
    paused(async { call(&ledger("alone"), Ok(())).await });
    provider.force_flush().unwrap();
    let told = exporter.get_finished_metrics().unwrap();
    assert!(told.iter().all(|resource| resource.scope_metrics().next().is_none()), "{told:?}");
}

#[test]
fn a_duration_whose_series_exist_allocates_nothing_of_ours() {
    /// As cheap as a recorder can be: what is counted is what the sink does.
    struct Recorder(std::sync::Arc<Histogram>);
    struct Histogram(std::sync::atomic::AtomicU32);
    impl metrics::HistogramFn for Histogram {
        fn record(&self, _: f64) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_histogram(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }
        fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
            metrics::Counter::noop()
        }
        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            metrics::Gauge::noop()
        }
        fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
            // As real ones do when they look it up.
            drop(key.to_retained());
            metrics::Histogram::from_arc(self.0.clone())
        }
    }

    let recorder = Recorder(std::sync::Arc::new(Histogram(0.into())));
    let (sink, name) = (record::metrics(), Name::new("allocations").unwrap());
    let event =
        Event::CallFinished { outcome: Outcome::Success, elapsed: SECOND, synthetic: false, injected: false };
    let count = metrics::with_local_recorder(&recorder, || {
        sink.record(&name, &event);
        allocation_counter::measure(|| sink.record(&name, &event)).count_total
    });
    assert_eq!((count, recorder.0.0.load(std::sync::atomic::Ordering::Relaxed)), (0, 2));
}

#[cfg(feature = "slo")]
#[test]
fn the_events_of_an_objective_are_published_from_zero_on() {
    use moneta_resilience::slo::{ErrorBudget, Injected, Objective};

    let _alone = alone();
    let budget = ErrorBudget::new(Objective::new("published")).export();
    let apart = ErrorBudget::new(Objective::new("apart").injected(Injected::Separate)).export();
    let events = || {
        let prometheus = prometheus();
        Registry::global().publish();
        let page = prometheus.render();
        ["bad", "good"].map(|result| {
            let series = format!("slo_events_total{{slo_name=\"published\",slo_result=\"{result}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
        })
    };
    assert_eq!(events(), ["0", "0"].map(|count| Some(count.to_owned())));
    budget.record(true);
    budget.record(true);
    budget.record(false);
    assert_eq!(events(), ["1", "2"].map(|count| Some(count.to_owned())));
    let page = prometheus().render();
    let mut injected: Vec<_> = page.lines().filter(|line| line.starts_with("slo_injected_total")).collect();
    injected.sort_unstable();
    let series = ["bad", "good"]
        .map(|result| format!("slo_injected_total{{slo_name=\"apart\",slo_result=\"{result}\"}} 0"));
    assert_eq!(injected, series, "the other one has none");
    drop(apart);
}
