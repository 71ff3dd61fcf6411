//! Restart strategies: whether a job restarts after a failure, and after which
//! delay. Rules and names are Flink's.
//!
//! Pure: the time and the random number of the jitter are passed in. Knows
//! nothing of tasks or regions.

use heddle_model::restart::RestartStrategy;
use std::collections::VecDeque;
use std::time::Duration;

/// What is to be done about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Restart {
        delay: Duration,
    },
    /// One line: which limit is used up.
    Fail {
        reason: String,
    },
}

/// A restart strategy with what it remembers of past failures.
#[derive(Clone, Debug)]
pub struct RestartBackoff {
    strategy: RestartStrategy,
    restarts: u32,
    /// Exponential delay: the delay of the latest restart, before jitter.
    backoff: Duration,
    last_failure: Option<Duration>,
    /// Failure rate: the failures of the current interval.
    failures: VecDeque<Duration>,
}

impl RestartBackoff {
    pub fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, restarts: 0, backoff: Duration::ZERO, last_failure: None, failures: VecDeque::new() }
    }

    /// Counts a failure at `now` and decides. `jitter` lies in -1.0 to 1.0; only
    /// the exponential delay uses it.
    pub fn on_failure(&mut self, now: Duration, jitter: f64) -> Decision {
        match self.strategy {
            RestartStrategy::None => Decision::Fail { reason: "the restart strategy is `none`".to_owned() },
            RestartStrategy::FixedDelay { attempts, delay } => self.fixed_delay(attempts, delay),
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset_backoff,
            } => {
                // The time of the delay itself does not count as a quiet time.
                let quiet = self.last_failure.map(|last| now.saturating_sub(last + self.backoff));
                if quiet.is_none_or(|quiet| quiet >= reset_backoff_threshold) {
                    self.restarts = 0;
                }
                self.last_failure = Some(now);
                if let Some(attempts) = attempts_before_reset_backoff
                    && self.restarts >= attempts
                {
                    return Decision::Fail {
                        reason: format!(
                            "the restart strategy `exponential-delay` allows {attempts} restarts until \
                             {reset_backoff_threshold:?} pass without a failure, and they are used up"
                        ),
                    };
                }
                self.backoff = if self.restarts == 0 {
                    initial_backoff.min(max_backoff)
                } else {
                    scaled(self.backoff, backoff_multiplier.max(1.0)).min(max_backoff)
                };
                self.restarts += 1;
                let jitter = if jitter.is_finite() { jitter.clamp(-1.0, 1.0) } else { 0.0 };
                let delay = scaled(self.backoff, 1.0 + jitter * jitter_factor.clamp(0.0, 1.0));
                Decision::Restart { delay: delay.min(max_backoff).max(initial_backoff.min(max_backoff)) }
            }
            RestartStrategy::FailureRate { max_failures_per_interval, failure_rate_interval, delay } => {
                while self.failures.front().is_some_and(|at| now.saturating_sub(*at) > failure_rate_interval)
                {
                    self.failures.pop_front();
                }
                self.failures.push_back(now);
                if self.failures.len() > max_failures_per_interval as usize {
                    return Decision::Fail {
                        reason: format!(
                            "the restart strategy `failure-rate` allows {max_failures_per_interval} failures \
                             within {failure_rate_interval:?}, and there was one more"
                        ),
                    };
                }
                Decision::Restart { delay }
            }
        }
    }

    fn fixed_delay(&mut self, attempts: u32, delay: Duration) -> Decision {
        if self.restarts >= attempts {
            return Decision::Fail {
                reason: format!(
                    "the restart strategy `fixed-delay` allows {attempts} restarts, and they are used up"
                ),
            };
        }
        self.restarts += 1;
        Decision::Restart { delay }
    }
}

/// `duration * factor` without a panic, whatever the configuration says.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    /// What the strategy answers to failures at these seconds: the delay in
    /// seconds, or none if the job fails.
    fn run(strategy: RestartStrategy, failures_at: &[f64], jitter: f64) -> Vec<Option<f64>> {
        let mut backoff = RestartBackoff::new(strategy);
        failures_at
            .iter()
            .map(|at| match backoff.on_failure(secs(*at), jitter) {
                Decision::Restart { delay } => Some(delay.as_secs_f64()),
                Decision::Fail { .. } => None,
            })
            .collect()
    }

    #[test]
    fn none_never_restarts() {
        assert_eq!(run(RestartStrategy::None, &[0.0, 100.0], 0.0), [None, None]);
    }

    #[test]
    fn fixed_delay_restarts_so_many_times() {
        let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: secs(1.0) };
        assert_eq!(run(strategy, &[0.0, 10.0, 1e6], 0.0), [Some(1.0), Some(1.0), None]);
    }

    fn exponential(attempts: Option<u32>) -> RestartStrategy {
        RestartStrategy::ExponentialDelay {
            initial_backoff: secs(1.0),
            max_backoff: secs(5.0),
            backoff_multiplier: 2.0,
            reset_backoff_threshold: secs(60.0),
            jitter_factor: 0.5,
            attempts_before_reset_backoff: attempts,
        }
    }

    #[test]
    fn exponential_delay_doubles_to_its_maximum_and_starts_again_after_a_quiet_time() {
        assert_eq!(
            run(exponential(None), &[0.0, 2.0, 5.0, 10.0, 20.0, 85.0, 150.0], 0.0),
            [Some(1.0), Some(2.0), Some(4.0), Some(5.0), Some(5.0), Some(1.0), Some(1.0)]
        );
    }

    #[test]
    fn exponential_delay_does_not_count_its_own_delay_as_quiet() {
        assert_eq!(run(exponential(None), &[0.0, 60.5, 122.4], 0.0), [Some(1.0), Some(2.0), Some(4.0)]);
    }

    #[test]
    fn exponential_delay_varies_within_its_limits() {
        assert_eq!(run(exponential(None), &[0.0, 2.0, 5.0], 1.0), [Some(1.5), Some(3.0), Some(5.0)]);
        assert_eq!(run(exponential(None), &[0.0, 2.0, 5.0], -1.0), [Some(1.0), Some(1.0), Some(2.0)]);
        assert_eq!(run(exponential(None), &[0.0], f64::NAN), [Some(1.0)]);
    }

    #[test]
    fn exponential_delay_gives_up_after_its_attempts() {
        assert_eq!(run(exponential(Some(2)), &[0.0, 2.0, 5.0], 0.0), [Some(1.0), Some(2.0), None]);
        assert_eq!(run(exponential(Some(1)), &[0.0, 100.0], 0.0), [Some(1.0), Some(1.0)]);
    }

    #[test]
    fn failure_rate_counts_the_failures_of_an_interval() {
        let strategy = RestartStrategy::FailureRate {
            max_failures_per_interval: 2,
            failure_rate_interval: secs(10.0),
            delay: secs(0.5),
        };
        assert_eq!(run(strategy.clone(), &[0.0, 5.0, 11.0, 17.0], 0.0), [Some(0.5); 4]);
        assert_eq!(run(strategy, &[0.0, 5.0, 10.0], 0.0), [Some(0.5), Some(0.5), None]);
    }
}
