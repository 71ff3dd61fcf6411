//! What happened in a run, in order, with its time: printed when the run fails.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

pub struct Script {
    start: Instant,
    /// Messages too, not only what is done to processes and what they do.
    trace: bool,
    /// Print each line as it comes.
    print: bool,
    lines: Mutex<Vec<String>>,
}

impl Script {
    pub fn new(trace: bool, print: bool) -> Self {
        Self { start: Instant::now(), trace, print, lines: Mutex::default() }
    }

    /// Since the run began.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn note(&self, line: impl std::fmt::Display) {
        let line = format!("{:>10.3} {line}", self.now().as_secs_f64());
        if self.print {
            println!("{line}");
        }
        self.lines().push(line);
    }

    pub fn message(&self, line: impl FnOnce() -> String) {
        if self.trace {
            self.note(line());
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("nobody panics while it holds the script")
    }
}
