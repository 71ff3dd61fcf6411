//! A client of a cluster on a network: roles that are served over gRPC, real
//! jobs, connections that break.

mod connection;
mod fixture;
mod submissions;
