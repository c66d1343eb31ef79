use std::{convert::Infallible, future::pending, io, panic::AssertUnwindSafe};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::join, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use moneta_resilience::{
    Class, Registry,
    event::{End, Outcome, Protocol},
    fault::{Fault, Faults},
    golden::{self, GrpcServer, ServerBuilder},
};
use opentelemetry::{
    Context,
    baggage::BaggageExt,
    trace::{SpanId, TraceContextExt, TraceId},
};
use tokio::time::{advance, sleep};
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{
    Body, CODES, MESSAGE, Seen, after_a_message, ask, body, message, number, outcome, trailers, trailers_only,
};
use crate::{SECOND, traces::words};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const GET: &str = "/bank.Accounts/Get";

async fn seen() -> Seen {
    Seen::new("accounts").await
}

fn server(seen: &Seen) -> ServerBuilder<golden::Limit> {
    golden::server("accounts").timeout(SECOND).registry(&Registry::new()).sink(seen.tape.clone())
}

/// A server with nothing but these answers.
fn answering<F>(seen: &Seen, answer: F) -> impl Asked
where
    F: Fn() -> Response<Body> + Clone + Send + 'static,
{
    let answer = service_fn(move |_: Request<()>| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer()) }
    });
    server(seen).grpc_layer().layer(answer)
}

/// Calls that are made and read to their ends.
trait Asked: Clone {
    async fn ask(&self, path: &str);
}

impl<S, B> Asked for GrpcServer<S>
where
    Self: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    async fn ask(&self, path: &str) {
        let Ok(answer) = self.clone().oneshot(ask(path)).await;
        let _ = answer.into_body().collect().await;
    }
}

/// Has a server learn that there is this method, before anything is looked at.
async fn known(path: &str) {
    let seen = seen().await;
    answering(&seen, || after_a_message(Code::Ok)).ask(path).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_by_the_conventions_as_a_child_of_its_caller() {
    known(GET).await;
    let seen = seen().await;
    let server = server(&seen).grpc_layer().layer(service_fn(async |_: Request<()>| {
        let here = Context::current();
        assert_eq!(here.span().span_context().trace_id(), TraceId::from_hex(TRACE).unwrap());
        assert_eq!(here.baggage().get("tenant"), Some(&"42".into()), "baggage comes in");
        sleep(SECOND / 4).await;
        Ok::<_, Infallible>(after_a_message(Code::Ok))
    }));
    let mut request = ask(GET);
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    request.headers_mut().insert("baggage", "tenant=42".parse().unwrap());
    request.headers_mut().insert("authorization", "Bearer abcdefgh12345678".parse().unwrap());
    let Ok(answer) = server.oneshot(request).await;
    assert_eq!(seen.spans().len(), 0, "it goes on until its status");
    sleep(SECOND / 4).await;
    answer.into_body().collect().await.unwrap();

    assert_eq!(
        seen.words(),
        [
            "bank.Accounts/Get SERVER unset",
            "outcome=success",
            "pipeline=accounts",
            "rpc.method=bank.Accounts/Get",
            "rpc.response.status_code=OK",
            "rpc.system.name=grpc",
        ]
    );
    let span = seen.span();
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!(span.parent_span_id, SpanId::from_hex(CALLER).unwrap());
    assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), SECOND / 2);
    let (begun, ended) = seen.requests();
    let ([begun], [(exchange, ended)]) = (&begun[..], &ended[..]) else { panic!("{:?}", seen.tape) };
    assert_eq!(begun, exchange);
    assert_eq!((exchange.protocol, exchange.end), (Protocol::Grpc, End::Server));
    assert_eq!(exchange.method, "bank.Accounts/Get");
    assert_eq!((exchange.scheme, exchange.route, exchange.address, exchange.port), (None, None, None, None));
    assert_eq!((ended.status, ended.error, ended.version), (Some(0), None, None));
    assert_eq!((ended.elapsed, ended.response_size), (SECOND / 2, MESSAGE));
    assert_eq!(seen.outcomes(), [Outcome::Success]);
}

