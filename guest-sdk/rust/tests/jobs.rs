//! Whole jobs through the harness: every part of the API against results that
//! are computed another way.

use heddle::prelude::*;
use heddle::testing::{OperatorHarness, TestHarness};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    lines.sort();
    lines
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn text(lines: usize) -> String {
    let mut text = String::new();
    for line in 0..lines {
        for word in 0..10 {
            let number = (line * 31 + word * word * 7) % 1009;
            let long = if number % 50 == 0 { "a-rather-long-word_of_more_than_sixteen_letters" } else { "" };
            text.push_str(&format!("w{number}{long} "));
        }
        text.push('\n');
    }
    text
}

fn counted(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in text.lines().flat_map(words) {
        *counts.entry(word.to_string()).or_default() += 1;
    }
    counts
}

fn word_count(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    env.read_text(args.required("input")?)
        .flat_map::<(Str, u64)>(|line, out| {
            for word in words(line) {
                out.collect((word, 1));
            }
        })
        .key_by::<Str>(|r| r.0)
        .sum(|r| r.1)
        .write_csv(args.required("output")?);
    Ok(())
}

#[test]
fn word_count_in_batch_mode_at_any_parallelism_chaining_and_cache() {
    let text = text(2000);
    let expected: Vec<_> = counted(&text).into_iter().map(|(word, n)| format!("{word},{n}")).collect();
    for parallelism in [1, 2, 7] {
        for chaining in [true, false] {
            for (cache, batch) in [(64 << 20, 32768), (4096, 2048)] {
                let outputs = TestHarness::new()
                    .input("in", &text)
                    .parallelism(parallelism)
                    .chaining(chaining)
                    .batch_mode(true)
                    .state_cache_size(cache)
                    .batch_size(batch)
                    .run(word_count, ["--input", "in", "--output", "out"])
                    .unwrap();
                assert_eq!(sorted(outputs.file("out")), expected, "{parallelism} {chaining} {cache}");
            }
        }
    }
}

#[test]
fn word_count_in_streaming_mode_gives_every_update() {
    let text = text(300);
    let mut running = BTreeMap::<String, u64>::new();
    let mut expected = Vec::new();
    for word in text.lines().flat_map(words) {
        let n = running.entry(word.to_string()).or_default();
        *n += 1;
        expected.push(format!("{word},{n}"));
    }
    for cache in [64 << 20, 2048] {
        let outputs = TestHarness::new()
            .input("in", &text)
            .state_cache_size(cache)
            .batch_size(2048)
            .run(word_count, ["--input", "in", "--output", "out"])
            .unwrap();
        assert_eq!(outputs.file("out"), expected);
    }
}

#[test]
fn owned_and_borrowed_forms_agree() {
    let text = text(200);
    let owned = |env: &mut StreamExecutionEnvironment, _: Args| {
        env.read_text("in")
            .flat_map::<(String, u64)>(|line, out| {
                for word in words(line) {
                    out.collect((word.to_lowercase(), 1));
                }
            })
            .key_by::<String>(|r| r.0.clone())
            .reduce(|a, b| (a.0, a.1 + b.1))
            .map(|(word, n)| format!("{word},{n}"))
            .write_text("out");
        Ok(())
    };
    let run = |job: &dyn Fn(&mut StreamExecutionEnvironment, Args) -> heddle::Result<()>| {
        TestHarness::new().input("in", &text).run(job, ["--input", "in", "--output", "out"]).unwrap()
    };
    assert_eq!(run(&owned).file("out"), run(&word_count).file("out"));
}

#[test]
fn owned_words_of_any_length_are_read_over_each_other() {
    let word = |index: usize| {
        let number = index * 7919 % 211;
        let length = [0, 3, 5, 8, 15, 16, 17, 40, 300, 900][number % 10];
        format!("{number}{}", "x".repeat(length))
    };
    let mut expected = BTreeMap::<String, u64>::new();
    for index in 0..5000 {
        *expected.entry(word(index)).or_default() += index as u64;
    }
    let expected: Vec<_> = expected.into_iter().map(|(word, sum)| format!("{word},{sum}")).collect();
    for (parallelism, chaining) in [(1, true), (1, false), (2, true), (3, false)] {
        let outputs = TestHarness::new()
            .parallelism(parallelism)
            .chaining(chaining)
            .batch_mode(true)
            .batch_size(16384)
            .run(
                move |env: &mut StreamExecutionEnvironment, args: Args| -> heddle::Result<()> {
                    env.generate(Generator::count(5000), move |index| (word(index as usize), index))
                        .key_by::<String>(|(word, _)| word.clone())
                        .sum(|(_, index)| *index)
                        .write_csv(args.required("output")?);
                    Ok(())
                },
                ["--output", "out"],
            )
            .unwrap();
        assert_eq!(sorted(outputs.file("out")), expected, "{parallelism} {chaining}");
    }
}

