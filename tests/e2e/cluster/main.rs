//! Clusters of real processes: how they start and end, and that what they
//! compute is exact whatever dies on the way.

mod client;
mod daemons;
mod disagreement;
mod disk;
mod faults;
mod harness;
mod hostile;
mod life;
mod neighbours;
mod proxy;
mod wires;
