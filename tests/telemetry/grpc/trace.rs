//! One trace through tonic's clients and servers: a handler's call to another service.

use std::time::Duration;

use moneta_resilience::{Registry, golden};
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{FutureExt, TraceContextExt},
};
use tokio::time::advance;
use tonic::Status;

use super::wire::{Quotes, QuotesClient, in_memory};
use crate::{
    SECOND, alone,
    traces::{Traces, words},
};

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_trace_goes_through_two_services_and_its_baggage_with_it() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    // That is noticed within a second.
    advance(SECOND).await;
    let registry = Registry::new();
    let ledger = Quotes::new(async |_| {
        let tenant = Context::current().baggage().get("tenant").map(ToString::to_string);
        tenant.ok_or_else(|| Status::internal("no baggage came"))
    });
    let ledger = in_memory(ledger, &golden::server("ledger").timeout(FAR).registry(&registry).grpc_layer());
    let ledger = golden::client("to-ledger").timeout(FAR).no_fallback().registry(&registry).grpc(ledger);
    let desk = Quotes::new(move |asked| {
        let mut ledger = QuotesClient::new(ledger.clone());
        async move { ledger.call("/test.Quotes/Post", tonic::Request::new(asked.message)).await }
    });
    let desk = in_memory(desk, &golden::server("desk").timeout(FAR).registry(&registry).grpc_layer());
    let desk = golden::client("to-desk").timeout(FAR).no_fallback().registry(&registry).grpc(desk);
    let mut desk = QuotesClient::new(desk);
    let tenant = Context::new().with_baggage([KeyValue::new("tenant", "42")]);
    let answer = async move { desk.get("CHF").await }.with_context(tenant).await;
    assert_eq!(answer.unwrap(), "42");

    // A server's span ends when its last frame is written, which its caller may have read before.
    let spans = loop {
        let spans = ["to-desk", "desk", "to-ledger", "ledger"].map(|pipeline| traces.spans(pipeline));
        if spans.iter().all(|spans| spans.len() == 1) {
            break spans.map(|mut spans| spans.remove(0));
        }
        tokio::task::yield_now().await;
    };
    let told = spans.each_ref().map(|span| words(span)[0].clone());
    assert_eq!(
        told,
        [
            "test.Quotes/Get CLIENT unset",
            "test.Quotes/Get SERVER unset",
            "test.Quotes/Post CLIENT unset",
            "test.Quotes/Post SERVER unset",
        ]
    );
    for [parent, child] in [[0, 1], [1, 2], [2, 3]] {
        assert_eq!(spans[child].parent_span_id, spans[parent].span_context.span_id());
        assert_eq!(spans[child].span_context.trace_id(), spans[0].span_context.trace_id());
    }
    assert!(!Context::current().has_active_span());
}

#[tokio::test(start_paused = true)]
async fn a_method_that_a_tonic_server_has_not_is_other() {
    let (_alone, traces) = (alone().await, Traces::new());
    traces.set();
    // That is noticed within a second.
    advance(SECOND).await;
    let registry = Registry::new();
    let layer = golden::server("router").timeout(FAR).registry(&registry).grpc_layer();
    let echo = in_memory(Quotes::new(async |asked: super::wire::Asked| Ok(asked.message)), &layer);
    let client = QuotesClient::new(echo).call("/made.Up/Method", tonic::Request::new("CHF".to_owned())).await;
    assert_eq!(client.unwrap_err().code(), tonic::Code::Unimplemented);
    let spans = traces.spans("router");
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        words(span),
        [
            "grpc SERVER error",
            "error.type=UNIMPLEMENTED",
            "outcome=caller_fault",
            "pipeline=router",
            "rpc.method=_OTHER",
            "rpc.method_original=made.Up/Method",
            "rpc.response.status_code=UNIMPLEMENTED",
            "rpc.system.name=grpc",
        ]
    );
}
