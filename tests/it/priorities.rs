//! Priorities, from a caller through a golden server and a golden client to the next service.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Empty;
use moneta_resilience::{Priority, Registry, golden};
use tower::{Layer, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_secs(2);

type Body = Empty<bytes::Bytes>;

/// What the handler sees, and what the next service reads, when this one is asked with these headers.
async fn travelled(registry: &Registry, asked: &[&'static str]) -> (Priority, String) {
    let seen = Arc::new(Mutex::new((Priority::Critical, String::new())));
    let next = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<Body>| {
            let written = request.headers()["x-request-priority"].to_str().unwrap().to_owned();
            seen.lock().unwrap().1 = written;
            async { Ok::<_, Infallible>(Response::new(Body::new())) }
        })
    };
    let client = golden::client("next").timeout(LIMIT).no_fallback().registry(registry).http(next);
    let handler = {
        let seen = Arc::clone(&seen);
        service_fn(move |_: Request<Body>| {
            let (client, seen) = (client.clone(), Arc::clone(&seen));
            async move {
                seen.lock().unwrap().0 = Priority::current();
                // In a task of its own, which has it as well.
                let call = async move { client.send(Request::new(Body::new())).await };
                moneta_resilience::spawn(call).await.unwrap().unwrap();
                Ok::<_, Infallible>(Response::new(Body::new()))
            }
        })
    };
    let server = golden::server("this").timeout(LIMIT).registry(registry).layer().layer(handler);
    let mut request = Request::new(Body::new());
    for value in asked {
        request.headers_mut().append("x-request-priority", value.parse().unwrap());
    }
    assert!(server.oneshot(request).await.unwrap().status().is_success());
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn a_priority_reaches_the_handler_and_the_service_behind_it() {
    let registry = Registry::new();
    for (asked, priority) in [
        (&[][..], Priority::Critical),
        (&["sheddable"], Priority::Sheddable),
        (&["sheddable_plus"], Priority::SheddablePlus),
        (&["critical_plus"], Priority::Critical),
        (&["urgent!"], Priority::Critical),
    ] {
        let (seen, written) = travelled(&registry, asked).await;
        assert_eq!((seen, written.as_str()), (priority, priority.as_str()), "{asked:?}");
    }
    let cells = registry.cells_by_name();
    let (_, this) = cells.iter().find(|(name, _)| name.as_str() == "this").unwrap();
    assert_eq!(this.priorities_malformed(), 1);
}
