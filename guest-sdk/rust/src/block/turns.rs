//! Loops over the values of a block, written so that a turn does the work of
//! several, at places that the compiler can name by a constant. In the sandbox
//! each turn asks the host's clock whether the guest must give way, which costs
//! as much as some of the bodies, and leaves few registers to what lives longer
//! than a turn.

use super::BLOCK;
use std::ops::ControlFlow;

/// Calls `f` for each index below `count` with its places in three arrays,
/// `TURN` a turn: four, or eight where the body is short.
///
/// # Safety
/// The arrays have `count` places.
#[inline(always)]
pub(crate) unsafe fn each_of_three<const TURN: usize, A, B, C>(
    count: usize,
    (mut a, mut b, mut c): (*mut A, *mut B, *mut C),
    mut f: impl FnMut(usize, *mut A, *mut B, *mut C),
) {
    const { assert!(TURN == 4 || TURN == 8) };
    let mut index = 0;
    // SAFETY: at most one behind the last place of each.
    unsafe {
        while index + TURN <= count {
            f(index, a, b, c);
            f(index + 1, a.add(1), b.add(1), c.add(1));
            f(index + 2, a.add(2), b.add(2), c.add(2));
            f(index + 3, a.add(3), b.add(3), c.add(3));
            if TURN == 8 {
                f(index + 4, a.add(4), b.add(4), c.add(4));
                f(index + 5, a.add(5), b.add(5), c.add(5));
                f(index + 6, a.add(6), b.add(6), c.add(6));
                f(index + 7, a.add(7), b.add(7), c.add(7));
            }
            index += TURN;
            (a, b, c) = (a.add(TURN), b.add(TURN), c.add(TURN));
        }
        while index < count {
            f(index, a, b, c);
            index += 1;
            (a, b, c) = (a.add(1), b.add(1), c.add(1));
        }
    }
}

/// Calls `f` for each index from `start` to below `count`, four a turn, until
/// it breaks off; gives the index where it did, or `count`, and why. What `f`
/// does not do itself, because it takes a call, does not cost the loop its
/// registers.
#[inline(always)]
pub(crate) fn until<E>(
    start: usize,
    count: usize,
    mut f: impl FnMut(usize) -> ControlFlow<E>,
) -> (usize, Option<E>) {
    let mut index = start;
    macro_rules! step {
        () => {
            if let ControlFlow::Break(why) = f(index) {
                return (index, Some(why));
            }
            index += 1;
        };
    }
    while index + 4 <= count {
        step!();
        step!();
        step!();
        step!();
    }
    while index < count {
        step!();
    }
    (count, None)
}

/// Stands for an array that is not needed: its places have no size.
pub(crate) const NONE: *mut () = std::ptr::dangling_mut();

/// The same of one array: eight a turn, or one if the values own something, as
/// what is done with those is long.
///
/// # Safety
/// As for `each_of_three`.
#[inline(always)]
pub(super) unsafe fn each_place<V>(count: usize, values: *mut V, mut f: impl FnMut(usize, *mut V)) {
    if std::mem::needs_drop::<V>() {
        for index in 0..count {
            // SAFETY: the caller's promise.
            f(index, unsafe { values.add(index) });
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe {
            each_of_three::<8, _, _, _>(count, (values, NONE, NONE), |index, value, _, _| f(index, value))
        };
    }
}

/// Writes, one behind the other, the values that `value` gives together with
/// `true` for the indices below `count`; it is given the place of its index,
/// which nothing was written to yet. Gives the indices of those that stayed, as
/// bits, and their number.
///
/// # Safety
/// There are `count` places, at most [`BLOCK`].
#[inline(always)]
pub(super) unsafe fn keep<V>(
    count: usize,
    values: *mut V,
    mut value: impl FnMut(usize, *mut V) -> (V, bool),
) -> ([u64; 2], usize) {
    debug_assert!(count <= BLOCK);
    let mut kept = [0u64; 2];
    let (mut from, mut to) = (values, values);
    let mut index = 0;
    let mut take = |index, from: *mut V| {
        let (value, keep) = value(index, from);
        if std::mem::needs_drop::<V>() && !keep {
            return 0;
        }
        // SAFETY: at or before the place of the index.
        unsafe {
            to.write(value);
            to = to.add(usize::from(keep));
        }
        u64::from(keep)
    };
    // SAFETY: the caller's promise; there is a bit for each index.
    unsafe {
        while index + 8 <= count {
            let bits = take(index, from)
                | take(index + 1, from.add(1)) << 1
                | take(index + 2, from.add(2)) << 2
                | take(index + 3, from.add(3)) << 3
                | take(index + 4, from.add(4)) << 4
                | take(index + 5, from.add(5)) << 5
                | take(index + 6, from.add(6)) << 6
                | take(index + 7, from.add(7)) << 7;
            *kept.get_unchecked_mut(index / 64) |= bits << (index % 64);
            index += 8;
            from = from.add(8);
        }
        while index < count {
            *kept.get_unchecked_mut(index / 64) |= take(index, from) << (index % 64);
            index += 1;
            from = from.add(1);
        }
        (kept, to.offset_from_unsigned(values))
    }
}
