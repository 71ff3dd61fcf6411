//! Heddle's SDK for jobs in Rust.

pub mod args;
pub mod batch;
pub mod collector;
pub mod element;
pub mod error;
mod failure;
mod graph;
pub mod operator;
mod output;
mod position;
pub mod push;
mod runtime;
mod state;
pub mod stream;
pub mod text;

pub use error::{Error, Result};
pub use heddle_macros::main;

/// What a job's file starts with: `use heddle::prelude::*;`.
pub mod prelude {
    pub use crate::args::Args;
    pub use crate::collector::Collector;
    pub use crate::element::text::{Bytes, Str};
    pub use crate::element::{Element, Key, Owned};
    pub use crate::stream::data_stream::DataStream;
    pub use crate::stream::environment::StreamExecutionEnvironment;
    pub use crate::stream::keyed_stream::KeyedStream;
    pub use crate::stream::sink::DataStreamSink;
}

#[doc(hidden)]
pub mod __private {
    pub use crate::error::IntoResult;
    pub use crate::runtime::bindings;
    pub use crate::runtime::bindings::export;
    pub use crate::runtime::component::{Component, Main};
}
