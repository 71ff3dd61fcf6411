//! Why a container ended, in words, and what helps. The numbers below 0 are
//! YARN's own (`ContainerExitStatus`).

use crate::masters::ContainerStatus;

/// Diagnostics of a container that are repeated, in lines.
const LINES_MAX: usize = 8;

/// Why virtual memory is no measure, and what to do about it.
pub const VIRTUAL_MEMORY: &str = "an instance of a component reserves 4 GiB of address space without using it; set \
     `yarn.nodemanager.vmem-check-enabled` to false on YARN's nodes";

/// What helps an application master that its node killed.
pub fn hint(diagnostics: &str) -> Option<String> {
    if diagnostics.contains("'VIRTUAL' memory limit") {
        Some(VIRTUAL_MEMORY.to_owned())
    } else if diagnostics.contains("'PHYSICAL' memory limit") {
        Some("give the JobManager more with `jobmanager.memory.process.size`".to_owned())
    } else {
        None
    }
}

/// One line, then what YARN says of it.
pub fn cause(status: &ContainerStatus) -> String {
    let code = status.exit_status;
    let words = match code {
        0 => "it exited with 0".to_owned(),
        -1000 => "its exit status is not known".to_owned(),
        -100 => "YARN took it back or lost its node".to_owned(),
        -101 => "too few disks of its node are healthy".to_owned(),
        -102 => "it was preempted: another queue is entitled to its resources".to_owned(),
        -103 => format!("its node killed it for its virtual memory: {VIRTUAL_MEMORY}"),
        -104 => "its node killed it for its memory; give it more with `taskmanager.memory.process.size`"
            .to_owned(),
        -105 => "it was stopped".to_owned(),
        -106 => "the ResourceManager killed it".to_owned(),
        -107 => "it outlived its application".to_owned(),
        -108 => "its node needed the resources for another container".to_owned(),
        -109 => "its node killed it for the size of its logs".to_owned(),
        137 | 143 => format!("it was ended by signal {}", code - 128),
        other => format!("it exited with {other}"),
    };
    let lines: Vec<&str> = status.diagnostics.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return words;
    }
    let last = &lines[..lines.len().min(LINES_MAX)];
    format!("{words}\n{}", last.join("\n"))
}
