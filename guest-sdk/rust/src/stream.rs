//! The DataStream API: what a program's `main` is written with. Each call adds
//! a transformation to the graph; nothing runs here.

pub mod connected;
pub mod data_stream;
pub mod environment;
pub mod keyed_stream;
pub mod sink;
pub mod source;
