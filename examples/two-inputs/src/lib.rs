//! A control stream of rules, broadcast to all, and a stream of numbers that
//! the rules are applied to. Numbers wait until the rules are there.

use heddle::prelude::*;

/// What each subtask keeps: the rules so far, and the numbers that wait.
#[derive(Default)]
struct Rules {
    expected: usize,
    rules: Vec<(u64, String)>,
    waiting: Vec<u64>,
}

impl Rules {
    fn apply(&self, number: u64, out: &mut Collector<'_, Str>) {
        for (divisor, label) in &self.rules {
            if number.is_multiple_of(*divisor) {
                out.collect(label);
            }
        }
    }
}

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let records: u64 = args.parse_or("records", 100)?;
    let rules = parse_rules(args.get("rules").unwrap_or("3=fizz,5=buzz"))?;
    let output = args.required("output")?;
    args.deny_unknown()?;
    env.set_job_name("Two Inputs");

    let numbers = env.generate(Generator::count(records), |number| number).name("numbers");
    let control = env.from_collection(rules.clone()).name("rules");
    let shared = Rules { expected: rules.len(), ..Rules::default() };
    numbers
        .connect(&control.broadcast())
        .flat_map::<Str, _>(
            shared,
            |rules, number, out| {
                if rules.rules.len() < rules.expected {
                    rules.waiting.push(number);
                } else {
                    rules.apply(number, out);
                }
            },
            |rules, rule, out| {
                rules.rules.push(rule);
                if rules.rules.len() == rules.expected {
                    for number in std::mem::take(&mut rules.waiting) {
                        rules.apply(number, out);
                    }
                }
            },
        )
        .name("apply")
        .key_by::<Str>(|label| label)
        .count()
        .write_csv(output);
    Ok(())
}

/// `3=fizz,5=buzz`.
fn parse_rules(text: &str) -> heddle::Result<Vec<(u64, String)>> {
    let rule = |rule: &str| {
        let (divisor, label) = rule.split_once('=')?;
        Some((divisor.parse().ok().filter(|divisor| *divisor > 0)?, label.to_owned()))
    };
    text.split(',')
        .map(|part| {
            rule(part).ok_or_else(|| {
                heddle::Error::new(format!("--rules: `{part}` is not a rule such as `3=fizz`"))
            })
        })
        .collect()
}
