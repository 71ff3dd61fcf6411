//! Restart strategies as data; `scheduler` decides by them. Names, options and
//! defaults are Flink's.

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RestartStrategy {
    /// The first failure fails the job.
    None,
    FixedDelay {
        attempts: u32,
        delay: Duration,
    },
    ExponentialDelay {
        initial_backoff: Duration,
        max_backoff: Duration,
        backoff_multiplier: f64,
        /// A run this long without failure starts again at `initial_backoff`.
        reset_backoff_threshold: Duration,
        /// Part of the delay by which it may vary, 0.0 to 1.0.
        jitter_factor: f64,
        /// Most attempts before the job fails; none: no limit.
        attempts_before_reset_backoff: Option<u32>,
    },
    /// Fails the job when more than `max_failures_per_interval` failures fall
    /// into one interval.
    FailureRate {
        max_failures_per_interval: u32,
        failure_rate_interval: Duration,
        delay: Duration,
    },
}
