use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
    time::Duration,
};

use futures::FutureExt;
use moneta_resilience::{
    Class, Name, Registry,
    circuit_breaker::CircuitBreakerLayer,
    event::{AttemptKind, CircuitState, Event, FaultKind, Outcome, Source, StoreOperation, StoreResult},
    fault::{Fault, Faults},
    golden, record,
    telemetry::TelemetryLayer,
};
use opentelemetry::global;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics},
};
use tower::{BoxError, Layer, Service, service_fn};

use crate::{SECOND, alone, call};

/// A meter provider and what it was told.
pub(crate) struct Meters {
    pub(crate) provider: SdkMeterProvider,
    pub(crate) exporter: InMemoryMetricExporter,
}

/// Values by name and labels: the value of a total or a state, the count of a histogram.
type Points = BTreeMap<(String, String), u64>;

impl Meters {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    pub(crate) fn set(&self) {
        global::set_meter_provider(self.provider.clone());
    }

    /// What is exported now about the pipeline.
    fn points(&self, pipeline: &str) -> Points {
        self.labelled(&format!("pipeline={pipeline}"))
    }

    /// What is exported now whose labels begin with this one.
    fn labelled(&self, label: &str) -> Points {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let mut points = Points::new();
        for resource in &self.exporter.get_finished_metrics().unwrap() {
            let scopes = resource.scope_metrics().filter(|scope| scope.scope().name() == "moneta-resilience");
            for metric in scopes.flat_map(ScopeMetrics::metrics) {
                for (labels, value) in values(metric.data()) {
                    if let Some(labels) = labels.strip_prefix(label) {
                        let labels = labels.trim_start_matches(',').to_owned();
                        let earlier = points.insert((metric.name().to_owned(), labels), value);
                        assert_eq!(earlier, None, "{} is written twice", metric.name());
                    }
                }
            }
        }
        points
    }

    /// What is exported now under a name that has no pipeline.
    fn shared(&self, name: &str) -> Vec<(String, u64)> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let metrics = self.exporter.get_finished_metrics().unwrap();
        let all = metrics.iter().flat_map(ResourceMetrics::scope_metrics).flat_map(ScopeMetrics::metrics);
        let mut points: Vec<_> =
            all.filter(|metric| metric.name() == name).flat_map(|metric| values(metric.data())).collect();
        points.sort();
        points
    }

    /// The unit of each metric.
    fn units(&self) -> BTreeMap<String, String> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let metrics = self.exporter.get_finished_metrics().unwrap();
        let scopes = metrics.iter().flat_map(ResourceMetrics::scope_metrics);
        let metrics = scopes.flat_map(ScopeMetrics::metrics);
        metrics.map(|metric| (metric.name().to_owned(), metric.unit().to_owned())).collect()
    }
}

/// The points of a metric, each with its labels, the pipeline's name first.
fn values(data: &AggregatedMetrics) -> Vec<(String, u64)> {
    fn labels<'a>(labels: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
        let mut labels: Vec<_> = labels.map(|label| format!("{}={}", label.key, label.value)).collect();
        labels.sort_by_key(|label| (!label.starts_with("pipeline="), label.clone()));
        labels.join(",")
    }
    match data {
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            histogram.data_points().map(|point| (labels(point.attributes()), point.count())).collect()
        }
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            assert!(sum.is_monotonic());
            sum.data_points().map(|point| (labels(point.attributes()), point.value())).collect()
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            assert!(!sum.is_monotonic());
            let value = |value| u64::try_from(value).unwrap();
            sum.data_points().map(|point| (labels(point.attributes()), value(point.value()))).collect()
        }
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
            let value = |value| Duration::from_secs_f64(value).as_secs();
            gauge.data_points().map(|point| (labels(point.attributes()), value(point.value()))).collect()
        }
        other => panic!("no metric of the crate is of this kind: {other:?}"),
    }
}

fn value(points: &Points, name: &str, labels: &str) -> Option<u64> {
    points.get(&(name.to_owned(), labels.to_owned())).copied()
}

fn calls(points: &Points) -> (Option<u64>, Option<u64>) {
    (
        value(points, "resilience.calls", "outcome=success"),
        value(points, "resilience.call.duration", "outcome=success"),
    )
}

