//! Jobs of a client on a network: the whole way, and connections that break.

use crate::fixture::{Door, Fixture, Heard, NoConsole, client, configured, failure, running, soon};
use heddle_client::EmbeddedCluster;
use heddle_model::failure::ErrorCode;
use heddle_model::id::JobId;
use heddle_model::job_status::JobStatus;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_submitted_listed_followed_and_its_lines_come_back() {
    let fixture = Fixture::start().await;
    let job = fixture.prepare("test-guests/faulty.wasm", &["main-iterates-a-map"]).await;
    let submitted = fixture.client.submit(job).await.unwrap();
    let listed = fixture.client.list().await.unwrap();
    assert_eq!(listed.iter().map(|job| job.job_id).collect::<Vec<_>>(), [submitted.id()]);
    let result = soon("the result", submitted.result()).await.unwrap();
    assert_eq!(result.status, JobStatus::Finished, "{:?}", result.failure);
    assert_eq!(result.collected.values().map(Vec::len).sum::<usize>(), 101);
    // Another client that knows nothing but the id.
    let other = client(fixture.folder.path(), fixture.door.port(), &[], Arc::<Heard>::default());
    assert_eq!(other.job(submitted.id()).result().await.unwrap(), result);
    assert_eq!(other.job(submitted.id()).details().await.unwrap().overview.status, JobStatus::Finished);
    assert_eq!(fixture.heard(), Vec::<&str>::new());
    fixture.door.close().await;
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_collected_for_a_client_that_does_not_wait() {
    let fixture = Fixture::start().await;
    let mut job = fixture.prepare("test-guests/faulty.wasm", &["main-iterates-a-map"]).await;
    assert_eq!(job.drop_collected(), ["sums"]);
    assert!(!job.prints());
    let submitted = fixture.client.submit(job).await.unwrap();
    let result = soon("the result", submitted.result()).await.unwrap();
    assert_eq!((result.status, result.collected.len()), (JobStatus::Finished, 0));
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_result_goes_on_after_the_connection_broke() {
    let fixture = Fixture::start().await;
    let job = fixture.submit_endless().await;
    running(&job).await;
    let waiting = tokio::spawn({
        let job = job.clone();
        async move { job.result().await }
    });
    let mut door = fixture.door;
    for session in 2..4 {
        let port = door.slam().await;
        // What is asked meanwhile waits.
        let asked = tokio::spawn({
            let client = fixture.client.clone();
            async move { client.list().await }
        });
        let heard = || fixture.heard.0.lock().unwrap().len();
        soon("the loss is told", async {
            while heard() < 2 * session as usize - 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        door = Door::open(&fixture.cluster, port, session).await;
        let listed = soon("the list", asked).await.unwrap().unwrap();
        assert_eq!(listed.len(), 1);
    }
    job.cancel().await.unwrap();
    let result = soon("the result", waiting).await.unwrap().unwrap();
    assert_eq!((result.job_id, result.status), (job.id(), JobStatus::Canceled));
    let heard = fixture.heard.0.lock().unwrap().clone();
    assert_eq!(heard, ["lost", "found", "lost", "found"], "each once, however many calls noticed");
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_ends() {
    let folder = tempfile::tempdir().unwrap();
    // A port at which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let never = client(folder.path(), port, &[("rpc.ask.timeout", "300 ms")], Arc::<Heard>::default());
    let error = failure(soon("the failure", never.list()).await);
    assert_eq!(error.code, ErrorCode::Unreachable);
    for word in [&format!("127.0.0.1:{port}"), "ms", "refused", "jobmanager.rpc.address"] {
        assert!(error.message.contains(word), "`{word}` in: {error}");
    }

    let fixture = Fixture::start().await;
    let heard = Arc::<Heard>::default();
    let timeout = [("client.timeout", "500 ms")];
    let client = client(fixture.folder.path(), fixture.door.port(), &timeout, Arc::clone(&heard) as _);
    client.list().await.unwrap();
    fixture.door.slam().await;
    let error = failure(soon("the failure", client.list()).await);
    assert_eq!(error.code, ErrorCode::Unreachable, "{error}");
    assert!(error.details.is_some_and(|details| details.starts_with("it was lost before: ")));
    assert_eq!(*heard.0.lock().unwrap(), ["lost"]);
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_whose_answer_was_lost_is_not_a_second_one() {
    let fixture = Fixture::start().await;
    let job = fixture.prepare("test-guests/faulty.wasm", &["endless"]).await;
    let (graph, content) = (job.graph.clone(), job.component.clone());
    // The cluster has it; the client does not know.
    let dispatcher = fixture.cluster.dispatcher();
    dispatcher.put_blob(content.into()).await.unwrap();
    dispatcher.submit_job(graph).await.unwrap();
    let again = failure(fixture.client.submit(job).await);
    assert_eq!(again.code, ErrorCode::DuplicateJob, "nothing was lost: somebody else's job");
    let submitted = fixture.client.list().await.unwrap()[0].job_id;
    fixture.client.job(submitted).cancel().await.unwrap();
    let result = soon("the result", fixture.client.job(submitted).result()).await.unwrap();
    assert_eq!(result.status, JobStatus::Canceled);
    fixture.cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_manager_that_was_started_anew_knows_no_job_and_that_is_told() {
    let fixture = Fixture::start().await;
    let job = fixture.submit_endless().await;
    running(&job).await;
    let waiting = tokio::spawn({
        let job = job.clone();
        async move { job.result().await }
    });
    let port = fixture.door.slam().await;
    fixture.cluster.shut_down().await;
    let configuration = configured(fixture.folder.path(), &[]);
    let cluster = EmbeddedCluster::start(&configuration, &fixture.sandbox, Arc::new(NoConsole)).unwrap();
    let door = Door::open(&cluster, port, 2).await;
    let error = failure(soon("the failure", waiting).await.unwrap());
    assert_eq!(error.code, ErrorCode::NoSuchJob, "{error}");
    for word in [&job.id().to_string(), "no job is known here", "high-availability.type"] {
        assert!(error.message.contains(word), "`{word}` in: {error}");
    }
    let unknown = failure(fixture.client.job(JobId(7)).cancel().await);
    assert_eq!(unknown.code, ErrorCode::NoSuchJob);
    assert!(!unknown.message.contains("high-availability"), "nothing was lost in this call: {unknown}");
    door.close().await;
    cluster.shut_down().await;
}
