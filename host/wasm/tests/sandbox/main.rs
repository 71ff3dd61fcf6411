//! The sandbox through its public doors.

mod calls;
mod guests;
mod harness;
mod loading;
mod planning;
