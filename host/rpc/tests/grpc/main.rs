//! The gateways over real connections on loopback.

mod failures;
mod fakes;
mod round_trips;
mod samples;
