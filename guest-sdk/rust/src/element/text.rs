//! Text and bytes as elements: `String`, and the borrowed forms `Str` and
//! `Bytes`. One `utf8` or `bytes` column.

use super::{Description, Element, Key};
use crate::batch::column::{VarCursor, VarWriter};
use crate::batch::hash::{KeyRef, copy_exact, covered_by_one_read};
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::runtime::bindings::types::Column;
use crate::state::table::BytesSlot;

/// Text that an operator sees as `&str`, without a copy.
///
/// `DataStream<Str>` is what [`read_text`] gives; `(Str, u64)` is a pair of a
/// `&str` and a number.
///
/// [`read_text`]: crate::stream::environment::StreamExecutionEnvironment::read_text
pub struct Str {
    _never: std::convert::Infallible,
}

/// Bytes that an operator sees as `&[u8]`, without a copy.
pub struct Bytes {
    _never: std::convert::Infallible,
}

/// Takes a row's bytes off its front: all if it is the sole column, else
/// behind their length.
pub(crate) fn take_bytes<'b>(row: &mut &'b [u8], sole: bool) -> &'b [u8] {
    if sole {
        return std::mem::take(row);
    }
    let (length, rest) = row.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let (bytes, rest) = rest.split_at(length);
    *row = rest;
    bytes
}

/// Appends bytes to a row: as they are if sole, else behind their length.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>, sole: bool) {
    if !sole {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

macro_rules! variable {
    ($type:ty, $view:ty, $owned:literal, $column:expr, $schema:literal, |$value:ident| $to:expr, |$bytes:ident| $from:expr, |$over:ident| $again:expr) => {
        impl Element for $type {
            type View<'a> = $view;
            const PLAIN: bool = !$owned;
            const OWNED: bool = $owned;
            type Cursor<'b> = VarCursor<'b>;
            type Writer = VarWriter;

            fn describe(description: &mut Description) {
                description.column($column, $schema);
            }

            #[inline(always)]
            fn cursor<'b>(sections: &mut Sections<'b>) -> VarCursor<'b> {
                let ends = sections.take();
                VarCursor::new(ends, sections.take())
            }

            #[inline(always)]
            unsafe fn read<'a>(cursor: &mut Self::Cursor<'a>, row: usize) -> Self::View<'a> {
                // SAFETY: the caller's promise.
                let $bytes = unsafe { cursor.read(row) };
                $from
            }

            #[inline(always)]
            unsafe fn read_over<'a>(cursor: &mut Self::Cursor<'a>, row: usize, $over: &mut Self::View<'a>) {
                // SAFETY: the caller's promise.
                let $bytes = unsafe { cursor.read(row) };
                $again
            }

            #[inline(always)]
            unsafe fn skip(cursor: &mut VarCursor<'_>, row: usize) {
                // SAFETY: the caller's promise.
                unsafe { cursor.read(row) };
            }

            #[inline(always)]
            fn writer(regions: &mut Regions<'_>) -> VarWriter {
                regions.var()
            }

            #[inline(always)]
            unsafe fn write(writer: &mut VarWriter, row: usize, $value: &Self::View<'_>) -> bool {
                // SAFETY: the caller's promise.
                unsafe { writer.write(row, $to) }
            }

            #[inline(always)]
            unsafe fn write_absent(writer: &mut VarWriter, row: usize) -> bool {
                // SAFETY: the caller's promise.
                unsafe { writer.write(row, &[]) }
            }

            fn write_row($value: &Self::View<'_>, out: &mut Vec<u8>, sole: bool) {
                put_bytes($to, out, sole);
            }

            fn read_row<'a>(row: &mut &'a [u8], sole: bool) -> $view {
                let $bytes = take_bytes(row, sole);
                $from
            }

            #[inline(always)]
            fn is_short($value: &Self::View<'_>) -> bool {
                covered_by_one_read($to.as_ptr(), $to.len())
            }

            #[inline(always)]
            fn key($value: &Self::View<'_>, _: &mut Vec<u8>) -> KeyRef {
                KeyRef::of_bytes($to)
            }
        }

        impl Key for $type {
            type Slot = BytesSlot;
        }
    };
}

/// Text of a `utf8` column or of a row that this crate wrote.
#[inline(always)]
fn text(bytes: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(bytes).is_ok());
    // SAFETY: the host checks each value of a `utf8` column before `process`;
    // rows come back from the host as `write_row` wrote them.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

/// The same, as a string of its own.
#[inline(always)]
fn owned(bytes: &[u8]) -> String {
    let mut copy = Vec::with_capacity(bytes.len());
    // SAFETY: there is room for as many bytes, which are text; see `text`.
    unsafe {
        copy_exact(bytes.as_ptr(), copy.as_mut_ptr(), bytes.len());
        copy.set_len(bytes.len());
        String::from_utf8_unchecked(copy)
    }
}

/// Strings of more room than this are not kept for other values.
const REUSED_MAX: usize = 512;

/// The same, in the place of another string.
#[inline(always)]
fn over(bytes: &[u8], text: &mut String) {
    if bytes.len() > text.capacity() || text.capacity() > REUSED_MAX {
        *text = owned(bytes);
        return;
    }
    // SAFETY: there is room for the bytes, which are text; see `text`.
    unsafe {
        let room = text.as_mut_vec();
        copy_exact(bytes.as_ptr(), room.as_mut_ptr(), bytes.len());
        room.set_len(bytes.len());
    }
}

variable!(Str, &'a str, false, Column::Utf8, "str", |v| v.as_bytes(), |b| text(b), |v| *v = text(b));
variable!(Bytes, &'a [u8], false, Column::Bytes, "bytes", |v| v, |b| b, |v| *v = b);
variable!(String, String, true, Column::Utf8, "str", |v| v.as_bytes(), |b| owned(b), |v| over(b, v));
