//! What is kept of an answer.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::IntoResponse};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use moneta_resilience::idempotency::{
    Identity, MemoryStore, Sealer,
    http::{IdempotencyLayer, OnServerError},
};
use tokio::time::advance;

use super::{Runs, app, counting, pay, send};

fn layer() -> IdempotencyLayer<MemoryStore> {
    IdempotencyLayer::new(MemoryStore::new())
}

fn frames(frames: Vec<Frame<Bytes>>) -> Body {
    Body::new(StreamBody::new(stream::iter(frames).map(Ok::<_, Infallible>)))
}

#[tokio::test(start_paused = true)]
async fn what_is_replayed_has_the_same_bytes_and_no_header_of_that_one_exchange() {
    let runs = Runs::default();
    let ran = runs.clone();
    let app = app(layer(), move || {
        ran.run();
        async {
            let mut answer = Response::new(Body::from(&b"\x00paid\xff"[..]));
            *answer.status_mut() = http::StatusCode::CREATED;
            for (name, value) in [
                ("content-type", "application/octet-stream"),
                ("location", "/payments/7"),
                ("link", "</a>; rel=first"),
                ("link", "</b>; rel=next"),
                ("set-cookie", "session=secret"),
                ("x-ratelimit-remaining", "6"),
            ] {
                answer.headers_mut().append(name, HeaderValue::from_static(value));
            }
            answer
        }
    });
    let first = send(&app, pay("k1")).await;
    let again = send(&app, pay("k1")).await;
    assert_eq!((first.status, first.is_replay()), (again.status, false));
    assert_eq!((&first.body, again.is_replay()), (&again.body, true));
    assert_eq!(again.body, &b"\x00paid\xff"[..]);
    assert_eq!(again.headers["location"], "/payments/7");
    let links: Vec<_> = again.headers.get_all("link").iter().collect();
    assert_eq!(links, ["</a>; rel=first", "</b>; rel=next"]);
    for name in ["set-cookie", "x-ratelimit-remaining"] {
        assert!(first.headers.contains_key(name) && !again.headers.contains_key(name), "{name}");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn trailers_are_replayed() {
    let app = app(layer(), || async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        frames(vec![Frame::data("pa".into()), Frame::data("id".into()), Frame::trailers(trailers)])
            .into_response()
    });
    for _ in 0..2 {
        let answer = send(&app, pay("k1")).await;
        assert_eq!(
            (&*answer.body, &answer.trailers.unwrap()["grpc-status"]),
            (&b"paid"[..], &HeaderValue::from_static("0"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_given_once_and_never_run_again() {
    let runs = Runs::default();
    let ran = runs.clone();
    let app = app(layer().max_answer(10), move |uri: http::Uri| {
        ran.run();
        async move {
            match uri.path() {
                "/whole" => "eleven byte".into_response(),
                _ => frames(vec![
                    Frame::data("eleven".into()),
                    Frame::data(" byte".into()),
                    Frame::data("s".into()),
                ])
                .into_response(),
            }
        }
    });
    for (path, body) in [("/whole", "eleven byte"), ("/parts", "eleven bytes")] {
        let request = || {
            let mut request = pay("k1");
            *request.uri_mut() = path.parse().unwrap();
            request
        };
        send(&app, request()).await.is(200, body);
        send(&app, request()).await.is_problem(409, "not-replayable");
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_as_long_as_the_limit_is_kept() {
    let app = app(layer().max_answer(10), || async {
        frames(vec![Frame::data("ten ".into()), Frame::data(" bytes".into())]).into_response()
    });
    send(&app, pay("k1")).await.is(200, "ten  bytes");
    send(&app, pay("k1")).await.replays(200, "ten  bytes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_waited_for() {
    let app = app(layer(), || async {
        let endless = stream::iter([Ok::<_, Infallible>(Bytes::from("event"))]).chain(stream::pending());
        let mut answer = Body::from_stream(endless).into_response();
        answer
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
        answer
    });
    let first = tower::ServiceExt::oneshot(app.clone(), pay("k1")).await.unwrap();
    let mut body = first.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "event");
    send(&app, pay("k1")).await.is_problem(409, "not-replayable");
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_kept_also_a_failure() {
    for status in [400, 404, 429, 500, 503] {
        let runs = Runs::default();
        let ran = runs.clone();
        let app = app(layer(), move || {
            let body = format!("run {}", ran.run());
            async move { (http::StatusCode::from_u16(status).unwrap(), body) }
        });
        send(&app, pay("k1")).await.is(status, "run 1");
        send(&app, pay("k1")).await.replays(status, "run 1");
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_failure_undoes_all_the_next_try_runs_again() {
    let runs = Runs::default();
    let ran = runs.clone();
    let app = app(layer().on_server_error(OnServerError::Reexecute), move || {
        let run = ran.run();
        async move {
            let status = [503, 500, 404][run - 1];
            (http::StatusCode::from_u16(status).unwrap(), format!("run {run}"))
        }
    });
    send(&app, pay("k1")).await.is(503, "run 1");
    send(&app, pay("k1")).await.is(500, "run 2");
    send(&app, pay("k1")).await.is(404, "run 3");
    send(&app, pay("k1")).await.replays(404, "run 3");
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_body_breaks_off_leaves_the_key_in_doubt() {
    let app = app(layer(), || async {
        let chunks = [Ok(Bytes::from("pa")), Err(std::io::Error::other("disk"))];
        Body::from_stream(stream::iter(chunks)).into_response()
    });
    assert_eq!(send(&app, pay("k1")).await.status, 500);
    send(&app, pay("k1")).await.is_problem(409, "outcome-unknown");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_its_retention_and_no_longer() {
    let runs = Runs::default();
    let hour = Duration::from_secs(3600);
    let app = app(layer().retention(hour), counting(&runs));
    send(&app, pay("k1")).await.is(200, "payment 1");
    advance(Duration::from_secs(3599)).await;
    send(&app, pay("k1")).await.replays(200, "payment 1");
    advance(Duration::from_secs(1)).await;
    send(&app, pay("k1")).await.is(200, "payment 2");
}

/// Turns every byte round, and opens nothing that was sealed for another key.
struct Mirror {
    broken: bool,
}

impl Sealer for Mirror {
    fn seal(&self, id: &Identity, answer: Bytes) -> Result<Bytes, moneta_resilience::BoxError> {
        let turned = answer.iter().map(|byte| !byte);
        Ok(id.as_bytes().iter().copied().chain(turned).collect())
    }

    fn open(&self, id: &Identity, kept: Bytes) -> Result<Bytes, moneta_resilience::BoxError> {
        let sealed =
            kept.strip_prefix(id.as_bytes()).filter(|_| !self.broken).ok_or("sealed for another key")?;
        Ok(sealed.iter().map(|byte| !byte).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn answers_pass_through_the_sealer_both_ways() {
    let (runs, store) = (Runs::default(), MemoryStore::new());
    let sealed = app(IdempotencyLayer::new(store.clone()).sealer(Mirror { broken: false }), counting(&runs));
    send(&sealed, pay("k1")).await.is(200, "payment 1");
    send(&sealed, pay("k1")).await.replays(200, "payment 1");
    // Without the sealer, or with one that has lost its key, the answer cannot be read, and is not made again.
    let unsealed = app(IdempotencyLayer::new(store.clone()), counting(&runs));
    send(&unsealed, pay("k1")).await.is_problem(409, "not-replayable");
    let broken = app(IdempotencyLayer::new(store).sealer(Mirror { broken: true }), counting(&runs));
    send(&broken, pay("k1")).await.is_problem(409, "not-replayable");
    assert_eq!(runs.count(), 1);
}
