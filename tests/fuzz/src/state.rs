//! State calls of a guest: whatever the lists say, what is kept stays within
//! the budget, and what comes back has the form of the contract. An input is a
//! sequence of calls: a byte for which, two for the length, the list.

use heddle_model::id::OperatorId;
use heddle_state::{KeyedStateBackend, ManagedMemory, NO_VALUE};

const BUDGET: u64 = 1 << 20;
const MAX_PARALLELISM: u32 = 128;
const CALLS_MAX: usize = 64;

fn call(kind: u8, list: &[u8]) -> Vec<u8> {
    let mut call = vec![kind];
    call.extend((list.len() as u16).to_le_bytes());
    call.extend(list);
    call
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub fn seeds() -> anyhow::Result<Vec<Vec<u8>>> {
    let put = words(&[7, 4, 1, 8, 2, 3, 1 << 30, 4, 5, 0]);
    let remove = words(&[7, 4, 1, NO_VALUE]);
    let get = words(&[7, 4, 1, 9, 0]);
    let scan = words(&[0, 0, 16]);
    let all =
        [call(0, b"sums"), call(1, &put), call(2, &get), call(3, &scan), call(1, &remove), call(3, &scan)];
    Ok(vec![all.concat(), all[..3].concat(), [call(1, &put), call(1, &put)].concat()])
}

pub fn run(input: &[u8]) -> String {
    let budget = ManagedMemory::new(BUDGET);
    let mut backend = KeyedStateBackend::new(0..MAX_PARALLELISM, MAX_PARALLELISM, budget.clone());
    let state = backend.register(OperatorId::from_bits(1), "first").expect("a first state");
    let mut said = String::new();
    let mut rest = input;
    let mut cursor = 0;
    for _ in 0..CALLS_MAX {
        let Some((head, after)) = rest.split_first_chunk::<3>() else { break };
        let length = usize::from(u16::from_le_bytes([head[1], head[2]])).min(after.len());
        let (list, after) = after.split_at(length);
        rest = after;
        // Now and then a state that may not be there.
        let state = state + u32::from(head[0] >> 6);
        let result = match head[0] % 4 {
            0 => {
                let name = String::from_utf8_lossy(list);
                backend.register(OperatorId::from_bits(1), &name).map(|_| ())
            }
            1 => backend.put_many(state, list),
            2 => backend.get_many(state, list).map(|values| check_values(&values)),
            _ => {
                // Often on from where the last scan ended.
                let mut bytes = [0; 8];
                let given = list.len().min(8);
                bytes[..given].copy_from_slice(&list[..given]);
                let at = if head[0] & 4 == 0 { cursor } else { u64::from_le_bytes(bytes) };
                backend.scan(state, at, u32::from(bytes[0])).map(|(list, next)| {
                    check_entries(&list);
                    cursor = next.unwrap_or_default();
                })
            }
        };
        assert!(budget.used() <= BUDGET, "{} of {BUDGET} bytes are used", budget.used());
        if let Err(error) = result {
            said = error.to_string();
        }
    }
    drop(backend);
    assert_eq!(budget.used(), 0, "all is given back");
    said
}

fn word(list: &mut &[u8]) -> u32 {
    let (word, rest) = list.split_first_chunk().expect("four bytes more");
    *list = rest;
    u32::from_le_bytes(*word)
}

fn skip(list: &mut &[u8], length: u32) {
    *list = list.get(length as usize..).expect("as many bytes as were said");
}

fn check_values(mut list: &[u8]) {
    while !list.is_empty() {
        let length = word(&mut list);
        if length != NO_VALUE {
            skip(&mut list, length);
        }
    }
}

fn check_entries(mut list: &[u8]) {
    while !list.is_empty() {
        word(&mut list);
        let length = word(&mut list);
        skip(&mut list, length);
        let length = word(&mut list);
        assert_ne!(length, NO_VALUE, "what is removed is not there");
        skip(&mut list, length);
    }
}
