//! A value that others wait for. As `tokio::sync::watch`, but it wakes those
//! who wait in the order in which they came, which makes a run repeatable.

use std::pin::pin;
use std::sync::Mutex;
use tokio::sync::Notify;

pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub fn get(&self) -> T {
        self.value.lock().expect("nobody panics while it holds a value").clone()
    }

    pub fn set(&self, value: T) {
        *self.value.lock().expect("nobody panics while it holds a value") = value;
        self.changed.notify_waiters();
    }

    pub async fn wait_for(&self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let value = self.get();
            if wanted(&value) {
                return value;
            }
            changed.await;
        }
    }
}

/// How often something has happened.
impl Signal<u64> {
    pub fn happen(&self) {
        self.set(self.get() + 1);
    }
}
