//! The gateways over real connections on loopback.

mod failures;
mod fakes;
mod handshake;
mod hostile;
mod ports;
mod round_trips;
mod samples;
