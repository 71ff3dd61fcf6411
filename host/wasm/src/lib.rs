//! heddle-wasm
