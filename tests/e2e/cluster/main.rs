//! Clusters of real processes: how they start and end, and that what they
//! compute is exact whatever dies on the way.

mod daemons;
mod faults;
mod harness;
mod life;
