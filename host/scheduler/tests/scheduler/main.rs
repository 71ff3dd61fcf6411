//! The brains of the job master, seen through their public doors.

mod deployment;
mod job_life;
mod jobs;
mod random_events;
mod reports;
mod slot_pool;
mod transitions;
