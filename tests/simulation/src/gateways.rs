//! The gateways of other processes: each message becomes a call over the
//! simulated network.

use crate::network::Remote;
use crate::process::Gateway;
use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{
    AllocationId, ExecutionAttemptId, InstanceId, JobId, JobMasterId, ResourceId, ResourceManagerId, SlotId,
};
use heddle_model::task::{
    DataAddress, InputSplit, JobInformation, TaskDeploymentDescriptor, TaskExecutionState,
};
use heddle_rpc::{
    Address, JobDetails, JobMasterGateway, JobMasterRegistration, RequestSlot, ResourceManagerGateway,
    ResourceOverview, Result, SlotOffer, SlotReport, SlotRequest, TaskExecutorGateway, TaskExecutorHeartbeat,
    TaskExecutorRegistration,
};
use std::sync::Arc;

/// What must not come twice: a split that is given out is gone, and no sender
/// asks for one again.
fn once(name: &str) -> bool {
    name == "request_next_input_split"
}

macro_rules! gateway {
    ($gateway:ident as $kind:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl $gateway for Remote {$(
            async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                let name = stringify!($name);
                self.call(name, once(name), move |process, endpoint| {
                    let Some(Gateway::$kind(gateway)) = process.gateway(endpoint) else { return None };
                    $(let $argument = $argument.clone();)*
                    Some(Box::pin(async move { gateway.$name($($argument),*).await }))
                })
                .await
            }
        )*}
    };
}

gateway!(ResourceManagerGateway as ResourceManager {
    fn register_job_master(token: ResourceManagerId, registration: JobMasterRegistration) -> ();
    fn disconnect_job_master(token: ResourceManagerId, job_id: JobId) -> ();
    fn request_slot(token: ResourceManagerId, job_master: JobMasterId, request: SlotRequest) -> ();
    fn cancel_slot_request(token: ResourceManagerId, job_master: JobMasterId, id: AllocationId) -> ();
    fn register_task_executor(token: ResourceManagerId, it: TaskExecutorRegistration) -> InstanceId;
    fn send_slot_report(token: ResourceManagerId, instance: InstanceId, report: SlotReport) -> ();
    fn notify_slot_available(
        token: ResourceManagerId, instance: InstanceId, slot_id: SlotId, allocation: AllocationId
    ) -> ();
    fn disconnect_task_executor(token: ResourceManagerId, instance: InstanceId, reason: String) -> ();
    fn request_overview(token: ResourceManagerId) -> ResourceOverview;
});

gateway!(JobMasterGateway as JobMaster {
    fn register_task_executor(
        token: JobMasterId, resource_id: ResourceId, address: Address, data_address: Option<DataAddress>
    ) -> ();
    fn disconnect_task_executor(token: JobMasterId, resource_id: ResourceId, reason: Failure) -> ();
    fn offer_slots(
        token: JobMasterId, resource_id: ResourceId, offers: Vec<SlotOffer>
    ) -> Vec<AllocationId>;
    fn fail_slot(token: JobMasterId, resource_id: ResourceId, id: AllocationId, cause: Failure) -> ();
    fn update_task_execution_state(token: JobMasterId, state: TaskExecutionState) -> ();
    fn request_next_input_split(token: JobMasterId, attempt: ExecutionAttemptId) -> Option<InputSplit>;
    fn heartbeat_from_task_executor(
        token: JobMasterId, resource_id: ResourceId, payload: TaskExecutorHeartbeat
    ) -> ();
    fn heartbeat_from_resource_manager(token: JobMasterId) -> ();
    fn notify_allocation_failure(token: JobMasterId, id: AllocationId, cause: Failure) -> ();
    fn request_job(token: JobMasterId) -> JobDetails;
    fn cancel(token: JobMasterId) -> ();
});

gateway!(TaskExecutorGateway as TaskExecutor {
    fn request_slot(token: ResourceManagerId, request: RequestSlot) -> ();
    fn free_slot(token: JobMasterId, id: AllocationId, cause: Failure) -> ();
    fn submit_tasks(
        token: JobMasterId, job: Arc<JobInformation>, tasks: Vec<TaskDeploymentDescriptor>
    ) -> ();
    fn cancel_tasks(token: JobMasterId, attempts: Vec<ExecutionAttemptId>) -> ();
    fn disconnect_job_master(token: JobMasterId, job_id: JobId, cause: Failure) -> ();
    fn heartbeat_from_job_master(token: JobMasterId, job_id: JobId) -> ();
    fn heartbeat_from_resource_manager(token: ResourceManagerId) -> ();
});
