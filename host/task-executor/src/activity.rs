//! What a subtask's time goes to. At any moment it is one of three, so the
//! three together are the time that has passed, also while a call goes on.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Waits for input.
    Idle,
    /// In the guest or in a connector.
    Busy,
    /// Waits for room for its output.
    BackPressured,
}

/// How long each lasted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub idle: Duration,
    pub busy: Duration,
    pub back_pressured: Duration,
}

impl Times {
    fn add(&mut self, activity: Activity, time: Duration) {
        match activity {
            Activity::Idle => self.idle += time,
            Activity::Busy => self.busy += time,
            Activity::BackPressured => self.back_pressured += time,
        }
    }
}

/// The clock of one subtask, which begins idle. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<Running>>);

struct Running {
    now: Activity,
    since: Instant,
    past: Times,
}

impl Clock {
    pub fn start() -> Self {
        let running = Running { now: Activity::Idle, since: Instant::now(), past: Times::default() };
        Self(Arc::new(Mutex::new(running)))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().expect("no holder of a clock panics")
    }

    /// Until the guard is dropped. Guards are dropped in the reverse order.
    #[must_use]
    pub fn during(&self, activity: Activity) -> During {
        During { clock: self.clone(), before: self.switch(activity) }
    }

    fn switch(&self, to: Activity) -> Activity {
        let now = Instant::now();
        let mut running = self.running();
        let time = now.saturating_duration_since(running.since);
        let before = running.now;
        running.past.add(before, time);
        running.since = now;
        running.now = to;
        before
    }

    pub fn times(&self) -> Times {
        let running = self.running();
        let mut times = running.past;
        times.add(running.now, running.since.elapsed());
        times
    }
}

/// Gives back to what was before when it is dropped.
pub struct During {
    clock: Clock,
    before: Activity,
}

impl Drop for During {
    fn drop(&mut self) {
        self.clock.switch(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_are_all_time_that_passed_even_within_a_call() {
        let before = Instant::now();
        let clock = Clock::start();
        let check = |goes_on: Activity| {
            let first = clock.times();
            while clock.times() == first {
                std::hint::spin_loop();
            }
            let (times, most) = (clock.times(), before.elapsed());
            let sum = times.idle + times.busy + times.back_pressured;
            assert!(sum <= most && most - sum < Duration::from_secs(1), "{times:?} of {most:?}");
            let grown = [
                (Activity::Idle, times.idle > first.idle),
                (Activity::Busy, times.busy > first.busy),
                (Activity::BackPressured, times.back_pressured > first.back_pressured),
            ];
            for (activity, grown) in grown {
                assert_eq!(grown, activity == goes_on, "{activity:?} during {goes_on:?}");
            }
        };
        check(Activity::Idle);
        {
            let _call = clock.during(Activity::Busy);
            check(Activity::Busy);
            {
                let _wait = clock.during(Activity::BackPressured);
                check(Activity::BackPressured);
            }
            check(Activity::Busy);
        }
        check(Activity::Idle);
    }
}
