//! Procedural macros of the Rust SDK: `#[heddle::main]` and
//! `#[derive(Element)]`. They write calls to `heddle::__private` and know
//! nothing of what is behind it.

use proc_macro::TokenStream;

mod main_fn;

/// Makes a function the job's `main`: the component that `cargo build
/// --target wasm32-wasip2` gives exports it.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
