//! `golden::server` round the services of tonic.

use std::time::Duration;

use moneta_resilience::{
    CallError, Class, Deadline, Registry,
    event::Outcome,
    fault::Fault,
    golden::{self, Handle, ServerBuilder},
};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use super::wire::{Asked, Quotes, QuotesClient, in_memory, over_loopback};

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

fn quotes(registry: &Registry) -> ServerBuilder<golden::Limit> {
    golden::server("quotes").timeout(FAR).registry(registry)
}

fn handle(registry: &Registry) -> Handle {
    Handle::find(registry, "quotes").pop().unwrap()
}

fn echo() -> Quotes {
    Quotes::new(async |asked: Asked| Ok(asked.message))
}

#[tokio::test]
async fn a_handlers_codes_pass_and_are_counted_as_what_they_mean() {
    let registry = Registry::new();
    let failing = Quotes::new(async |asked: Asked| {
        Err(Status::new(Code::from_i32(asked.message.parse().unwrap()), "as asked"))
    });
    let mut client = QuotesClient::new(over_loopback(failing, quotes(&registry).grpc_layer()).await);
    for (code, outcome) in [
        (Code::NotFound, Outcome::CallerFault),
        (Code::Unavailable, Outcome::Transient),
        (Code::ResourceExhausted, Outcome::Throttled),
        (Code::DataLoss, Outcome::Fault),
    ] {
        let status = client.get(&(code as i32).to_string()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "as asked"));
        assert_eq!(handle(&registry).counts().calls(outcome), 1, "{code:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_status_and_says_when_to_come_back() {
    let registry = Registry::new();
    let mut client = QuotesClient::new(over_loopback(echo(), quotes(&registry).grpc_layer()).await);
    assert_eq!(client.get("CHF").await.unwrap(), "CHF");

    let handle = handle(&registry);
    let busy = Class::Throttled { retry_after: Some(Duration::from_millis(250)) };
    handle.faults().arm(Fault::error(busy).on_delicate_calls());
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "250");
    handle.faults().disarm();
    assert_eq!(client.get("CHF").await.unwrap(), "CHF");
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_unavailable_for_a_second() {
    let registry = Registry::new();
    let hanging = Quotes::new(async |_| std::future::pending().await);
    let mut client = QuotesClient::new(in_memory(hanging, &quotes(&registry).bulkhead(1).grpc_layer()));
    let mut second = client.clone();
    let (first, refused) = tokio::join!(client.get("CHF"), second.get("CHF"));
    assert_eq!(first.unwrap_err().code(), Code::DeadlineExceeded);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_reaches_the_handler_and_shortens_the_servers() {
    let registry = Registry::new();
    let telling = Quotes::new(async |_| {
        Ok(Deadline::current().expect("the stack put it there").remaining().as_millis().to_string())
    });
    let mut client = QuotesClient::new(in_memory(telling, &quotes(&registry).grpc_layer()));
    for (header, left) in [("300m", "300"), ("2M", "60000"), ("1s", "60000"), ("-1S", "60000")] {
        let mut request = Request::new(String::new());
        request.metadata_mut().insert("grpc-timeout", header.parse().unwrap());
        assert_eq!(client.call("/test.Quotes/Get", request).await.unwrap(), left, "{header}");
    }
    assert_eq!(handle(&registry).counts().deadlines_malformed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_dropped_at_the_deadline() {
    let registry = Registry::new();
    let hanging = Quotes::new(async |_| std::future::pending().await);
    let mut client = QuotesClient::new(in_memory(hanging, &quotes(&registry).grpc_layer()));
    let start = Instant::now();
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!((status.code(), start.elapsed()), (Code::DeadlineExceeded, FAR));
    assert_eq!(handle(&registry).counts().calls(Outcome::Timeout), 1);
}

#[tokio::test]
async fn a_panic_is_answered_and_the_connection_lives_on() {
    let registry = Registry::new();
    let panicking = Quotes::new(async |asked: Asked| {
        assert!(asked.message != "panic", "on purpose");
        Ok(asked.message)
    });
    let mut client = QuotesClient::new(over_loopback(panicking, quotes(&registry).grpc_layer()).await);
    let status = client.get("panic").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "the service failed"));
    assert_eq!(client.get("CHF").await.unwrap(), "CHF");
    assert_eq!(handle(&registry).counts().calls(Outcome::Panicked), 1);
}

#[tokio::test]
async fn a_question_mark_in_a_handler_answers_for_a_failed_call() {
    async fn balance(ledger: &golden::Calls) -> Result<String, CallError> {
        ledger.run(async || Err::<String, _>(std::io::Error::other("ledger7.internal: reset"))).await
    }
    let registry = Registry::new();
    let ledger = golden::client("ledger").timeout(FAR).no_fallback().registry(&registry).calls();
    let breaker = ledger.handle().circuit_breaker().unwrap().clone();
    let handler = Quotes::new(move |_| {
        let ledger = ledger.clone();
        async move { Ok(balance(&ledger).await?) }
    });
    let mut client = QuotesClient::new(over_loopback(handler, quotes(&registry).grpc_layer()).await);
    let status = client.get("CHF").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "the service failed"));
    breaker.force_open();
    assert_eq!(client.get("CHF").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_arrives_too_late_is_refused_before_its_handler_begins() {
    let registry = Registry::new();
    let working = Quotes::new(async |_| panic!("the handler was asked"));
    let mut client = QuotesClient::new(in_memory(working, &quotes(&registry).grpc_layer()));
    let mut request = Request::new(String::new());
    request.metadata_mut().insert("grpc-timeout", "0m".parse().unwrap());
    let status = client.call("/test.Quotes/Get", request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(handle(&registry).counts().deadlines_expired(), 1);
}
