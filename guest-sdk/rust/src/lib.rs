//! Heddle's SDK for jobs in Rust.

// Macros write one signature for owned and for borrowed views, so that some
// lifetimes could be elided; functions over views are higher-ranked, and long.
#![allow(clippy::needless_lifetimes, clippy::type_complexity)]

pub mod args;
pub mod batch;
pub mod block;
pub mod collector;
pub mod context;
pub mod counter;
pub mod element;
pub mod error;
mod failure;
mod graph;
pub mod log;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod operator;
mod output;
mod position;
pub mod push;
mod runtime;
pub mod state;
pub mod stream;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod text;

pub use error::{Error, Result};
pub use heddle_macros::main;

/// What a job's file starts with: `use heddle::prelude::*;`.
pub mod prelude {
    pub use crate::args::Args;
    pub use crate::collector::Collector;
    pub use crate::context::{Context, KeyedContext, OpenContext};
    pub use crate::counter::Counter;
    pub use crate::element::text::{Bytes, Str};
    pub use crate::element::{Element, Key, Owned};
    pub use crate::operator::co_process::{
        CoProcessFunction, KeyedBroadcastProcessFunction, KeyedCoProcessFunction,
    };
    pub use crate::operator::keyed_process::KeyedProcessFunction;
    pub use crate::operator::process::ProcessFunction;
    pub use crate::operator::side_output::OutputTag;
    pub use crate::operator::source::{Generator, SourceFunction, SourceStatus};
    pub use crate::state::handle::{ListState, MapState, ValueState};
    pub use crate::stream::connected::{BroadcastConnectedStream, ConnectedStreams, KeyedConnectedStreams};
    pub use crate::stream::data_stream::DataStream;
    pub use crate::stream::environment::StreamExecutionEnvironment;
    pub use crate::stream::keyed_stream::KeyedStream;
    pub use crate::stream::sink::DataStreamSink;
    pub use heddle_macros::Element;
}

/// What the macros expand to; not for programs.
#[doc(hidden)]
pub mod __private;
