//! Hadoop's remote calls: protobuf messages in length-prefixed frames over
//! TCP, with SASL where a token is at hand. Knows no service.

mod client;
mod connection;
mod digest;
mod error;
pub mod frame;
#[cfg(test)]
mod golden;
mod rc4;
mod sasl;

pub use client::{Client, Options, Protocol, Server};
pub use connection::Login;
pub use digest::{Challenge, Session};
pub use error::{Error, Remote};
