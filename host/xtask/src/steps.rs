//! Progress of a command: each step with its name, then its time.

use std::time::{Duration, Instant};

/// `1.2 s`, `3 min 4 s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

pub struct Steps {
    start: Instant,
    done: usize,
    all: usize,
}

impl Steps {
    pub fn new(all: usize) -> Self {
        Self { start: Instant::now(), done: 0, all }
    }

    /// Runs a step, between its announcement and its time.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        self.done += 1;
        let (number, all) = (self.done, self.all);
        eprintln!("── {number}/{all} {name}");
        let start = Instant::now();
        let result = work().map_err(|error| error.context(name.to_owned()));
        let time = duration(start.elapsed());
        match &result {
            Ok(_) => eprintln!("   {number}/{all} {name}: done in {time}"),
            Err(_) => eprintln!("   {number}/{all} {name}: failed after {time}"),
        }
        result
    }

    /// Time since the first step.
    pub fn elapsed(&self) -> String {
        duration(self.start.elapsed())
    }
}
