//! Clusters of real processes: how they start and end, and that what they
//! compute is exact whatever dies on the way.

mod client;
mod daemons;
mod disagreement;
mod faults;
mod harness;
mod hostile;
mod life;
