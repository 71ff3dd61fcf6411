//! `Option` as an element: a column that says whether there is a value, then
//! the columns of the value.

use super::{Description, Element, Key};
use crate::batch::column::{FixedCursor, FixedWriter};
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::runtime::bindings::types::Column;
use crate::state::table::BytesSlot;

impl<T: Element> Element for Option<T> {
    type View<'a> = Option<T::View<'a>>;
    const PLAIN: bool = T::PLAIN;
    const OWNED: bool = T::OWNED;
    type Cursor<'b> = (FixedCursor<'b>, T::Cursor<'b>);
    type Writer = (FixedWriter, T::Writer);

    fn describe(description: &mut Description) {
        description.column(Column::Fixed(1), "option<");
        T::describe(description);
        description.schema.push('>');
        description.codec = None;
    }

    #[inline]
    fn cursor<'b>(sections: &mut Sections<'b>) -> Self::Cursor<'b> {
        (FixedCursor::new(sections.take()), T::cursor(sections))
    }

    #[inline]
    unsafe fn read<'b>(cursor: &mut Self::Cursor<'b>, row: usize) -> Self::View<'b> {
        // SAFETY: the caller's promise, for both. A column of the value moves
        // on with each row only if it is read, so an absent one steps over.
        unsafe {
            if cursor.0.read::<u8>(row) == 0 {
                T::skip(&mut cursor.1, row);
                return None;
            }
            Some(T::read(&mut cursor.1, row))
        }
    }

    #[inline]
    fn writer(regions: &mut Regions<'_>) -> Self::Writer {
        (regions.fixed(), T::writer(regions))
    }

    #[inline]
    unsafe fn write(writer: &mut Self::Writer, row: usize, value: &Self::View<'_>) -> bool {
        // SAFETY: the caller's promise, for both.
        unsafe {
            writer.0.write(row, u8::from(value.is_some()));
            match value {
                Some(value) => T::write(&mut writer.1, row, value),
                None => T::write_absent(&mut writer.1, row),
            }
        }
    }

    #[inline]
    unsafe fn write_absent(writer: &mut Self::Writer, row: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { Self::write(writer, row, &None) }
    }

    unsafe fn skip(cursor: &mut Self::Cursor<'_>, row: usize) {
        // SAFETY: the caller's promise.
        unsafe { T::skip(&mut cursor.1, row) }
    }

    #[inline(always)]
    fn is_short(value: &Self::View<'_>) -> bool {
        value.as_ref().is_none_or(T::is_short)
    }

    fn write_row(value: &Self::View<'_>, out: &mut Vec<u8>, _: bool) {
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            T::write_row(value, out, false);
        }
    }

    fn read_row<'b>(row: &mut &'b [u8], _: bool) -> Self::View<'b> {
        let (present, rest) = row.split_first().expect("an option's row starts with a byte");
        *row = rest;
        (*present != 0).then(|| T::read_row(row, false))
    }
}

impl<T: Key> Key for Option<T> {
    type Slot = BytesSlot;
}
