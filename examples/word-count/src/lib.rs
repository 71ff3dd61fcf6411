//! Counts the words of text files. A word is a run of ASCII letters and
//! digits; upper case counts as lower case.

use heddle::prelude::*;
use heddle::text::ascii_words;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, args: Args) -> heddle::Result<()> {
    let (input, output) = (args.required("input")?, args.required("output")?);
    args.deny_unknown()?;
    env.set_job_name("Word Count");

    let mut lower = String::new();
    env.read_text(input)
        .name("lines")
        .flat_map::<(Str, u64)>(move |line, out| {
            lower.clear();
            lower.push_str(line);
            lower.make_ascii_lowercase();
            for word in ascii_words(&lower) {
                out.collect((word, 1));
            }
        })
        .name("words")
        .key_by::<Str>(|pair| pair.0)
        .sum(|pair| pair.1)
        .name("counts")
        .write_csv(output)
        .name("output");
    Ok(())
}
