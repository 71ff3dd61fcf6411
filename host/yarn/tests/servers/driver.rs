//! The resource manager's driver, on real containers.

use crate::masters::Master;
use crate::{applications, configuration, report, until};
use heddle_model::id::ResourceId;
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_resource_manager::{DriverEvent, ResourceManagerDriver};
use heddle_yarn::driver::{Options, Service, WorkerTemplate, YarnDriver};
use heddle_yarn::launch::Launch;
use heddle_yarn::types::{ApplicationState, FinalStatus, Resource};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn next(driver: &mut YarnDriver) -> DriverEvent {
    tokio::time::timeout(crate::SOON, driver.next_event()).await.expect("an event")
}

#[tokio::test]
async fn workers_come_and_go_in_containers() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let master = Master::start(&configuration, &applications).await;
    let place = master.folder.path().display().to_string();
    let template = WorkerTemplate {
        resource: Box::new(|spec| Resource { memory_mib: 128 * u64::from(spec.slots), vcores: 1 }),
        launch: Box::new(move |_, id| Launch {
            commands: vec![format!(
                "echo > {place}/{id}; while [ ! -e {place}/exit-{id} ]; do sleep 0.1; done; exit 9"
            )],
            ..Launch::default()
        }),
    };
    let mut options = Options::new(&configuration, master.token.clone(), "127.0.0.1", 4242).unwrap();
    options.intervals.idle = Duration::from_millis(500);
    options.intervals.pending = Duration::from_millis(100);
    let (service, mut driver, handle) = Service::register(options, template).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));

    let slot = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
    let maximum = applications.new_application().await.unwrap().maximum.memory_mib;
    driver.request_worker(WorkerResourceSpec { slots: maximum as u32 / 128 + 1, slot }).await.unwrap();
    let DriverEvent::StartFailed { reason } = next(&mut driver).await else { panic!("it is too large") };
    assert!(reason.contains(&format!("no more than {maximum} MiB")), "{reason}");

    for slots in [1, 1, 2] {
        driver.request_worker(WorkerResourceSpec { slots, slot }).await.unwrap();
    }
    let mut workers = BTreeSet::new();
    while workers.len() < 3 {
        let DriverEvent::WorkerStarted { resource_id } = next(&mut driver).await else { panic!("no worker") };
        workers.insert(resource_id.0);
    }
    for worker in &workers {
        until("a worker", async || master.folder.path().join(worker).exists().then_some(())).await;
    }
    let used = applications.nodes(&[]).await.unwrap().iter().map(|node| node.containers).sum::<u32>();
    assert!(used >= 4, "three workers and their master: {used}");

    let mut workers = workers.into_iter();
    let (released, failing) = (workers.next().unwrap(), workers.next().unwrap());
    driver.release_worker(ResourceId(released.clone())).await.unwrap();
    let event = next(&mut driver).await;
    assert!(
        matches!(&event, DriverEvent::WorkerTerminated { resource_id, .. } if resource_id.0 == released),
        "{event:?}"
    );
    std::fs::write(master.folder.path().join(format!("exit-{failing}")), "").unwrap();
    let DriverEvent::WorkerTerminated { resource_id, reason } = next(&mut driver).await else {
        panic!("it has ended")
    };
    assert_eq!(resource_id.0, failing);
    assert!(reason.starts_with("it exited with 9"), "{reason}");

    // The third goes with the application.
    handle.finish(FinalStatus::AppFailed, "it was tested").await;
    stop.cancel();
    running.await.unwrap().unwrap();
    master.end();
    let end =
        report(&applications, master.id, "the end", |report| report.state == ApplicationState::Finished)
            .await;
    assert_eq!((end.final_status, end.diagnostics.as_str()), (FinalStatus::AppFailed, "it was tested"));
}
