//! A guest that breaks the contract on purpose, written straight against the
//! contract without the SDK. Its first argument names the attack; each one has
//! a test in `tests/e2e/hostile.rs`.

use exports::heddle::operator::job::{Failure, Guest, JobPlan, PollStatus, Program, Task};
use heddle::operator::types::{
    Chaining, Column, ElementType, Level, Partitioner, Transformation, TransformationKind,
};
use heddle::operator::{log, metrics, output, state, timers};
use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../proto/wit", world: "operator" });

struct Hostile;
export!(Hostile);

thread_local! {
    static ATTACK: RefCell<String> = const { RefCell::new(String::new()) };
}

const SOURCE: u32 = 1;
const PARTITION: u32 = 2;
const SINK: u32 = 3;

fn numbers() -> ElementType {
    ElementType { codec: "columns".into(), schema: "u64".into(), columns: vec![Column::Fixed(8)] }
}

fn text() -> ElementType {
    ElementType { codec: "columns".into(), schema: "str".into(), columns: vec![Column::Utf8] }
}

fn transformation(id: u32, name: &str, kind: TransformationKind, inputs: Vec<u32>) -> Transformation {
    Transformation {
        id,
        name: name.into(),
        uid: None,
        kind,
        inputs,
        output: None,
        keyed: false,
        parallelism: None,
        max_parallelism: None,
        slot_sharing_group: None,
        co_location_group: None,
        chaining: Chaining::Never,
    }
}

/// Source → sink over a real channel, keyed or not.
fn plain_plan(attack: &str) -> Vec<Transformation> {
    let keyed = matches!(attack, "no-hashes" | "foreign-key-group");
    let element = if attack.starts_with("utf8") || attack == "offsets-decrease" || attack == "offsets-overrun"
    {
        text()
    } else {
        numbers()
    };
    let mut source = transformation(SOURCE, "hostile source", TransformationKind::Source(true), vec![]);
    source.output = Some(element.clone());
    let mut sink = transformation(SINK, "hostile sink", TransformationKind::Sink, vec![SOURCE]);
    sink.keyed = keyed;
    if !keyed {
        return vec![source, sink];
    }
    let partitioner = Partitioner::KeyGroups(numbers());
    let mut partition =
        transformation(PARTITION, "key", TransformationKind::Partition(partitioner), vec![SOURCE]);
    partition.output = Some(element);
    sink.inputs = vec![PARTITION];
    vec![source, partition, sink]
}

/// The plans that are themselves the attack.
fn plan_of(attack: &str) -> Vec<Transformation> {
    let mut plan = plain_plan(attack);
    match attack {
        "plan-loop" => loop {
            std::hint::black_box(0);
        },
        "plan-trap" => std::process::abort(),
        "plan-many" => {
            for id in 10..200_000 {
                let mut extra = transformation(id, "x", TransformationKind::OneInput, vec![SOURCE]);
                extra.output = Some(numbers());
                plan.push(extra);
            }
        }
        "plan-source-with-input" => plan[0].inputs = vec![SINK],
        "plan-cycle" => {
            // union → map → union, of which the sink reads too.
            let map = 50;
            let mut union =
                transformation(PARTITION, "hostile union", TransformationKind::Union, vec![SOURCE, map]);
            union.output = Some(numbers());
            let mut mapped =
                transformation(map, "hostile map", TransformationKind::OneInput, vec![PARTITION]);
            mapped.output = Some(numbers());
            plan[1].inputs = vec![map];
            plan.extend([union, mapped]);
        }
        "plan-unknown-input" => plan[1].inputs = vec![77],
        "plan-duplicate-id" => plan[1].id = SOURCE,
        "plan-empty" => plan.clear(),
        "plan-long-name" => plan[0].name = "n".repeat(10_000_000),
        "plan-codecs-differ" | "plan-schemas-differ" => {
            let passed_on = match attack {
                "plan-codecs-differ" => ElementType {
                    codec: "postcard".into(),
                    schema: "u64".into(),
                    columns: vec![Column::Bytes],
                },
                _ => ElementType { schema: "i64".into(), ..numbers() },
            };
            let mut union =
                transformation(PARTITION, "hostile union", TransformationKind::Union, vec![SOURCE]);
            union.output = Some(passed_on);
            plan[1].inputs = vec![PARTITION];
            plan.push(union);
        }
        "plan-no-element" => plan[0].output = None,
        "plan-bad-width" => {
            plan[0].output = Some(ElementType {
                codec: "columns".into(),
                schema: "u24".into(),
                columns: vec![Column::Fixed(3)],
            });
        }
        "plan-parallelism-zero" => plan[0].parallelism = Some(0),
        "plan-parallelism-max" => plan[0].parallelism = Some(u32::MAX),
        _ => {}
    }
    plan
}

/// A batch put together by hand: `sections` become the directory's entries.
fn batch(rows: u32, flags: u32, columns: u32, sections: &[Vec<u8>]) -> Vec<u8> {
    let directory = 24 + sections.len() * 8;
    let length = directory + sections.iter().map(Vec::len).sum::<usize>() + 16;
    let mut bytes = Vec::new();
    for word in [0x3142_4448, rows, flags, columns, length as u32, 0] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    let mut offset = directory as u32;
    for section in sections {
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&(section.len() as u32).to_le_bytes());
        offset += section.len() as u32;
    }
    for section in sections {
        bytes.extend_from_slice(section);
    }
    bytes.extend_from_slice(&[0; 16]);
    bytes
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn good() -> Vec<u8> {
    batch(1, 0, 1, &[vec![1, 0, 0, 0, 0, 0, 0, 0]])
}

