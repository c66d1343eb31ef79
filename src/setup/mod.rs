//! OpenTelemetry, set up for a service: in `main`, in one line.
//!
//! ```no_run
//! # struct Server; impl Server { fn run(self) {} } fn server() -> Server { Server }
//! use moneta_resilience::Telemetry;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let _telemetry = Telemetry::init("payments")?;
//!     server().run();
//!     Ok(())
//! } // what is not exported yet is, now
//! ```
//!
//! The features say what there is: with `prometheus` the metrics can be scraped (`Telemetry::scraper`), with `otlp` spans,
//! metrics and logs go to a collector. The environment says the rest, as it does for every service that uses
//! OpenTelemetry: `docs/telemetry.md` lists the variables. What of them means nothing is ignored, and told by
//! [`Telemetry::ignored`].
//!
//! A service that has OpenTelemetry set up by other means needs none of this: the global providers are used.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | name of the service | as given, unless `OTEL_SERVICE_NAME`, or `service.name` in `OTEL_RESOURCE_ATTRIBUTES`, says another |
//! | exporters | all that the features bring |
//! | propagators | W3C trace context and baggage |
//! | sampling | all traces that the caller did not decide about, and those that it wants |
//! | latency thresholds | none |
//! | sizes of bodies | not measured |
//! | shutdown deadline | 5 s |
//!
//! # A collector that is dead
//!
//! It slows no call down and blocks none: what is to be exported waits in bounded queues, threads of their own take it
//! from there, and what does not fit is dropped. The end of the process waits for it until the deadline, and no longer.

mod environment;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "no_otlp.rs"]
mod otlp;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(not(feature = "prometheus"))]
#[path = "no_prometheus.rs"]
mod prometheus;
mod shutdown;
#[cfg(feature = "otlp")]
mod watched;

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider, Stream},
    resource::TelemetryResourceDetector,
};

use tracing::warn;

use self::{
    environment::{Environment, Variables},
    otlp::{Logs, Otlp},
    prometheus::Prometheus,
    shutdown::Shutdown,
};
use crate::{
    error::BoxError,
    random,
    record::{self, Binding, OtelSettings},
    registry::Registry,
    telemetry,
};

#[cfg(feature = "prometheus")]
pub use self::prometheus::Scraper;

/// OpenTelemetry, set up for the process, for as long as this lives.
///
/// # Cancellation
///
/// Dropping it is [`shutdown`](Self::shutdown).
#[must_use = "telemetry ends when this is dropped"]
pub struct Telemetry {
    #[cfg_attr(not(feature = "prometheus"), expect(dead_code, reason = "nobody scrapes"))]
    prometheus: Prometheus,
    #[cfg_attr(not(all(feature = "otlp", feature = "logs")), expect(dead_code, reason = "there are none"))]
    logs: Logs,
    ignored: Vec<Ignored>,
    shutdown: Shutdown,
    /// Whether everything was handed over in the end.
    flushed: OnceLock<bool>,
    _only: Only,
}

/// How [`Telemetry`] is to be set up, beyond what the environment says.
#[must_use = "it does nothing until `init`"]
#[derive(Clone, Debug)]
pub struct TelemetryBuilder {
    service: String,
    version: Option<String>,
    latency_thresholds: Vec<Duration>,
    body_sizes: bool,
    shutdown_deadline: Duration,
}

/// Why telemetry could not be set up. Nothing was: the global providers are what they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// It is set up already. There is one in a process at a time.
    #[error("telemetry is set up already, and what `Telemetry::init` gave is still alive")]
    AlreadySetUp,
    /// The environment asks for a protocol that this build does not speak.
    #[error("{variable} asks for `{protocol}`: this build speaks `http/protobuf`")]
    Protocol {
        /// The variable that asks for it.
        variable: String,
        /// What it asks for.
        protocol: String,
    },
    /// The environment sends a signal somewhere where nothing can be sent. What it says is not shown, because there may be a
    /// password in it.
    #[error("{variable} is no URL of a collector, such as `http://collector:4318`")]
    Endpoint {
        /// The variable that says so.
        variable: String,
    },
    /// An exporter cannot be made of what the environment says.
    #[error("the {signal} cannot be exported")]
    Exporter {
        /// Of what: `spans`, `metrics`, `logs`.
        signal: &'static str,
        /// Why not.
        source: BoxError,
    },
}

/// Something that a variable says and that means nothing: it is as if it had not been said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ignored {
    /// The name of the variable.
    pub variable: String,
    /// What is wrong with it. It holds no header, and nothing else that may be a secret.
    pub why: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ignored: {}", self.variable, self.why)
    }
}

