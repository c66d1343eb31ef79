//! The last good answer over real connections.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use axum::routing::any;
use moneta_resilience::{
    Registry,
    event::Outcome,
    golden,
    http::{Degraded, Stale, StaleCache},
};

use super::*;

/// A limit that no test reaches.
const FAR: Duration = Duration::from_secs(60);

/// Prices that count up, as long as it is told to answer.
async fn prices() -> (SocketAddr, Arc<AtomicBool>) {
    let (up, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let is_up = Arc::clone(&up);
    let handler = any(async move || {
        let price = calls.fetch_add(1, Ordering::Relaxed);
        let status =
            if is_up.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, format!("price {price}"))
    });
    (serve(Router::new().route("/{pair}", handler)).await, up)
}

#[tokio::test]
async fn the_last_good_quote_is_served_flagged_stale_bounded_and_never_for_a_post() {
    let (address, up) = prices().await;
    let quotes = golden::client("market-data")
        .timeout(FAR)
        .stale_cache(StaleCache::new().max_entries(2))
        .without_retry()
        .registry(&Registry::new())
        .http(hyper());
    for (method, path) in
        [("GET", "/chf"), ("GET", "/eur"), ("POST", "/eur-order"), ("GET", "/usd"), ("GET", "/usd")]
    {
        let fresh = quotes.send(request(method, address, path)).await.unwrap();
        assert!(fresh.extensions().get::<Stale>().is_none());
        text(fresh).await;
    }
    up.store(false, Ordering::Relaxed);

    let stale = quotes.send(get_of(address, "/usd")).await.unwrap();
    assert_eq!(stale.status(), StatusCode::OK);
    assert!(stale.extensions().get::<Stale>().is_some() && stale.extensions().get::<Degraded>().is_some());
    assert!(header(&stale, "age").is_some());
    assert_eq!(header(&stale, "cache-status"), Some("moneta-resilience; fwd=stale; fwd-status=503"));
    assert_eq!(header(&stale, "transfer-encoding"), None);
    assert_eq!(text(stale).await, "price 4");
    assert_eq!(text(quotes.send(get_of(address, "/eur")).await.unwrap()).await, "price 1");
    for (method, path) in [("GET", "/chf"), ("POST", "/eur-order"), ("POST", "/usd")] {
        let failed = quotes.send(request(method, address, path)).await.unwrap();
        assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        assert!(failed.extensions().get::<Degraded>().is_none());
    }
    assert_eq!(quotes.handle().counts().calls(Outcome::Degraded), 2);

    quotes.handle().circuit_breaker().expect("on by default").force_open();
    let stale = quotes.send(get_of(address, "/usd")).await.unwrap();
    assert_eq!(header(&stale, "cache-status"), Some("moneta-resilience; hit"));
    assert_eq!(text(stale).await, "price 4");
}
