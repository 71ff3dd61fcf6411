//! `heddle cancel`: cancels a job of a cluster and waits for its end.

use crate::arguments::CancelArguments;
use crate::cluster;
use crate::request::block_on;
use crate::screen::{Screen, Style, print};
use crate::summary::duration;
use heddle_entrypoint::Signals;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::job_status::JobStatus;
use heddle_rpc::JobResult;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub fn run(arguments: &CancelArguments) -> Result<ExitCode, Failure> {
    let job_id = cluster::job_id(&arguments.job)?;
    let configuration = cluster::load(&arguments.cluster, "cancel")?;
    let screen = Arc::new(Screen::new(Style::Plain));
    let client = cluster::client(&configuration, &screen)?;
    let ended = block_on(async {
        let mut signals = Signals::listen()?;
        let job = client.job(job_id);
        let cancelled = async {
            job.cancel().await?;
            screen.note(&format!("Cancelling job {job_id}"));
            job.result().await
        };
        tokio::select! {
            result = cancelled => result.map(Ok),
            signal = signals.next() => Ok(Err(signal)),
        }
    })?;
    match ended {
        Err(signal) => Ok(ExitCode::from(signal.exit_code())),
        Ok(result) => told(&result),
    }
}

/// It may have ended otherwise before it heard of the cancellation.
fn told(result: &JobResult) -> Result<ExitCode, Failure> {
    let JobResult { job_id, status, .. } = result;
    let runtime = duration(Duration::from_millis(result.runtime_ms));
    match status {
        JobStatus::Canceled => {
            print(&format!("Cancelled job {job_id} after {runtime}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        status => {
            let message = format!("job {job_id} was not cancelled: it is {status} after {runtime}");
            let failure = Failure::new(ErrorCode::NoSuchJob, message);
            Err(match &result.failure {
                Some(cause) => failure.with_details(format!("{}: {cause}", cause.code)),
                None => failure,
            })
        }
    }
}
