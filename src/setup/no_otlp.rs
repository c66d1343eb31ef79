//! There is no collector.

use opentelemetry_sdk::{Resource, metrics::MeterProviderBuilder};

use super::{
    SetupError,
    environment::{Environment, Variables},
    shutdown::Shutdown,
};

pub(super) struct Otlp;

impl Otlp {
    #[expect(clippy::unnecessary_wraps, reason = "its twin can fail")]
    pub(super) fn new(_: &Environment, _: &mut Variables<'_>) -> Result<Self, SetupError> {
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "its twin has something to add")]
    pub(super) fn read(&mut self, meters: MeterProviderBuilder) -> MeterProviderBuilder {
        meters
    }

    #[expect(clippy::unused_self, reason = "its twin has something to start")]
    pub(super) fn start(self, _: &Resource, _: &mut Shutdown) -> Logs {
        Logs
    }
}

pub(super) struct Logs;

impl Logs {
    pub(super) const fn none() -> Self {
        Self
    }
}