#[test]
fn borrowed_words_of_any_length_and_number_go_into_batches_as_they_come() {
    // Records of nothing, of many small words, and some that fit no batch.
    let count = |line: u64| [0, 1, 3, 127, 128, 129, 1023, 1024, 1025, 2500][line as usize % 10];
    let length = |line: u64, word: u64| match (line * 31 + word * 7) % 997 {
        0 => 20_000,
        1..10 => 300,
        other => 1 + other % 20,
    };
    let mut expected = BTreeMap::<(u64, u64), u64>::new();
    for line in 0..60 {
        for word in 0..count(line) {
            *expected.entry((length(line, word), word % 5)).or_default() += line;
        }
    }
    let expected: Vec<_> = expected.into_iter().map(|((key, at), sum)| format!("{key},{at},{sum}")).collect();
    for (parallelism, partition) in [(1, false), (1, true), (2, false), (3, true), (11, false)] {
        let outputs = TestHarness::new()
            .parallelism(parallelism)
            .batch_mode(true)
            .batch_size(16384)
            .run(
                move |env: &mut StreamExecutionEnvironment, args: Args| -> heddle::Result<()> {
                    let letters = ["a", "b", "c", "d", "e"].map(|letter| letter.repeat(20_000));
                    let words = env.generate(Generator::count(60), |line| line).flat_map::<(Str, u64)>(
                        move |line, out| {
                            for word in 0..count(line) {
                                let text = &letters[word as usize % 5][..length(line, word) as usize];
                                out.collect((text, line));
                            }
                        },
                    );
                    let words = if partition {
                        words.partition_custom("by length", |word, channels| word.0.len() as u32 % channels)
                    } else {
                        words.rebalance()
                    };
                    words
                        .key_by::<Str>(|word| word.0)
                        .sum(|word| word.1)
                        .map(|(word, sum): (&str, u64)| {
                            let letter = u64::from(word.as_bytes()[0] - b'a');
                            format!("{},{letter},{sum}", word.len())
                        })
                        .write_text(args.required("output")?);
                    Ok(())
                },
                ["--output", "out"],
            )
            .unwrap();
        let mut lines = outputs.file("out").to_vec();
        lines.sort_by_key(|line| line.split(',').map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>());
        assert_eq!(lines, expected, "{parallelism} {partition}");
    }
}

#[test]
fn numbers_through_map_and_filter_in_blocks() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        let odd = env.from_sequence(1, 10_000).map(|n| n * 3).filter(|n| n % 2 == 1);
        odd.map(|n| n + 1).collect("even");
        odd.discard();
        Ok(())
    };
    let expected: Vec<u64> = (1..=10_000u64).map(|n| n * 3).filter(|n| n % 2 == 1).map(|n| n + 1).collect();
    for chaining in [true, false] {
        let outputs = TestHarness::new().chaining(chaining).run(job, [""; 0]).unwrap();
        assert_eq!(outputs.collected::<u64>("even").unwrap(), expected);
    }
    let outputs = TestHarness::new().parallelism(3).run(job, [""; 0]).unwrap();
    let mut even = outputs.collected::<u64>("even").unwrap();
    even.sort_unstable();
    assert_eq!(even, expected);
}

#[test]
fn min_max_count_and_reduce_by_key() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        let keyed = env.from_sequence(0, 9_999).map(|n| (n % 10, n)).key_by::<u64>(|r| r.0);
        keyed.min(|r| r.1).collect("min");
        keyed.max(|r| r.1).collect("max");
        keyed.count().collect("count");
        keyed.reduce(|a, b| (a.0, a.1.wrapping_mul(3) ^ b.1)).collect("reduce");
        keyed.sum(|r| r.1 as f64).collect("sum");
        Ok(())
    };
    let outputs = TestHarness::new().batch_mode(true).parallelism(2).run(job, [""; 0]).unwrap();
    let get =
        |name: &str| outputs.collected::<(u64, u64)>(name).unwrap().into_iter().collect::<BTreeMap<_, _>>();
    for key in 0..10 {
        assert_eq!(get("min")[&key], key);
        assert_eq!(get("max")[&key], 9990 + key);
        assert_eq!(get("count")[&key], 1000);
        assert!(get("reduce").contains_key(&key));
    }
    let sums: BTreeMap<u64, u64> = outputs
        .collected::<(u64, f64)>("sum")
        .unwrap()
        .into_iter()
        .map(|(key, sum)| (key, sum as u64))
        .collect();
    assert_eq!(sums[&0], (0..1000).map(|n| n * 10).sum::<u64>());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Element)]
