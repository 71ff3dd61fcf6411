//! `#[derive(Element)]`: a type that travels as postcard in one column. A
//! lifetime makes it a borrowed view.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Result, parse_quote};

pub fn expand(input: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let name = &input.ident;
    let lifetimes: Vec<_> = input.generics.lifetimes().collect();
    if let Some(second) = lifetimes.get(1) {
        return Err(Error::new_spanned(
            second,
            "an element has at most one lifetime, that of the batch it is read from",
        ));
    }
    if let Some(param) = input.generics.const_params().next() {
        return Err(Error::new_spanned(param, "an element type cannot have const parameters"));
    }
    let types: Vec<_> = input.generics.type_params().map(|param| param.ident.clone()).collect();
    let mut generics = input.generics.clone();
    generics.params =
        generics.params.into_iter().filter(|param| !matches!(param, GenericParam::Lifetime(_))).collect();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!(::heddle::__private::Parameter));
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let of = |lifetime: TokenStream| {
        if lifetimes.is_empty() { quote!(#name<#(#types),*>) } else { quote!(#name<#lifetime, #(#types),*>) }
    };
    let (whole, view, cursor_view) = (of(quote!('static)), of(quote!('view)), of(quote!('batch)));
    let owned = lifetimes.is_empty();
    let schema = schema(&input)?;
    let parameters = types.iter().map(|ty| quote!(::heddle::__private::schema::<#ty>()));
    let mut text_generics = generics.clone();
    if !lifetimes.is_empty() {
        text_generics.params.insert(0, parse_quote!('view));
    }
    let (text_generics, _, _) = text_generics.split_for_impl();

    Ok(quote! {
        impl #impl_generics ::heddle::prelude::Element for #whole #where_clause {
            type View<'view> = #view;
            const PLAIN: bool = false;
            const OWNED: bool = #owned;
            type Cursor<'batch> = ::heddle::__private::VarCursor<'batch>;
            type Writer = ::heddle::__private::VarWriter;

            fn describe(description: &mut ::heddle::__private::Description) {
                let parameters: &[::std::string::String] = &[#(#parameters),*];
                ::heddle::__private::encoded::describe(
                    description,
                    &::heddle::__private::with_parameters(#schema, parameters),
                );
            }

            fn cursor<'batch>(
                sections: &mut ::heddle::__private::Sections<'batch>,
            ) -> ::heddle::__private::VarCursor<'batch> {
                ::heddle::__private::encoded::cursor(sections)
            }

            unsafe fn read<'batch>(cursor: &mut Self::Cursor<'batch>, row: usize) -> Self::View<'batch> {
                // SAFETY: the caller's promise.
                unsafe { ::heddle::__private::encoded::read::<#cursor_view>(cursor, row) }
            }

            unsafe fn skip(cursor: &mut Self::Cursor<'_>, row: usize) {
                // SAFETY: the caller's promise.
                unsafe { ::heddle::__private::encoded::skip(cursor, row) }
            }

            fn writer(regions: &mut ::heddle::__private::Regions<'_>) -> Self::Writer {
                ::heddle::__private::encoded::writer(regions)
            }

            unsafe fn write(writer: &mut Self::Writer, row: usize, value: &Self::View<'_>) -> bool {
                // SAFETY: the caller's promise.
                unsafe { ::heddle::__private::encoded::write(writer, row, value) }
            }

            unsafe fn write_absent(writer: &mut Self::Writer, row: usize) -> bool {
                // SAFETY: the caller's promise.
                unsafe { ::heddle::__private::encoded::write_absent(writer, row) }
            }

            fn write_row(value: &Self::View<'_>, out: &mut ::std::vec::Vec<u8>, sole: bool) {
                ::heddle::__private::encoded::write_row(value, out, sole);
            }

            fn read_row<'batch>(row: &mut &'batch [u8], sole: bool) -> Self::View<'batch> {
                ::heddle::__private::encoded::read_row::<#cursor_view>(row, sole)
            }
        }

        impl #impl_generics ::heddle::prelude::Key for #whole #where_clause {
            type Slot = ::heddle::__private::BytesSlot;
        }

        impl #text_generics ::heddle::text::Text for #view #where_clause {
            fn write_to(&self, out: &mut ::std::string::String) {
                ::heddle::__private::write_json(self, out);
            }
        }
    })
}

/// The type in words: name, fields and their types as they are written.
fn schema(input: &DeriveInput) -> Result<String> {
    let body = match &input.data {
        Data::Struct(data) => fields(&data.fields),
        Data::Enum(data) => {
            let variants: Vec<_> =
                data.variants.iter().map(|v| format!("{}{}", v.ident, fields(&v.fields))).collect();
            format!("[{}]", variants.join(" | "))
        }
        Data::Union(_) => return Err(Error::new_spanned(input, "a union cannot be an element")),
    };
    Ok(format!("{}{body}", input.ident))
}

fn fields(fields: &Fields) -> String {
    let of_type = |ty: &syn::Type| ty.to_token_stream().to_string().replace(' ', "");
    match fields {
        Fields::Named(named) => {
            let parts: Vec<_> = named
                .named
                .iter()
                .map(|field| {
                    let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                    format!("{name}: {}", of_type(&field.ty))
                })
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Fields::Unnamed(unnamed) => {
            let parts: Vec<_> = unnamed.unnamed.iter().map(|field| of_type(&field.ty)).collect();
            format!("({})", parts.join(", "))
        }
        Fields::Unit => String::new(),
    }
}
