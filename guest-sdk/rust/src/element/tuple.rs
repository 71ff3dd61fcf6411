//! Tuples of elements: their columns side by side; the view of a tuple is the
//! tuple of views.

use super::{Description, Element, Key};
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::state::table::BytesSlot;

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Element),+> Element for ($($name,)+) {
            type View<'a> = ($($name::View<'a>,)+);
            const PLAIN: bool = $($name::PLAIN)&&+;
            const OWNED: bool = $($name::OWNED)&&+;
            type Cursor<'b> = ($($name::Cursor<'b>,)+);
            type Writer = ($($name::Writer,)+);

            fn describe(description: &mut Description) {
                description.schema.push('(');
                $(
                    if $index > 0 {
                        description.schema.push_str(", ");
                    }
                    $name::describe(description);
                )+
                description.schema.push(')');
                description.codec = None;
            }

            #[inline(always)]
            fn cursor<'b>(sections: &mut Sections<'b>) -> Self::Cursor<'b> {
                ($($name::cursor(sections),)+)
            }

            #[inline(always)]
            unsafe fn read<'b>(cursor: &mut Self::Cursor<'b>, row: usize) -> Self::View<'b> {
                // SAFETY: the caller's promise, for each column.
                unsafe { ($($name::read(&mut cursor.$index, row),)+) }
            }

            #[inline(always)]
            unsafe fn read_over<'b>(cursor: &mut Self::Cursor<'b>, row: usize, value: &mut Self::View<'b>) {
                // SAFETY: the caller's promise, for each column.
                unsafe { $($name::read_over(&mut cursor.$index, row, &mut value.$index);)+ }
            }

            #[inline(always)]
            unsafe fn skip(cursor: &mut Self::Cursor<'_>, row: usize) {
                // SAFETY: the caller's promise, for each column.
                unsafe { $($name::skip(&mut cursor.$index, row);)+ }
            }

            #[inline(always)]
            fn writer(regions: &mut Regions<'_>) -> Self::Writer {
                ($($name::writer(regions),)+)
            }

            #[inline(always)]
            unsafe fn write(writer: &mut Self::Writer, row: usize, value: &Self::View<'_>) -> bool {
                // SAFETY: the caller's promise, for each column.
                unsafe { $($name::write(&mut writer.$index, row, &value.$index))&&+ }
            }

            #[inline(always)]
            unsafe fn write_absent(writer: &mut Self::Writer, row: usize) -> bool {
                // SAFETY: the caller's promise, for each column.
                unsafe { $($name::write_absent(&mut writer.$index, row))&&+ }
            }

            #[inline(always)]
            fn is_short(value: &Self::View<'_>) -> bool {
                $($name::is_short(&value.$index))&&+
            }

            fn write_row(value: &Self::View<'_>, out: &mut Vec<u8>, sole: bool) {
                let sole = sole && [$($index),+].len() == 1;
                $($name::write_row(&value.$index, out, sole);)+
            }

            fn read_row<'b>(row: &mut &'b [u8], sole: bool) -> Self::View<'b> {
                let sole = sole && [$($index),+].len() == 1;
                ($($name::read_row(row, sole),)+)
            }
        }

        impl<$($name: Key),+> Key for ($($name,)+) {
            type Slot = BytesSlot;
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