struct Access<'a> {
    path: &'a str,
    status: u16,
    bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Element)]
enum Shape {
    Point,
    Circle { radius: f64 },
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Element)]
struct Pair<T> {
    left: T,
    right: Vec<T>,
}

#[test]
fn derived_elements_flow_borrowed_and_owned() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        let malformed = OutputTag::<Str>::new("malformed");
        let tag = malformed.clone();
        let accesses = env.read_text("log").process_with::<Access>(move |line, ctx, out| {
            let mut parts = line.split(' ');
            match (parts.next(), parts.next().and_then(|s| s.parse().ok())) {
                (Some(path), Some(status)) => {
                    out.collect(Access { path, status, bytes: parts.next().and_then(|b| b.parse().ok()) });
                }
                _ => {
                    ctx.counter("malformed").inc();
                    ctx.output(&tag, line);
                }
            }
        });
        accesses.side_output(&malformed).write_text("bad");
        accesses.rebalance().print();
        accesses.key_by::<(Str, u16)>(|a| (a.path, a.status)).count().write_text("counts");
        Ok(())
    };
    let log = "/a 200 10\n/b 404\nnonsense\n/a 200 5\n";
    for chaining in [true, false] {
        let outputs = TestHarness::new()
            .input("log", log)
            .chaining(chaining)
            .batch_mode(true)
            .run(job, [""; 0])
            .unwrap();
        assert_eq!(outputs.file("bad"), ["nonsense"]);
        assert_eq!(outputs.counter("malformed"), 1);
        assert_eq!(sorted(outputs.file("counts")), ["((/a,200),2)", "((/b,404),1)"]);
        assert_eq!(outputs.printed()[0], r#"{"path":"/a","status":200,"bytes":10}"#);
        assert_eq!(outputs.printed()[1], r#"{"path":"/b","status":404,"bytes":null}"#);
    }
}

#[test]
fn owned_enums_generics_and_options_survive_an_exchange() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        env.from_collection([Shape::Point, Shape::Circle { radius: 2.5 }, Shape::Named("x".into())])
            .rebalance()
            .map(|shape| shape)
            .collect("shapes");
        env.from_collection([Pair { left: 1u32, right: vec![2, 3] }]).rebalance().map(|p| p).collect("pairs");
        env.from_collection([(Some("a".to_string()), Some(1u8)), (None, None), (Some(String::new()), None)])
            .rebalance()
            .filter(|_| true)
            .collect("options");
        env.from_collection([(), ()]).rebalance().map(|()| 1u8).collect("units");
        env.from_collection([('ß', true, -1i8, 1.5f32)]).rebalance().map(|v| v).collect("scalars");
        Ok(())
    };
    let outputs = TestHarness::new().chaining(false).run(job, [""; 0]).unwrap();
    assert_eq!(
        outputs.collected::<Shape>("shapes").unwrap(),
        [Shape::Point, Shape::Circle { radius: 2.5 }, Shape::Named("x".into())]
    );
    assert_eq!(outputs.collected::<Pair<u32>>("pairs").unwrap(), [Pair { left: 1, right: vec![2, 3] }]);
    assert_eq!(
        outputs.collected::<(Option<String>, Option<u8>)>("options").unwrap(),
        [(Some("a".to_string()), Some(1u8)), (None, None), (Some(String::new()), None)]
    );
    assert_eq!(outputs.collected::<u8>("units").unwrap(), [1, 1]);
    assert_eq!(outputs.collected::<(char, bool, i8, f32)>("scalars").unwrap(), [('ß', true, -1, 1.5)]);
}

#[test]
fn long_elements_make_larger_batches() {
    let lengths = [10, 100_000, 3, 1_000_000, 50_000, 0, 7];
    let job = move |env: &mut StreamExecutionEnvironment, _: Args| {
        env.from_collection(lengths.map(|n| ("x".repeat(n), vec![n; n / 1000])))
            .rebalance()
            .map(|(text, list)| (text.len(), list.len()))
            .collect("lengths");
        Ok(())
    };
    let outputs = TestHarness::new().run(job, [""; 0]).unwrap();
    let expected = lengths.map(|n| (n, n / 1000));
    assert_eq!(outputs.collected::<(usize, usize)>("lengths").unwrap(), expected);
}

