//! A bug that is planted on purpose, to see that the simulation finds such: job
//! masters that do not check the tokens of messages.

use async_trait::async_trait;
use heddle_model::failure::Failure;
use heddle_model::id::{AllocationId, ExecutionAttemptId, JobMasterId, ResourceId};
use heddle_model::task::{DataAddress, InputSplit, TaskExecutionState};
use heddle_rpc::{Address, JobDetails, JobMasterGateway, Result, SlotOffer, TaskExecutorHeartbeat};
use std::sync::Arc;

/// What is done to messages before a job master gets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forger {
    #[default]
    None,
    /// They get its token, so that its check refuses none.
    JobMasterTokens,
}

impl Forger {
    pub fn before(
        self,
        token: Option<JobMasterId>,
        gateway: Arc<dyn JobMasterGateway>,
    ) -> Arc<dyn JobMasterGateway> {
        match (self, token) {
            (Forger::JobMasterTokens, Some(token)) => Arc::new(Forged { gateway, token }),
            _ => gateway,
        }
    }
}

struct Forged {
    gateway: Arc<dyn JobMasterGateway>,
    token: JobMasterId,
}

macro_rules! forge {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl JobMasterGateway for Forged {$(
            async fn $name(&self, _: JobMasterId, $($argument: $type),*) -> Result<$answer> {
                self.gateway.$name(self.token, $($argument),*).await
            }
        )*}
    };
}

forge! {
    fn register_task_executor(id: ResourceId, address: Address, data: Option<DataAddress>) -> ();
    fn disconnect_task_executor(id: ResourceId, reason: Failure) -> ();
    fn offer_slots(id: ResourceId, offers: Vec<SlotOffer>) -> Vec<AllocationId>;
    fn fail_slot(id: ResourceId, allocation_id: AllocationId, cause: Failure) -> ();
    fn update_task_execution_state(state: TaskExecutionState) -> ();
    fn request_next_input_split(attempt: ExecutionAttemptId) -> Option<InputSplit>;
    fn heartbeat_from_task_executor(id: ResourceId, payload: TaskExecutorHeartbeat) -> ();
    fn heartbeat_from_resource_manager() -> ();
    fn notify_allocation_failure(allocation_id: AllocationId, cause: Failure) -> ();
    fn request_job() -> JobDetails;
    fn cancel() -> ();
}
