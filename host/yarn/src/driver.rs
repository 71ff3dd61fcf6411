//! Workers in containers: what the resource manager asks for becomes asks of
//! YARN, what YARN gives becomes workers.

mod brain;
mod causes;
mod losses;
mod service;

pub use brain::{Action, Brain, Event, Intervals};
pub use causes::{VIRTUAL_MEMORY, cause, hint};
pub use service::{Error, Handle, Options, Service, WorkerTemplate, YarnDriver};
