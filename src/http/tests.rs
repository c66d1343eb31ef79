use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::{
    AnswerBody,
    deadline::{Patience, REQUEST_TIMEOUT},
};
use crate::CallError;

fn read(values: &[(&'static str, &[u8])]) -> Patience {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers
            .append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("no control bytes"));
    }
    Patience::read(&headers, &REQUEST_TIMEOUT)
}

#[test]
fn the_shortest_of_several_limits_counts() {
    let patience = read(&[
        ("x-request-timeout-ms", b"300"),
        ("x-request-timeout-ms", b"200"),
        ("x-envoy-expected-rq-timeout-ms", b"250"),
    ]);
    assert_eq!(patience, Patience { limit: Some(Duration::from_millis(200)), malformed: false });
}

#[test]
fn garbage_is_ignored_and_noticed() {
    for garbage in [&b""[..], b"-1", b"+1", b"1.5", b"1s", b" 1", b"\xff", b"99999999999999999999999999"] {
        let patience = read(&[("x-request-timeout-ms", garbage), ("x-request-timeout-ms", b"5")]);
        let limit = Some(Duration::from_millis(5));
        // An empty value has no digit that is wrong, and no number either.
        assert_eq!(patience, Patience { limit, malformed: true }, "{garbage:?}");
    }
}

#[test]
fn no_header_is_no_limit() {
    assert_eq!(read(&[]), Patience::default());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![32_u8..127, 128_u8..], 0..40)) {
        let patience = read(&[("x-request-timeout-ms", &bytes)]);
        let number = std::str::from_utf8(&bytes).ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok());
        prop_assert_eq!(patience.limit, number.map(Duration::from_millis));
        prop_assert_eq!(patience.malformed, number.is_none());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_has_an_error_that_the_question_mark_takes() -> anyhow::Result<()> {
    struct Broken;
    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }
    async fn read(body: AnswerBody<Broken, String>) -> anyhow::Result<Bytes> {
        Ok(body.collect().await?.to_bytes())
    }
    assert_eq!(read(AnswerBody::of_fallback("stale".to_owned())).await?, "stale");
    let error = read(AnswerBody::of_dependency(Broken)).await.expect_err("it breaks off");
    let error = error.downcast::<CallError>()?;
    assert!(error.inner().is::<std::io::Error>());
    Ok(())
}
