//! What the end of a handler means to its message.

use std::{sync::Arc, time::Duration};

use super::{Delivery, NotExecuted, Verdict, Why};
use crate::{
    class::Class,
    classify::{Classify, known},
    error::BoxError,
    event::Outcome,
    policy::Answer,
};

/// What a consumer was told about its messages.
pub(crate) struct Rules<M> {
    /// Whether the handler does no harm when it runs twice.
    pub(crate) repeatable: bool,
    /// When a message that is not done may come again.
    pub(crate) redeliver_after: Duration,
    /// How often a message may come, and how often one has.
    pub(crate) deliveries: Option<Deliveries<M>>,
}

/// How often a message may come, and what knows how often one has.
#[derive(Clone)]
pub(crate) struct Deliveries<M> {
    pub(crate) most: u32,
    pub(crate) count: Arc<dyn Fn(&M) -> u32 + Send + Sync>,
}

impl<M> Clone for Rules<M> {
    fn clone(&self) -> Self {
        let deliveries = self.deliveries.as_ref();
        let deliveries =
            deliveries.map(|known| Deliveries { most: known.most, count: Arc::clone(&known.count) });
        Self { deliveries, ..*self }
    }
}

/// Which of the deliveries that a message may have this one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be others after it.
    #[default]
    Early,
    /// The last one.
    Last,
    /// One more than there may be.
    TooMany,
}

impl<M> Rules<M> {
    pub(super) fn turn(&self, message: &M) -> Turn {
        let Some(Deliveries { most, count }) = &self.deliveries else { return Turn::Early };
        match count(message) {
            count if count > *most => Turn::TooMany,
            count if count == *most => Turn::Last,
            _ => Turn::Early,
        }
    }

    /// Leaves it to a later delivery.
    pub(super) fn nack(&self) -> Verdict {
        Verdict::Settled(Delivery::Nack { after: self.redeliver_after })
    }

    /// What the end of a handler says. It may not have been `reached`, or may have said by its claim that it did nothing.
    pub(super) fn judge<T>(
        &self,
        answer: Answer<T>,
        reached: bool,
        not_executed: bool,
        turn: Turn,
    ) -> Answer<Verdict> {
        let Answer { result, class, outcome, .. } = answer;
        let verdict = match result {
            Ok(_) => Verdict::Settled(Delivery::Ack),
            Err(_) if !reached => self.nack(),
            Err(error) if turn == Turn::Early && self.may_run_again(&error, not_executed, class) => {
                self.nack()
            }
            Err(error) => Verdict::dead(Why::Failed(error)),
        };
        Answer::new(Ok(verdict), class, outcome)
    }

    /// What is known of a handler that was cut short.
    pub(super) fn cut(&self, reached: bool) -> Verdict {
        if reached && !self.repeatable { Verdict::unknown(Why::TimedOut) } else { self.nack() }
    }

    fn may_run_again(&self, error: &BoxError, not_executed: bool, class: Class) -> bool {
        let helps = class.is_retryable() || class == Class::Neutral;
        let forbidden = class.retry_after() == Some(Class::NEVER);
        not_executed || NotExecuted::marks(error) || (self.repeatable && helps && !forbidden)
    }
}

/// An answer about a message that the handler was not asked about.
pub(super) fn unasked(verdict: Verdict, class: Class) -> Answer<Verdict> {
    Answer::new(Ok(verdict), class, Outcome::from(class))
}

/// Judges the errors of handlers: as [`ByError`](crate::classify::ByError), but an unknown one is a `Fault`. A message that
/// could not be handled is a failure, whoever's fault it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByHandler;

impl<Response> Classify<Response> for ByHandler {
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class {
        match result {
            Ok(_) => Class::Success,
            Err(error) => known(error).unwrap_or(Class::Fault),
        }
    }
}

/// Lets an error that is marked as [`NotExecuted`] be followed by another try, and judges all else with `C`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked<C> {
    classifier: C,
}

impl<C> Marked<C> {
    pub(crate) const fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

impl<C: Classify<Response>, Response> Classify<Response> for Marked<C> {
    fn classify(&self, result: Result<&Response, &BoxError>) -> Class {
        let class = self.classifier.classify(result);
        match result {
            Err(error) if !class.is_retryable() && NotExecuted::marks(error) => Class::TRANSIENT,
            _ => class,
        }
    }
}
