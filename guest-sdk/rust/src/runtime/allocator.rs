//! The allocator of a component: free lists by size for what records own,
//! before the allocator of the standard library. An instance has one thread,
//! so nothing is locked. Memory of a size is kept for that size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes are rounded up to this many bytes, and aligned to it.
const STEP: usize = 16;
/// Larger pieces are the standard library's.
const SMALL: usize = 512;
/// How much is asked for at once, to be cut into pieces of one size.
const CHUNK: usize = 8 * 1024;

#[cfg(target_feature = "atomics")]
compile_error!("an instance has one thread; build the component without `atomics`");

/// A free piece.
struct Free {
    next: *mut Free,
}

/// What was not yet cut of the newest chunk of a size.
#[derive(Clone, Copy)]
struct Rest {
    next: *mut u8,
    left: usize,
}

const CLASSES: usize = SMALL / STEP;

/// Allocates small pieces from lists by their size. Everything but taking a
/// piece from its list and putting it back is in functions of its own, so that
/// those two need neither a stack nor many registers.
pub struct SizeClasses {
    free: UnsafeCell<[*mut Free; CLASSES]>,
    rests: UnsafeCell<[Rest; CLASSES]>,
}

// SAFETY: a component without `atomics` has one thread.
unsafe impl Sync for SizeClasses {}

impl SizeClasses {
    pub const fn new() -> Self {
        let rest = Rest { next: ptr::null_mut(), left: 0 };
        Self { free: UnsafeCell::new([ptr::null_mut(); CLASSES]), rests: UnsafeCell::new([rest; CLASSES]) }
    }

    /// The class of a layout, if it is small.
    #[inline(always)]
    fn class_of(layout: Layout) -> Option<usize> {
        // Sizes are above 0, by the contract of `GlobalAlloc`.
        let class = layout.size().wrapping_sub(1) / STEP;
        (class < CLASSES && layout.align() <= STEP).then_some(class)
    }

    #[cold]
    #[inline(never)]
    fn cut(&self, index: usize) -> *mut u8 {
        let size = (index + 1) * STEP;
        // SAFETY: one thread, and nothing below calls back.
        let rest = unsafe { &mut (*self.rests.get())[index] };
        if rest.left < size {
            // SAFETY: the layout has a size above 0 and a power of two.
            let chunk = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, STEP)) };
            if chunk.is_null() {
                return chunk;
            }
            // What is left of the former chunk is less than one piece.
            *rest = Rest { next: chunk, left: CHUNK };
        }
        let piece = rest.next;
        // SAFETY: `left` bytes from `next` on belong to the chunk.
        rest.next = unsafe { piece.add(size) };
        rest.left -= size;
        piece
    }

    #[cold]
    #[inline(never)]
    fn large(layout: Layout) -> *mut u8 {
        // SAFETY: `alloc` is given a layout of a size above 0.
        unsafe { System.alloc(layout) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn free_large(at: *mut u8, layout: Layout) {
        // SAFETY: the promise of who calls `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

// SAFETY: pieces come from chunks of `System`, do not overlap, and are given
// again only after `dealloc`, for layouts of the same class.
unsafe impl GlobalAlloc for SizeClasses {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(index) = Self::class_of(layout) else { return Self::large(layout) };
        // SAFETY: one thread, and nothing below calls back; `index` is below
        // the number of classes; what is in the list was freed, so it is ours
        // to read.
        unsafe {
            let free = (*self.free.get()).get_unchecked_mut(index);
            let piece = *free;
            if piece.is_null() {
                return self.cut(index);
            }
            *free = (*piece).next;
            piece.cast()
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(index) = Self::class_of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { Self::free_large(at, layout) };
        };
        let piece = at.cast::<Free>();
        // SAFETY: as in `alloc`; the piece has room for a pointer.
        unsafe {
            let free = (*self.free.get()).get_unchecked_mut(index);
            (*piece).next = *free;
            *free = piece;
        }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that makes a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Self::class_of(layout), Self::class_of(new_layout)) {
            (Some(old), Some(new)) if old == new => at,
            // SAFETY: the caller's promise; both layouts are `System`'s.
            (None, None) => unsafe { System.realloc(at, layout, size) },
            _ => {
                // SAFETY: the new piece is another one, and as long as what is
                // copied.
                unsafe {
                    let new = self.alloc(new_layout);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(at, new, layout.size().min(size));
                        self.dealloc(at, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, SMALL, SizeClasses};
    use std::alloc::{GlobalAlloc, Layout};
    use std::collections::BTreeMap;

    #[test]
    fn pieces_are_aligned_do_not_overlap_and_keep_what_is_in_them() {
        let allocator = SizeClasses::new();
        // Start of each piece, its layout, and the byte that fills it.
        let mut live = BTreeMap::<usize, (Layout, u8)>::new();
        let mut random = 7u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let check = |at: usize, (layout, fill): (Layout, u8)| {
            // SAFETY: the piece is live and was filled.
            let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, layout.size()) };
            assert!(bytes.iter().all(|&byte| byte == fill));
        };
        for step in 0..40_000u32 {
            let fill = step as u8;
            if live.len() > 600 || (next(3) == 0 && !live.is_empty()) {
                let at = *live.keys().nth(next(live.len())).unwrap();
                let (layout, byte) = live.remove(&at).unwrap();
                check(at, (layout, byte));
                if next(2) == 0 {
                    // SAFETY: the piece is live, with this layout.
                    unsafe { allocator.dealloc(at as *mut u8, layout) };
                    continue;
                }
                let size = 1 + next(2 * SMALL);
                // SAFETY: the same.
                let new = unsafe { allocator.realloc(at as *mut u8, layout, size) } as usize;
                check(new, (Layout::from_size_align(size.min(layout.size()), 1).unwrap(), byte));
                let layout = Layout::from_size_align(size, layout.align()).unwrap();
                // SAFETY: the new piece is as long.
                unsafe { std::ptr::write_bytes(new as *mut u8, fill, size) };
                live.insert(new, (layout, fill));
                continue;
            }
            let layout = Layout::from_size_align(1 + next(SMALL + SMALL / 4), 1 << next(7)).unwrap();
            // SAFETY: the size is above 0.
            let at = unsafe { allocator.alloc(layout) } as usize;
            assert_eq!(at % layout.align(), 0);
            // SAFETY: the piece is so long.
            unsafe { std::ptr::write_bytes(at as *mut u8, fill, layout.size()) };
            live.insert(at, (layout, fill));
            let mut end = 0;
            for (&at, (layout, _)) in &live {
                assert!(at >= end, "pieces overlap");
                end = at + layout.size();
            }
        }
        for (at, piece) in live {
            check(at, piece);
            // SAFETY: the piece is live, with this layout.
            unsafe { allocator.dealloc(at as *mut u8, piece.0) };
        }
    }

    #[test]
    fn what_is_freed_is_used_again() {
        let allocator = SizeClasses::new();
        let layout = Layout::from_size_align(24, 8).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 * CHUNK {
            // SAFETY: the size is above 0, and the piece is freed once.
            unsafe {
                let at = allocator.alloc(layout);
                seen.insert(at as usize);
                allocator.dealloc(at, layout);
            }
        }
        assert_eq!(seen.len(), 1);
    }
}