#[tokio::test(start_paused = true)]
async fn a_method_is_known_from_its_first_answer_on() {
    let seen = seen().await;
    let server = answering(&seen, || trailers_only(Code::NotFound));
    server.ask("/bank.Accounts/First").await;
    server.ask("/bank.Accounts/First").await;
    for span in seen.spans() {
        assert_eq!(
            words(&span),
            [
                "bank.Accounts/First SERVER unset",
                "outcome=caller_fault",
                "pipeline=accounts",
                "rpc.method=bank.Accounts/First",
                "rpc.response.status_code=NOT_FOUND",
                "rpc.system.name=grpc",
            ]
        );
    }
    let (begun, ended) = seen.requests();
    let begun: Vec<_> = begun.iter().map(|exchange| exchange.method).collect();
    let ended: Vec<_> = ended.iter().map(|(exchange, _)| exchange.method).collect();
    assert_eq!(begun, ["_OTHER", "bank.Accounts/First"]);
    assert_eq!(ended, ["bank.Accounts/First"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_there_is_not_is_other_everywhere_but_in_the_original() {
    let seen = seen().await;
    let server = answering(&seen, || trailers_only(Code::Unimplemented));
    for _ in 0..2 {
        server.ask("/bank.Accounts/Frob").await;
    }
    for span in seen.spans() {
        assert_eq!(
            words(&span),
            [
                "grpc SERVER error",
                "error.type=UNIMPLEMENTED",
                "outcome=caller_fault",
                "pipeline=accounts",
                "rpc.method=_OTHER",
                "rpc.method_original=bank.Accounts/Frob",
                "rpc.response.status_code=UNIMPLEMENTED",
                "rpc.system.name=grpc",
            ]
        );
    }
    let (begun, ended) = seen.requests();
    assert!(begun.iter().chain(ended.iter().map(|(exchange, _)| exchange)).all(|it| it.method == "_OTHER"));
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_teaches_no_method() {
    for code in [
        Code::Unimplemented,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::Unavailable,
    ] {
        let seen = seen().await;
        let server = answering(&seen, move || trailers_only(code));
        for path in ["/made.Up/Method", "/", "/nothing", "//", "/a/b/c", "/made.Up/"] {
            server.ask(path).await;
            server.ask(path).await;
        }
        let (begun, ended) = seen.requests();
        assert!(begun.iter().all(|exchange| exchange.method == "_OTHER"), "{code:?}");
        assert!(ended.iter().all(|(exchange, _)| exchange.method == "_OTHER"), "{code:?}");
        assert!(seen.spans().iter().all(|span| span.name == "grpc"), "{code:?}");
    }
    // Nor does what is refused before the service is asked, or what never ends.
    let seen = seen().await;
    let hanging = server(&seen).bulkhead(1).grpc_layer().layer(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, Infallible>(after_a_message(Code::Ok))
    }));
    join(hanging.ask("/made.Up/Method"), hanging.ask("/made.Up/Method")).await;
    assert!(seen.requests().1.iter().all(|(exchange, _)| exchange.method == "_OTHER"));
}

#[tokio::test(start_paused = true)]
async fn what_knows_no_grpc_teaches_no_method() {
    // What stands beside the methods and answers whatever is asked for: a page, an error of the web, nothing at all.
    let page = || Ok(Frame::data(Bytes::from_static(b"<html>")));
    for (status, says) in [(200, true), (200, false), (404, true), (405, false), (500, true)] {
        let seen = seen().await;
        let server = answering(&seen, move || {
            let head = Response::builder().status(status).header("content-type", "text/html");
            head.body(body(says.then(page))).unwrap()
        });
        server.ask(&format!("/made.Up/Page{status}{says}")).await;
        assert_eq!(seen.requests().1[0].0.method, "_OTHER", "{status} {says}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_made_up_methods_leave_room_for_the_real_ones() {
    let seen = seen().await;
    let server = answering(&seen, || trailers_only(Code::Unimplemented));
    for made_up in 0..10_000 {
        server.ask(&format!("/made.Up/Method{made_up}")).await;
        if made_up % 1_000 == 0 {
            assert!(seen.requests().1.iter().all(|(exchange, _)| exchange.method == "_OTHER"));
            seen.tape.clear();
        }
    }
    seen.tape.clear();
    answering(&seen, || after_a_message(Code::Ok)).ask("/bank.Accounts/Afterwards").await;
    assert_eq!(seen.requests().1[0].0.method, "bank.Accounts/Afterwards");
}

#[tokio::test(start_paused = true)]
async fn a_made_up_method_is_redacted() {
    let seen = seen().await;
    answering(&seen, || trailers_only(Code::Unimplemented)).ask("/cards/4111111111111111").await;
    let told = seen.words();
    assert!(told.contains(&"rpc.method_original=cards/[card]".to_owned()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_methods_needs_no_answer_and_takes_no_other() {
    let seen = seen().await;
    let listed = |path: &str| (path == "/bank.Accounts/Listed").then_some("bank.Accounts/Listed");
    let server = server(&seen).route_of(move |head| listed(head.uri.path())).grpc_layer();
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(after_a_message(Code::Ok)));
    let server = server.layer(answer);
    server.ask("/bank.Accounts/Listed").await;
    server.ask("/bank.Accounts/Unlisted").await;
    let (begun, _) = seen.requests();
    let begun: Vec<_> = begun.iter().map(|exchange| exchange.method).collect();
    assert_eq!(begun, ["bank.Accounts/Listed", "_OTHER"]);
    assert_eq!(
        words(&seen.spans()[1]),
        [
            "grpc SERVER unset",
            "outcome=success",
            "pipeline=accounts",
            "rpc.method=_OTHER",
            "rpc.method_original=bank.Accounts/Unlisted",
            "rpc.response.status_code=OK",
            "rpc.system.name=grpc",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn six_codes_are_errors_of_a_server_wherever_they_stand() {
    const ERRORS: [Code; 6] = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    known("/bank.Accounts/Codes").await;
    for (code, name) in CODES {
        for answer in [trailers_only as fn(Code) -> Response<Body>, after_a_message] {
            let seen = seen().await;
            answering(&seen, move || answer(code)).ask("/bank.Accounts/Codes").await;
            let is_error = ERRORS.contains(&code);
            let told = seen.words();
            let status = if is_error { "error" } else { "unset" };
            assert_eq!(told[0], format!("bank.Accounts/Codes SERVER {status}"), "{code:?}");
            let error = told.iter().find_map(|word| word.strip_prefix("error.type="));
            assert_eq!(error, is_error.then_some(name));
            assert!(told.contains(&format!("rpc.response.status_code={name}")), "{told:?}");
            let ended = seen.ended();
            assert_eq!((ended.status, ended.error), (Some(number(code)), is_error.then_some(name)));
            assert_eq!(seen.outcomes(), [outcome(code)], "{code:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_status_is_internal() {
    for answer in [|| Response::new(body([Ok(message())])), || Response::new(body([]))] {
        let seen = seen().await;
        answering(&seen, answer).ask(GET).await;
        let ended = seen.ended();
        assert_eq!((ended.status, ended.error), (Some(number(Code::Internal)), Some("INTERNAL")));
        assert_eq!(seen.outcomes(), [Outcome::Fault]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_knows_no_grpc_is_told_by_the_code_that_stands_for_its_status() {
    let seen = seen().await;
    let not_found = || Response::builder().status(404).body(body([])).unwrap();
    answering(&seen, not_found).ask("/metrics/all").await;
    let told = seen.words();
    assert_eq!(told[0], "grpc SERVER error");
    assert!(told.contains(&"rpc.response.status_code=UNIMPLEMENTED".to_owned()), "{told:?}");
    assert_eq!(seen.ended().status, Some(number(Code::Unimplemented)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_messages_is_an_error() {
    known(GET).await;
    let seen = seen().await;
    let broken = || Response::new(body([Ok(message()), Err(io::ErrorKind::BrokenPipe.into())]));
    answering(&seen, broken).ask(GET).await;
    assert_eq!(
        seen.words(),
        [
            "bank.Accounts/Get SERVER error",
            "error.type=fault",
            "outcome=fault",
            "pipeline=accounts",
            "rpc.method=bank.Accounts/Get",
            "rpc.response.status_code=INTERNAL",
            "rpc.system.name=grpc",
        ]
    );
    assert_eq!(seen.ended().status, Some(number(Code::Internal)));
    assert_eq!(seen.outcomes(), [Outcome::Fault]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_once_wherever_it_happens() {
    type Answering = fn() -> Response<Body>;
    let in_the_body: Answering = || {
        let bug = stream::once(async { panic!("a bug") }).map(|()| io::Result::Ok(Frame::data(Bytes::new())));
        Response::new(BodyExt::boxed(StreamBody::new(Box::pin(bug))))
    };
    let before_it: Answering = || panic!("card 4111 1111 1111 1111");
    known(GET).await;
    for answer in [before_it, in_the_body] {
        let seen = seen().await;
        let server = answering(&seen, answer);
        let _ = AssertUnwindSafe(server.ask(GET)).catch_unwind().await;
        assert_eq!(
            seen.words(),
            [
                "bank.Accounts/Get SERVER error",
                "error.type=panic",
                "outcome=panic",
                "pipeline=accounts",
                "rpc.method=bank.Accounts/Get",
                "rpc.response.status_code=INTERNAL",
                "rpc.system.name=grpc",
            ]
        );
        let ended = seen.ended();
        assert_eq!((ended.status, ended.error), (Some(number(Code::Internal)), Some("panic")));
        assert_eq!(seen.outcomes(), [Outcome::Panicked]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_while_it_is_dropped_costs_no_count() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::hint::black_box(false), "on purpose");
        }
    }
    for read in [true, false] {
        let seen = seen().await;
        let armed = || {
            let bomb = Bomb;
            let frames = stream::iter([io::Result::Ok(message())]).inspect(move |_| _ = &bomb);
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        };
        let answer = service_fn(move |_: Request<()>| async move { Ok::<_, Infallible>(armed()) });
        let Ok(answer) = server(&seen).grpc_layer().layer(answer).oneshot(ask(GET)).await;
        let body = answer.into_body();
        let panicked = if read {
            AssertUnwindSafe(body.collect()).catch_unwind().await.is_err()
        } else {
            std::panic::catch_unwind(AssertUnwindSafe(|| drop(body))).is_err()
        };
        assert!(panicked, "it stays a panic");
        let outcome = if read { Outcome::Fault } else { Outcome::Cancelled };
        assert_eq!((seen.outcomes(), seen.spans().len()), (vec![outcome], 1));
        seen.ended();
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_no_error_whenever_it_goes() {
    known(GET).await;
    let cancelled = [
        "bank.Accounts/Get SERVER unset",
        "outcome=cancelled",
        "pipeline=accounts",
        "rpc.method=bank.Accounts/Get",
        "rpc.response.status_code=CANCELLED",
        "rpc.system.name=grpc",
    ];
    let before = seen().await;
    let hanging = server(&before).grpc_layer().layer(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, Infallible>(after_a_message(Code::Ok))
    }));
    drop(hanging.clone().oneshot(ask(GET)));
    assert_eq!(before.spans().len(), 0, "a call that was never polled is none");
    let mut call = Box::pin(hanging.oneshot(ask(GET)));
    assert!((&mut call).now_or_never().is_none());
    advance(SECOND / 2).await;
    drop(call);
    assert_eq!(before.words(), cancelled);
    let ended = before.ended();
    assert_eq!((ended.status, ended.error, ended.elapsed), (Some(number(Code::Cancelled)), None, SECOND / 2));
    assert_eq!(before.outcomes(), [Outcome::Cancelled]);
    drop(before);

    let after = seen().await;
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(after_a_message(Code::Ok)));
    let Ok(answer) = server(&after).grpc_layer().layer(answer).oneshot(ask(GET)).await;
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(after.spans().len(), 0);
    drop(body);
    assert_eq!(after.words(), cancelled);
    let ended = after.ended();
    assert_eq!(
        (ended.status, ended.error, ended.response_size),
        (Some(number(Code::Cancelled)), None, MESSAGE)
    );
    assert_eq!(after.outcomes(), [Outcome::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_method_whose_callers_never_wait_for_the_end_is_known_by_its_messages() {
    let seen = seen().await;
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(after_a_message(Code::Ok)));
    let Ok(answer) = server(&seen).grpc_layer().layer(answer).oneshot(ask("/bank.Accounts/Watch")).await;
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(seen.requests().1[0].0.method, "bank.Accounts/Watch");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_given_out_is_told_whatever_becomes_of_its_body() {
    let seen = seen().await;
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(after_a_message(Code::NotFound)));
    let Ok(answer) = server(&seen).grpc_layer().layer(answer).oneshot(ask(GET)).await;
    let mut body = answer.into_body();
    while !body.frame().await.unwrap().unwrap().is_trailers() {}
    assert_eq!(seen.ended().status, Some(number(Code::NotFound)));
    drop(body);
    assert_eq!(seen.outcomes(), [Outcome::CallerFault], "and once");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_has_the_status_of_its_refusal_and_the_reason() {
    known(GET).await;
    let seen = seen().await;
    let hanging = server(&seen).bulkhead(1).grpc_layer().layer(service_fn(async |_: Request<()>| {
        pending::<()>().await;
        Ok::<_, Infallible>(after_a_message(Code::Ok))
    }));
    join(hanging.ask(GET), hanging.ask(GET)).await;
    let told: Vec<_> = seen.spans().iter().map(words).collect();
    assert_eq!(
        told[0],
        [
            "bank.Accounts/Get SERVER error",
            "error.type=bulkhead_full",
            "outcome=rejected",
            "pipeline=accounts",
            "rpc.method=bank.Accounts/Get",
            "rpc.response.status_code=UNAVAILABLE",
            "rpc.system.name=grpc",
        ]
    );
    assert_eq!(
        told[1],
        [
            "bank.Accounts/Get SERVER error",
            "error.type=deadline_exceeded",
            "outcome=timeout",
            "pipeline=accounts",
            "rpc.method=bank.Accounts/Get",
            "rpc.response.status_code=DEADLINE_EXCEEDED",
            "rpc.system.name=grpc",
        ]
    );
    assert_eq!(seen.outcomes(), [Outcome::Rejected, Outcome::Timeout]);
}

#[tokio::test(start_paused = true)]
async fn what_a_service_fails_with_is_told_as_what_its_caller_gets() {
    type Failure = fn() -> tower::BoxError;
    let failures: [(Failure, Code, Option<&str>); 3] = [
        (|| "card 4111 1111 1111 1111".into(), Code::Internal, Some("transient")),
        (|| Status::not_found("no such account").into(), Code::NotFound, None),
        (|| Status::data_loss("gone").into(), Code::DataLoss, Some("DATA_LOSS")),
    ];
    for (failure, code, error) in failures {
        let seen = seen().await;
        let failing = service_fn(move |_: Request<()>| async move { Err::<Response<Body>, _>(failure()) });
        server(&seen).grpc_layer().layer(failing).ask(GET).await;
        assert_eq!((seen.ended().status, seen.ended().error), (Some(number(code)), error));
        assert!(!format!("{:?}", seen.words()).contains("4111"));
    }
    let seen = seen().await;
    let faults = Faults::new();
    faults.arm(Fault::error(Class::THROTTLED).on_delicate_calls());
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(after_a_message(Code::Ok)));
    server(&seen).faults(faults).grpc_layer().layer(answer).ask(GET).await;
    assert_eq!((seen.ended().status, seen.ended().error), (Some(number(Code::ResourceExhausted)), None));
}

#[tokio::test(start_paused = true)]
async fn a_server_at_the_edge_begins_a_trace_with_a_link_and_takes_no_baggage() {
    let seen = seen().await;
    let server = server(&seen).edge().grpc_layer().layer(service_fn(async |_: Request<()>| {
        assert!(Context::current().baggage().is_empty());
        Ok::<_, Infallible>(Response::new(body([Ok(message()), Ok(trailers(Code::Ok))])))
    }));
    let mut request = ask(GET);
    // Not sampled, by the caller's will.
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-00").parse().unwrap());
    request.headers_mut().insert("baggage", "tenant=42".parse().unwrap());
    let Ok(answer) = server.oneshot(request).await;
    answer.into_body().collect().await.unwrap();
    let span = seen.span();
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_ne!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    let [link] = &span.links[..] else { panic!("{:?}", span.links) };
    assert_eq!(link.span_context.span_id(), SpanId::from_hex(CALLER).unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_told_without_a_provider_is_the_same_but_for_the_span() {
    let seen = seen().await;
    opentelemetry::global::set_tracer_provider(opentelemetry::trace::noop::NoopTracerProvider::new());
    advance(2 * SECOND).await;
    answering(&seen, || after_a_message(Code::Aborted)).ask("/bank.Accounts/Unseen").await;
    assert_eq!(seen.spans().len(), 0);
    assert_eq!(seen.requests().1[0].0.method, "bank.Accounts/Unseen");
    assert_eq!(seen.ended().status, Some(number(Code::Aborted)));
    assert_eq!(seen.outcomes(), [Outcome::CallerFault]);
}
