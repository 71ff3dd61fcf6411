//! Procedural macros of the Rust SDK: `#[heddle::main]` and
//! `#[derive(Element)]`. They write calls to `heddle::__private` and know
//! nothing of what is behind it.

use proc_macro::TokenStream;

mod element;
mod main_fn;

/// Makes a function the job's `main`: the component that `cargo build
/// --target wasm32-wasip2` gives exports it.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type with serde an element of streams: `#[derive(Clone, Serialize,
/// Deserialize, Element)]`.
///
/// A struct with a lifetime is a borrowed view: for `struct Access<'a>`, a
/// stream is a `DataStream<Access<'static>>`, and operators see `Access<'_>`.
#[proc_macro_derive(Element)]
pub fn derive_element(item: TokenStream) -> TokenStream {
    element::expand(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
