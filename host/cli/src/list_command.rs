//! `heddle list`: the jobs of a cluster.

use crate::arguments::ListArguments;
use crate::request::block_on;
use crate::screen::{Screen, Style, print};
use crate::{cluster, utc};
use heddle_model::failure::Failure;
use heddle_model::job_status::JobStatus;
use heddle_rpc::{ClusterOverview, JobOverview, ResourceOverview};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

pub fn run(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let configuration = cluster::load(&arguments.cluster, "list")?;
    let screen = Arc::new(Screen::new(Style::Plain));
    let client = cluster::client(&configuration, &screen)?;
    if arguments.overview {
        let overview = block_on(async { client.overview().await })?;
        let text = if arguments.json { overview_json(&overview) } else { overview_text(&overview) };
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (jobs, overview) = block_on(async {
        let jobs = client.list().await?;
        let overview = if arguments.json { None } else { client.overview().await.ok() };
        Ok((jobs, overview))
    })?;
    let text = match overview {
        _ if arguments.json => json(&jobs, arguments),
        Some(overview) => table(&jobs, arguments) + &resources(&overview.resources),
        None => table(&jobs, arguments),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The three lists, as Flink's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Running,
    Scheduled,
    Ended,
}

impl Kind {
    fn of(status: JobStatus) -> Self {
        match status {
            JobStatus::Initializing | JobStatus::Created => Kind::Scheduled,
            status if status.is_terminal() => Kind::Ended,
            _ => Kind::Running,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Running => "Running jobs",
            Kind::Scheduled => "Scheduled jobs",
            Kind::Ended => "Ended jobs",
        }
    }
}

fn kinds(arguments: &ListArguments) -> Vec<Kind> {
    match (arguments.running, arguments.scheduled, arguments.all) {
        (true, false, _) => vec![Kind::Running],
        (false, true, _) => vec![Kind::Scheduled],
        (_, _, true) => vec![Kind::Running, Kind::Scheduled, Kind::Ended],
        _ => vec![Kind::Running, Kind::Scheduled],
    }
}

fn json(jobs: &[JobOverview], arguments: &ListArguments) -> String {
    let wanted = kinds(arguments);
    let jobs: Vec<serde_json::Value> = jobs
        .iter()
        .filter(|job| wanted.contains(&Kind::of(job.status)))
        .map(|job| {
            serde_json::json!({
                "id": job.job_id.to_string(),
                "name": job.name,
                "status": job.status.name(),
                "start_time_ms": job.start_time_ms,
                "end_time_ms": job.end_time_ms,
            })
        })
        .collect();
    format!("{}\n", serde_json::to_string_pretty(&jobs).unwrap_or_default())
}

fn table(jobs: &[JobOverview], arguments: &ListArguments) -> String {
    let mut out = String::new();
    for kind in kinds(arguments) {
        let of_kind: Vec<&JobOverview> = jobs.iter().filter(|job| Kind::of(job.status) == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}:", kind.title());
        for job in of_kind {
            let _ = writeln!(
                out,
                "  {}  {}  {:12}  {}",
                utc::text(job.start_time_ms),
                job.job_id,
                job.status.name(),
                job.name.escape_debug()
            );
        }
    }
    match out.is_empty() {
        true if arguments.all => "No jobs.\n".to_owned(),
        true => "No jobs; -a shows those that have ended, too.\n".to_owned(),
        false => out,
    }
}

fn overview_json(overview: &ClusterOverview) -> String {
    let resources = &overview.resources;
    let task_executors: Vec<serde_json::Value> = resources
        .task_executors
        .iter()
        .map(|executor| {
            serde_json::json!({
                "id": executor.resource_id.0,
                "address": executor.address.0,
                "slots": executor.slots,
                "free_slots": executor.free_slots,
                "silent_ms": executor.silent_ms,
            })
        })
        .collect();
    let json = serde_json::json!({
        "task_executors": task_executors,
        "coming_workers": resources.coming_workers,
        "waiting_requests": resources.waiting_requests,
        "stale_messages": resources.stale_messages,
        "jobs_running": overview.jobs_running,
        "jobs_finished": overview.jobs_finished,
        "jobs_canceled": overview.jobs_canceled,
        "jobs_failed": overview.jobs_failed,
        "rpc": overview.rpc,
    });
    format!("{}\n", serde_json::to_string_pretty(&json).unwrap_or_default())
}

fn overview_text(overview: &ClusterOverview) -> String {
    let mut out = resources(&overview.resources);
    for executor in &overview.resources.task_executors {
        let _ = writeln!(
            out,
            "  {}  {}  {} of {} slots free, heard of {} ms ago",
            executor.resource_id.0.escape_debug(),
            executor.address.0.escape_debug(),
            executor.free_slots,
            executor.slots,
            executor.silent_ms
        );
    }
    let ClusterOverview { jobs_running, jobs_finished, jobs_canceled, jobs_failed, .. } = overview;
    let _ = writeln!(
        out,
        "Jobs: {jobs_running} running, {jobs_finished} finished, {jobs_canceled} cancelled, {jobs_failed} failed"
    );
    out.push_str("Counted by the JobManager since it started:\n");
    let _ = writeln!(out, "  {:22} {}", "stale slot messages", overview.resources.stale_messages);
    for (name, count) in &overview.rpc {
        let _ = writeln!(out, "  {:22} {count}", name.replace('_', " "));
    }
    out
}

/// What there is to run jobs on, in a line.
fn resources(resources: &ResourceOverview) -> String {
    let sum = |of: fn(&heddle_rpc::TaskExecutorOverview) -> u32| {
        resources.task_executors.iter().map(|executor| u64::from(of(executor))).sum::<u64>()
    };
    let (slots, free) = (sum(|executor| executor.slots), sum(|executor| executor.free_slots));
    let mut line = format!("TaskExecutors: {}, slots: {slots}, free: {free}", resources.task_executors.len());
    if resources.waiting_requests > 0 {
        let _ = write!(line, "; {} slots are waited for", resources.waiting_requests);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::id::JobId;

    fn arguments(options: &[&str]) -> ListArguments {
        use clap::Parser;
        let line = ["heddle", "list"].iter().chain(options);
        match crate::arguments::Arguments::try_parse_from(line).unwrap().command {
            crate::arguments::Command::List(list) => list,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn jobs_are_shown_by_what_they_do() {
        let job = |id, name: &str, status| JobOverview {
            job_id: JobId(id),
            name: name.to_owned(),
            status,
            start_time_ms: 1_732_183_200_000 + id as u64 * 61_000,
            end_time_ms: None,
        };
        let jobs = [
            job(1, "words", JobStatus::Running),
            job(2, "new", JobStatus::Created),
            job(3, "again\u{1b}[2J", JobStatus::Restarting),
            job(4, "done", JobStatus::Finished),
        ];
        let lists: Vec<String> = [&[][..], &["-r"], &["-s"], &["-rs"], &["-a"]]
            .iter()
            .map(|o| table(&jobs, &arguments(o)))
            .collect();
        assert_eq!(lists[0], lists[3]);
        assert_eq!(lists[0], format!("{}{}", lists[1], lists[2]));
        expect_test::expect![[r"
            Running jobs:
              2024-11-21 10:01:01  00000000000000000000000000000001  RUNNING       words
              2024-11-21 10:03:03  00000000000000000000000000000003  RESTARTING    again\u{1b}[2J
            Scheduled jobs:
              2024-11-21 10:02:02  00000000000000000000000000000002  CREATED       new
            Ended jobs:
              2024-11-21 10:04:04  00000000000000000000000000000004  FINISHED      done
        "]]
        .assert_eq(&lists[4]);
        assert_eq!(table(&[], &arguments(&[])), "No jobs; -a shows those that have ended, too.\n");
        assert_eq!(json(&jobs, &arguments(&["-s"])).matches("\"id\"").count(), 1);
    }
}
