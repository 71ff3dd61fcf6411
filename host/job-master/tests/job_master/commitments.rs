//! Job masters that are killed between the end of the last task and that of the
//! job, and those that take the job up.

use crate::fakes::{
    Behaviour, Cluster, FakeOutputs, Keeper, PROFILE, Running, Storing, TOKEN, job_master_address,
};
use crate::jobs::{JOB, JobBuilder};
use bytes::Bytes;
use heddle_connectors::{Console, SinkWriter, prepare_sink, publish_sink};
use heddle_filesystem::FileSystems;
use heddle_job_master::{Options, Service};
use heddle_model::failure::ErrorCode;
use heddle_model::id::{ExecutionAttemptId, ResourceManagerId, VertexId};
use heddle_model::job_graph::Distribution;
use heddle_model::job_status::JobStatus;
use heddle_model::plan::ConnectorSpec;
use heddle_model::stream_graph::OperatorKind;
use heddle_model::task::{Commitment, Committable};
use heddle_rpc::{Address, EmbeddedRpcService, JobMasterGateway, JobResult};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn local() -> FileSystems {
    FileSystems::new(Default::default())
}

fn two_by_two() -> JobBuilder {
    JobBuilder::new().source(2).sink(2).edge(0, 1, Distribution::AllToAll)
}

/// A job whose tasks have finished, while its master stores.
async fn storing(storing: Storing) -> (Cluster, Running, Arc<Keeper>) {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let keeper = Arc::new(Keeper { storing, ..Keeper::default() });
    let running =
        cluster.start_keeping(two_by_two().build(), FakeOutputs::default(), Arc::clone(&keeper), None);
    running.until(|_| keeper.asked.load(Ordering::SeqCst)).await;
    (cluster, running, keeper)
}

