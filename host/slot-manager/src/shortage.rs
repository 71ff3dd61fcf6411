//! What a job is told when its slot will not come: one line with the numbers.

use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::memory::ResourceProfile;
use std::time::Duration;

/// The cluster and the job when a request is refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Slots that the job holds, and that it waits for.
    pub(crate) held: u32,
    pub(crate) waiting: u32,
    pub(crate) slots: usize,
    pub(crate) free: usize,
    pub(crate) workers: usize,
    pub(crate) coming: u32,
    pub(crate) slots_per_worker: u32,
    pub(crate) max_slots: Option<u32>,
    pub(crate) max_workers: Option<u32>,
    pub(crate) last_start_failure: Option<String>,
    pub(crate) last_refusal: Option<String>,
}

impl Numbers {
    fn cluster(&self) -> String {
        let mut text = format!(
            "the cluster has {} of {} free on {}",
            self.free,
            count(self.slots as u64, "slot"),
            count(self.workers as u64, "worker"),
        );
        if self.coming > 0 {
            let each = count(u64::from(self.slots_per_worker), "slot");
            text.push_str(&format!(
                ", {} with {each} each on the way",
                count(u64::from(self.coming), "worker")
            ));
        }
        match self.max_workers {
            Some(0) => text.push_str(", and starts none by itself"),
            Some(max) => text.push_str(&format!(", at most {}", count(u64::from(max), "worker"))),
            None => {}
        }
        if let Some(max) = self.max_slots {
            text.push_str(&format!(
                ", at most {} (slotmanager.number-of-slots.max)",
                count(u64::from(max), "slot")
            ));
        }
        text
    }

    fn details(&self) -> Option<String> {
        let mut lines = Vec::new();
        if let Some(reason) = self.last_start_failure.as_deref().filter(|reason| reason.contains('\n')) {
            lines.push(format!("the last worker that did not start: {reason}"));
        }
        if let Some(reason) = &self.last_refusal {
            lines.push(format!("the last slot that was refused: {reason}"));
        }
        if lines.is_empty() { None } else { Some(lines.join("\n")) }
    }

    fn failure(&self, message: String) -> Failure {
        let failure = Failure::new(ErrorCode::NoResources, message);
        match self.details() {
            Some(details) => failure.with_details(details),
            None => failure,
        }
    }

    /// The job alone wants more than there can ever be.
    pub(crate) fn above_limit(&self) -> Failure {
        self.failure(format!(
            "not enough slots: the job holds {} and needs {} more, {}; lower the parallelism or raise the limit",
            self.held,
            self.waiting,
            self.cluster()
        ))
    }

    /// Nothing came in time.
    pub(crate) fn timed_out(&self, timeout: Duration) -> Failure {
        let advice = match (&self.last_start_failure, self.coming) {
            (Some(reason), _) => format!("the last worker failed to start: {}", first_line(reason)),
            (None, 0) => "free slots, start workers, or lower the parallelism".to_owned(),
            (None, _) => "workers were asked for and did not come; see why they do not start".to_owned(),
        };
        self.failure(format!(
            "not enough slots: none came within {} s; the job holds {} and waits for {}, {}; {advice}",
            timeout.as_secs_f64(),
            self.held,
            self.waiting,
            self.cluster(),
        ))
    }
}

/// No slot and no worker offers as much as one request wants.
pub(crate) fn profile_too_large(wanted: ResourceProfile, offered: ResourceProfile) -> Failure {
    let part = |name: &str, wanted: u64, offered: u64| {
        (wanted > offered)
            .then(|| format!("{} of {name} memory where a slot has {}", size(wanted), size(offered)))
    };
    let parts: Vec<String> = [
        part("task", wanted.task_memory, offered.task_memory),
        part("managed", wanted.managed_memory, offered.managed_memory),
        part("network", wanted.network_memory, offered.network_memory),
    ]
    .into_iter()
    .flatten()
    .collect();
    Failure::new(
        ErrorCode::NoResources,
        format!(
            "no slot is large enough: the job wants {}; give workers more memory or fewer slots",
            parts.join(", ")
        ),
    )
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    if bytes >= MIB {
        format!("{:.1} MiB", bytes as f64 / MIB as f64)
    } else if bytes >= KIB {
        format!("{:.1} KiB", bytes as f64 / KIB as f64)
    } else {
        format!("{bytes} bytes")
    }
}
