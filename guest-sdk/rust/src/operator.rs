//! The operators of a chain: what runs between two `Push`es. They know
//! elements and their own position, not the graph.

pub mod aggregate;
pub mod co_process;
pub mod fold;
pub mod keyed_process;
pub mod process;
pub mod side_output;
pub mod simple;
pub mod sink;
pub mod source;
pub mod text;