/// The next leader's master; with it, no worker and no resource manager.
async fn taken_up(kept: Option<Commitment>, outputs: FakeOutputs) -> (Cluster, JobResult) {
    let cluster = Cluster::without_resource_manager(0, 0, Box::new(|_| Behaviour::Run));
    let keeper = Arc::new(Keeper { storing: Storing::HangsBefore, ..Keeper::default() });
    let running = cluster.start_keeping(two_by_two().build(), outputs, keeper, kept);
    let result = running.result().await;
    (cluster, result)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_it_is_stored() {
    let (cluster, running, keeper) = storing(Storing::HangsBefore).await;
    running.handle.cancel(TOKEN).await.expect("it answers");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(running.details().await.overview.status, JobStatus::Running, "too late to cancel it");
    running.kill().await;
    assert_eq!(cluster.log.count("publish") + cluster.log.count("discard"), 0);
    assert_eq!(*keeper.kept.lock().unwrap(), None, "the next leader runs it again");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_taken_up_publishes_and_does_not_run_again() {
    let cluster = Cluster::new(1, 2, |_| Behaviour::Finish);
    let (whole, _) = cluster.run(two_by_two().build(), FakeOutputs::default()).await;

    let (cluster, running, keeper) = storing(Storing::HangsAfter).await;
    let started_at_ms = running.details().await.overview.start_time_ms;
    running.kill().await;
    assert_eq!(cluster.log.count("publish"), 0);
    let kept = keeper.kept.lock().unwrap().clone().expect("it was stored");
    assert_eq!((kept.job_id, kept.start_time_ms), (JOB, started_at_ms));

    let (cluster, result) = taken_up(Some(kept), FakeOutputs::default()).await;
    assert_eq!(cluster.log.lines(), ["publish files"]);
    assert_eq!((result.status, result.failure), (JobStatus::Finished, None));
    assert_eq!((result.accumulators, result.collected), (whole.accumulators, whole.collected));
    assert!(result.first_record_ms.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_leader_stops_while_storing_is_suspended_as_it_is() {
    let (cluster, running, _) = storing(Storing::Stops).await;
    assert_eq!(running.result().await.status, JobStatus::Suspended);
    assert_eq!(cluster.log.count("publish") + cluster.log.count("discard"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_taken_up_and_cannot_be_published_fails() {
    let (_, running, keeper) = storing(Storing::HangsAfter).await;
    running.kill().await;
    let kept = keeper.kept.lock().unwrap().clone();
    let (cluster, result) =
        taken_up(kept, FakeOutputs { fail_publish: true, ..FakeOutputs::default() }).await;
    assert_eq!(result.status, JobStatus::Failed);
    assert_eq!(result.failure.map(|failure| failure.code), Some(ErrorCode::ConnectorIo));
    assert_eq!(cluster.log.lines(), ["publish files", "discard files"]);
}

struct Silent;

impl Console for Silent {
    fn write(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// A batch of one `utf8` column and one row, as `proto/batch.md` has it.
fn batch(line: &str) -> Bytes {
    let length = line.len() as u32;
    let mut batch = Vec::new();
    for word in [0x3142_4448, 1, 0, 1, 44 + length + 16, 0, 40, 4, 44, length, length] {
        batch.extend(u32::to_le_bytes(word));
    }
    batch.extend(line.bytes());
    batch.extend([0; 16]);
    Bytes::from(batch)
}

async fn written(sink: &ConnectorSpec, subtask: u32, line: &str) -> Committable {
    let attempt = ExecutionAttemptId { job_id: JOB, vertex_id: VertexId(2), subtask, attempt: 0 };
    let mut writer = SinkWriter::open(sink, 1, 2, attempt, Arc::new(Silent), &local()).await.unwrap();
    writer.write(&batch(line)).await.unwrap();
    writer.finish().await.unwrap()
}

/// What a killed master has done of publishing.
type Done = fn(&Path, &ConnectorSpec, &[Committable]);

/// Real files, with the master killed at each point after it has stored.
#[tokio::test]
async fn files_are_published_whole_wherever_the_former_master_was_killed() {
    let points: [(&str, Done); 4] = [
        ("after storing", |_, _, _| {}),
        ("half-way", |out, _, _| {
            let hidden = out.join(format!(".heddle-{JOB}/part-1-00000-attempt-0"));
            fs::rename(hidden, out.join("part-00000-1")).unwrap();
        }),
        ("published, not tidied up", |out, _, _| {
            for subtask in [0, 1] {
                let hidden = out.join(format!(".heddle-{JOB}/part-1-0000{subtask}-attempt-0"));
                fs::rename(hidden, out.join(format!("part-0000{subtask}-1"))).unwrap();
            }
        }),
        ("published", |_, sink, committables| drop(publish_sink(sink, JOB, committables, &local()).unwrap())),
    ];
    for (point, done) in points {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        let options = vec![("path".to_owned(), path.to_str().unwrap().to_owned())];
        let sink = ConnectorSpec { name: "text-files".into(), options };
        prepare_sink(&sink, JOB, &local()).unwrap();
        let committables = vec![written(&sink, 0, "a").await, written(&sink, 1, "b").await];
        done(&path, &sink, &committables);

        let kept = Commitment {
            job_id: JOB,
            start_time_ms: 1000,
            first_sink_record_at_ms: Some(1001),
            accumulators: BTreeMap::from([("lines".to_owned(), 2)]),
            committables,
        };
        let job = JobBuilder::new().source(1).vertex(2, OperatorKind::ConnectorSink(sink)).build();
        let resource_manager = (Address("embedded:rm".into()), ResourceManagerId::from_bits(1));
        let options = Options::new((*job).clone(), TOKEN, job_master_address(), resource_manager, PROFILE);
        let (service, handle) = Service::new(options, Arc::new(EmbeddedRpcService::new()), local());
        let service = service.with_commitments(Arc::new(Keeper::default()), Some(kept));
        let result =
            tokio::time::timeout(Duration::from_secs(60), service.run(CancellationToken::new())).await;
        let result = result.expect("the job ends");
        assert_eq!((result.status, result.failure), (JobStatus::Finished, None), "{point}");
        assert_eq!(result.accumulators, BTreeMap::from([("lines".to_owned(), 2)]), "{point}");
        assert_eq!(result.first_record_ms, Some(1), "{point}");
        let details = handle.request_job(TOKEN).await.unwrap();
        assert_eq!((details.accumulators, details.vertices), (result.accumulators, Vec::new()), "{point}");
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["part-00000-1", "part-00001-1"], "{point}");
        assert_eq!(fs::read_to_string(path.join("part-00000-1")).unwrap(), "a\n", "{point}");
        assert_eq!(fs::read_to_string(path.join("part-00001-1")).unwrap(), "b\n", "{point}");
    }
}
