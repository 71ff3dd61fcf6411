//! The memory model: what a TaskExecutor process may use, and for what.
//!
//! Flink's model with two parts replaced: the guests' linear memory takes the
//! place of the task heap, compiled code that of the metaspace. Task, managed
//! and network memory are budgets that are enforced; the others are set aside
//! (`docs/memory.md`).

use crate::config::options as o;
use crate::config::value::MemorySize;
use crate::config::{ConfigOption, Configuration};
use crate::failure::{ErrorCode, Failure};
use serde::{Deserialize, Serialize};

/// An instance of the smallest guest with the standard library needs about
/// this much: 17 pages of memory and its tables.
const TASK_MEMORY_PER_SLOT_MIN: u64 = 2 << 20;

/// What a process can address on the machines of today.
const PROCESS_MEMORY_MAX: u64 = 1 << 47;

/// What one slot offers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceProfile {
    /// Linear memory and tables of all instances in the slot.
    pub task_memory: u64,
    /// State of all keyed operators in the slot.
    pub managed_memory: u64,
    /// Batches in the channels of the slot.
    pub network_memory: u64,
}

/// What a worker must offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerResourceSpec {
    pub slots: u32,
    pub slot: ResourceProfile,
}

/// The parts of a TaskExecutor process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskExecutorProcessSpec {
    pub total_process: u64,
    /// The engine itself.
    pub framework: u64,
    /// Linear memory and tables of guests.
    pub task: u64,
    /// Keyed state.
    pub managed: u64,
    /// Batches in channels.
    pub network: u64,
    /// Compiled code of components.
    pub code: u64,
    /// Stacks, allocator slack, the kernel's share.
    pub overhead: u64,
    pub slots: u32,
}

impl TaskExecutorProcessSpec {
    /// Divides the total into its parts, as Flink does: code and overhead
    /// first; of what is left, managed and network memory by their fractions
    /// and bounds; the tasks get the rest.
    ///
    /// If `taskmanager.memory.task.size` is set and leaves something over,
    /// that joins the overhead. The parts always add up to the total.
    ///
    /// # Errors
    /// [`ErrorCode::ConfigurationInvalid`], with the numbers that do not fit.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, Failure> {
        let slots = configuration.get(&o::TASK_SLOTS).get();
        let total_process = configuration.get(&o::PROCESS_MEMORY).0;
        if total_process > PROCESS_MEMORY_MAX {
            let message = format!(
                "configuration `{}`: {} is more than a process can have, {} (from {})",
                o::PROCESS_MEMORY.key(),
                MemorySize(total_process),
                MemorySize(PROCESS_MEMORY_MAX),
                configuration.origin(&o::PROCESS_MEMORY),
            );
            return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
        }
        let code = configuration.get(&o::CODE_MEMORY).0;
        let overhead = within(
            configuration,
            (total_process as f64 * configuration.get(&o::OVERHEAD_FRACTION).0) as u64,
            (&o::OVERHEAD_MIN, &o::OVERHEAD_MAX),
        )?;
        let usable = total_process.checked_sub(code.saturating_add(overhead)).ok_or_else(|| {
            too_small(
                total_process,
                &[("code", code, o::CODE_MEMORY.key()), ("overhead", overhead, o::OVERHEAD_MIN.key())],
            )
        })?;
        let framework = configuration.get(&o::FRAMEWORK_MEMORY).0;
        let of_usable = |fraction: f64| (usable as f64 * fraction) as u64;
        let managed = match configuration.get(&o::MANAGED_MEMORY) {
            Some(size) => size.0,
            None => of_usable(configuration.get(&o::MANAGED_FRACTION).0),
        };
        let network = within(
            configuration,
            of_usable(configuration.get(&o::NETWORK_FRACTION).0),
            (&o::NETWORK_MIN, &o::NETWORK_MAX),
        )?;
        let wanted = configuration.get(&o::TASK_MEMORY).map(|size| size.0);
        let task_min = TASK_MEMORY_PER_SLOT_MIN * u64::from(slots);
        if let Some(wanted) = wanted.filter(|wanted| *wanted < task_min) {
            return Err(Failure::new(
                ErrorCode::ConfigurationInvalid,
                format!(
                    "configuration `{}`: {} for {slots} slots is less than {} each (from {})",
                    o::TASK_MEMORY.key(),
                    MemorySize(wanted),
                    MemorySize(TASK_MEMORY_PER_SLOT_MIN),
                    configuration.origin(&o::TASK_MEMORY),
                ),
            ));
        }
        let others = framework.saturating_add(managed).saturating_add(network);
        let rest = usable.checked_sub(others).filter(|rest| *rest >= wanted.unwrap_or(task_min));
        let Some(rest) = rest else {
            return Err(too_small(
                total_process,
                &[
                    ("code", code, o::CODE_MEMORY.key()),
                    ("overhead", overhead, o::OVERHEAD_FRACTION.key()),
                    ("framework", framework, o::FRAMEWORK_MEMORY.key()),
                    ("managed", managed, o::MANAGED_MEMORY.key()),
                    ("network", network, o::NETWORK_MIN.key()),
                    ("task", wanted.unwrap_or(task_min), o::TASK_MEMORY.key()),
                ],
            ));
        };
        let task = wanted.unwrap_or(rest);
        let overhead = overhead + (rest - task);
        Ok(Self { total_process, framework, task, managed, network, code, overhead, slots })
    }

    /// What each of its slots offers.
    pub fn slot_profile(&self) -> ResourceProfile {
        let slots = u64::from(self.slots.max(1));
        ResourceProfile {
            task_memory: self.task / slots,
            managed_memory: self.managed / slots,
            network_memory: self.network / slots,
        }
    }

    pub fn worker_resource_spec(&self) -> WorkerResourceSpec {
        WorkerResourceSpec { slots: self.slots, slot: self.slot_profile() }
    }
}

