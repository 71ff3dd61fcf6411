//! Numbers, `bool`, `char` and the unit type as elements: one `fixed` column.

use super::{Description, Element, Key};
use crate::batch::column::{FixedCursor, FixedWriter};
use crate::batch::hash::KeyRef;
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::runtime::bindings::types::Column;
use crate::state::table::{BytesSlot, WordSlot};

macro_rules! fixed {
    ($type:ty, $bits:ty, $schema:literal, |$value:ident| $to:expr, |$raw:ident| $from:expr) => {
        impl Element for $type {
            type View<'a> = $type;
            const PLAIN: bool = true;
            const OWNED: bool = true;
            type Cursor<'b> = FixedCursor<'b>;
            type Writer = FixedWriter;

            fn describe(description: &mut Description) {
                description.column(Column::Fixed(size_of::<$bits>() as u8), $schema);
            }

            #[inline(always)]
            fn cursor<'b>(sections: &mut Sections<'b>) -> FixedCursor<'b> {
                FixedCursor::new(sections.take())
            }

            #[inline(always)]
            unsafe fn read<'b>(cursor: &mut Self::Cursor<'b>, row: usize) -> Self::View<'b> {
                // SAFETY: the caller's promise; the bits are an unsigned integer.
                let $raw = <$bits>::from_le(unsafe { cursor.read::<$bits>(row) });
                $from
            }

            #[inline(always)]
            unsafe fn skip(_: &mut FixedCursor<'_>, _: usize) {}

            #[inline(always)]
            fn writer(regions: &mut Regions<'_>) -> FixedWriter {
                regions.fixed()
            }

            #[inline(always)]
            unsafe fn write(writer: &mut FixedWriter, row: usize, value: &$type) -> bool {
                let $value = *value;
                let bits: $bits = $to;
                // SAFETY: the caller's promise.
                unsafe { writer.write(row, bits.to_le()) };
                true
            }

            #[inline(always)]
            unsafe fn write_absent(writer: &mut FixedWriter, row: usize) -> bool {
                // SAFETY: the caller's promise.
                unsafe { writer.write(row, <$bits>::default()) };
                true
            }

            fn write_row(value: &$type, out: &mut Vec<u8>, _: bool) {
                let $value = *value;
                let bits: $bits = $to;
                out.extend_from_slice(&bits.to_le_bytes());
            }

            fn read_row<'b>(row: &mut &'b [u8], _: bool) -> $type {
                let (bytes, rest) = row.split_at(size_of::<$bits>());
                *row = rest;
                let $raw = <$bits>::from_le_bytes(bytes.try_into().expect("split at the width"));
                $from
            }

            #[inline(always)]
            fn key(value: &$type, _: &mut Vec<u8>) -> KeyRef {
                let $value = *value;
                let bits: $bits = $to;
                KeyRef::of_word(u64::from(bits), size_of::<$bits>() as u32)
            }
        }
    };
}

macro_rules! integer {
    ($($type:ty, $bits:ty, $schema:literal;)*) => {
        $(fixed!($type, $bits, $schema, |v| v as $bits, |b| b as $type); impl Key for $type { type Slot = WordSlot; })*
    };
}

integer! {
    u8, u8, "u8";
    u16, u16, "u16";
    u32, u32, "u32";
    u64, u64, "u64";
    usize, u64, "u64";
    i8, u8, "i8";
    i16, u16, "i16";
    i32, u32, "i32";
    i64, u64, "i64";
    isize, u64, "i64";
}

fixed!(f32, u32, "f32", |v| v.to_bits(), |b| f32::from_bits(b));
fixed!(f64, u64, "f64", |v| v.to_bits(), |b| f64::from_bits(b));
fixed!(bool, u8, "bool", |v| u8::from(v), |b| b != 0);
fixed!(char, u32, "char", |v| u32::from(v), |b| char::from_u32(b).unwrap_or(char::REPLACEMENT_CHARACTER));

impl Key for bool {
    type Slot = WordSlot;
}

impl Key for char {
    type Slot = WordSlot;
}

impl Element for () {
    type View<'a> = ();
    const PLAIN: bool = true;
    const OWNED: bool = true;
    type Cursor<'b> = ();
    type Writer = ();

    fn describe(description: &mut Description) {
        description.schema.push_str("()");
    }

    fn cursor<'b>(_: &mut Sections<'b>) {}

    unsafe fn read<'b>(_: &mut Self::Cursor<'b>, _: usize) -> Self::View<'b> {}

    unsafe fn skip((): &mut (), _: usize) {}

    fn writer(_: &mut Regions<'_>) {}

    unsafe fn write((): &mut (), _: usize, (): &()) -> bool {
        true
    }

    unsafe fn write_absent((): &mut (), _: usize) -> bool {
        true
    }

    fn write_row((): &(), _: &mut Vec<u8>, _: bool) {}

    fn read_row<'b>(_: &mut &'b [u8], _: bool) {}
}

impl Key for () {
    type Slot = BytesSlot;
}
