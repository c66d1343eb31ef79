//! What is told of the calls of one pipeline: its spans, and its events.

use std::sync::Arc;

use moneta_resilience::{
    event::{Ended, Event, Exchange, Outcome},
    record::Tape,
};
use opentelemetry_sdk::trace::SpanData;
use tokio::{sync::MutexGuard, time::advance};

use crate::{
    SECOND, alone,
    traces::{Traces, words},
};

/// What is told.
pub(crate) struct Seen {
    pipeline: &'static str,
    pub(crate) tape: Arc<Tape>,
    pub(crate) traces: Traces,
    _alone: MutexGuard<'static, ()>,
}

impl Seen {
    pub(crate) async fn new(pipeline: &'static str) -> Self {
        let alone = alone().await;
        let traces = Traces::new();
        traces.set();
        // That is noticed within a second.
        advance(SECOND).await;
        Self { pipeline, tape: Arc::default(), traces, _alone: alone }
    }

    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.traces.spans(self.pipeline)
    }

    /// The one span that ended.
    pub(crate) fn span(&self) -> SpanData {
        let mut spans = self.spans();
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }

    pub(crate) fn words(&self) -> Vec<String> {
        words(&self.span())
    }

    /// The requests over the wire, as they began, and as they ended.
    pub(crate) fn requests(&self) -> (Vec<Exchange>, Vec<(Exchange, Ended)>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for event in self.tape.events() {
            match event {
                Event::RequestStarted { exchange } => begun.push(*exchange),
                Event::RequestFinished { exchange, ended: how } => ended.push((*exchange, how)),
                _ => {}
            }
        }
        (begun, ended)
    }

    /// How its calls ended.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.told(|event| match event {
            Event::CallFinished { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    pub(crate) fn told<T>(&self, pick: impl Fn(Event) -> Option<T>) -> Vec<T> {
        self.tape.events().into_iter().filter_map(pick).collect()
    }
}
