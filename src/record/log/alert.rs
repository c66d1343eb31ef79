use std::{fmt, time::Duration};

use tracing::Level;

use super::calls::TARGET;
use crate::{event::Severity, name::Name};

/// An alert of an error budget that begins or ends. It is about no one call, so its line names none.
#[derive(Clone, Copy)]
pub(super) struct Alert {
    pub(super) slo: &'static str,
    pub(super) severity: Severity,
    /// The long one of its two.
    pub(super) window: Duration,
    /// Whether it begins.
    pub(super) firing: bool,
}

/// An event of a level, which has to be known when the code is compiled.
macro_rules! event {
    ($level:expr, $pipeline:expr, $alert:expr) => {
        tracing::event!(
            target: TARGET,
            $level,
            pipeline = $pipeline.as_str(),
            slo = $alert.slo,
            severity = $alert.severity.as_str(),
            window = $alert.window.as_secs(),
            firing = $alert.firing,
            "{}",
            $alert
        )
    };
}

impl Alert {
    pub(super) fn tell(self, pipeline: &Name) {
        match (self.firing, self.severity) {
            (true, Severity::Page) => event!(Level::ERROR, pipeline, self),
            (true, Severity::Ticket) => event!(Level::WARN, pipeline, self),
            (false, _) => event!(Level::INFO, pipeline, self),
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slo, severity, window, firing } = self;
        let change = if *firing { "begins" } else { "ends" };
        let hours = window.as_secs() / 3_600;
        write!(f, "{slo} burns its error budget: the {} over {hours}h {change}", severity.as_str())
    }
}
