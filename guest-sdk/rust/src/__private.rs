//! What the macros of the SDK expand to. Not for programs: it changes without
//! notice.

use crate::element::Element;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::batch::column::{VarCursor, VarWriter};
pub use crate::batch::layout::Regions;
pub use crate::batch::reader::Sections;
pub use crate::element::{Description, encoded};
pub use crate::error::IntoResult;
pub use crate::runtime::bindings;
pub use crate::runtime::bindings::export;
pub use crate::runtime::component::{Component, Main};
pub use crate::state::table::BytesSlot;

/// What a type parameter of an element has to be.
pub trait Parameter: Element + Serialize + DeserializeOwned + Clone {}

impl<T: Element + Serialize + DeserializeOwned + Clone> Parameter for T {}

/// The schema of a type in words.
pub fn schema<T: Element>() -> String {
    crate::element::element_type::<T>().schema
}

/// A schema followed by those of its type parameters.
pub fn with_parameters(schema: &str, parameters: &[String]) -> String {
    if parameters.is_empty() { schema.to_string() } else { format!("{schema}<{}>", parameters.join(", ")) }
}

/// Appends a value as JSON.
pub fn write_json<V: Serialize>(value: &V, out: &mut String) {
    // SAFETY: serde_json writes UTF-8 only.
    let bytes = unsafe { out.as_mut_vec() };
    if let Err(error) = serde_json::to_writer(bytes, value) {
        panic!("cannot write a value of type {} as JSON: {error}", std::any::type_name::<V>());
    }
}
