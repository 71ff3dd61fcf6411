//! High availability on files, through its doors: what is stored outlives the
//! process, one process leads, a stale one cannot write, damage is told.

mod damage;
mod election;
mod fixture;
mod stores;
