use std::io;

use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use super::{FallbackLayer, Why};
use crate::{Class, Name, Registry};

fn failing() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionRefused).into()
}

#[tokio::test]
async fn a_failure_is_answered_and_counted() {
    let registry = Registry::new();
    let observer = registry.observer(&Name::literal("quotes"));
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Why| Ok(why.class() == Class::TRANSIENT)).observer(observer.clone()))
        .service(service_fn(|()| async { Err::<bool, _>(failing()) }));
    assert!(service.oneshot(()).await.expect("the fallback answers"));
    assert_eq!((observer.cells().fallbacks_served(), observer.cells().fallbacks_failed()), (1, 0));
}

#[tokio::test]
async fn a_callers_fault_is_not_answered() {
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|_| Ok(())))
        .service(service_fn(|()| async { Err::<(), BoxError>("no such account".into()) }));
    assert_eq!(service.oneshot(()).await.expect_err("stays").to_string(), "no such account");
}

#[tokio::test]
async fn a_fallback_without_an_answer_can_give_the_error_back_unchanged() {
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(|why: Why| Err::<(), _>(why.into_error())))
        .service(service_fn(|()| async { Err::<(), _>(failing()) }));
    let error = service.oneshot(()).await.expect_err("no answer");
    assert!(error.downcast_ref::<io::Error>().is_some(), "the inner error stays downcastable");
}

#[tokio::test]
async fn a_response_can_be_a_failure_too() {
    let service = ServiceBuilder::new()
        .layer(
            FallbackLayer::new(|why: Why| {
                assert!(why.error().is_none());
                Ok(why.into_error().to_string())
            })
            .classify(|_: Result<&String, &BoxError>| Class::Fault),
        )
        .service(service_fn(|()| async { Ok::<_, BoxError>("broken".to_owned()) }));
    assert_eq!(
        service.oneshot(()).await.expect("answered"),
        "the dependency answered with a failure (Fault)"
    );
}
