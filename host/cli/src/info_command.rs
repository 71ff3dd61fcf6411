//! `heddle info`: the plan of a job as JSON and as a picture. Of a job that is
//! named by its id, `job_info` tells.

use crate::arguments::{BehindJobId, ClusterArguments, InfoArguments};
use crate::guest_lines::GuestLines;
use crate::screen::{Screen, Style, print};
use crate::{cluster, config_command, job_info, logging, report, request};
use clap::Parser as _;
use heddle_client::{Job, Sandbox};
use heddle_model::failure::Failure;
use heddle_model::plan_json::stream_plan_json;
use heddle_model::plan_picture::{MAX_WIDTH, plan_picture_within};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Narrower than this a picture is of no use.
const WIDTH_MIN: usize = 40;

/// Options may stand before the id and behind it.
fn job(arguments: &InfoArguments, id: &str) -> Result<ExitCode, Failure> {
    let behind = match BehindJobId::try_parse_from(&arguments.job[1..]) {
        Ok(behind) => behind,
        Err(error) => return Ok(report::usage(&error)),
    };
    let dynamic = [&arguments.configuration.dynamic[..], &behind.cluster.dynamic].concat();
    let given = ClusterArguments {
        jobmanager: behind.cluster.jobmanager.or_else(|| arguments.jobmanager.clone()),
        target: behind.cluster.target.or_else(|| arguments.configuration.target.clone()),
        dynamic,
        verbose: behind.cluster.verbose,
    };
    let form =
        job_info::Form { json: arguments.json || behind.json, average: arguments.average || behind.average };
    job_info::run(&given, id, form)
}

pub fn run(arguments: &InfoArguments) -> Result<ExitCode, Failure> {
    let first = arguments.job.first().map(|first| first.to_string_lossy()).unwrap_or_default();
    let is_id = cluster::job_id(&first).is_ok() && !Path::new(&*first).exists();
    if is_id || arguments.jobmanager.is_some() {
        return job(arguments, &first);
    }
    let configuration = config_command::load(&arguments.configuration)?;
    let job_request = request::job_request(&arguments.job)?;
    let screen = Arc::new(Screen::new(Style::Plain));
    let guests = GuestLines::new(screen);
    logging::start(&configuration, "info", 0, Some(&guests))?;
    let job = request::block_on(async {
        let sandbox = Sandbox::for_planning(&configuration)?;
        Job::prepare(&job_request, &configuration, &sandbox).await
    });
    guests.finish();
    let job = job?;
    let json = serde_json::to_string_pretty(&stream_plan_json(&job.stream_graph)).unwrap_or_default();
    let text = if arguments.json {
        format!("{json}\n")
    } else {
        let width = terminal_size::terminal_size().map_or(MAX_WIDTH, |(width, _)| usize::from(width.0));
        let picture = plan_picture_within(&job.graph, width.clamp(WIDTH_MIN, MAX_WIDTH));
        format!("{picture}\n{json}\n")
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
