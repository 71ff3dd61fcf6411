//! A service that runs, how it is stopped, and what its end means.

use crate::internal;
use heddle_model::failure::Failure;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Owns the task of one service. Dropping it ends the task at once.
pub struct Role {
    name: &'static str,
    stop: CancellationToken,
    task: JoinSet<Result<(), Failure>>,
}

impl Role {
    /// `run` is a service's `run`.
    pub fn start<E, F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        E: Into<Failure>,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let service = run(stop.clone());
        task.spawn(async move { service.await.map_err(Into::into) });
        Self { name, stop, task }
    }

    /// Waits for its end, which nobody asked for, and tells why. Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        match self.task.join_next().await {
            // It was heard of already.
            None => std::future::pending().await,
            Some(Ok(Ok(()))) => internal(format!("the {} ended by itself", self.name)),
            Some(Ok(Err(failure))) => {
                Failure { message: format!("the {} failed: {}", self.name, failure.message), ..failure }
            }
            Some(Err(error)) => internal(format!("the {} panicked: {error}", self.name)),
        }
    }

    pub async fn shut_down(&mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
        debug!(role = self.name, "stopped");
    }
}