/// `size`, moved between two bounds.
fn within(
    configuration: &Configuration,
    size: u64,
    (min, max): (&ConfigOption<MemorySize>, &ConfigOption<MemorySize>),
) -> Result<u64, Failure> {
    let (least, most) = (configuration.get(min), configuration.get(max));
    if least > most {
        let message = format!(
            "configuration `{}`: {least} (from {}) is more than `{}`, {most} (from {})",
            min.key(),
            configuration.origin(min),
            max.key(),
            configuration.origin(max),
        );
        return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
    }
    Ok(size.clamp(least.0, most.0))
}

fn too_small(total: u64, parts: &[(&str, u64, &str)]) -> Failure {
    let needed = parts.iter().fold(0u64, |sum, (_, size, _)| sum.saturating_add(*size));
    let list: Vec<String> =
        parts.iter().map(|(name, size, _)| format!("{name} {}", MemorySize(*size))).collect();
    let keys: Vec<String> = parts.iter().map(|(name, _, key)| format!("{name}: {key}")).collect();
    Failure::new(
        ErrorCode::ConfigurationInvalid,
        format!(
            "configuration `{}`: {} is too small, at least {} are needed ({})",
            o::PROCESS_MEMORY.key(),
            MemorySize(total),
            MemorySize(needed),
            list.join(", "),
        ),
    )
    .with_details(format!("the parts are set by\n{}", keys.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn spec(pairs: &[(&str, &str)]) -> Result<TaskExecutorProcessSpec, Failure> {
        let mut configuration = Configuration::new();
        for (key, value) in pairs {
            configuration.set(key, value, Origin::DynamicProperty).unwrap();
        }
        TaskExecutorProcessSpec::from_configuration(&configuration)
    }

    fn show(pairs: &[(&str, &str)]) -> String {
        match spec(pairs) {
            Err(failure) => failure.message,
            Ok(spec) => {
                let parts = [
                    ("framework", spec.framework),
                    ("task", spec.task),
                    ("managed", spec.managed),
                    ("network", spec.network),
                    ("code", spec.code),
                    ("overhead", spec.overhead),
                ];
                assert_eq!(parts.iter().map(|(_, size)| size).sum::<u64>(), spec.total_process);
                parts.map(|(name, size)| format!("{name} {}", MemorySize(size))).join(", ")
            }
        }
    }

    #[test]
    fn the_parts_add_up_to_the_total() {
        expect_test::expect![[r#"
            framework 64 mb, task 649.6 mb, managed 570.88 mb, network 142.72 mb, code 128 mb, overhead 172.8 mb
            framework 64 mb, task 1.68 gb, managed 1.39 gb, network 355.84 mb, code 128 mb, overhead 409.6 mb
            framework 64 mb, task 100 mb, managed 570.88 mb, network 142.72 mb, code 128 mb, overhead 722.4 mb
            framework 64 mb, task 956.52 mb, managed 64 mb, network 342.48 mb, code 128 mb, overhead 173 mb"#]]
        .assert_eq(
            &[
                show(&[]),
                show(&[("taskmanager.memory.process.size", "4g")]),
                show(&[("taskmanager.memory.task.size", "100m")]),
                show(&[
                    ("taskmanager.memory.managed.size", "64m"),
                    ("taskmanager.memory.network.fraction", "0.24"),
                    ("taskmanager.memory.overhead.min", "173m"),
                ]),
            ]
            .join("\n"),
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        expect_test::expect![[r#"
            configuration `taskmanager.memory.process.size`: 100 mb is too small, at least 192 mb are needed (code 128 mb, overhead 64 mb)
            configuration `taskmanager.memory.process.size`: 256 mb is too small, at least 347.6 mb are needed (code 128 mb, overhead 64 mb, framework 64 mb, managed 25.6 mb, network 64 mb, task 2 mb)
            configuration `taskmanager.memory.process.size`: 1.69 gb is too small, at least 3.05 gb are needed (code 128 mb, overhead 172.8 mb, framework 64 mb, managed 570.88 mb, network 142.72 mb, task 2 gb)
            configuration `taskmanager.memory.task.size`: 4 mb for 4 slots is less than 2 mb each (from -D)
            configuration `taskmanager.memory.network.min`: 64 mb (from default) is more than `taskmanager.memory.network.max`, 1 mb (from -D)"#]].assert_eq(
            &[
                show(&[("taskmanager.memory.process.size", "100m")]),
                show(&[("taskmanager.memory.process.size", "256m")]),
                show(&[("taskmanager.memory.task.size", "2g")]),
                show(&[("taskmanager.memory.task.size", "4m"), ("taskmanager.numberOfTaskSlots", "4")]),
                show(&[("taskmanager.memory.network.max", "1m")]),
            ]
            .join("\n"),
        );
    }

    #[test]
    fn slots_share_the_parts() {
        let one = spec(&[]).unwrap().slot_profile();
        let four = spec(&[("taskmanager.numberOfTaskSlots", "4")]).unwrap();
        assert_eq!(four.slot_profile().task_memory, one.task_memory / 4);
        assert_eq!(four.worker_resource_spec().slots, 4);
    }
}
