/// Where messages come from, by what the conventions of OpenTelemetry ask about it.
///
/// Its texts are those of a configuration, and so few.
///
/// ```
/// use moneta_resilience::event::Source;
///
/// let source = Source::new("kafka", "invoices").group("payments");
/// assert_eq!(source.destination, "invoices");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Source {
    /// Which system it is: `kafka`, `rabbitmq`, `aws_sqs`, `redis`.
    pub system: &'static str,
    /// The queue, topic or stream.
    pub destination: &'static str,
    /// The group of consumers that share it, where there are such.
    pub group: Option<&'static str>,
}

impl Source {
    /// A queue, topic or stream of a system.
    pub const fn new(system: &'static str, destination: &'static str) -> Self {
        Self { system, destination, group: None }
    }

    /// Which group of consumers takes messages off it.
    #[must_use]
    pub const fn group(self, group: &'static str) -> Self {
        Self { group: Some(group), ..self }
    }
}
