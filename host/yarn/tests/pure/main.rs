//! What needs no Hadoop: configuration, ids, and a client among servers that
//! are down, passive, silent or hostile.

mod client;
mod configuration;
mod driver;
mod ids;
