//! Decides which slot serves which request, and when workers start and end.
//!
//! A pure brain: [`SlotManager::step`] takes what happened and gives what is to
//! be done. Time is handed in as the duration since an arbitrary start. Nothing
//! here knows tokio, a clock, a network, or how a worker is started.

mod event;
mod manager;
mod options;
mod requests;
mod shortage;
mod slots;
mod workers;

pub use event::{Action, Event, ReportedSlot, SlotRequest};
pub use manager::{Overview, SlotManager};
pub use options::Options;
