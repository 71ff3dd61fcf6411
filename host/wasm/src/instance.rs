//! One running copy of a component: the life of a subtask's guest.

use crate::bindings::{Operator, job};
use crate::contract;
use crate::error::Error;
use crate::fault::{Fault, Phase, explain};
use crate::host::TaskHost;
use crate::store::{StoreData, Wait, WaitReason};
use crate::task::{PollStatus, Task};
use heddle_model::failure::{ErrorCode, Failure};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Sleep;
use wasmtime::Store;

/// An instance of a component. Its calls are futures that run the guest when
/// polled and are pending while it waits or gives way; dropping one ends the
/// guest. After an error or a dropped call no further call succeeds.
pub struct Instance {
    store: Store<StoreData>,
    exports: Operator,
    wait: Arc<WaitReason>,
    call_timeout: Duration,
    task_name: String,
    ended: bool,
}

/// Runs one call; a macro, as each call borrows the store and the exports.
macro_rules! call {
    ($self:ident, $method:ident $(, $argument:expr)*) => {{
        let result = {
            $self.enter()?;
            let call = $self.exports.heddle_operator_job().$method(&mut $self.store $(, $argument)*);
            watched(call, &$self.wait, $self.call_timeout).await
        };
        $self.leave(result, Phase::Run)
    }};
}

impl Instance {
    pub(crate) fn new(store: Store<StoreData>, exports: Operator, task_name: String) -> Self {
        let wait = store.data().wait.clone();
        let call_timeout = store.data().clock.timeout;
        Self { store, exports, wait, call_timeout, task_name, ended: false }
    }

    /// Builds the chain of a subtask.
    pub async fn open(&mut self, task: &Task) -> Result<(), Error> {
        let task = contract::task(task);
        call!(self, call_open, &task)?.map_err(|failure| self.failed(failure))
    }

    /// Takes a batch of an input; copied into the guest once.
    pub async fn process(&mut self, input: u32, batch: &[u8]) -> Result<(), Error> {
        call!(self, call_process, input, batch)?.map_err(|failure| self.failed(failure))
    }

    /// Lets the sources of the chain produce about one batch.
    pub async fn poll(&mut self) -> Result<PollStatus, Error> {
        call!(self, call_poll)?.map(contract::poll_status).map_err(|failure| self.failed(failure))
    }

    /// Sends what is buffered.
    pub async fn flush(&mut self) -> Result<(), Error> {
        call!(self, call_flush)?.map_err(|failure| self.failed(failure))
    }

    /// The input of that index has ended.
    pub async fn end_input(&mut self, input: u32) -> Result<(), Error> {
        call!(self, call_end_input, input)?.map_err(|failure| self.failed(failure))
    }

    /// Writes all cached state to the host.
    pub async fn flush_state(&mut self) -> Result<(), Error> {
        call!(self, call_flush_state)?.map_err(|failure| self.failed(failure))
    }

    /// All inputs ended: last results, state and counts go out.
    pub async fn finish(&mut self) -> Result<(), Error> {
        call!(self, call_finish)?.map_err(|failure| self.failed(failure))?;
        self.end_log();
        Ok(())
    }

    pub(crate) async fn plan(
        &mut self,
        program: &heddle_model::plan::Program,
    ) -> Result<Result<job::JobPlan, job::Failure>, Error> {
        self.enter()?;
        let program = contract::program(program);
        let call = self.exports.heddle_operator_job().call_plan(&mut self.store, &program);
        let result = watched(call, &self.wait, self.call_timeout).await;
        let plan = self.leave(result, Phase::Plan);
        self.end_log();
        plan
    }

    /// The guest says nothing more.
    fn end_log(&mut self) {
        let data = self.store.data_mut();
        data.log.end();
        data.flush_log();
    }

    /// What the instance was given to talk to.
    ///
    /// # Panics
    /// If the host itself panicked in the middle of a call before.
    pub fn host_mut(&mut self) -> &mut dyn TaskHost {
        self.store.data_mut().host.as_deref_mut().expect("the host is here between calls")
    }

    fn enter(&mut self) -> Result<(), Error> {
        let data = self.store.data_mut();
        if data.clock.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if self.ended || data.host.is_none() {
            return Err(Error::internal(format!("the instance of task '{}' has ended", self.task_name)));
        }
        // Until `leave`, so that a dropped call leaves it set.
        self.ended = true;
        data.clock.reset();
        data.turn.enter();
        Ok(())
    }

    fn leave<T>(&mut self, result: wasmtime::Result<T>, phase: Phase) -> Result<T, Error> {
        let data = self.store.data_mut();
        data.turn.leave(&data.wait);
        match result {
            Ok(value) => {
                data.flush_log();
                self.ended = false;
                Ok(value)
            }
            Err(error) => {
                data.log.end();
                data.flush_log();
                let (panic, words) = (data.panic.take(), data.log.last_words());
                Err(explain(error, phase, &self.task_name, panic, words))
            }
        }
    }

    /// An error that the program returned.
    fn failed(&mut self, failure: job::Failure) -> Error {
        self.ended = true;
        let (message, operator) = contract::failure(failure);
        let who = match operator {
            Some(operator) => format!("operator '{operator}' in task '{}'", self.task_name),
            None => format!("task '{}'", self.task_name),
        };
        Failure::new(ErrorCode::OperatorError, format!("{who} failed: {message}")).into()
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("task_name", &self.task_name).field("ended", &self.ended).finish()
    }
}

/// Polls a call. A guest that runs is watched by epochs; one that sleeps in
/// WASI (with the grant `clocks`) is watched by a timer, which is only made
/// then. One that waits for a channel may wait for ever.
pub(crate) async fn watched<T>(
    call: impl Future<Output = wasmtime::Result<T>>,
    reason: &WaitReason,
    timeout: Duration,
) -> wasmtime::Result<T> {
    let mut call = pin!(call);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut polled_before = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut polled_before, true) {
            reason.resume();
        }
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        match reason.get() {
            Wait::Emit => timer = None,
            Wait::Yield => reason.set(Wait::Wasi),
            Wait::Wasi => {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(wasmtime::Error::new(Fault::Deadline { timeout })));
                }
            }
        }
        Poll::Pending
    })
    .await
}
