//! What the backend refuses, and with which words.

use heddle_model::failure::ErrorCode;
use heddle_model::id::OperatorId;
use heddle_model::key_group::{key_group_of, key_groups_of};
use heddle_state::{Error, KeyedStateBackend, MAX_CALL_BYTES, ManagedMemory};

fn entry(hash: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    for part in [&hash.to_le_bytes()[..], &(key.len() as u32).to_le_bytes(), key] {
        list.extend(part);
    }
    list.extend((value.len() as u32).to_le_bytes());
    list.extend(value);
    list
}

fn backend(limit: u64) -> KeyedStateBackend {
    let mut backend = KeyedStateBackend::new(0..4, 4, ManagedMemory::new(limit));
    backend.register(OperatorId(1), "counts").unwrap();
    backend
}

#[test]
fn a_name_stands_for_one_state_of_an_operator() {
    let mut backend = backend(1 << 20);
    assert_eq!(backend.register(OperatorId(1), "counts"), Ok(0));
    assert_eq!(backend.register(OperatorId(2), "counts"), Ok(1));
    assert_eq!(backend.register(OperatorId(1), "sums"), Ok(2));
    assert_eq!(backend.register(OperatorId(1), "counts"), Ok(0));
    let long = backend.register(OperatorId(1), &"x".repeat(1025));
    assert_eq!(long, Err(Error::NameTooLong { length: 1025, limit: 1024 }));
}

#[test]
fn lengths_are_not_believed() {
    let mut backend = backend(1 << 20);
    let fine = entry(7, b"key", b"value");
    backend.put_many(0, &fine).unwrap();
    for length in 1..fine.len() {
        let error = backend.put_many(0, &fine[..length]).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
    let mut huge = fine.clone();
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let failure = backend.put_many(0, &[fine.clone(), huge].concat()).unwrap_err().failure("Sum (1/2)");
    assert_eq!(failure.code, ErrorCode::ContractViolation);
    assert_eq!(
        failure.message,
        "the guest of `Sum (1/2)` broke the contract of keyed state: entry 1 of a list of state entries is malformed: \
         its key needs 4294967295 bytes, 12 are left"
    );
    assert!(matches!(backend.get_many(0, &fine[..6]), Err(Error::Malformed { entry: 0, .. })));
    assert_eq!(backend.get_many(3, &[]), Err(Error::UnknownState { state: 3, registered: 1 }));
    let long = vec![0; MAX_CALL_BYTES + 1];
    assert!(matches!(backend.put_many(0, &long), Err(Error::CallTooLong { .. })));
}

#[test]
fn keys_of_other_subtasks_are_refused() {
    let owned = key_groups_of(1, 2, 128);
    let mut backend = KeyedStateBackend::new(owned.clone(), 128, ManagedMemory::new(1 << 20));
    backend.register(OperatorId(1), "counts").unwrap();
    for hash in (0..1000_u32).map(|n| n.wrapping_mul(0x9e37_79b9)) {
        let result = backend.put_many(0, &entry(hash, b"k", b"v"));
        assert_eq!(result.is_ok(), owned.contains(&key_group_of(hash, 128)), "{result:?}");
    }
    let failure = backend.put_many(0, &entry(0, b"k", b"v")).unwrap_err().failure("Sum (2/2)");
    assert_eq!(
        failure.message,
        "the guest of `Sum (2/2)` broke the contract of keyed state: key group 0 (hash 0x00000000) does not belong to \
         this subtask, which owns 64..128"
    );
}

#[test]
fn state_beyond_the_budget_is_refused_with_the_numbers() {
    let mut backend = backend(64 << 10);
    let mut number = 0_u32;
    let error = loop {
        if let Err(error) = backend.put_many(0, &entry(number << 20, &number.to_le_bytes(), &[1; 100])) {
            break error;
        }
        number += 1;
        assert!(backend.memory() <= 64 << 10);
    };
    // At least half of the budget was put to use.
    assert!(number > 32 * 1024 / 124, "{number} entries");
    let failure = error.failure("Sum (1/1)");
    assert_eq!(failure.code, ErrorCode::StateLimit);
    assert!(
        failure.message.contains("of 65536 are in use; raise taskmanager.memory.managed.size"),
        "{failure}"
    );
    // What is there can still be read and removed.
    let mut remove = entry(0, &0_u32.to_le_bytes(), &[]);
    let at = remove.len() - 4;
    remove[at..].fill(0xff);
    backend.put_many(0, &remove).unwrap();
    assert_eq!(backend.get_many(0, &remove[..at]).unwrap(), [0xff; 4]);
}

#[test]
fn an_answer_is_bounded() {
    let mut backend = backend(64 << 20);
    backend.put_many(0, &entry(1, b"k", &vec![1; 1 << 20])).unwrap();
    let keys = entry(1, b"k", b"")[..9].repeat(65);
    assert_eq!(backend.get_many(0, &keys), Err(Error::AnswerTooLong { limit: MAX_CALL_BYTES }));
    assert_eq!(backend.get_many(0, &keys[..9 * 10]).unwrap().len(), 10 * ((1 << 20) + 4));
}

#[test]
fn memory_is_given_back_when_state_goes() {
    let memory = ManagedMemory::new(256 << 20);
    let mut backend = KeyedStateBackend::new(0..4, 4, memory.clone());
    backend.register(OperatorId(1), "counts").unwrap();
    let empty = memory.used();
    let keys = 0..100_000_u32;
    let all: Vec<u8> = keys.clone().flat_map(|n| entry(n << 15, &n.to_le_bytes(), &[1; 50])).collect();
    backend.put_many(0, &all).unwrap();
    let full = memory.used();
    let mut removals = Vec::new();
    for n in keys {
        removals.extend(&entry(n << 15, &n.to_le_bytes(), b"")[..12]);
        removals.extend([0xff; 4]);
    }
    backend.put_many(0, &removals).unwrap();
    assert!(memory.used() - empty < full / 50, "{} of {full} bytes are left", memory.used());
    assert_eq!(backend.scan(0, 0, 100), Ok((Vec::new(), None)));
    drop(backend);
    assert_eq!(memory.used(), 0);
}

#[test]
fn values_that_grow_over_and_over_do_not_pile_up() {
    let memory = ManagedMemory::new(4 << 20);
    let mut backend = KeyedStateBackend::new(0..4, 4, memory.clone());
    backend.register(OperatorId(1), "list").unwrap();
    for length in 0..20_000 {
        backend
            .put_many(0, &entry(length % 3, &(length % 3).to_le_bytes(), &vec![7; length as usize]))
            .unwrap();
    }
    assert!(memory.used() < 1 << 20, "{} bytes for 60,000", memory.used());
}
