//! Each method of each gateway, called over a connection, does what it does
//! when it is called directly.

use crate::fakes::{Process, Recorder, client, options};
use crate::samples::{self, ALLOCATION, JOB};
use bytes::Bytes;
use heddle_model::id::{InstanceId, JobMasterId, ResourceId, ResourceManagerId};
use heddle_model::memory::WorkerResourceSpec;
use heddle_model::task::DataAddress;
use heddle_rpc::grpc::Role;
use heddle_rpc::{
    Address, BlobContent, BlobServerGateway, DispatcherGateway, Error, JobMasterGateway,
    JobMasterRegistration, RequestSlot, ResourceManagerGateway, RpcService, SlotOffer, SlotRequest,
    TaskExecutorGateway, TaskExecutorRegistration,
};
use std::sync::Arc;

const TOKEN: u128 = 0xffee_0000_0000_0000_0000_0000_0000_0001;

macro_rules! answers {
    ($($call:expr),* $(,)?) => { vec![$(format!("{:?}", $call.await)),*] };
}

async fn ask_dispatcher(gateway: &dyn DispatcherGateway) -> Vec<String> {
    answers![
        gateway.put_blob(BlobContent::of(Bytes::from(vec![5; 1_000_000]))),
        gateway.put_blob(BlobContent::of(Bytes::new())),
        gateway.submit_job(samples::job_graph()),
        gateway.list_jobs(),
        gateway.request_job(JOB),
        gateway.request_job_result(JOB),
        gateway.cancel_job(JOB),
        gateway.shut_down_cluster(),
        gateway.request_cluster_overview(),
    ]
}

async fn ask_resource_manager(gateway: &dyn ResourceManagerGateway) -> Vec<String> {
    let token = ResourceManagerId(TOKEN);
    let (job_master_id, instance) = (JobMasterId(3), InstanceId(4));
    let address = Address("heddle://10.0.0.7:50100/jobmaster/1/2".into());
    let spec = WorkerResourceSpec { slots: 2, slot: samples::profile() };
    answers![
        gateway.register_job_master(
            token,
            JobMasterRegistration { job_id: JOB, job_master_id, address: address.clone() }
        ),
        gateway.disconnect_job_master(token, JOB),
        gateway.request_slot(
            token,
            job_master_id,
            SlotRequest {
                job_id: JOB,
                allocation_id: ALLOCATION,
                profile: samples::profile(),
                job_master: address.clone()
            }
        ),
        gateway.cancel_slot_request(token, job_master_id, ALLOCATION),
        gateway.register_task_executor(
            token,
            TaskExecutorRegistration {
                resource_id: ResourceId("worker".into()),
                address,
                spec,
                heartbeat_timeout_ms: 50_000
            }
        ),
        gateway.send_slot_report(token, instance, samples::slot_report()),
        gateway.notify_slot_available(token, instance, samples::slot(), ALLOCATION),
        gateway.disconnect_task_executor(token, instance, "idle".into()),
        gateway.request_overview(token),
    ]
}

async fn ask_job_master(gateway: &dyn JobMasterGateway) -> Vec<String> {
    let token = JobMasterId(TOKEN);
    let worker = || ResourceId("worker".into());
    let address = || Address("heddle://a:1/taskexecutor/w".into());
    let offer =
        |slot_number| SlotOffer { allocation_id: ALLOCATION, slot_number, profile: samples::profile() };
    let first = heddle_model::id::ExecutionAttemptId { subtask: 0, ..samples::attempt() };
    answers![
        gateway.register_task_executor(token, worker(), address(), Some(DataAddress("a:2".into()))),
        gateway.register_task_executor(token, worker(), address(), None),
        gateway.disconnect_task_executor(token, worker(), samples::failure()),
        gateway.offer_slots(token, worker(), vec![offer(0), offer(1)]),
        gateway.fail_slot(token, worker(), ALLOCATION, samples::failure()),
        gateway.update_task_execution_state(token, samples::task_state()),
        gateway.request_next_input_split(token, samples::attempt()),
        gateway.request_next_input_split(token, first),
        gateway.heartbeat_from_task_executor(token, worker(), samples::heartbeat()),
        gateway.heartbeat_from_resource_manager(token),
        gateway.notify_allocation_failure(token, ALLOCATION, samples::failure()),
        gateway.request_job(token),
        gateway.cancel(token),
    ]
}

async fn ask_task_executor(gateway: &dyn TaskExecutorGateway) -> Vec<String> {
    let (token, manager) = (JobMasterId(TOKEN), ResourceManagerId(TOKEN));
    let request = RequestSlot {
        slot_id: samples::slot(),
        job_id: JOB,
        allocation_id: ALLOCATION,
        profile: samples::profile(),
        job_master: Address("heddle://a:1/jobmaster/1/2".into()),
        job_master_id: token,
    };
    answers![
        gateway.request_slot(manager, request),
        gateway.free_slot(token, ALLOCATION, samples::failure()),
        gateway.submit_tasks(token, Arc::new(samples::job_information()), samples::tasks()),
        gateway.submit_tasks(token, Arc::new(samples::job_information()), vec![]),
        gateway.cancel_tasks(token, vec![samples::attempt(), samples::attempt()]),
        gateway.disconnect_job_master(token, JOB, samples::failure()),
        gateway.heartbeat_from_job_master(token, JOB),
        gateway.heartbeat_from_resource_manager(manager),
    ]
}

async fn ask_blob_server(gateway: &dyn BlobServerGateway) -> Vec<String> {
    let key = heddle_model::id::BlobKey::of(b"some");
    let content = async {
        let content = gateway.get_blob(key).await?;
        let (key, size) = (content.key(), content.size());
        let mut content = BlobContent::stream(key, size, content.into_stream());
        let mut bytes = 0;
        while let Some(chunk) = content.next().await {
            bytes += chunk?.len();
        }
        Ok::<_, Error>((size, bytes))
    };
    answers![content]
}

/// Asks both ways, with every call answered, and with every call failing.
macro_rules! same_both_ways {
    ($test:ident, $serve:ident, $get:ident, $ask:ident) => {
        #[tokio::test]
        async fn $test() {
            let process = Process::start(options(Role::JobManager)).await;
            let address = process.address("the/endpoint");
            let fenced = || Error::Fenced { expected: "a".into(), got: "b".into() };
            let mut former = 0;
            for error in [None, Some(fenced()), Some(Error::Failure(samples::failure()))] {
                let (direct, remote) = (Recorder::default(), Arc::new(Recorder::default()));
                *direct.error.lock().unwrap() = error.clone();
                *remote.error.lock().unwrap() = error.clone();
                process.$serve(address.clone(), remote.clone());
                let gateway = client().$get(&address).unwrap();
                assert_eq!($ask(&*gateway).await, $ask(&direct).await);
                assert_eq!(remote.calls(), direct.calls());
                let stale = process.metrics().stale_messages.get();
                let expected = if error == Some(fenced()) { direct.calls().len() as u64 } else { 0 };
                assert_eq!(stale - former, expected);
                former = stale;
            }
        }
    };
}

same_both_ways!(the_dispatcher, serve_dispatcher, dispatcher, ask_dispatcher);
same_both_ways!(the_resource_manager, serve_resource_manager, resource_manager, ask_resource_manager);
same_both_ways!(a_job_master, serve_job_master, job_master, ask_job_master);
same_both_ways!(a_task_executor, serve_task_executor, task_executor, ask_task_executor);
same_both_ways!(the_blob_server, serve_blob_server, blob_server, ask_blob_server);
