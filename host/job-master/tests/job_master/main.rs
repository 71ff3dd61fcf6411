//! The job master against TaskExecutors, a resource manager and connectors that
//! only pretend, in one process, under paused time.

mod commitments;
mod end_of_job;
mod failures;
mod fakes;
#[allow(dead_code)] // not every builder is of use here
#[path = "../../../scheduler/tests/scheduler/jobs.rs"]
mod jobs;
mod resources;
