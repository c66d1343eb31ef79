use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio_test::{assert_pending, task};

use crate::{
    circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitTransition, CircuitTransitions},
    event::CircuitState::{self, Closed, Disabled, ForcedOpen, Open},
};

fn handle() -> CircuitBreakerHandle {
    CircuitBreakerLayer::new().handle()
}

/// What the stream has at this moment.
fn read(transitions: &mut CircuitTransitions) -> Option<CircuitTransition> {
    transitions.next().now_or_never().map(|next| next.expect("it has no end"))
}

fn read_all(transitions: &mut CircuitTransitions) -> Vec<(CircuitState, CircuitState)> {
    std::iter::from_fn(|| read(transitions)).map(|next| (next.from, next.to)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_stream_reads_every_transition_from_its_beginning_on() {
    let handle = handle();
    let mut early = handle.transitions();
    handle.force_open();
    let mut late = handle.transitions();
    handle.disable();
    handle.reset();
    handle.reset();
    let seen = [(ForcedOpen, Disabled), (Disabled, Closed)];
    assert_eq!(read_all(&mut late), seen);
    assert_eq!(read_all(&mut early), [&[(Closed, ForcedOpen)], &seen[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lags_says_how_many_it_lost() {
    let handle = handle();
    let (mut slow, mut slower) = (handle.transitions(), handle.transitions());
    let toggle = |times: usize| {
        for _ in 0..times {
            handle.force_open();
            handle.reset();
        }
    };
    toggle(10);
    assert_eq!(read(&mut slow).expect("there are 20").missed, 0);
    toggle(10);
    let missed = |stream: &mut CircuitTransitions| -> Vec<_> {
        std::iter::from_fn(|| read(stream)).map(|next| next.missed).collect()
    };
    let after = |lost| [vec![lost], vec![0; 31]].concat();
    assert_eq!(missed(&mut slow), after(7), "40 happened, 32 are kept, 1 was read");
    assert_eq!(missed(&mut slower), after(8));
}

#[tokio::test(start_paused = true)]
async fn a_transition_wakes_who_waits_for_it() {
    let handle = handle();
    let mut waiting = [handle.transitions(), handle.transitions()].map(task::spawn);
    for stream in &mut waiting {
        assert_pending!(stream.poll_next());
        assert_pending!(stream.poll_next());
    }
    handle.force_open();
    assert!(waiting.iter_mut().all(|stream| stream.is_woken()));
    for stream in &mut waiting {
        assert_eq!(read(stream).map(|next| next.to), Some(ForcedOpen));
        assert_pending!(stream.poll_next());
    }
    let [first, mut second] = waiting;
    drop(first);
    handle.reset();
    assert!(second.is_woken());
    assert_eq!(read(&mut second).map(|next| next.to), Some(Closed));
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_look_at_the_breaker() {
    struct Look(CircuitBreakerHandle);
    impl futures::task::ArcWake for Look {
        fn wake_by_ref(look: &Arc<Self>) {
            assert_eq!(look.0.snapshot().state, ForcedOpen);
        }
    }
    let handle = handle();
    let mut stream = handle.transitions();
    let waker = futures::task::waker(Arc::new(Look(handle.clone())));
    assert!(stream.poll_next_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    handle.force_open();
    assert!(read(&mut stream).is_some());
}

#[tokio::test(start_paused = true)]
async fn transitions_of_many_threads_are_one_chain() {
    let handle = handle();
    let mut stream = handle.transitions();
    std::thread::scope(|scope| {
        let work: [fn(&CircuitBreakerHandle); 3] =
            [CircuitBreakerHandle::force_open, CircuitBreakerHandle::disable, |handle| {
                _ = handle.trip("a test");
            }];
        for work in work {
            let handle = &handle;
            scope.spawn(move || {
                (0..5).for_each(|_| {
                    work(handle);
                    handle.reset();
                });
            });
        }
    });
    let chain = read_all(&mut stream);
    assert!(chain.windows(2).all(|pair| pair[0].1 == pair[1].0), "{chain:?}");
    assert_eq!(chain.last().map(|last| last.1), Some(Closed));
}

#[tokio::test(start_paused = true)]
async fn a_trip_says_what_for_and_comes_back_by_probes() {
    let layer = CircuitBreakerLayer::new().probes(1);
    let handle = layer.handle();
    let mut stream = handle.transitions();
    assert!(handle.trip("the objective burns"));
    assert!(!handle.trip("again"), "it is open already");
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.state, snapshot.reason), (Open, Some("the objective burns")));
    assert_eq!(read(&mut stream).and_then(|next| next.reason), Some("the objective burns"));
    tokio::time::sleep(snapshot.next_probe.expect("as from any other trip")).await;

    let service = tower::Layer::layer(&layer, tower::service_fn(async |()| Ok::<_, tower::BoxError>(())));
    tower::ServiceExt::oneshot(service, ()).await.expect("a probe");
    assert_eq!(handle.snapshot().reason, None);
    assert_eq!(
        read_all(&mut stream),
        [(Open, CircuitState::HalfOpen), (CircuitState::HalfOpen, CircuitState::Recovering)]
    );
}
