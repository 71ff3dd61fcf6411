//! `#[heddle::main]`: keeps the function and exports it as the component's
//! program.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

pub fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "`#[heddle::main]` takes no arguments"));
    }
    let function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(token, "the job's `main` only builds the graph; it cannot be async"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "the job's `main` cannot be generic"));
    }
    let name = &signature.ident;
    let call = match signature.inputs.len() {
        1 => quote!(#name(environment)),
        2 => quote!(#name(environment, args)),
        _ => {
            return Err(Error::new_spanned(
                signature,
                "the job's `main` is `fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()>` (`args` may be left out)",
            ));
        }
    };
    Ok(quote! {
        #[allow(dead_code)]
        #function

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Program;

            impl ::heddle::__private::Main for Program {
                #[allow(unused_variables)]
                fn __heddle_main(
                    environment: &mut ::heddle::prelude::StreamExecutionEnvironment,
                    args: ::heddle::prelude::Args,
                ) -> ::heddle::Result<()> {
                    ::heddle::__private::IntoResult::into_result(#call)
                }
            }

            type Exported = ::heddle::__private::Component<Program>;
            ::heddle::__private::export!(Exported with_types_in ::heddle::__private::bindings);
        };
    })
}
