//! Ten thousand callers in front of a few places, each of which may leave at any moment.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use proptest::prelude::*;
use tokio::{runtime, task::yield_now};
use tokio_test::task::spawn;
use tower::{BoxError, Layer, Service, service_fn};

use super::super::BulkheadLayer;
use crate::random::Random;

const CALLERS: usize = 10_000;

/// What the service inside sees.
#[derive(Default)]
struct Inside {
    now: Cell<usize>,
    most: Cell<usize>,
    /// Who entered, in order.
    names: RefCell<Vec<usize>>,
}

/// One call's stay.
struct Stay(Rc<Inside>);

impl Stay {
    fn begin(inside: Rc<Inside>, name: usize) -> Self {
        inside.now.set(inside.now.get() + 1);
        inside.most.set(inside.most.get().max(inside.now.get()));
        inside.names.borrow_mut().push(name);
        Self(inside)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.now.set(self.0.now.get() - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn ten_thousand_callers_that_leave_at_random_lose_no_place_and_get_none_twice(
        seed in any::<u64>(),
        limit in 1_usize..64,
        leave in 0.01..0.5_f64,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let _inside_of_it = runtime.as_ref().expect("it needs nothing").enter();
        let (inside, random) = (Rc::<Inside>::default(), Random::seeded(seed));
        let layer = BulkheadLayer::new(limit).without_refusals();
        let (handle, seen) = (layer.handle(), Rc::clone(&inside));
        let mut service = layer.layer(service_fn(move |name| {
            let inside = Rc::clone(&seen);
            async move {
                let _stay = Stay::begin(inside, name);
                yield_now().await;
                Ok::<_, BoxError>(())
            }
        }));
        let mut callers: Vec<_> = (0..CALLERS).map(|name| spawn(service.call(name))).collect();
        for call in &mut callers {
            assert!(call.poll().is_pending());
        }
        while !callers.is_empty() {
            let state = handle.state();
            prop_assert_eq!(state.in_use, limit.min(callers.len()), "a place is lost");
            prop_assert_eq!(state.in_use + state.queued, callers.len());
            // Who leaves may have been granted a place that it has not seen yet.
            callers.retain_mut(|call| random.unit() >= leave && (!call.is_woken() || call.poll().is_pending()));
        }
        prop_assert_eq!((handle.state().in_use, inside.now.get()), (0, 0));
        prop_assert!(inside.most.get() <= limit, "a place was granted twice");
        prop_assert!(inside.names.borrow().is_sorted(), "first come, first served");
    }
}
