//! Which TaskExecutors are refused because their configuration does not fit the
//! cluster's. Pure.

use crate::Options;
use heddle_model::config::value::MemorySize;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use heddle_model::memory::ResourceProfile;
use heddle_rpc::TaskExecutorRegistration;
use std::time::Duration;

pub(crate) fn check(registration: &TaskExecutorRegistration, options: &Options) -> Result<(), Failure> {
    let TaskExecutorRegistration { resource_id, spec, heartbeat_timeout_ms, .. } = registration;
    check_slot(resource_id, spec.slot, options.worker.slot)?;
    check_heartbeat(resource_id, Duration::from_millis(*heartbeat_timeout_ms), options.heartbeat_interval)
}

/// A TaskExecutor that waits no longer than the pause between two heartbeats
/// would lose the JobManager again and again.
fn check_heartbeat(resource_id: &ResourceId, timeout: Duration, interval: Duration) -> Result<(), Failure> {
    if timeout > interval {
        return Ok(());
    }
    let message = format!(
        "TaskExecutor {resource_id} waits {timeout:?} for a heartbeat (`heartbeat.timeout`), and this JobManager \
         sends one every {interval:?} (`heartbeat.interval`); set heartbeat.* alike for the TaskExecutor and the \
         JobManager"
    );
    Err(Failure::new(ErrorCode::ConfigurationInvalid, message))
}

/// Jobs ask for slots as the JobManager's configuration has them. One that is
/// smaller in anything would never be given to a job, which would wait in vain.
fn check_slot(
    resource_id: &ResourceId,
    offered: ResourceProfile,
    needed: ResourceProfile,
) -> Result<(), Failure> {
    let parts = [
        ("task memory", offered.task_memory, needed.task_memory),
        ("managed memory", offered.managed_memory, needed.managed_memory),
        ("network memory", offered.network_memory, needed.network_memory),
    ];
    let short: Vec<String> = parts
        .into_iter()
        .filter(|(_, offered, needed)| offered < needed)
        .map(|(name, offered, needed)| match (MemorySize(offered), MemorySize(needed)) {
            // Too near for rounded numbers.
            (o, n) if o.to_string() == n.to_string() => {
                format!("{offered} bytes of {name} where {needed} are needed")
            }
            (o, n) => format!("{o} of {name} where {n} are needed"),
        })
        .collect();
    if short.is_empty() {
        return Ok(());
    }
    let message = format!(
        "a slot of TaskExecutor {resource_id} has {}; set taskmanager.memory.* and taskmanager.numberOfTaskSlots \
         alike for the TaskExecutor and the JobManager",
        short.join(", ")
    );
    Err(Failure::new(ErrorCode::ConfigurationInvalid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_wait_for_a_heartbeat_is_refused_with_both_values() {
        let check = |seconds| {
            let timeout = Duration::from_secs(seconds);
            check_heartbeat(&ResourceId("w".into()), timeout, Duration::from_secs(10))
        };
        assert_eq!(check(11), Ok(()));
        expect_test::expect![
            "TaskExecutor w waits 10s for a heartbeat (`heartbeat.timeout`), and this JobManager sends one every 10s (`heartbeat.interval`); set heartbeat.* alike for the TaskExecutor and the JobManager"
        ]
        .assert_eq(&check(10).unwrap_err().message);
    }

    #[test]
    fn a_slot_that_is_too_small_is_refused_with_both_values() {
        let profile = |task: u64, managed: u64| ResourceProfile {
            task_memory: task << 20,
            managed_memory: managed << 20,
            network_memory: 1 << 20,
        };
        let check = |offered| check_slot(&ResourceId("w".into()), offered, profile(100, 50));
        assert_eq!(check(profile(100, 50)), Ok(()));
        assert_eq!(check(profile(200, 50)), Ok(()), "a larger one serves");
        expect_test::expect![
            "a slot of TaskExecutor w has 64 mb of task memory where 100 mb are needed, 10 mb of managed memory where 50 mb are needed; set taskmanager.memory.* and taskmanager.numberOfTaskSlots alike for the TaskExecutor and the JobManager"
        ]
        .assert_eq(&check(profile(64, 10)).unwrap_err().message);
    }
}
