//! What the commands that prepare a job or ask a cluster share.

use crate::screen::Screen;
use heddle_client::{Job, JobRequest};
use heddle_model::failure::{ErrorCode, Failure};
use std::ffi::OsString;

/// Runs a future on this thread; what computes has threads of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(ErrorCode::Internal, format!("cannot start the async runtime: {error}"))
    })?;
    let result = runtime.block_on(future);
    // What still reads or writes a file is not waited for.
    runtime.shutdown_background();
    result
}

/// The component and its arguments.
pub fn job_request(job: &[OsString]) -> Result<JobRequest, Failure> {
    let arguments = job.iter().skip(1).map(|argument| {
        argument.to_str().map(str::to_owned).ok_or_else(|| {
            let message = format!("argument `{}` of the job is not UTF-8", argument.to_string_lossy());
            Failure::new(ErrorCode::ConfigurationInvalid, message)
        })
    });
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    Ok(JobRequest { component: job.first().cloned().unwrap_or_default().into(), arguments })
}

/// What `collect` sinks gather has nobody to read it.
pub fn drop_collected(job: &mut Job, screen: &Screen, hint: &str) {
    let dropped = job.drop_collected();
    if !dropped.is_empty() {
        let names = dropped.join(", ");
        screen.note(&format!(
            "nobody waits for this job: lines of its `collect` sinks are dropped ({names}); {hint}"
        ));
    }
}

/// What `print` sinks write is not seen here.
pub fn tell_of_printed(job: &mut Job, screen: &Screen) {
    if job.prints() {
        screen.note(
            "lines of this job's `print` sinks go to the standard output of TaskExecutors (*.out in their log \
             folder)",
        );
    }
}
