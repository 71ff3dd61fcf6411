//! What tasks and schedulers read of the configuration, as plain data.

use super::Configuration;
use super::options as o;
use super::value::{RestartStrategyType, RuntimeMode};
use crate::failure::{ErrorCode, Failure};
use crate::job_graph::ExecutionConfig;
use crate::restart::RestartStrategy;
use std::time::Duration;

/// A batch may not be longer than this, and a channel's target not either.
const SEGMENT_SIZE_MAX: u64 = 16 << 20;
/// Below this a batch is mostly header.
const SEGMENT_SIZE_MIN: u64 = 256;

fn invalid<T>(configuration: &Configuration, option: &super::ConfigOption<T>, why: &str) -> Failure {
    let origin = configuration.origin(option);
    let message = format!("configuration `{}`: {why} (from {origin})", option.key());
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

impl ExecutionConfig {
    /// `bounded`: whether every source of the job is.
    ///
    /// # Errors
    /// [`ErrorCode::ConfigurationInvalid`] when values do not fit together.
    pub fn from_configuration(configuration: &Configuration, bounded: bool) -> Result<Self, Failure> {
        let batch_mode = match configuration.get(&o::RUNTIME_MODE) {
            RuntimeMode::Streaming => false,
            RuntimeMode::Batch if !bounded => {
                let why = "BATCH needs bounded sources, and one of the job's never ends; use STREAMING";
                return Err(invalid(configuration, &o::RUNTIME_MODE, why));
            }
            RuntimeMode::Batch => true,
            RuntimeMode::Automatic => bounded,
        };
        let segment = configuration.get(&o::SEGMENT_SIZE).0;
        if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&segment) {
            let why = format!("{segment} bytes is not between 256 bytes and 16 mb");
            return Err(invalid(configuration, &o::SEGMENT_SIZE, &why));
        }
        let call_timeout = configuration.get(&o::CALL_TIMEOUT);
        if call_timeout == Duration::ZERO {
            return Err(invalid(configuration, &o::CALL_TIMEOUT, "a call needs some time"));
        }
        Ok(Self {
            batch_mode,
            buffer_timeout: configuration.get(&o::BUFFER_TIMEOUT),
            batch_size: segment as u32,
            buffers_per_channel: configuration.get(&o::BUFFERS_PER_CHANNEL).get(),
            floating_buffers: configuration.get(&o::FLOATING_BUFFERS),
            state_cache_size: configuration.get(&o::STATE_CACHE_SIZE).0,
            call_timeout,
            log_lines_per_second: configuration.get(&o::LOG_RATE),
            grants: configuration.get(&o::GRANTS),
            max_stack_size: configuration.get(&o::MAX_STACK_SIZE).0,
            restart_strategy: restart_strategy(configuration)?,
        })
    }
}

fn restart_strategy(configuration: &Configuration) -> Result<RestartStrategy, Failure> {
    // Whatever strategy is chosen: a value that no strategy takes is a slip.
    let backoff_multiplier = configuration.get(&o::EXPONENTIAL_MULTIPLIER);
    if backoff_multiplier < 1.0 {
        let why = format!("{backoff_multiplier} is below 1.0");
        return Err(invalid(configuration, &o::EXPONENTIAL_MULTIPLIER, &why));
    }
    Ok(match configuration.get(&o::RESTART_STRATEGY) {
        RestartStrategyType::None => RestartStrategy::None,
        RestartStrategyType::FixedDelay => RestartStrategy::FixedDelay {
            attempts: configuration.get(&o::FIXED_DELAY_ATTEMPTS),
            delay: configuration.get(&o::FIXED_DELAY_DELAY),
        },
        RestartStrategyType::ExponentialDelay => {
            let initial_backoff = configuration.get(&o::EXPONENTIAL_INITIAL_BACKOFF);
            let max_backoff = configuration.get(&o::EXPONENTIAL_MAX_BACKOFF);
            if initial_backoff > max_backoff {
                let why = format!("{initial_backoff:?} is longer than the longest, {max_backoff:?}");
                return Err(invalid(configuration, &o::EXPONENTIAL_INITIAL_BACKOFF, &why));
            }
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold: configuration.get(&o::EXPONENTIAL_RESET),
                jitter_factor: configuration.get(&o::EXPONENTIAL_JITTER).0,
                attempts_before_reset_backoff: configuration.get(&o::EXPONENTIAL_ATTEMPTS),
            }
        }
        RestartStrategyType::FailureRate => RestartStrategy::FailureRate {
            max_failures_per_interval: configuration.get(&o::FAILURE_RATE_MAX),
            failure_rate_interval: configuration.get(&o::FAILURE_RATE_INTERVAL),
            delay: configuration.get(&o::FAILURE_RATE_DELAY),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn configured(pairs: &[(&str, &str)]) -> Configuration {
        let mut configuration = Configuration::new();
        for (key, value) in pairs {
            configuration.set(key, value, Origin::DynamicProperty).unwrap();
        }
        configuration
    }

    #[test]
    fn defaults_are_those_of_the_options() {
        let config = ExecutionConfig::from_configuration(&Configuration::new(), true).unwrap();
        assert_eq!(config, ExecutionConfig::default());
    }

    #[test]
    fn runtime_mode_depends_on_bounded_sources() {
        for (mode, bounded, expected) in [
            ("STREAMING", true, Some(false)),
            ("BATCH", true, Some(true)),
            ("BATCH", false, None),
            ("AUTOMATIC", true, Some(true)),
            ("AUTOMATIC", false, Some(false)),
        ] {
            let configuration = configured(&[("execution.runtime-mode", mode)]);
            let config = ExecutionConfig::from_configuration(&configuration, bounded);
            assert_eq!(config.ok().map(|config| config.batch_mode), expected, "{mode} {bounded}");
        }
    }

    #[test]
    fn restart_strategies_by_name() {
        let configuration = configured(&[
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "3"),
            ("restart-strategy.fixed-delay.delay", "10 ms"),
        ]);
        let config = ExecutionConfig::from_configuration(&configuration, true).unwrap();
        let expected = RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(10) };
        assert_eq!(config.restart_strategy, expected);
    }

    #[test]
    fn values_that_do_not_fit_together_are_refused() {
        for pairs in [
            &[("taskmanager.memory.segment-size", "1 b")][..],
            &[("taskmanager.memory.segment-size", "1 g")],
            &[("taskmanager.wasm.call-timeout", "0 s")],
            &[("restart-strategy.exponential-delay.backoff-multiplier", "0.5")],
            &[
                ("restart-strategy.type", "exponential-delay"),
                ("restart-strategy.exponential-delay.initial-backoff", "1 h"),
            ],
        ] {
            let failure = ExecutionConfig::from_configuration(&configured(pairs), true).unwrap_err();
            assert_eq!(failure.code, ErrorCode::ConfigurationInvalid);
            assert!(failure.message.contains("(from -D)"), "{}", failure.message);
        }
    }
}
