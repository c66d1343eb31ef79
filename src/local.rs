//! Reads of a thread's own cells that cannot fail.
//!
//! `LocalKey::get` gives the value inside a `Result`. Where that keeps its error in a value that the type does not use, as with
//! a `bool`, an enum or an `Instant`, the compiler takes whatever it reads for a possible error: a branch at each read and,
//! what is worse, a panic, before which everything that was made already has to be dropped. Here it has the value of its own.

use std::{cell::Cell, thread::LocalKey};

/// What the cell holds.
#[inline]
pub(crate) fn get<T: Copy + Default>(cell: &'static LocalKey<Cell<T>>) -> T {
    let mut value = T::default();
    cell.with(|cell| value = cell.get());
    value
}

/// What the cell held, which holds `value` from now on.
#[inline]
pub(crate) fn replace<T: Copy>(cell: &'static LocalKey<Cell<T>>, mut value: T) -> T {
    cell.with(|cell| value = cell.replace(value));
    value
}
