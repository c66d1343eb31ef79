//! Where what is known of a request stays until its end was told.
//!
//! It is larger than the answer, and on its way from the call to the end of the body an answer is moved again and again, by
//! this crate and by its callers. An allocation for each call would cost as much. So a thread keeps the places of requests
//! that ended for those to come.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use tokio::time::Instant;

use super::{open::Open, teller::Teller};

/// As many empty places are kept by a thread.
const MOST: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    static EMPTY: RefCell<Vec<Box<Option<Open>>>> = const { RefCell::new(Vec::new()) };
}

/// What is held in such a place.
#[derive(Debug)]
pub(super) struct Held(
    /// `None` while it is dropped.
    Option<Box<Option<Open>>>,
);

impl Held {
    /// Holds what was called at this instant, and of which nothing is known yet.
    #[inline]
    pub(super) fn new(teller: &Arc<Teller>, started: Instant) -> Self {
        // While a thread is torn down it keeps nothing any more.
        let empty = EMPTY.try_with(|empty| empty.try_borrow_mut().ok()?.pop()).ok().flatten();
        let mut place = empty.unwrap_or_default();
        *place = Some(Open::new(teller, started));
        Self(Some(place))
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        *place = None;
        _ = EMPTY.try_with(|empty| {
            let Ok(mut empty) = empty.try_borrow_mut() else { return };
            if empty.len() < MOST {
                empty.push(place);
            }
        });
    }
}

impl Deref for Held {
    type Target = Open;

    #[inline]
    fn deref(&self) -> &Open {
        self.0.as_deref().and_then(Option::as_ref).expect(HELD)
    }
}

impl DerefMut for Held {
    #[inline]
    fn deref_mut(&mut self) -> &mut Open {
        self.0.as_deref_mut().and_then(Option::as_mut).expect(HELD)
    }
}

const HELD: &str = "it is held until this is dropped";