fn put(batch: &mut [u8], position: usize, value: u32) {
    batch[position..position + 4].copy_from_slice(&value.to_le_bytes());
}

fn malformed(attack: &str) -> Option<Vec<u8>> {
    let mut batch = match attack {
        "offsets-decrease" => batch(3, 0, 1, &[words(&[4, 2, 6]), b"abcdef".to_vec()]),
        "offsets-overrun" => batch(2, 0, 1, &[words(&[2, 4_000_000_000]), b"abcd".to_vec()]),
        "utf8-invalid" => batch(1, 0, 1, &[words(&[2]), vec![0xff, 0xfe]]),
        "utf8-split" => batch(2, 0, 1, &[words(&[1, 2]), "ä".as_bytes().to_vec()]),
        "empty-batch" => Vec::new(),
        _ => good(),
    };
    match attack {
        "count-lies" => put(&mut batch, 4, 1_000_000),
        "count-zero" => put(&mut batch, 4, 0),
        "magic" => put(&mut batch, 0, 7),
        "flags" => put(&mut batch, 8, 0xffff_fff0),
        "columns-lie" => put(&mut batch, 12, u32::MAX),
        "length-4g" => put(&mut batch, 16, u32::MAX),
        "section-4g" => put(&mut batch, 28, u32::MAX),
        "section-outside" => put(&mut batch, 24, 0xffff_fff0),
        "section-in-header" => put(&mut batch, 24, 0),
        "offsets-decrease" | "offsets-overrun" | "utf8-invalid" | "utf8-split" | "empty-batch"
        | "no-hashes" => {}
        _ => return None,
    }
    Some(batch)
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth) + 1)) + 1
}

fn attack(attack: &str) -> PollStatus {
    if let Some(batch) = malformed(attack) {
        output::emit(0, 0, &batch);
        return PollStatus::Finished;
    }
    match attack {
        "unknown-output" => output::emit(7, 0, &good()),
        "unknown-channel" => output::emit(0, 1_000, &good()),
        "endless-loop" => loop {
            std::hint::black_box(0);
        },
        "memory-bomb" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
            }
        }
        "recursion" => {
            std::hint::black_box(recurse(0));
        }
        "log-flood" => {
            let line = "x".repeat(1_000);
            for _ in 0..200_000 {
                log::write(Level::Info, "flood", &line);
                println!("{line}");
            }
        }
        "log-giant" => log::write(Level::Info, "giant", &"y".repeat(64 << 20)),
        "accumulator-flood" => {
            for round in 0..2_000 {
                let values: Vec<_> = (0..100).map(|i| (format!("name-{round}-{i}"), i)).collect();
                metrics::add(&values);
            }
        }
        "state-unknown" => {
            state::get_many(99, &[]);
        }
        "state-foreign-operator" => {
            state::register(4_000, "x");
        }
        "state-lying-length" => {
            let id = state::register(SOURCE, "x");
            state::put_many(id, &words(&[0, u32::MAX, 1]));
        }
        "state-bomb" => {
            let id = state::register(SOURCE, "x");
            for key in 0u32.. {
                let mut entry = words(&[0, 4, key, 1 << 20]);
                entry.extend(std::iter::repeat_n(7, 1 << 20));
                state::put_many(id, &entry);
            }
        }
        "state-many" => {
            for index in 0..1_000_000 {
                state::register(SOURCE, &index.to_string());
            }
        }
        "timers" => timers::register_many(SOURCE, true, &[]),
        "emit-forever" => {
            output::emit(0, 0, &good());
            return PollStatus::More;
        }
        "trap" => std::process::abort(),
        other => panic!("no such attack: {other}"),
    }
    PollStatus::Finished
}

impl Guest for Hostile {
    fn plan(program: Program) -> Result<JobPlan, Failure> {
        let attack = program.arguments.first().cloned().unwrap_or_default();
        Ok(JobPlan {
            name: Some(format!("hostile {attack}")),
            transformations: plan_of(&attack),
            configuration: vec![],
            fingerprint: String::new(),
        })
    }

    fn open(task: Task) -> Result<(), Failure> {
        let attack = task.program.arguments.first().cloned().unwrap_or_default();
        if attack == "open-loop" {
            loop {
                std::hint::black_box(0);
            }
        }
        ATTACK.with(|cell| *cell.borrow_mut() = attack);
        Ok(())
    }

    fn process(_input: u32, _batch: Vec<u8>) -> Result<(), Failure> {
        let name = ATTACK.with(|cell| cell.borrow().clone());
        if name == "foreign-key-group" {
            let id = state::register(SINK, "x");
            let entries: Vec<u32> = (0..64).flat_map(|i| [i << 26, 4, i, 0]).collect();
            state::put_many(id, &words(&entries));
        }
        Ok(())
    }

    fn poll() -> Result<PollStatus, Failure> {
        let name = ATTACK.with(|cell| cell.borrow().clone());
        if name == "foreign-key-group" {
            output::emit(0, 0, &batch(1, 2, 1, &[words(&[0]), vec![0; 8]]));
            return Ok(PollStatus::Finished);
        }
        if name == "error-giant" {
            return Err(Failure { message: "z".repeat(64 << 20), operator: None });
        }
        Ok(attack(&name))
    }

    fn flush() -> Result<(), Failure> {
        Ok(())
    }

    fn end_input(_input: u32) -> Result<(), Failure> {
        Ok(())
    }

    fn flush_state() -> Result<(), Failure> {
        Ok(())
    }

    fn fire_timers(_operator: u32, _event_time: bool, _timers: Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }

    fn finish() -> Result<(), Failure> {
        Ok(())
    }
}
