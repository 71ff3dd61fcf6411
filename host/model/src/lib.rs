//! Plain data that every part of Heddle shares: ids, element types, graphs,
//! states, resources, configuration, batches, failures.
//!
//! No I/O, no clock, no randomness, no async. Nothing here knows wasmtime,
//! HTTP, gRPC or Hadoop.

pub mod batch;
pub mod batch_builder;
pub mod batch_hash;
pub mod config;
pub mod element;
pub mod failure;
mod graph_chain;
pub mod graph_check;
pub mod graph_ids;
pub mod graph_wiring;
pub mod id;
pub mod job_graph;
pub mod job_status;
pub mod key_group;
pub mod memory;
pub mod plan;
pub mod plan_json;
mod plan_layout;
pub mod plan_picture;
pub mod restart;
pub mod stream_graph;
mod stream_node;
mod stream_plan;
pub mod task;
