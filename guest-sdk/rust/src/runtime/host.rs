//! The functions of the host. In Wasm they are the contract's imports; natively
//! they go to the backend of the thread, which a test harness sets.

#[cfg(target_family = "wasm")]
mod imports {
    use crate::runtime::bindings::heddle::operator::{log, metrics, output, state};
    use crate::runtime::bindings::types::Level;

    #[inline]
    pub fn emit(output_index: u32, channel: u32, batch: &[u8]) {
        output::emit(output_index, channel, batch);
    }

    pub fn register_state(operator: u32, name: &str) -> u32 {
        state::register(operator, name)
    }

    pub fn get_many(state_id: u32, keys: &[u8]) -> Vec<u8> {
        state::get_many(state_id, keys)
    }

    pub fn put_many(state_id: u32, entries: &[u8]) {
        state::put_many(state_id, entries);
    }

    pub fn scan(state_id: u32, cursor: u64, max_bytes: u32) -> (Vec<u8>, Option<u64>) {
        state::scan(state_id, cursor, max_bytes)
    }

    pub fn add_metrics(values: &[(String, i64)]) {
        metrics::add(values);
    }

    pub fn write_log(level: Level, target: &str, message: &str) {
        log::write(level, target, message);
    }
}

#[cfg(not(target_family = "wasm"))]
mod imports {
    use crate::runtime::bindings::types::Level;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// What stands in for the host outside of Wasm.
    pub trait Backend {
        /// A batch leaves on an output.
        fn emit(&self, output: u32, channel: u32, batch: &[u8]);
        /// A state is declared.
        fn register_state(&self, operator: u32, name: &str) -> u32;
        /// Values of keys.
        fn get_many(&self, state: u32, keys: &[u8]) -> Vec<u8>;
        /// Entries are written.
        fn put_many(&self, state: u32, entries: &[u8]);
        /// Entries from a cursor on.
        fn scan(&self, state: u32, cursor: u64, max_bytes: u32) -> (Vec<u8>, Option<u64>);
        /// Counts.
        fn add_metrics(&self, values: &[(String, i64)]);
        /// A log line.
        fn write_log(&self, level: Level, target: &str, message: &str);
    }

    thread_local! {
        static BACKEND: RefCell<Option<Rc<dyn Backend>>> = const { RefCell::new(None) };
    }

    /// Sets the backend of this thread and gives the former one.
    pub fn set_backend(backend: Option<Rc<dyn Backend>>) -> Option<Rc<dyn Backend>> {
        BACKEND.with(|b| std::mem::replace(&mut *b.borrow_mut(), backend))
    }

    fn backend() -> Rc<dyn Backend> {
        BACKEND
            .with(|b| b.borrow().clone())
            .expect("outside of Wasm an operator runs in a harness of `heddle::testing` only")
    }

    pub fn emit(output_index: u32, channel: u32, batch: &[u8]) {
        backend().emit(output_index, channel, batch);
    }

    pub fn register_state(operator: u32, name: &str) -> u32 {
        backend().register_state(operator, name)
    }

    pub fn get_many(state_id: u32, keys: &[u8]) -> Vec<u8> {
        backend().get_many(state_id, keys)
    }

    pub fn put_many(state_id: u32, entries: &[u8]) {
        backend().put_many(state_id, entries);
    }

    pub fn scan(state_id: u32, cursor: u64, max_bytes: u32) -> (Vec<u8>, Option<u64>) {
        backend().scan(state_id, cursor, max_bytes)
    }

    pub fn add_metrics(values: &[(String, i64)]) {
        backend().add_metrics(values);
    }

    pub fn write_log(level: Level, target: &str, message: &str) {
        backend().write_log(level, target, message);
    }
}

#[cfg(not(target_family = "wasm"))]
pub use imports::{Backend, set_backend};
pub(crate) use imports::{add_metrics, emit, get_many, put_many, register_state, scan, write_log};
