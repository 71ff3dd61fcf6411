//! The contract of `proto/wit/operator.wit` as Rust types and functions,
//! generated. The functions exist in Wasm only; everything else calls `host`.

wit_bindgen::generate!({
    path: "../../proto/wit",
    world: "operator",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "heddle::__private::bindings",
    additional_derives: [PartialEq, Hash],
});

pub use self::heddle::operator::types;
