//! A job of the operators and settings that no example has; the test
//! `tests/e2e/operators.rs` computes the same by itself.

use heddle::prelude::*;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 10_000)?;
    let max_parallelism: u32 = args.parse_or("max-parallelism", 64)?;
    let output = args.required("output")?.to_owned();
    let to = |name: &str| format!("{output}/{name}");

    let numbers = env.generate(Generator::count(records), |number| number).name("numbers").uid("numbers");

    // A chain of two, cut by hand, in slots and of a parallelism of its own.
    let rescaled = numbers
        .rescale()
        .map(|number| number + 1)
        .name("rescaled")
        .uid("rescaled")
        .set_parallelism(2)
        .slot_sharing_group("apart");
    let forwarded = rescaled
        .forward()
        .map(|number| number * 2)
        .name("forwarded")
        .set_parallelism(2)
        .slot_sharing_group("apart")
        .start_new_chain()
        .map(|number| number + 1)
        .name("chained")
        .set_parallelism(2)
        .slot_sharing_group("apart");
    let shuffled =
        numbers.shuffle().filter(|number| number % 3 == 0).name("shuffled").slot_sharing_group("default");
    let all = shuffled.union(&forwarded);

    all.global()
        .process_with::<(u64, u32)>(|number, ctx, out| out.collect((number, ctx.subtask().subtask)))
        .name("gathered")
        .slot_sharing_group("default")
        .write_csv(to("gathered"));
    numbers
        .partition_custom("by remainder", |number, channels| (*number % u64::from(channels)) as u32)
        .process_with::<(u64, u32)>(|number, ctx, out| out.collect((number, ctx.subtask().subtask)))
        .name("divided")
        .write_csv(to("divided"));

    let keyed = all.key_by::<u64>(|number| number % 10);
    keyed
        .process(History::default())
        .name("history")
        .uid("history")
        .set_max_parallelism(max_parallelism)
        .slot_sharing_group("default")
        .write_text(to("history"));
    keyed.min(|number| *number).name("least").slot_sharing_group("default").write_csv(to("least"));
    keyed.max(|number| *number).name("most").slot_sharing_group("default").write_csv(to("most"));

    let names = env.from_collection((0..5u64).map(|key| (key, format!("name {key}")))).name("names");
    numbers
        .filter(|number| *number < 100)
        .name("few")
        .key_by::<u64>(|number| number % 10)
        .connect(&names.key_by::<u64>(|pair| pair.0))
        .process(Join::default())
        .name("join")
        .write_text(to("joined"));

    numbers.filter(|number| *number < 3).name("first").print().name("printed");
    Ok(())
}

/// What was seen of a key: how often, all of it, and how often of each class.
#[derive(Default)]
struct History {
    count: ValueState<u64>,
    all: ListState<u64>,
    classes: MapState<u64, u64>,
}

impl KeyedProcessFunction<u64, u64, String> for History {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> heddle::Result<()> {
        self.count = ctx.value_state("count");
        self.all = ctx.list_state("all");
        self.classes = ctx.map_state("classes");
        Ok(())
    }

    fn process(
        &mut self,
        number: u64,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        self.count.update(|count| *count.get_or_insert(0) += 1);
        let class = number % 4;
        self.classes.insert(class, self.classes.get(&class).unwrap_or(0) + 1);
        // A list of the last ten: it is read and written anew for each number.
        self.all.add(number);
        if self.all.len() > 10 {
            self.all.update(|all| all.remove(0));
        }
        out.collect(format!(
            "{} {} {number} {} {class} {}",
            ctx.key(),
            self.count.get().unwrap_or(0),
            self.all.get().last().copied().unwrap_or(0),
            self.classes.get(&class).unwrap_or(0),
        ));
        Ok(())
    }
}

/// Each number with each name of its key, whichever comes first.
#[derive(Default)]
struct Join {
    numbers: ListState<u64>,
    names: ListState<String>,
}

impl KeyedCoProcessFunction<u64, u64, (u64, String), String> for Join {
    fn open(&mut self, ctx: &mut OpenContext<'_>) -> heddle::Result<()> {
        self.numbers = ctx.list_state("numbers");
        self.names = ctx.list_state("names");
        Ok(())
    }

    fn process1(
        &mut self,
        number: u64,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        self.numbers.add(number);
        self.names.with(|names| names.iter().for_each(|name| out.collect(format!("{number} {name}"))));
        Ok(())
    }

    fn process2(
        &mut self,
        (_, name): (u64, String),
        _: &mut KeyedContext<'_, u64>,
        out: &mut Collector<'_, String>,
    ) -> heddle::Result<()> {
        self.numbers.with(|numbers| numbers.iter().for_each(|n| out.collect(format!("{n} {name}"))));
        self.names.add(name);
        Ok(())
    }
}
