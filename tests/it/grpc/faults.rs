//! Faults of answers over gRPC.

use futures::{StreamExt, stream};
use http_body::Frame;
use moneta_resilience::{
    Registry,
    event::{FaultKind, Outcome},
    fallback::NoFallback,
    fault::Fault,
    golden::{self, GrpcClient, Handle},
};
use tonic::{Code, Request, transport::Channel};

use super::wire::{Asked, Quotes, QuotesClient, answered, framed, over_loopback, raw, trailers};

const FAR: std::time::Duration = std::time::Duration::from_secs(60);
const WATCH: &str = "/test.Quotes/Watch";

fn echo() -> Quotes {
    Quotes::new(async |asked: Asked| Ok(asked.message))
}

#[tokio::test]
async fn a_server_answers_with_the_status_that_was_put_in_and_counts_it_as_that() {
    let layer = golden::server("quotes").timeout(FAR).registry(&Registry::new()).grpc_layer();
    let handle = layer.handle().clone();
    let mut client = QuotesClient::new(over_loopback(echo(), layer).await);
    for hook in [handle.faults(), handle.ingress_faults().unwrap()] {
        for fault in [Fault::code(Code::Unavailable), Fault::code_at_end(Code::Unavailable)] {
            let armed = hook.arm(fault.on_delicate_calls());
            let status = client.get("CHF").await.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "an injected fault"));
            assert_eq!(armed.hit(), 1);
            hook.disarm();
        }
    }
    assert_eq!(client.get("CHF").await.unwrap(), "CHF");
    assert_eq!(handle.counts().faults(FaultKind::Status), 4);
    assert_eq!(handle.counts().calls(Outcome::Transient), 4);
}

#[cfg(feature = "slo")]
#[tokio::test]
async fn a_server_and_a_client_count_a_status_that_was_put_in_apart_where_the_objective_says_so() {
    use moneta_resilience::slo::{ErrorBudget, Injected, Objective, Window};

    let budgets: [_; 2] =
        std::array::from_fn(|_| ErrorBudget::new(Objective::new("quotes").injected(Injected::Separate)));
    let [inbound, outbound] = &budgets;
    let layer = golden::server("quotes").timeout(FAR).registry(&Registry::new()).slo(inbound.clone());
    let layer = layer.grpc_layer();
    let serving = layer.handle().clone();
    let client = golden::client("quotes").timeout(FAR).no_fallback().without_retry().slo(outbound.clone());
    let client = client.registry(&Registry::new()).grpc(over_loopback(echo(), layer).await);
    let calling = client.handle().clone();
    let mut client = QuotesClient::new(client);
    for (hook, expected) in [(serving.faults(), [(0, 1), (0, 0)]), (calling.faults(), [(0, 1), (0, 1)])] {
        hook.arm(Fault::code_at_end(Code::Unavailable).on_delicate_calls());
        client.get("CHF").await.unwrap_err();
        hook.disarm();
        assert_eq!(budgets.each_ref().map(ErrorBudget::injected), expected);
    }
    // What the server was hit by is an outage to its client, and what the client was hit by is nothing to the server.
    let counts = budgets.each_ref().map(|budget| budget.counts(Window::Hour));
    assert_eq!(counts, [(1, 0), (0, 1)]);
}

/// A client of a server that sends two messages, and one or the other that it was armed with.
fn watching() -> (Handle, QuotesClient<GrpcClient<NoFallback, Channel>>) {
    let two = raw(async |_| {
        let frames = ["CHF", "EUR"].map(|message| Frame::data(framed(message)));
        answered(stream::iter(frames.into_iter().chain([trailers(Code::Ok)])))
    });
    let client = golden::client("quotes").timeout(FAR).no_fallback().registry(&Registry::new()).grpc(two);
    (client.handle().clone(), QuotesClient::new(client))
}

#[tokio::test]
async fn a_client_gets_the_messages_and_then_the_status_that_was_put_in() {
    let (handle, mut client) = watching();
    handle.faults().arm(Fault::code_at_end(Code::DataLoss).on_delicate_calls());
    let messages = client.stream(WATCH, Request::new(stream::empty())).await.unwrap();
    let messages: Vec<_> = messages.map(|message| message.map_err(|status| status.code())).collect().await;
    assert_eq!(messages, [Ok("CHF".to_owned()), Ok("EUR".to_owned()), Err(Code::DataLoss)]);
    assert_eq!(handle.counts().answers_broken(Outcome::Fault), 1);
}

#[tokio::test]
async fn a_client_gets_the_status_that_was_put_in_instead_of_messages() {
    let (handle, mut client) = watching();
    handle.faults().arm(Fault::code(Code::NotFound).on_delicate_calls());
    let status = client.stream(WATCH, Request::new(stream::empty())).await.err().unwrap();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(handle.counts().calls(Outcome::CallerFault), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_broken_whether_its_caller_can_see_it_or_not() {
    for (fault, seen, outcome) in [
        (Fault::broken_body(8), Some(Err(Code::Unavailable)), Outcome::Transient),
        // Tonic takes an end without a status for a good one.
        (Fault::short_body(8), None, Outcome::Fault),
    ] {
        let (handle, mut client) = watching();
        handle.faults().arm(fault.on_delicate_calls());
        let mut messages = client.stream(WATCH, Request::new(stream::empty())).await.unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap(), "CHF");
        let next = messages.next().await.map(|message| message.map_err(|status| status.code()));
        assert_eq!(next, seen);
        assert_eq!(handle.counts().answers_broken(outcome), 1);
    }
}

#[test]
#[should_panic(expected = "an injected status is not OK")]
fn a_status_that_is_ok_is_refused() {
    let _ = Fault::code(Code::Ok);
}