#[tokio::test(start_paused = true)]
async fn totals_hold_in_every_order_of_providers() {
    let _alone = alone().await;
    let pipeline = "metrics-order";
    call(pipeline).await;
    let name = Name::new(pipeline).unwrap();
    let cells = Registry::global().cells_by_name().into_iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!(cells.calls(Outcome::Success), 1, "without a provider");

    let first = Meters::new();
    first.set();
    call(pipeline).await;
    assert_eq!(calls(&first.points(pipeline)), (Some(2), Some(1)), "a late one has all but early durations");

    let second = Meters::new();
    second.set();
    call(pipeline).await;
    assert_eq!(calls(&second.points(pipeline)), (Some(3), Some(1)), "another takes over");
    assert_eq!(calls(&first.points(pipeline)), (None, Some(1)), "the one before is not told any more");

    first.set();
    call(pipeline).await;
    assert_eq!(calls(&first.points(pipeline)), (Some(4), Some(2)), "one that comes back is told once");
    assert_eq!(calls(&second.points(pipeline)), (None, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_kept_alive_elsewhere_is_left_in_the_end() {
    let _alone = alone().await;
    let (first, second) = (Meters::new(), Meters::new());
    first.set();
    call("metrics-kept").await;
    let _kept = global::meter_provider();
    second.set();
    for _ in 0..300 {
        call("metrics-kept").await;
    }
    let (total, durations) = calls(&second.points("metrics-kept"));
    assert_eq!(total, Some(301));
    assert!(durations.unwrap() >= 44, "256 calls at most are told to the wrong one: {durations:?}");
}

#[cfg(feature = "slo")]
#[tokio::test(start_paused = true)]
async fn both_results_of_an_objective_are_there_from_zero_on_and_outlive_its_stack() {
    use moneta_resilience::slo::Objective;

    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let builder = golden::client("metrics-slo").timeout(SECOND).no_fallback().without_retry();
    let calls = builder.slo(Objective::new("fresh")).calls();
    let events = || {
        let points = meters.labelled("slo.name=fresh");
        ["good", "bad"].map(|result| value(&points, "slo.events", &format!("slo.result={result}")))
    };
    assert_eq!(events(), [Some(0), Some(0)]);
    calls.run(async || Ok::<_, BoxError>(())).await.unwrap();
    calls.run(async || Err::<(), _>(Error::from(ErrorKind::ConnectionRefused))).await.unwrap_err();
    assert_eq!(events(), [Some(1), Some(1)]);
    drop(calls);
    assert_eq!(events(), [Some(1), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn every_series_of_a_pipeline_is_there_from_zero_on() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let _observer = record::observer(&Name::new("metrics-zero").unwrap());
    let points = meters.points("metrics-zero");
    assert!(points.values().all(|&value| value == 0), "{points:?}");
    let names: BTreeMap<&str, usize> = points.keys().fold(BTreeMap::new(), |mut names, (name, _)| {
        *names.entry(name).or_default() += 1;
        names
    });
    let expected = BTreeMap::from([
        ("resilience.attempts", 2),
        ("resilience.bulkhead.refused", 1),
        ("resilience.calls", 10),
        ("resilience.deadlines.expired", 1),
        ("resilience.deadlines.malformed", 1),
        ("resilience.fallback.calls", 2),
        ("resilience.fault.injections", 11),
        ("resilience.load_shed.refused", 2),
        ("resilience.priorities.malformed", 1),
        ("resilience.retry.calls", 4),
        ("resilience.retry.gave_up", 5),
        ("resilience.timeouts", 3),
    ]);
    assert_eq!(names, expected);
}

#[tokio::test]
async fn only_a_stack_that_asks_for_it_records_how_long_its_attempts_took() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let asking = golden::client("attempts-asked").timeout(SECOND).no_fallback().sink(record::attempts());
    let silent = golden::client("attempts-silent").timeout(SECOND).no_fallback();
    for calls in [asking.calls(), silent.calls()] {
        calls.run(|| async { Ok::<_, Error>(()) }).await.unwrap();
    }
    let points = meters.points("attempts-asked");
    assert_eq!(value(&points, "resilience.attempt.duration", "outcome=success"), Some(1));
    let points = meters.points("attempts-silent");
    assert_eq!(value(&points, "resilience.attempt.duration", "outcome=success"), None);
    assert_eq!(value(&points, "resilience.call.duration", "outcome=success"), Some(1));
}

#[tokio::test]
async fn durations_are_told_in_seconds_with_the_labels_they_have() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let (sink, name) = (record::otel(), Name::new("metrics-durations").unwrap());
    let elapsed = Duration::from_millis(40);
    sink.record(
        &name,
        &Event::CallFinished { outcome: Outcome::Degraded, elapsed, synthetic: false, injected: false },
    );
    sink.record(
        &name,
        &Event::AttemptFinished { attempt: 2, kind: AttemptKind::Retry, outcome: Outcome::Timeout, elapsed },
    );
    sink.record(&name, &Event::BulkheadWaited { elapsed });
    let (operation, result) = (StoreOperation::Renew, StoreResult::Fenced);
    sink.record(&name, &Event::StoreAsked { operation, result, elapsed });

    let points = meters.points("metrics-durations");
    assert_eq!(value(&points, "resilience.call.duration", "outcome=degraded"), Some(1));
    assert_eq!(value(&points, "resilience.attempt.duration", "outcome=timeout"), Some(1));
    assert_eq!(value(&points, "resilience.bulkhead.wait.duration", ""), Some(1));
    let renewed = value(&points, "resilience.idempotency.store.duration", "operation=renew,result=fenced");
    assert_eq!(renewed, Some(1));
    for (name, unit) in meters.units() {
        assert_eq!(unit == "s", name.ends_with(".duration"), "{name} is in {unit}");
    }
    let metrics = meters.exporter.get_finished_metrics().unwrap();
    let metrics = metrics.iter().flat_map(ResourceMetrics::scope_metrics).flat_map(ScopeMetrics::metrics);
    for metric in metrics.filter(|metric| metric.unit() == "s") {
        let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else { panic!() };
        let point = histogram.data_points().next().unwrap();
        assert!((point.sum() - 0.04).abs() < 1e-9);
        assert_eq!(point.bounds().take(3).collect::<Vec<_>>(), [0.005, 0.01, 0.025]);
        assert_eq!(point.bounds().last(), Some(10.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_series_exist_allocates_nothing() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let work = service_fn(|()| async { Ok::<_, BoxError>(()) });
    let mut service = TelemetryLayer::new("metrics-allocations").layer(work);
    let mut call = || service.call(()).now_or_never().unwrap().unwrap();
    call();
    assert_eq!(allocation_counter::measure(call).count_total, 0);
    assert_eq!(calls(&meters.points("metrics-allocations")), (Some(2), Some(2)));
}

/// Peers' failure: a state that the breaker has left stays at 1.
#[tokio::test(start_paused = true)]
async fn a_state_that_is_left_goes_back_to_zero() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let pipeline = "metrics-left";
    let breaker = CircuitBreakerLayer::new().consecutive_failures(1).probes(1);
    let ledger = golden::client(pipeline).timeout(SECOND).no_fallback().circuit_breaker(breaker).calls();
    let state = || {
        let points = meters.points(pipeline);
        let states = CircuitState::ALL.map(|state| {
            let labels = format!("state={}", state.as_str());
            (state, value(&points, "resilience.circuit_breaker.state", &labels).expect("always written"))
        });
        assert_eq!(states.iter().map(|state| state.1).sum::<u64>(), 1, "{states:?}");
        states.iter().find(|state| state.1 == 1).unwrap().0
    };
    let call = async |result: Result<(), ErrorKind>| {
        let _ = ledger.run(async || result.map_err(Error::from)).await;
    };
    let probe_at = || ledger.handle().circuit_breaker().unwrap().snapshot().next_probe.unwrap();

    assert_eq!(state(), CircuitState::Closed);
    call(Err(ErrorKind::ConnectionRefused)).await;
    assert_eq!(state(), CircuitState::Open);
    tokio::time::sleep(probe_at()).await;
    let mut hang = tokio_test::task::spawn(ledger.run(std::future::pending::<Result<(), Error>>));
    assert!(hang.poll().is_pending());
    assert_eq!(state(), CircuitState::HalfOpen);
    drop(hang);
    assert_eq!(state(), CircuitState::Open, "as many probes as there are were abandoned");
    tokio::time::sleep(probe_at()).await;
    call(Ok(())).await;
    assert_eq!(state(), CircuitState::Recovering);
    tokio::time::sleep(5 * SECOND).await;
    call(Ok(())).await;
    assert_eq!(state(), CircuitState::Closed);
    for by_hand in [CircuitState::ForcedOpen, CircuitState::Disabled] {
        let handle = ledger.handle();
        let breaker = handle.circuit_breaker().unwrap();
        if by_hand == CircuitState::Disabled {
            breaker.disable();
        } else {
            breaker.force_open();
        }
        assert_eq!(state(), by_hand);
        breaker.reset();
        assert_eq!(state(), CircuitState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn injections_are_told_by_their_experiment_once_there_are_some() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let pipeline = "metrics-experiments";
    let faults = Faults::new();
    let builder =
        golden::client(pipeline).timeout(SECOND).no_fallback().without_retry().faults(faults.clone());
    let (ledger, _sink) = (builder.calls(), record::otel());
    let injections = || {
        let mut points = meters.points(pipeline);
        points.retain(|(name, labels), _| {
            name == "resilience.fault.injections" && (labels.contains("fault=error") || labels.contains(','))
        });
        points.into_iter().map(|((_, labels), value)| (labels, value)).collect::<Vec<_>>()
    };
    let point = |labels: &str, value| (labels.to_owned(), value);

    // Armed is not hit.
    let armed = faults.arm(Fault::error(Class::TRANSIENT).experiment("broken-ledger"));
    assert_eq!(injections(), [point("fault=error", 0)]);
    for (experiment, expected) in [
        ("broken-ledger", vec![point("experiment=broken-ledger,fault=error", 1), point("fault=error", 0)]),
        ("", vec![point("experiment=broken-ledger,fault=error", 1), point("fault=error", 1)]),
    ] {
        faults.disarm();
        faults.arm(Fault::error(Class::TRANSIENT).experiment(experiment));
        ledger.run(async || Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!(injections(), expected);
    }
    assert_eq!(armed.hit(), 0);
    assert_eq!(ledger.handle().counts().faults(FaultKind::Error), 2, "both together");

    // A name that is no label is not made one.
    faults.disarm();
    faults.arm(Fault::error(Class::TRANSIENT).experiment(&"x".repeat(65)));
    ledger.run(async || Ok::<_, Error>(())).await.unwrap_err();
    assert!(injections().contains(&point("experiment=_other,fault=error", 1)));
}

#[tokio::test(start_paused = true)]
async fn a_stack_shows_its_states_and_what_its_layers_counted() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let pipeline = "metrics-stack";
    let faults = Faults::new();
    let build = |bulkhead| golden::client(pipeline).timeout(30 * SECOND).no_fallback().bulkhead(bulkhead);
    let (ledger, other) = (build(2).faults(faults.clone()).calls(), build(3).calls());
    let _sink = record::otel();
    let state = |points: &Points| {
        let states = ["closed", "open", "half_open", "recovering", "forced_open", "disabled"];
        let metric = "resilience.circuit_breaker.state";
        let values = states.map(|state| value(points, metric, &format!("state={state}")).unwrap());
        assert_eq!(values.iter().sum::<u64>(), 1, "{values:?}");
        states[values.iter().position(|&value| value == 1).unwrap()]
    };

    let points = meters.points(pipeline);
    assert_eq!(state(&points), "closed");
    assert_eq!(value(&points, "resilience.bulkhead.limit", ""), Some(5), "both stacks' places");
    assert_eq!(value(&points, "resilience.bulkhead.usage", ""), Some(0));
    assert_eq!(value(&points, "resilience.bulkhead.queued", ""), Some(0));
    assert_eq!(value(&points, "resilience.circuit_breaker.transitions", "from=closed,to=open"), Some(0));

    faults.arm(Fault::error(Class::TRANSIENT));
    let error = ledger.run_repeatable(|| async { Ok::<_, std::io::Error>(()) }).await;
    error.unwrap_err();
    let points = meters.points(pipeline);
    assert_eq!(value(&points, "resilience.calls", "outcome=transient"), Some(1));
    assert_eq!(value(&points, "resilience.attempts", "attempt.type=first"), Some(1));
    assert_eq!(value(&points, "resilience.attempts", "attempt.type=retry"), Some(2));
    assert_eq!(value(&points, "resilience.attempts", "attempt.type=hedge"), None, "there is no hedge");
    assert_eq!(value(&points, "resilience.retry.calls", "result=exhausted"), Some(1));
    assert_eq!(value(&points, "resilience.retry.gave_up", "reason=exhausted"), Some(1));
    assert_eq!(value(&points, "resilience.retry.gave_up", "reason=budget"), Some(0));
    assert_eq!(value(&points, "resilience.fault.injections", "fault=error"), Some(3));
    assert_eq!(value(&points, "resilience.circuit_breaker.calls", "result=failure"), Some(3));

    other.handle().circuit_breaker().unwrap().disable();
    assert_eq!(state(&meters.points(pipeline)), "disabled", "worth more notice than closed");
    ledger.handle().circuit_breaker().unwrap().force_open();
    let points = meters.points(pipeline);
    assert_eq!(state(&points), "forced_open", "the most severe state of the name");
    let transitions = "resilience.circuit_breaker.transitions";
    assert_eq!(value(&points, transitions, "from=closed,to=forced_open"), Some(1));

    drop((ledger, other));
    let points = meters.points(pipeline);
    assert_eq!(value(&points, "resilience.bulkhead.limit", ""), None, "nobody is there to be limited");
    assert_eq!(value(&points, "resilience.attempts", "attempt.type=retry"), Some(2), "totals stay");
}

#[tokio::test(start_paused = true)]
async fn messages_are_measured_by_the_conventions() {
    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let worker = golden::consumer("metrics-messages")
        .timeout(SECOND)
        .source(Source::new("redis", "invoices").group("payments"))
        .dead_letter(|_: bool, _| async { Ok::<_, BoxError>(()) })
        .service(service_fn(
            async |good: bool| if good { Ok(()) } else { Err(BoxError::from("no such account")) },
        ));
    for good in [true, true, false] {
        _ = worker.deliver(good).await;
    }
    let labels = "messaging.consumer.group.name=payments,messaging.destination.name=invoices,\
                  messaging.operation.name=process,messaging.system=redis";
    let expected = vec![(format!("error.type=fault,{labels}"), 1), (labels.to_owned(), 2)];
    assert_eq!(meters.shared("messaging.process.duration"), expected);
    assert_eq!(meters.shared("messaging.client.consumed.messages"), expected);
    let units = meters.units();
    assert_eq!(units["messaging.process.duration"], "s");
    assert_eq!(units["messaging.client.consumed.messages"], "{message}");
    let points = meters.points("metrics-messages");
    assert_eq!(value(&points, "resilience.deliveries", "result=ack"), Some(2));
    assert_eq!(value(&points, "resilience.deliveries", "result=dead_lettered"), Some(1));
    assert_eq!(value(&points, "resilience.dead_letters.failed", ""), Some(0));
}

#[cfg(feature = "idempotency")]
#[tokio::test(start_paused = true)]
async fn a_server_with_keys_shows_what_became_of_them_and_the_oldest_doubt_once_it_is_watched() {
    use http::{Request, Response};
    use moneta_resilience::idempotency::MemoryStore;
    use tower::ServiceExt;

    let _alone = alone().await;
    let meters = Meters::new();
    meters.set();
    let pipeline = "metrics-keys";
    let build = || golden::server(pipeline).timeout(SECOND).idempotency(MemoryStore::new()).layer();
    let (layer, other) = (build(), build());
    let app = layer.layer(service_fn(|_| async { Ok::<_, BoxError>(Response::new(String::from("paid"))) }));
    for body in ["100 CHF", "100 CHF", "7 CHF"] {
        let request =
            Request::post("/payments").header("idempotency-key", "k1").body(body.to_owned()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    }
    let points = meters.points(pipeline);
    for outcome in ["executed", "replayed", "mismatch"] {
        let outcome = format!("outcome={outcome}");
        assert_eq!(value(&points, "resilience.idempotency.outcomes", &outcome), Some(1), "{outcome}");
    }
    let asked = |labels| value(&points, "resilience.idempotency.store.duration", labels);
    assert_eq!(asked("operation=claim,result=ok"), Some(3));
    assert_eq!(asked("operation=complete,result=ok"), Some(1));
    assert_eq!(value(&points, "resilience.idempotency.oldest_in_doubt", ""), None, "nobody watches");

    assert!(other.handle().watch_doubts(SECOND).now_or_never().is_none());
    let points = meters.points(pipeline);
    assert_eq!(value(&points, "resilience.idempotency.oldest_in_doubt", ""), Some(0));
    assert_eq!(meters.units()["resilience.idempotency.oldest_in_doubt"], "s");
}
