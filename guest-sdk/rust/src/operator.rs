//! The operators of a chain: what runs between two `Push`es. They know
//! elements and their own position, not the graph.

pub mod aggregate;
pub mod fold;
pub mod simple;
pub mod sink;
pub mod text;
