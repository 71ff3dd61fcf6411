//! The TaskExecutors that serve the job: their registration, the calls to them,
//! and their loss.

use super::Job;
use crate::service::Event;
use crate::task_executors::{Call, Called, TaskExecutor, bounded, lost};
use heddle_model::failure::Failure;
use heddle_model::id::ResourceId;
use heddle_model::task::{DataAddress, TaskDeploymentDescriptor};
use heddle_rpc::{Address, Error, Result};
use heddle_scheduler::{scheduler, slot_pool};
use tracing::{debug, info, warn};

impl Job {
    pub(super) fn register_task_executor(
        &mut self,
        resource_id: ResourceId,
        address: &Address,
        data_address: Option<DataAddress>,
    ) -> Result<()> {
        let gateway = self.rpc.task_executor(address)?;
        if self.task_executors.remove(&resource_id).is_some() {
            // It registers again because it has forgotten this job: slots of its
            // former life are gone.
            let cause = lost(&resource_id, "it registered again");
            let resource_id = resource_id.clone();
            self.tell_pool(slot_pool::Event::TaskExecutorLost { resource_id, cause });
        }
        info!(job_id = %self.id(), %resource_id, %address, "TaskExecutor registered");
        self.generations += 1;
        let task_executor = TaskExecutor::new(gateway, data_address, self.generations, self.now());
        self.task_executors.insert(resource_id.clone(), task_executor);
        self.tell_pool(slot_pool::Event::TaskExecutorRegistered(resource_id));
        Ok(())
    }

    /// Tells a task where its producers serve.
    pub(super) fn name_data_addresses(&self, task: &mut TaskDeploymentDescriptor) {
        for gate in &mut task.inputs {
            for channel in &gate.channels {
                let producer = self.task_executors.get(&channel.producer);
                if let Some(address) = producer.and_then(|producer| producer.data_address.as_ref())
                    && !gate.data_addresses.contains_key(&channel.producer)
                {
                    gate.data_addresses.insert(channel.producer.clone(), address.clone());
                }
            }
        }
    }

    pub(super) fn current(&mut self, resource_id: &ResourceId, generation: u64) -> Option<&mut TaskExecutor> {
        self.task_executors.get_mut(resource_id).filter(|one| one.generation == generation)
    }

    pub(super) fn call_task_executor(&mut self, resource_id: &ResourceId, call: Call) {
        // A TaskExecutor that is gone took its tasks and slots with it; the
        // brains have heard of it.
        let Some(task_executor) = self.task_executors.get_mut(resource_id) else { return };
        task_executor.push(call);
        task_executor.make_next_call(resource_id, self.options.job_master_id, &mut self.calls);
    }

    pub(super) fn task_executor_called(&mut self, resource_id: ResourceId, generation: u64, called: Called) {
        let token = self.options.job_master_id;
        let Some(task_executor) =
            self.task_executors.get_mut(&resource_id).filter(|one| one.generation == generation)
        else {
            return;
        };
        task_executor.call_ended();
        task_executor.make_next_call(&resource_id, token, &mut self.calls);
        match called {
            Called::Submitted { attempts, result: Ok(()) } => {
                self.tell_scheduler(scheduler::Event::TasksAccepted(attempts));
            }
            Called::Cancelled(Ok(())) | Called::Freed(Ok(())) => {}
            Called::Submitted { attempts, result: Err(Error::Failure(cause)) } => {
                warn!(job_id = %self.id(), %resource_id, error = %cause, "tasks were not taken");
                self.tell_scheduler(scheduler::Event::TasksRejected { attempts, cause });
            }
            Called::Submitted { result: Err(error), .. } | Called::Cancelled(Err(error)) => {
                match error {
                    // The cancellation time-out is the remedy.
                    Error::Failure(cause) => {
                        warn!(job_id = %self.id(), %resource_id, error = %cause, "tasks were not cancelled");
                    }
                    error => {
                        let cause = lost(&resource_id, &error.to_string());
                        self.lose_task_executor(&resource_id, cause);
                    }
                }
            }
            Called::Freed(Err(error)) => debug!(job_id = %self.id(), %resource_id, %error, "slot not freed"),
        }
    }

    pub(super) fn lose_task_executor(&mut self, resource_id: &ResourceId, cause: Failure) {
        let Some(task_executor) = self.task_executors.remove(resource_id) else { return };
        info!(job_id = %self.id(), %resource_id, reason = %cause, "TaskExecutor disconnected");
        let (token, job_id) = (self.options.job_master_id, self.job.job_id);
        let told = cause.clone();
        // If it lives after all, it is to end its tasks.
        self.calls.spawn(async move {
            let call = task_executor.gateway.disconnect_job_master(token, job_id, told);
            if let Err(error) = bounded(call).await {
                debug!(%job_id, %error, "the lost TaskExecutor did not hear of it");
            }
            Event::Told
        });
        let resource_id = resource_id.clone();
        self.tell_pool(slot_pool::Event::TaskExecutorLost { resource_id, cause });
    }
}
