//! What a job is to publish is kept where the next leader finds it, before
//! anything is published.

use async_trait::async_trait;
use heddle_model::task::Commitment;

#[async_trait]
pub trait Commitments: Send + Sync + 'static {
    /// Tries until it is done; durable when it returns. False if this leader
    /// stopped before that is certain.
    async fn store(&self, commitment: Commitment) -> bool;
}

/// For a job that nobody takes up again.
pub(crate) struct NotKept;

#[async_trait]
impl Commitments for NotKept {
    async fn store(&self, _: Commitment) -> bool {
        true
    }
}
