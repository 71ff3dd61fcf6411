//! The host's side in a test: keeps what a subtask emits, its state and its
//! counts.

use crate::native::Backend;
use crate::native::types::Level;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a subtask has sent: output, channel, batch.
pub(super) type Sent = (u32, u32, Vec<u8>);

/// The states of one subtask: name, then encoded key to encoded value.
type States = Vec<(String, BTreeMap<Vec<u8>, Vec<u8>>)>;

#[derive(Default)]
pub(super) struct TestBackend {
    pub(super) sent: RefCell<Vec<Sent>>,
    states: RefCell<States>,
    counters: Rc<RefCell<BTreeMap<String, i64>>>,
    log: Rc<RefCell<Vec<String>>>,
}

impl TestBackend {
    pub(super) fn new(counters: &Rc<RefCell<BTreeMap<String, i64>>>, log: &Rc<RefCell<Vec<String>>>) -> Self {
        Self { counters: counters.clone(), log: log.clone(), ..Self::default() }
    }
}

/// A word of four bytes off the front.
fn word(bytes: &mut &[u8]) -> u32 {
    let (word, rest) = bytes.split_at(4);
    *bytes = rest;
    u32::from_le_bytes(word.try_into().expect("four bytes"))
}

/// An encoded key (hash, length, bytes) off the front.
fn key<'b>(bytes: &mut &'b [u8]) -> &'b [u8] {
    let length = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
    let (key, rest) = bytes.split_at(8 + length);
    *bytes = rest;
    key
}

impl Backend for TestBackend {
    fn emit(&self, output: u32, channel: u32, batch: &[u8]) {
        self.sent.borrow_mut().push((output, channel, batch.to_vec()));
    }

    fn register_state(&self, operator: u32, name: &str) -> u32 {
        let mut states = self.states.borrow_mut();
        let name = format!("{operator}/{name}");
        let at = states.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            states.push((name, BTreeMap::new()));
            states.len() - 1
        });
        at as u32
    }

    fn get_many(&self, state: u32, mut keys: &[u8]) -> Vec<u8> {
        let states = self.states.borrow();
        let mut out = Vec::new();
        while !keys.is_empty() {
            match states[state as usize].1.get(key(&mut keys)) {
                Some(value) => {
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                }
                None => out.extend_from_slice(&u32::MAX.to_le_bytes()),
            }
        }
        out
    }

    fn put_many(&self, state: u32, mut entries: &[u8]) {
        let mut states = self.states.borrow_mut();
        let map = &mut states[state as usize].1;
        while !entries.is_empty() {
            let key = key(&mut entries).to_vec();
            match word(&mut entries) {
                u32::MAX => {
                    map.remove(&key);
                }
                length => {
                    let (value, rest) = entries.split_at(length as usize);
                    entries = rest;
                    map.insert(key, value.to_vec());
                }
            }
        }
    }

    fn scan(&self, state: u32, cursor: u64, max_bytes: u32) -> (Vec<u8>, Option<u64>) {
        let states = self.states.borrow();
        let mut out = Vec::new();
        for (next, (key, value)) in (cursor..).zip(states[state as usize].1.iter().skip(cursor as usize)) {
            if out.len() >= max_bytes as usize {
                return (out, Some(next));
            }
            out.extend_from_slice(key);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        (out, None)
    }

    fn add_metrics(&self, values: &[(String, i64)]) {
        for (name, value) in values {
            *self.counters.borrow_mut().entry(name.clone()).or_default() += value;
        }
    }

    fn write_log(&self, level: Level, _target: &str, message: &str) {
        self.log.borrow_mut().push(format!("{level:?}: {message}").to_lowercase());
    }
}
