//! Where the instance is: which operator runs, on which record. Kept so that
//! a panic can name both, at the price of a store a call. Nothing reads it on
//! the data path.

use crate::block::Rows;
use std::cell::Cell;
use std::ptr;

/// No operator is running.
pub(crate) const NO_OPERATOR: u32 = u32::MAX;

struct Position {
    operator: Cell<u32>,
    /// Records of the subtask's inputs before the current batch.
    base: Cell<u64>,
    /// Index within the batch, or within the block if `rows` is set.
    row: Cell<u32>,
    /// The records that a block's values came from, from `block_base` on.
    rows: Cell<*const Rows>,
    block_base: Cell<u32>,
    /// For each row of a staged batch, the record that it came from.
    origins: Cell<*const u32>,
}

thread_local! {
    static POSITION: Position = const {
        Position {
            operator: Cell::new(NO_OPERATOR),
            base: Cell::new(0),
            row: Cell::new(u32::MAX),
            rows: Cell::new(ptr::null()),
            block_base: Cell::new(0),
            origins: Cell::new(ptr::null()),
        }
    };
}

/// The operator whose code runs from here on.
#[inline(always)]
pub(crate) fn operator(id: u32) {
    POSITION.with(|p| p.operator.set(id));
}

/// The index of the record that is worked on.
#[inline(always)]
pub(crate) fn row(index: u32) {
    POSITION.with(|p| p.row.set(index));
}

/// A batch starts: rows are counted from its first record on.
#[inline]
pub(crate) fn start_batch() {
    POSITION.with(|p| {
        p.rows.set(ptr::null());
        p.origins.set(ptr::null());
        p.row.set(0);
    });
}

/// Rows are indices into the batch again, not into a block.
#[inline(always)]
pub(crate) fn leave_block() {
    POSITION.with(|p| p.rows.set(ptr::null()));
}

/// Rows are indices into a block from here on. `rows` stays valid until the
/// next call of `enter_block`, `leave_block` or `end_batch`.
#[inline(always)]
pub(crate) fn enter_block(base: u32, rows: *const Rows) {
    POSITION.with(|p| {
        p.block_base.set(base);
        p.rows.set(rows);
    });
}

/// A batch of `rows` records is done.
#[inline]
pub(crate) fn end_batch(rows: u32) {
    POSITION.with(|p| {
        p.operator.set(NO_OPERATOR);
        p.rows.set(ptr::null());
        p.origins.set(ptr::null());
        p.row.set(u32::MAX);
        p.base.set(p.base.get() + u64::from(rows));
    });
}

/// Forgets everything: another instance starts on this thread.
pub(crate) fn reset() {
    restore(Snapshot { operator: NO_OPERATOR, base: 0 });
}

/// What one instance must remember while another runs on the same thread.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    operator: u32,
    base: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { operator: NO_OPERATOR, base: 0 }
    }
}

/// The position between two calls.
#[cfg_attr(target_family = "wasm", allow(dead_code))]
pub(crate) fn snapshot() -> Snapshot {
    POSITION.with(|p| Snapshot { operator: p.operator.get(), base: p.base.get() })
}

/// Goes back to where an instance was.
pub(crate) fn restore(to: Snapshot) {
    POSITION.with(|p| {
        p.operator.set(to.operator);
        p.base.set(to.base);
        p.row.set(u32::MAX);
        p.rows.set(ptr::null());
        p.origins.set(ptr::null());
    });
}

/// Id of the operator that runs.
pub(crate) fn current_operator() -> Option<u32> {
    let id = POSITION.with(|p| p.operator.get());
    (id != NO_OPERATOR).then_some(id)
}

/// Index within the input's batch of the record that is worked on.
#[inline(always)]
pub(crate) fn origin() -> u32 {
    POSITION.with(
        |p| {
            if p.rows.get().is_null() && p.origins.get().is_null() { p.row.get() } else { resolve(p) }
        },
    )
}

#[inline(never)]
fn resolve(p: &Position) -> u32 {
    let mut index = p.row.get();
    if index == u32::MAX {
        return index;
    }
    let rows = p.rows.get();
    if !rows.is_null() {
        // SAFETY: set by `enter_block`, whose caller keeps the block's rows
        // alive.
        index = p.block_base.get() + unsafe { (*rows).row(index) };
    }
    let origins = p.origins.get();
    if !origins.is_null() {
        // SAFETY: set by `staged`, which keeps an origin for each row of the
        // batch alive while it runs.
        index = unsafe { *origins.add(index as usize) };
    }
    index
}

/// Runs `f` over a staged batch: its rows came from the records `origins`.
pub(crate) fn staged<R>(origins: &[u32], f: impl FnOnce() -> R) -> R {
    let former = POSITION.with(|p| {
        let former = (p.origins.get(), p.rows.get(), p.block_base.get(), p.row.get());
        p.origins.set(origins.as_ptr());
        p.rows.set(ptr::null());
        p.row.set(0);
        former
    });
    let result = f();
    POSITION.with(|p| {
        p.origins.set(former.0);
        p.rows.set(former.1);
        p.block_base.set(former.2);
        p.row.set(former.3);
    });
    result
}

/// Index of the current record among all that the subtask has taken in.
pub(crate) fn current_record() -> Option<u64> {
    POSITION.with(|p| match resolve(p) {
        u32::MAX => None,
        index => Some(p.base.get() + u64::from(index)),
    })
}
