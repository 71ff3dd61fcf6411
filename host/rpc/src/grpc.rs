//! The gateways over gRPC: one server a process serves all its roles, one
//! connection leads to each other process.
//!
//! The only place that knows the generated messages of `proto/rpc`, tonic and
//! hyper. Decides nothing: a message that arrives is handed to the gateway that
//! is served under its endpoint, and what that says goes back.

mod address;
mod blob;
mod dispatcher;
#[cfg(test)]
mod encoding;
mod handshake;
mod introduction;
mod job_master;
mod leaders;
mod listener;
mod metrics;
mod options;
mod peer;
mod resource_manager;
mod server;
mod service;
mod task_executor;
mod wire;

/// What `build.rs` makes of `proto/rpc`.
#[allow(clippy::all, missing_docs)]
mod proto {
    tonic::include_proto!("heddle.rpc");
}

pub(crate) use address::NetworkAddress;

pub use handshake::LeaderRetrieval;
pub use introduction::{BUILD_VERSION, Identity, PROTOCOL_VERSION, Role};
pub use leaders::Leaders;
pub use listener::Server;
pub use metrics::{Counter, RpcMetrics};
pub use options::{Limits, Options};
pub use service::{GrpcClient, GrpcRpcService, local_ip_towards};
