//! Elements that travel as one `bytes` column of postcard: types that derive
//! `Element`, and lists. What the derive macro expands to calls this.

use super::text::{put_bytes, take_bytes};
use super::{Description, Element};
use crate::batch::column::{VarCursor, VarWriter};
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::runtime::bindings::types::Column;
use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::Serialize;
use std::io::{self, Write};

/// Adds the column of an encoded type.
pub fn describe(description: &mut Description, schema: &str) {
    if description.columns.is_empty() && description.schema.is_empty() {
        description.codec = Some("postcard");
    }
    description.column(Column::Bytes, schema);
}

pub fn cursor<'b>(sections: &mut Sections<'b>) -> VarCursor<'b> {
    let ends = sections.take();
    VarCursor::new(ends, sections.take())
}

/// Reads a row.
///
/// # Safety
/// As for `Element::read`.
#[inline]
pub unsafe fn read<'b, V: Deserialize<'b>>(cursor: &mut VarCursor<'b>, row: usize) -> V {
    // SAFETY: the caller's promise.
    decode(unsafe { cursor.read(row) })
}

/// Steps over a row.
///
/// # Safety
/// As for `Element::skip`.
pub unsafe fn skip(cursor: &mut VarCursor<'_>, row: usize) {
    // SAFETY: the caller's promise.
    unsafe { cursor.read(row) };
}

pub fn writer(regions: &mut Regions<'_>) -> VarWriter {
    regions.var()
}

/// Writes a row.
///
/// # Safety
/// As for `Element::write`.
#[inline]
pub unsafe fn write<V: Serialize>(writer: &mut VarWriter, row: usize, value: &V) -> bool {
    let encode = |room: &mut [u8]| match postcard::to_slice(value, room) {
        Ok(written) => Some(written.len()),
        Err(postcard::Error::SerializeBufferFull) => None,
        Err(error) => panic!("cannot encode an element of type {}: {error}", std::any::type_name::<V>()),
    };
    // SAFETY: the caller's promise.
    unsafe { writer.write_with(row, encode) }
}

/// Writes an absent row.
///
/// # Safety
/// As for `Element::write_absent`.
pub unsafe fn write_absent(writer: &mut VarWriter, row: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { writer.write(row, &[]) }
}

pub fn write_row<V: Serialize>(value: &V, out: &mut Vec<u8>, sole: bool) {
    if sole {
        encode_into(value, out);
        return;
    }
    let at = out.len();
    put_bytes(&[], out, false);
    encode_into(value, out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

pub fn read_row<'b, V: Deserialize<'b>>(row: &mut &'b [u8], sole: bool) -> V {
    decode(take_bytes(row, sole))
}

/// Appends a value as postcard.
pub(crate) fn encode_into<V: Serialize>(value: &V, out: &mut Vec<u8>) {
    struct Append<'o>(&'o mut Vec<u8>);
    impl Write for Append<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    if let Err(error) = postcard::to_io(value, Append(out)) {
        panic!("cannot encode a value of type {}: {error}", std::any::type_name::<V>());
    }
}

/// A value from its postcard bytes.
pub(crate) fn decode<'b, V: Deserialize<'b>>(bytes: &'b [u8]) -> V {
    match postcard::from_bytes(bytes) {
        Ok(value) => value,
        Err(error) => panic!(
            "cannot decode a value of type {}: {error}; its `Deserialize` must read what its `Serialize` writes",
            std::any::type_name::<V>()
        ),
    }
}

impl<T: Element + Serialize + DeserializeOwned + Clone> Element for Vec<T> {
    type View<'a> = Vec<T>;
    const PLAIN: bool = false;
    const OWNED: bool = true;
    type Cursor<'b> = VarCursor<'b>;
    type Writer = VarWriter;

    fn describe(description: &mut Description) {
        let mut inner = Description::default();
        T::describe(&mut inner);
        describe(description, &format!("list<{}>", inner.schema));
    }

    fn cursor<'b>(sections: &mut Sections<'b>) -> VarCursor<'b> {
        cursor(sections)
    }

    unsafe fn read<'b>(at: &mut Self::Cursor<'b>, row: usize) -> Self::View<'b> {
        // SAFETY: the caller's promise.
        unsafe { read(at, row) }
    }

    unsafe fn skip(at: &mut VarCursor<'_>, row: usize) {
        // SAFETY: the caller's promise.
        unsafe { skip(at, row) }
    }

    fn writer(regions: &mut Regions<'_>) -> VarWriter {
        writer(regions)
    }

    unsafe fn write(to: &mut VarWriter, row: usize, value: &Vec<T>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { write(to, row, value) }
    }

    unsafe fn write_absent(to: &mut VarWriter, row: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { write_absent(to, row) }
    }

    fn write_row(value: &Vec<T>, out: &mut Vec<u8>, sole: bool) {
        write_row(value, out, sole);
    }

    fn read_row<'b>(row: &mut &'b [u8], sole: bool) -> Vec<T> {
        read_row(row, sole)
    }
}