#[test]
fn partitioners_send_each_record_where_they_say() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        fn tell(stream: DataStream<u64>, name: &str) {
            struct Where;
            impl ProcessFunction<u64, (u64, u32)> for Where {
                fn process(
                    &mut self,
                    n: u64,
                    ctx: &mut Context<'_>,
                    out: &mut Collector<'_, (u64, u32)>,
                ) -> heddle::Result<()> {
                    out.collect((n, ctx.subtask().subtask));
                    Ok(())
                }
            }
            stream.process(Where).collect(name);
        }
        let numbers = env.from_collection(0..100u64);
        tell(numbers.rebalance(), "rebalance");
        tell(numbers.shuffle(), "shuffle");
        tell(numbers.global(), "global");
        tell(numbers.broadcast(), "broadcast");
        tell(
            numbers.partition_custom("by remainder", |n, channels| (*n % u64::from(channels)) as u32),
            "custom",
        );
        tell(numbers.union(&numbers).global(), "union");
        Ok(())
    };
    let outputs = TestHarness::new().parallelism(4).run(job, [""; 0]).unwrap();
    let get = |name: &str| outputs.collected::<(u64, u32)>(name).unwrap();
    let on = |name: &str, subtask: u32| get(name).iter().filter(|(_, s)| *s == subtask).count();
    for subtask in 0..4 {
        assert_eq!(on("rebalance", subtask), 25);
        assert!(on("shuffle", subtask) > 5);
        assert_eq!(on("broadcast", subtask), 100);
    }
    assert_eq!(on("global", 0), 100);
    assert!(get("custom").iter().all(|(n, subtask)| n % 4 == u64::from(*subtask)));
    assert_eq!(on("union", 0), 200);
}

#[derive(Default)]
struct History {
    count: ValueState<u64>,
    all: ListState<String>,
    lengths: MapState<u64, u64>,
}

impl KeyedProcessFunction<Str, (Str, Str), String> for History {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> heddle::Result<()> {
        self.count = ctx.value_state("count");
        self.all = ctx.list_state("all");
        self.lengths = ctx.map_state("lengths");
        Ok(())
    }

    fn process(
        &mut self,
        (_, value): (&str, &str),
        ctx: &mut KeyedContext<'_, Str>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        if value == "clear" {
            self.count.clear();
            self.all.clear();
            self.lengths.clear();
            return Ok(());
        }
        if value == "fail" {
            return Err(heddle::Error::new("told to fail"));
        }
        self.count.update(|n| *n.get_or_insert(0) += 1);
        self.all.add(value.to_string());
        let length = value.len() as u64;
        self.lengths.insert(length, self.lengths.get(&length).unwrap_or(0) + 1);
        out.collect(format!(
            "{}: {} {} {}",
            ctx.key(),
            self.count.get().unwrap_or(0),
            self.all.get().join("+"),
            self.lengths.get(&length).unwrap_or(0)
        ));
        Ok(())
    }
}

#[test]
fn keyed_process_function_keeps_value_list_and_map() {
    let mut harness = OperatorHarness::<(String, String), String>::new(|records| {
        records
            .flat_map::<(Str, Str)>(|(key, value), out| out.collect((&key, &value)))
            .key_by::<Str>(|r| r.0)
            .process(History::default())
    })
    .unwrap();
    let mut push = |key: &str, value: &str| harness.push((key.into(), value.into()));
    assert_eq!(push("a", "x").unwrap(), ["a: 1 x 1"]);
    assert_eq!(
        push("a-key-of-more-than-sixteen-bytes", "y").unwrap(),
        ["a-key-of-more-than-sixteen-bytes: 1 y 1"]
    );
    assert_eq!(push("a", "z").unwrap(), ["a: 2 x+z 2"]);
    assert_eq!(push("a", "clear").unwrap(), [""; 0]);
    assert_eq!(push("a", "w").unwrap(), ["a: 1 w 1"]);
    let error = push("a", "fail").unwrap_err();
    assert_eq!(error.to_string(), "operator `KeyedProcess`: told to fail (at record 5)");
}

