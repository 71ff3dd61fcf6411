//! The backend against a sorted map: any sequence of calls gives the same
//! values, the same entries, and memory that is accounted and bounded.

use heddle_model::id::OperatorId;
use heddle_model::key_group::key_groups_of;
use heddle_state::{KeyedStateBackend, ManagedMemory, NO_VALUE};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Hash and key, value.
type Entry = ((u32, Vec<u8>), Vec<u8>);
type Model = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

fn write_key(list: &mut Vec<u8>, hash: u32, key: &[u8]) {
    list.extend(hash.to_le_bytes());
    list.extend((key.len() as u32).to_le_bytes());
    list.extend(key);
}

fn write_value(list: &mut Vec<u8>, value: Option<&[u8]>) {
    list.extend(value.map_or(NO_VALUE, |value| value.len() as u32).to_le_bytes());
    list.extend(value.unwrap_or_default());
}

fn word(list: &mut &[u8]) -> u32 {
    let (word, rest) = list.split_first_chunk().unwrap();
    *list = rest;
    u32::from_le_bytes(*word)
}

fn bytes(list: &mut &[u8], length: u32) -> Vec<u8> {
    let (bytes, rest) = list.split_at(length as usize);
    *list = rest;
    bytes.to_vec()
}

fn values(mut list: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut values = Vec::new();
    while !list.is_empty() {
        let length = word(&mut list);
        values.push((length != NO_VALUE).then(|| bytes(&mut list, length)));
    }
    values
}

/// All entries, in steps of `max_bytes`.
fn scan(backend: &KeyedStateBackend, state: u32, max_bytes: u32) -> Vec<Entry> {
    let (mut entries, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        let (list, next) = backend.scan(state, at, max_bytes).unwrap();
        let mut list = &list[..];
        assert!(next.is_none() || !list.is_empty(), "a scan must move on");
        while !list.is_empty() {
            let hash = word(&mut list);
            let length = word(&mut list);
            let key = bytes(&mut list, length);
            let length = word(&mut list);
            entries.push(((hash, key), bytes(&mut list, length)));
        }
        cursor = next;
    }
    entries
}

#[derive(Clone, Debug)]
struct Put {
    state: u32,
    entries: Vec<(u32, Vec<u8>, Option<Vec<u8>>)>,
}

/// Few keys, so that they meet again; few hashes, so that they share groups.
fn key() -> impl Strategy<Value = (u32, Vec<u8>)> {
    (0_u32..8, prop_oneof![Just(0_usize), 1..4_usize, Just(40)], 0_u8..6)
        .prop_map(|(hash, length, byte)| (hash << 28 | hash, vec![byte; length]))
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        6 => (0_usize..20, any::<u8>()).prop_map(|(length, byte)| Some(vec![byte; length])),
        1 => (200_usize..3000, any::<u8>()).prop_map(|(length, byte)| Some(vec![byte; length])),
    ]
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let entry = (key(), value()).prop_map(|((hash, key), value)| (hash, key, value));
    let put =
        (0_u32..2, prop::collection::vec(entry, 0..100)).prop_map(|(state, entries)| Put { state, entries });
    prop::collection::vec(put, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_leave_what_a_sorted_map_would_hold(puts in puts(), max_bytes in 0_u32..2000) {
        let memory = ManagedMemory::new(64 << 20);
        let mut backend = KeyedStateBackend::new(0..16, 16, memory.clone());
        for (state, name) in ["counts", "sums"].into_iter().enumerate() {
            prop_assert_eq!(backend.register(OperatorId(1), name).unwrap(), state as u32);
        }
        let mut models = [Model::new(), Model::new()];
        for put in &puts {
            let mut list = Vec::new();
            let model = &mut models[put.state as usize];
            for (hash, key, value) in &put.entries {
                write_key(&mut list, *hash, key);
                write_value(&mut list, value.as_deref());
                match value {
                    Some(value) => model.insert((*hash, key.clone()), value.clone()),
                    None => model.remove(&(*hash, key.clone())),
                };
            }
            backend.put_many(put.state, &list).unwrap();
            prop_assert_eq!(backend.memory(), memory.used());
        }
        for (state, model) in models.iter().enumerate() {
            let mut found = scan(&backend, state as u32, max_bytes);
            found.sort();
            prop_assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());

            let asked: Vec<_> = puts.iter().flat_map(|put| &put.entries).collect();
            let mut keys = Vec::new();
            asked.iter().for_each(|(hash, key, _)| write_key(&mut keys, *hash, key));
            let expected: Vec<_> =
                asked.iter().map(|(hash, key, _)| model.get(&(*hash, key.clone())).cloned()).collect();
            prop_assert_eq!(values(&backend.get_many(state as u32, &keys).unwrap()), expected);
        }
        drop(backend);
        prop_assert_eq!(memory.used(), 0);
    }

    #[test]
    fn any_bytes_are_refused_or_served_but_never_harm(
        list in prop::collection::vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 0..200),
        state in 0_u32..3,
        cursor in prop_oneof![any::<u64>(), 0_u64..100, (0_u64..5, 0_u64..100).prop_map(|(g, p)| g << 32 | p)],
        max_bytes in any::<u32>(),
    ) {
        let mut backend = KeyedStateBackend::new(key_groups_of(0, 2, 8), 8, ManagedMemory::new(1 << 20));
        backend.register(OperatorId(1), "a").unwrap();
        backend.register(OperatorId(2), "a").unwrap();
        let mut filled = Vec::new();
        for hash in 0..20_u32 {
            write_key(&mut filled, hash << 25, &[hash as u8; 5]);
            write_value(&mut filled, Some(&[0xff; 7]));
        }
        backend.put_many(0, &filled).unwrap();
        let _ = backend.put_many(state, &list);
        let _ = backend.get_many(state, &list);
        let _ = backend.scan(state, cursor, max_bytes);
    }
}

#[test]
fn a_scan_gives_entries_in_the_order_of_their_puts_within_a_key_group() {
    let mut backend = KeyedStateBackend::new(0..1, 1, ManagedMemory::new(1 << 20));
    let state = backend.register(OperatorId(1), "a").unwrap();
    let mut list = Vec::new();
    let keys: Vec<Vec<u8>> = (0..500_u32).map(|n| (n * 7919 % 500).to_le_bytes().to_vec()).collect();
    for key in &keys {
        write_key(&mut list, 1, key);
        write_value(&mut list, Some(key));
    }
    backend.put_many(state, &list).unwrap();
    let found: Vec<_> = scan(&backend, state, 64).into_iter().map(|((_, key), _)| key).collect();
    assert_eq!(found, keys);
}
