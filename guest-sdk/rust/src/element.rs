//! What flows through a stream: the types that can be elements, how an
//! operator sees them, and how they lie in the columns of a batch. Chains and
//! channels are not known here.

pub mod encoded;
pub mod option;
pub mod scalar;
pub mod text;
pub mod tuple;

use crate::batch::hash::KeyRef;
use crate::batch::layout::Regions;
use crate::batch::reader::Sections;
use crate::runtime::bindings::types::{Column, ElementType};
use crate::state::table::KeySlot;

/// Most columns of an element.
pub const COLUMNS_MAX: usize = 64;

/// A type whose values can flow through a stream.
///
/// Numbers, `bool`, `char`, `String`, `Option`, `Vec`, and tuples of up to
/// eight of these are elements. For your own structs and enums, derive it:
///
/// ```
/// use heddle::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize, Element)]
/// struct Reading {
///     sensor: String,
///     celsius: f64,
/// }
/// ```
///
/// An operator sees an element as its `View`. Owned types are their own view,
/// and that is all there is to know at first. The types [`Str`] and [`Bytes`],
/// and structs with a lifetime, have borrowed views, `&str`, `&[u8]` and the
/// struct itself: records then pass without an allocation.
///
/// [`Str`]: crate::element::text::Str
/// [`Bytes`]: crate::element::text::Bytes
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot flow through a stream",
    label = "not an element type",
    note = "elements are numbers, `bool`, `char`, `String`, `Str`, `Bytes`, `Option`, `Vec` and tuples of them",
    note = "for your own type: `#[derive(Clone, Serialize, Deserialize, Element)]`",
    note = "for text without a copy use `Str` in place of `&str`"
)]
pub trait Element: 'static {
    /// What an operator sees of the element.
    type View<'a>: Clone;

    /// Whether writing a value to columns and reading it back costs next to
    /// nothing: fixed columns and borrowed text.
    #[doc(hidden)]
    const PLAIN: bool;

    /// Whether the view is the type itself, whatever the lifetime.
    #[doc(hidden)]
    const OWNED: bool;

    #[doc(hidden)]
    type Cursor<'b>;

    #[doc(hidden)]
    type Writer: Copy + 'static;

    /// Adds the columns and the schema.
    #[doc(hidden)]
    fn describe(description: &mut Description);

    #[doc(hidden)]
    fn cursor<'b>(sections: &mut Sections<'b>) -> Self::Cursor<'b>;

    /// Reads a row.
    ///
    /// # Safety
    /// The cursor is of a valid batch of this element; rows are read or skipped
    /// in order, each once, from 0, or from the one behind the first skipped.
    #[doc(hidden)]
    unsafe fn read<'a>(cursor: &mut Self::Cursor<'a>, row: usize) -> Self::View<'a>;

    /// Reads a row in the place of another's value, whose memory is used again
    /// where that is worth it.
    ///
    /// # Safety
    /// As for `read`.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn read_over<'a>(cursor: &mut Self::Cursor<'a>, row: usize, value: &mut Self::View<'a>) {
        // SAFETY: the caller's promise.
        *value = unsafe { Self::read(cursor, row) };
    }

    /// Steps over a row whose value stands for an absent one.
    ///
    /// # Safety
    /// As for `read`.
    #[doc(hidden)]
    unsafe fn skip(cursor: &mut Self::Cursor<'_>, row: usize);

    #[doc(hidden)]
    fn writer(regions: &mut Regions<'_>) -> Self::Writer;

    /// Writes a row, or says that there is no room.
    ///
    /// # Safety
    /// Rows are written in order, below the rows of the layout.
    #[doc(hidden)]
    unsafe fn write(writer: &mut Self::Writer, row: usize, value: &Self::View<'_>) -> bool;

    /// Writes a row of any value: it stands for an absent one.
    ///
    /// # Safety
    /// As for `write`.
    #[doc(hidden)]
    unsafe fn write_absent(writer: &mut Self::Writer, row: usize) -> bool;

    /// Appends the value as a row of `proto/batch.md`. `sole` says that no
    /// other column is in the row.
    #[doc(hidden)]
    fn write_row(value: &Self::View<'_>, out: &mut Vec<u8>, sole: bool);

    /// Takes the value from the front of a row that `write_row` wrote.
    #[doc(hidden)]
    fn read_row<'a>(row: &mut &'a [u8], sole: bool) -> Self::View<'a>;

    /// Whether reads of sixteen bytes cover what the value's columns hold, so
    /// that it can be hashed and written without a call. A hint: what is
    /// hashed and written is the same either way.
    #[doc(hidden)]
    #[inline(always)]
    fn is_short(_value: &Self::View<'_>) -> bool {
        true
    }

    /// The value as a key. `scratch` may be used for its bytes.
    #[doc(hidden)]
    #[inline]
    fn key(value: &Self::View<'_>, scratch: &mut Vec<u8>) -> KeyRef {
        scratch.clear();
        Self::write_row(value, scratch, true);
        KeyRef::of_bytes(scratch)
    }
}

/// An element that is its own view: everything but the borrowed forms.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned as an element",
    label = "not an owned element type",
    note = "return owned values: `String` in place of `&str`, a struct without a lifetime",
    note = "borrowed views leave an operator through a collector: `flat_map::<Str>(|line, out| out.collect(line.trim()))`",
    note = "for your own type: `#[derive(Clone, Serialize, Deserialize, Element)]`"
)]
pub trait Owned: for<'x> Element<View<'x> = Self> + Clone {}

impl<T: for<'x> Element<View<'x> = T> + Clone> Owned for T {}

/// An element that may be a key: everything but floating point numbers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a key type",
    note = "keys are integers, `bool`, `char`, `String`, `Str`, `Bytes`, tuples of them, and types that derive `Element`",
    note = "name the key's type if it is borrowed: `key_by::<Str>(|r| r.0)`"
)]
pub trait Key: Element {
    /// How a state table holds the key.
    #[doc(hidden)]
    type Slot: KeySlot;
}

/// Columns and schema of an element type, as they are put together.
#[derive(Default)]
pub struct Description {
    pub(crate) columns: Vec<Column>,
    pub(crate) schema: String,
    /// Set by a type that is one encoded column, if it stands alone.
    pub(crate) codec: Option<&'static str>,
}

impl Description {
    /// Adds a column of a type that is written as `schema`.
    pub fn column(&mut self, column: Column, schema: &str) {
        self.columns.push(column);
        self.schema.push_str(schema);
    }
}

/// The value columns of a batch of `T`.
pub(crate) fn columns_of<T: Element>() -> Vec<Column> {
    let mut description = Description::default();
    T::describe(&mut description);
    assert!(description.columns.len() <= COLUMNS_MAX, "an element has more than {COLUMNS_MAX} columns");
    description.columns
}

/// The element type as the contract names it.
pub(crate) fn element_type<T: Element>() -> ElementType {
    let mut description = Description::default();
    T::describe(&mut description);
    ElementType {
        codec: description.codec.unwrap_or("columns").to_string(),
        schema: description.schema,
        columns: description.columns,
    }
}