#[test]
fn state_of_process_functions_survives_eviction() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        env.from_sequence(0, 49_999)
            .key_by::<u64>(|n| n % 5000)
            .process_with::<(u64, u64), _>(|open| {
                let count = open.value_state::<u64>("count");
                let seen = open.list_state::<u64>("seen");
                move |n, ctx, out| {
                    count.set(count.get().unwrap_or(0) + 1);
                    seen.add(n);
                    if count.get() == Some(10) {
                        out.collect((ctx.key(), seen.with(|seen| seen.iter().sum())));
                    }
                }
            })
            .collect("sums");
        Ok(())
    };
    for cache in [64 << 20, 100_000] {
        let outputs = TestHarness::new().state_cache_size(cache).batch_size(4096).run(job, [""; 0]).unwrap();
        let mut sums = outputs.collected::<(u64, u64)>("sums").unwrap();
        sums.sort_unstable();
        let expected: Vec<_> =
            (0..5000u64).map(|k| (k, (0..10).map(|i| k + i * 5000).sum::<u64>())).collect();
        assert_eq!(sums, expected, "cache of {cache}");
    }
}

struct Join {
    left: ListState<u64>,
    right: ListState<String>,
}

impl KeyedCoProcessFunction<u32, (u32, u64), (u32, String), String> for Join {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> heddle::Result<()> {
        self.left = ctx.list_state("left");
        self.right = ctx.list_state("right");
        Ok(())
    }

    fn process1(
        &mut self,
        (key, number): (u32, u64),
        _: &mut KeyedContext<'_, u32>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        self.left.add(number);
        self.right.with(|names| names.iter().for_each(|name| out.collect(format!("{key} {number} {name}"))));
        Ok(())
    }

    fn process2(
        &mut self,
        (key, name): (u32, String),
        _: &mut KeyedContext<'_, u32>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        self.left.with(|numbers| numbers.iter().for_each(|n| out.collect(format!("{key} {n} {name}"))));
        self.right.add(name);
        Ok(())
    }
}

#[test]
fn connected_streams_join_and_filter() {
    let job = |env: &mut StreamExecutionEnvironment, _: Args| {
        let numbers = env.from_collection((0..6u32).map(|n| (n % 3, u64::from(n))));
        let names = env.from_collection([(0u32, "zero".to_string()), (1, "one".to_string())]);
        numbers
            .key_by::<u32>(|r| r.0)
            .connect(&names.key_by::<u32>(|r| r.0))
            .process(Join { left: ListState::default(), right: ListState::default() })
            .write_text("joined");
        let blocked = env.from_collection(["spam".to_string()]);
        env.read_text("words")
            .connect(&blocked.broadcast())
            .flat_map::<Str, _>(
                HashSet::new(),
                |blocked, word, out| {
                    if !blocked.contains(word) {
                        out.collect(word);
                    }
                },
                |blocked, word, _| {
                    blocked.insert(word);
                },
            )
            .write_text("kept");
        numbers.connect(&names).map(|(_, n)| n, |(key, _)| u64::from(key)).collect("mapped");
        Ok(())
    };
    let outputs =
        TestHarness::new().parallelism(2).input("words", "spam\nham\nspam\n").run(job, [""; 0]).unwrap();
    assert_eq!(sorted(outputs.file("joined")), ["0 0 zero", "0 3 zero", "1 1 one", "1 4 one"]);
    // The order between the two streams is open: ham always passes.
    assert!(outputs.file("kept").contains(&"ham".to_string()));
    let mut mapped = outputs.collected::<u64>("mapped").unwrap();
    mapped.sort_unstable();
    assert_eq!(mapped, [0, 0, 1, 1, 2, 3, 4, 5]);
}

#[test]
fn mistakes_in_main_are_one_clear_line() {
    let error = |job: &dyn Fn(&mut StreamExecutionEnvironment, Args) -> heddle::Result<()>| {
        TestHarness::new().run(job, [""; 0]).err().expect("an error").to_string()
    };
    assert_eq!(
        error(&|env, _| {
            env.from_sequence(0, 1).rebalance().uid("x").discard();
            Ok(())
        }),
        "`uid` belongs behind an operator, not behind a partitioned stream"
    );
    assert_eq!(
        error(&|env, _| {
            env.from_sequence(0, 1).map(|n| n).side_output(&OutputTag::<Str>::new("late")).discard();
            Ok(())
        }),
        "`Map` has no side output `late`: only `process` gives out to side outputs"
    );
    assert_eq!(error(&|_, args| args.required("input").map(drop)), "the argument --input is missing");
}
