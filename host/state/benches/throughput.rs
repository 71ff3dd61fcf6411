//! What an access to keyed state costs: `cargo bench -p heddle-state`; the figures
//! go to standard output.

use heddle_model::id::OperatorId;
use heddle_state::{KeyedStateBackend, ManagedMemory};

/// Nanoseconds that this thread has computed: others may share the machine.
fn cpu_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Any good mixing will do.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// Lists of at most 4,000 entries with keys of 10 bytes, in random order.
fn lists(count: u64, value: Option<u64>) -> Vec<Vec<u8>> {
    let mut order: Vec<u64> = (0..count).collect();
    order.sort_by_key(|number| mix(number + 77));
    let entry = |number: &u64| {
        let mut entry = Vec::with_capacity(30);
        entry.extend(((mix(*number) >> 32) as u32).to_le_bytes());
        entry.extend(10_u32.to_le_bytes());
        entry.extend(format!("{number:010}").bytes());
        if let Some(value) = value {
            entry.extend(8_u32.to_le_bytes());
            entry.extend(value.to_le_bytes());
        }
        entry
    };
    order.chunks(4000).map(|chunk| chunk.iter().flat_map(entry).collect()).collect()
}

fn main() {
    const ENTRIES: u64 = 4_000_000;
    for count in [10_000, 100_000, 1_000_000, 4_000_000] {
        let (first, second, keys) = (lists(count, Some(1)), lists(count, Some(2)), lists(count, None));
        let memory = ManagedMemory::new(4 << 30);
        let mut times = [0.0; 4];
        let mut bytes = 0;
        // Small states over and over: the clock is coarse.
        for _ in 0..ENTRIES / count {
            let mut backend = KeyedStateBackend::new(0..128, 128, memory.clone());
            let state = backend.register(OperatorId(1), "counts").unwrap();
            let mut began = cpu_time();
            let mut lap = |time: &mut f64| {
                let now = cpu_time();
                *time += now - std::mem::replace(&mut began, now);
            };
            first.iter().for_each(|list| backend.put_many(state, list).unwrap());
            lap(&mut times[0]);
            second.iter().for_each(|list| backend.put_many(state, list).unwrap());
            lap(&mut times[1]);
            for list in &keys {
                assert!(!backend.get_many(state, list).unwrap().is_empty());
            }
            lap(&mut times[2]);
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                cursor = backend.scan(state, at, 64 << 10).unwrap().1;
            }
            lap(&mut times[3]);
            bytes = backend.memory() / count;
        }
        let [insert, update, get, scan] = times.map(|time| time / ENTRIES as f64);
        println!(
            "{count} keys: insert {insert:.0} ns, update {update:.0} ns, get {get:.0} ns, scan {scan:.0} ns, \
             {bytes} bytes an entry"
        );
    }
}