impl Telemetry {
    /// Sets OpenTelemetry up for the service `service`.
    ///
    /// It becomes the global meter and tracer provider and the global propagator, in the place of those that were set
    /// before. It needs no runtime, and works inside of one.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn init(service: &str) -> Result<Self, SetupError> {
        Self::builder(service).init()
    }

    /// The same with something more to say: finish with [`init`](TelemetryBuilder::init).
    pub fn builder(service: &str) -> TelemetryBuilder {
        TelemetryBuilder {
            service: service.to_owned(),
            version: None,
            latency_thresholds: Vec::new(),
            body_sizes: false,
            shutdown_deadline: TelemetryBuilder::SHUTDOWN_DEADLINE,
        }
    }

    /// What of the environment was ignored. It was told through `tracing` as well, which nobody heard if the subscriber was
    /// set up afterwards: log it then.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let telemetry = moneta_resilience::Telemetry::init("payments")?;
    /// // ... the subscriber ...
    /// for ignored in telemetry.ignored() {
    ///     tracing::warn!("{ignored}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Exports what is not exported yet, and ends: what is measured afterwards goes nowhere. Gives whether all of it was
    /// handed over before the deadline.
    ///
    /// It blocks the thread until then. In async code, where that matters, it belongs into `spawn_blocking`.
    ///
    /// Another time it does nothing, and gives what it gave.
    pub fn shutdown(&self) -> bool {
        *self.flushed.get_or_init(|| self.shutdown.run())
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl TelemetryBuilder {
    /// How long the end of it may take, unless [`shutdown_deadline`](Self::shutdown_deadline) says something else.
    pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

    /// The version of the service, such as `env!("CARGO_PKG_VERSION")`. `service.version` in `OTEL_RESOURCE_ATTRIBUTES`
    /// goes before it.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Latencies that are to be told apart exactly, such as those of service level objectives: each becomes a bound of the
    /// buckets of every histogram of durations, beside those that are there.
    ///
    /// A bound that is not there when the service starts cannot be added later.
    ///
    /// # Panics
    ///
    /// When one is zero.
    #[track_caller]
    pub fn latency_thresholds(mut self, thresholds: impl IntoIterator<Item = Duration>) -> Self {
        self.latency_thresholds = thresholds.into_iter().collect();
        assert!(
            !self.latency_thresholds.contains(&Duration::ZERO),
            "a latency threshold is longer than zero"
        );
        self
    }

    /// Measures the sizes of the bodies of HTTP requests and answers as well.
    pub fn body_sizes(mut self) -> Self {
        self.body_sizes = true;
        self
    }

    /// How long the end of it may take at most, however the collector is.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// Sets OpenTelemetry up.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn init(self) -> Result<Telemetry, SetupError> {
        let only = Only::one()?;
        let mut variables = Variables::new(&|name| std::env::var(name).ok());
        let environment = Environment::read(&mut variables);
        let mut shutdown = Shutdown::within(self.shutdown_deadline);
        let (prometheus, logs) = if environment.disabled {
            (Prometheus::none(), Logs::none())
        } else {
            self.start(&environment, &mut variables, &mut shutdown)?
        };
        global::set_text_map_propagator(environment.propagator());
        let ignored = variables.ignored;
        for ignored in &ignored {
            warn!(variable = ignored.variable, "{ignored}");
        }
        Ok(Telemetry { prometheus, logs, ignored, shutdown, flushed: OnceLock::new(), _only: only })
    }

    fn start(
        &self,
        environment: &Environment,
        variables: &mut Variables<'_>,
        shutdown: &mut Shutdown,
    ) -> Result<(Prometheus, Logs), SetupError> {
        let resource = self.resource(environment);
        let mut otlp = Otlp::new(environment, variables)?;
        let prometheus = if environment.metrics.is_empty() {
            Prometheus::none()
        } else {
            let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_view(room);
            let (meters, prometheus) = prometheus::read(otlp.read(meters), environment)?;
            self.measure(meters.build(), shutdown);
            prometheus
        };
        Ok((prometheus, otlp.start(&resource, shutdown)))
    }

    fn measure(&self, meters: SdkMeterProvider, shutdown: &mut Shutdown) {
        record::otel_with(OtelSettings {
            bounds: self.latency_thresholds.iter().copied().map(seconds).collect(),
            body_sizes: self.body_sizes,
        });
        global::set_meter_provider(Binding(meters.clone()));
        if record::tells_otel() {
            // Its instruments are made before the first call, so that states show up without one.
            record::otel();
        }
        shutdown.add(move |within| meters.shutdown_with_timeout(within).is_ok());
    }

    /// Who it is that tells. What the environment says goes before what the code does.
    fn resource(&self, environment: &Environment) -> Resource {
        let version = self.version.clone().map(|version| KeyValue::new("service.version", version));
        let instance = KeyValue::new("service.instance.id", format!("{:032x}", random::unique()));
        Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_service_name(self.service.clone())
            .with_attributes(version.into_iter().chain([instance]))
            .with_attributes(environment.resource())
            .build()
    }
}

/// Room for the series of all pipelines: the SDK has room for 2000 of a metric, which are those of 180 pipelines, and of totals
/// that have none it keeps the last alone.
fn room(instrument: &Instrument) -> Option<Stream> {
    /// A call of a pipeline has ten outcomes, and its fault hook eleven faults.
    const OF_A_NAME: usize = 14;

    let of_names = instrument.scope() == &telemetry::scope() && instrument.name().starts_with("resilience.");
    let stream = Stream::builder().with_cardinality_limit((Registry::MAX_NAMES + 1) * OF_A_NAME);
    of_names.then(|| stream.build().ok()).flatten()
}

/// The number nearest to a duration in seconds. `as_secs_f64` makes 1.1179999999999999 of 1118 ms, being a sum of two that
/// were rounded, and a bucket would be called so.
#[expect(clippy::cast_precision_loss, reason = "no threshold lasts for the 104 days that 2^53 ns are")]
fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("flushed", &self.flushed.get()).finish_non_exhaustive()
    }
}

/// The one that there can be in a process.
struct Only;

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Only {
    fn one() -> Result<Self, SetupError> {
        // Acquire and Release: what the one before did to the global providers is done.
        if TAKEN.swap(true, Ordering::AcqRel) { Err(SetupError::AlreadySetUp) } else { Ok(Self) }
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}
