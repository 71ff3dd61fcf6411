//! Types and export calls of the contract, generated from the WIT. The
//! imports are linked by hand (see `linker`), so that batches are read in place.

wasmtime::component::bindgen!({
    path: "../../proto/wit",
    world: "operator",
    exports: { default: async },
});

pub use exports::heddle::operator::job;
pub use heddle::operator::types;
