//! What clients ask of the ResourceManager.

use crate::{applications, configuration, report, script};
use heddle_yarn::id::ApplicationId;
use heddle_yarn::types::{ApplicationState, FinalStatus, NodeState, Resource};

#[tokio::test]
async fn the_cluster_tells_of_its_nodes_and_queues() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let metrics = applications.cluster_metrics().await.unwrap();
    let nodes = applications.nodes(&[NodeState::NsRunning]).await.unwrap();
    assert_eq!(nodes.len(), metrics.active as usize);
    assert!(nodes[0].capability.memory_mib >= 1024, "{nodes:?}");
    assert!(applications.nodes(&[NodeState::NsLost]).await.unwrap().is_empty());
    let root = applications.queue("root").await.unwrap().unwrap();
    assert!(root.has("default") && root.has("root.default") && !root.has("other"), "{root:?}");
    assert_eq!(applications.queue("other").await.unwrap(), None);
}

#[tokio::test]
async fn a_program_is_submitted_and_runs() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ran");
    let new = applications.new_application().await.unwrap();
    assert!(new.maximum.memory_mib >= 1024, "{new:?}");
    applications.submit(script(new.id, &format!("echo $CONTAINER_ID > {}", file.display()))).await.unwrap();
    // It ends without a word to the ResourceManager.
    let end =
        report(&applications, new.id, "the end", |report| report.state == ApplicationState::Failed).await;
    assert!(end.diagnostics.contains("exitCode: 0"), "{}", end.diagnostics);
    assert_eq!((end.name.as_str(), end.queue.as_str()), ("heddle-test", "root.default"));
    assert_eq!((end.application_type.as_str(), end.tags.as_slice()), ("Heddle", &["test".to_owned()][..]));
    let container = std::fs::read_to_string(&file).unwrap();
    let container: heddle_yarn::id::ContainerId = container.trim().parse().unwrap();
    assert_eq!(container.attempt.application, new.id);
}

#[tokio::test]
async fn a_running_application_is_killed() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let new = applications.new_application().await.unwrap();
    applications.submit(script(new.id, "exec /bin/sleep 600")).await.unwrap();
    report(&applications, new.id, "a start", |report| report.state == ApplicationState::Accepted).await;
    crate::until("the kill", async || applications.kill(new.id, "enough").await.unwrap().then_some(())).await;
    let end = applications.report(new.id).await.unwrap();
    assert_eq!((end.state, end.final_status), (ApplicationState::Killed, FinalStatus::AppKilled));
    assert!(end.diagnostics.contains("enough"), "{}", end.diagnostics);
}

#[tokio::test]
async fn refusals_name_the_exception() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let unknown = ApplicationId { cluster_timestamp: 1, number: 1 };
    let error = applications.report(unknown).await.unwrap_err();
    assert!(error.is_remote("ApplicationNotFoundException"), "{error}");
    assert!(error.to_string().contains("application_1_0001"), "{error}");

    let new = applications.new_application().await.unwrap();
    let mut large = script(new.id, "true");
    large.resource = Resource { memory_mib: new.maximum.memory_mib + 1, vcores: 1 };
    let error = applications.submit(large).await.unwrap_err();
    assert!(error.is_remote("InvalidResourceRequestException"), "{error}");

    let mut elsewhere = script(new.id, "true");
    elsewhere.queue = "other".to_owned();
    // Refused at once or a moment later, as the ResourceManager likes.
    match applications.submit(elsewhere).await {
        Err(error) => assert!(error.to_string().contains("other"), "{error}"),
        Ok(()) => {
            let end =
                report(&applications, new.id, "the end", |report| report.state == ApplicationState::Failed)
                    .await;
            assert!(end.diagnostics.contains("other"), "{}", end.diagnostics);
        }
    }
}
